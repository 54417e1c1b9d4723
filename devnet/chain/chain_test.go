package chain

import (
	"context"
	"math/big"
	"net"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/ethclient"

	"github.com/aleph-im/aleph-go/contracts"
)

// start runs a chain for the test and returns a client of its JSON-RPC, and how to stop it before the test ends.
func start(t *testing.T, cfg Config) (*ethclient.Client, func()) {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	select {
	case <-c.Ready():
	case err := <-ended:
		t.Fatalf("chain ended: %v", err)
	}
	client, err := ethclient.Dial(c.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client, stop
}

func TestAccountsHoldTokensWithTransferEvents(t *testing.T) {
	client, _ := start(t, Config{})
	want := new(big.Int).Mul(big.NewInt(initialTokens), big.NewInt(1e18))
	for _, a := range Accounts() {
		got, err := contracts.BalanceOf(t.Context(), client, TokenAddress, a.Address)
		if err != nil {
			t.Fatal(err)
		}
		if got.Cmp(want) != 0 {
			t.Errorf("%s holds %s, want %s", a.Address, got, want)
		}
	}
	logs, err := client.FilterLogs(t.Context(), ethereum.FilterQuery{Addresses: []common.Address{TokenAddress}})
	if err != nil {
		t.Fatal(err)
	}
	if len(logs) != len(Accounts()) {
		t.Errorf("%d Transfer events, want one for each account", len(logs))
	}
	for _, log := range logs {
		if _, err := contracts.ParseTransfer(log); err != nil {
			t.Error(err)
		}
	}
	id, err := client.ChainID(t.Context())
	if err != nil || id.Int64() != 31337 {
		t.Errorf("chain id %v, %v", id, err)
	}
}

func TestChainGoesOnWhereItWas(t *testing.T) {
	dir := t.TempDir()
	client, stop := start(t, Config{DataDir: dir})
	from := Accounts()[0]
	key, err := crypto.ToECDSA(from.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	tx := types.MustSignNewTx(key, types.LatestSignerForChainID(big.NewInt(31337)), &types.DynamicFeeTx{
		ChainID: big.NewInt(31337), To: &common.Address{7}, Value: big.NewInt(42), Gas: 21000,
		GasTipCap: big.NewInt(1e9), GasFeeCap: big.NewInt(100e9),
	})
	if err := client.SendTransaction(t.Context(), tx); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := client.TransactionReceipt(t.Context(), tx.Hash()); err == nil {
			break
		}
	}
	height, err := client.BlockNumber(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stop()

	client, _ = start(t, Config{DataDir: dir})
	again, err := client.BlockNumber(t.Context())
	if err != nil || again < height {
		t.Errorf("the chain resumed at block %d, %v, want at least %d", again, err, height)
	}
	balance, err := client.BalanceAt(t.Context(), common.Address{7}, nil)
	if err != nil || balance.Int64() != 42 {
		t.Errorf("balance after the restart is %v, %v", balance, err)
	}
}

func TestPortInUseIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	_, err = New(Config{Port: port})
	if err == nil || !strings.Contains(err.Error(), "is taken") {
		t.Errorf("error is %v", err)
	}
}

func TestDevelopmentNamespaceIsClosed(t *testing.T) {
	client, _ := start(t, Config{})
	if err := client.Client().CallContext(t.Context(), nil, "dev_addWithdrawal", nil); err == nil {
		t.Error("dev_addWithdrawal is reachable")
	}
}
