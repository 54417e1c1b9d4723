package chain

import (
	"context"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

// wallet sends ether from the first account, one transaction after the other.
type wallet struct {
	t      *testing.T
	client *ethclient.Client
	nonce  uint64
}

// send gives one wei to nobody for a tip and a highest fee in wei per gas, and returns once a block holds it.
func (w *wallet) send(tip, fee int64) error {
	w.t.Helper()
	key, err := crypto.ToECDSA(Accounts()[0].PrivateKey)
	if err != nil {
		w.t.Fatal(err)
	}
	id := big.NewInt(31337)
	tx := types.MustSignNewTx(key, types.LatestSignerForChainID(id), &types.DynamicFeeTx{
		ChainID: id, Nonce: w.nonce, To: &common.Address{7}, Value: big.NewInt(1), Gas: 21000,
		GasTipCap: big.NewInt(tip), GasFeeCap: big.NewInt(fee),
	})
	if err := w.client.SendTransaction(w.t.Context(), tx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	if err := await(ctx, w.client, tx.Hash()); err != nil {
		w.t.Fatal(err)
	}
	w.nonce++
	return nil
}

func supply(t *testing.T, client *ethclient.Client) *big.Int {
	t.Helper()
	n, err := contracts.TotalSupply(t.Context(), client, TokenAddress)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestChainGoesOnWhereItWas(t *testing.T) {
	dir := t.TempDir()
	client, stop := start(t, Config{DataDir: dir})
	w := &wallet{t: t, client: client}
	if err := w.send(1e9, 100e9); err != nil {
		t.Fatal(err)
	}
	height, err := client.BlockNumber(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := supply(t, client)
	stop()

	client, _ = start(t, Config{DataDir: dir})
	again, err := client.BlockNumber(t.Context())
	if err != nil || again < height {
		t.Errorf("the chain resumed at block %d, %v, want at least %d", again, err, height)
	}
	balance, err := client.BalanceAt(t.Context(), common.Address{7}, nil)
	if err != nil || balance.Uint64() != w.nonce {
		t.Errorf("balance after the restart is %v, %v, want %d", balance, err, w.nonce)
	}
	if after := supply(t, client); after.Cmp(before) != 0 {
		t.Errorf("%s tokens after the restart, %s before", after, before)
	}
	if err := (&wallet{t, client, w.nonce}).send(1e9, 100e9); err != nil {
		t.Errorf("a transaction after the restart: %v", err)
	}
}

// What a killed process leaves is what its folder holds while it runs. The blocks of its last moments may be lost, but
// never the chain.
func TestKilledChainGoesOn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "running")
	client, _ := start(t, Config{DataDir: dir})
	w := &wallet{t: t, client: client}
	for range 3 {
		if err := w.send(1e9, 100e9); err != nil {
			t.Fatal(err)
		}
	}
	left := filepath.Join(t.TempDir(), "left")
	if err := os.CopyFS(left, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	again, _ := start(t, Config{DataDir: left})
	if after, before := supply(t, again), supply(t, client); after.Cmp(before) != 0 {
		t.Errorf("%s tokens after the restart, %s before", after, before)
	}
	nonce, err := again.NonceAt(t.Context(), Accounts()[0].Address, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := (&wallet{t, again, nonce}).send(1e9, 100e9); err != nil {
		t.Errorf("a transaction after the restart: %v", err)
	}
}

func TestMinterWhoGaveAwayItsTokensGetsNoOthers(t *testing.T) {
	dir := t.TempDir()
	client, stop := start(t, Config{DataDir: dir})
	before := supply(t, client)
	minter := Accounts()[len(Accounts())-1]
	key, err := crypto.ToECDSA(minter.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	input, err := contracts.TransferInput(common.Address{7}, before.Div(before, big.NewInt(int64(len(Accounts())))))
	if err != nil {
		t.Fatal(err)
	}
	id := big.NewInt(31337)
	tx := types.MustSignNewTx(key, types.LatestSignerForChainID(id), &types.DynamicFeeTx{
		ChainID: id, Nonce: uint64(len(Accounts())), To: &TokenAddress, Data: input, Gas: 100_000,
		GasTipCap: big.NewInt(1e9), GasFeeCap: big.NewInt(100e9),
	})
	if err := client.SendTransaction(t.Context(), tx); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := await(ctx, client, tx.Hash()); err != nil {
		t.Fatal(err)
	}
	stop()
	client, _ = start(t, Config{DataDir: dir})
	left, err := contracts.BalanceOf(t.Context(), client, TokenAddress, minter.Address)
	if err != nil || left.Sign() != 0 {
		t.Errorf("the minter holds %v, %v, want nothing", left, err)
	}
}

func TestFolderOfAnotherNetworkIsRefused(t *testing.T) {
	dir := t.TempDir()
	_, stop := start(t, Config{DataDir: dir})
	stop()
	if _, err := New(Config{DataDir: dir, ChainID: 8453}); err == nil || !strings.Contains(err.Error(), "delete the folder") {
		t.Errorf("error is %v", err)
	}
}

func TestPortInUseIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	want := fmt.Sprintf("port %d is taken, stop what uses it or choose another", port)
	if _, err := New(Config{Port: port}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error is %v", err)
	}
	// Somebody may also take it between New and Run.
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{Port: port})
	if err != nil {
		t.Fatal(err)
	}
	l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := c.Run(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error is %v", err)
	}
}

func TestHarmfulMethodsAreClosed(t *testing.T) {
	client, _ := start(t, Config{})
	file := filepath.Join(t.TempDir(), "written")
	for method, args := range map[string][]any{
		"dev_addWithdrawal": {nil}, "debug_writeMemProfile": {file}, "debug_setHead": {"0x0"}, "admin_nodeInfo": nil,
	} {
		err := client.Client().CallContext(t.Context(), nil, method, args...)
		if err == nil || !strings.Contains(err.Error(), "not available") {
			t.Errorf("%s answers %v", method, err)
		}
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("a caller made the process write a file")
	}
}

func TestTransactionThatNoBlockTakesIsRefused(t *testing.T) {
	client, _ := start(t, Config{})
	w := &wallet{t: t, client: client}
	if err := w.send(1, 1); err == nil || !strings.Contains(err.Error(), "minimum needed") {
		t.Errorf("a transaction that no block takes: %v", err)
	}
	suggested, err := client.SuggestGasTipCap(t.Context())
	if err != nil || suggested.Int64() < minimalTip {
		t.Errorf("suggested tip %v, %v", suggested, err)
	}
	if err := w.send(minimalTip, minimalTip); err != nil {
		t.Errorf("the cheapest transaction: %v", err)
	}
}

func TestNewBlocksAreToldOverWebSocket(t *testing.T) {
	c, err := New(Config{ChainID: 8453})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-c.Ready():
	case err := <-ended:
		t.Fatalf("chain ended: %v", err)
	}
	client, err := ethclient.DialContext(ctx, c.WSEndpoint())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if id, err := client.NetworkID(ctx); err != nil || id.Int64() != 8453 {
		t.Errorf("network id %v, %v", id, err)
	}
	heads := make(chan *types.Header, 16)
	sub, err := client.SubscribeNewHead(ctx, heads)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	key, err := crypto.ToECDSA(Accounts()[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	tx := types.MustSignNewTx(key, types.LatestSignerForChainID(big.NewInt(8453)), &types.DynamicFeeTx{
		ChainID: big.NewInt(8453), To: &common.Address{7}, Gas: 21000, GasTipCap: big.NewInt(1e9), GasFeeCap: big.NewInt(100e9),
	})
	if err := client.SendTransaction(ctx, tx); err != nil {
		t.Fatal(err)
	}
	select {
	case head := <-heads:
		if head.Number.Sign() == 0 {
			t.Errorf("head %v", head.Number)
		}
	case err := <-sub.Err():
		t.Fatal(err)
	case <-time.After(20 * time.Second):
		t.Fatal("no block was told")
	}
}

// Private keys and addresses are what wallets derive from the mnemonic.
func TestAccountsAreTheWellKnownOnes(t *testing.T) {
	accounts := Accounts()
	if len(accounts) != 10 {
		t.Fatalf("%d accounts", len(accounts))
	}
	for i, want := range map[int]string{
		0: "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
		1: "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
		9: "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720",
	} {
		if got := accounts[i].Address.Hex(); got != want {
			t.Errorf("account %d is %s, want %s", i, got, want)
		}
	}
}
