package contracts

import (
	"crypto/ecdsa"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/ethclient/simulated"
)

// Clients of the main network call the contracts by these selectors and look for these topics (p2p.md §4.1, §4.7).
func TestSurfaceIsThatOfTheMainNetwork(t *testing.T) {
	token, err := Token()
	if err != nil {
		t.Fatal(err)
	}
	anchoring, err := Sync()
	if err != nil {
		t.Fatal(err)
	}
	flows, err := Flows()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		artifact  *Artifact
		method    string
		signature string
		selector  string
	}{
		{token, "balanceOf", "balanceOf(address)", "0x70a08231"},
		{token, "transfer", "transfer(address,uint256)", "0xa9059cbb"},
		{token, "transferFrom", "transferFrom(address,address,uint256)", "0x23b872dd"},
		{token, "approve", "approve(address,uint256)", "0x095ea7b3"},
		{token, "allowance", "allowance(address,address)", "0xdd62ed3e"},
		{token, "decimals", "decimals()", "0x313ce567"},
		{token, "symbol", "symbol()", "0x95d89b41"},
		{token, "name", "name()", "0x06fdde03"},
		{token, "totalSupply", "totalSupply()", "0x18160ddd"},
		{token, "mint", "mint(address,uint256)", "0x40c10f19"},
		{anchoring, "doEmit", "doEmit(string)", "0x58666c04"},
		{anchoring, "doMessage", "doMessage(string,string)", "0x128f72c5"},
		{flows, "getFlow", "getFlow(address,address,address)", "0xe6a1e888"},
	} {
		m, ok := c.artifact.ABI.Methods[c.method]
		if !ok || m.Sig != c.signature || hexutil.Encode(m.ID) != c.selector {
			t.Errorf("%s: %s %x, want %s %s", c.method, m.Sig, m.ID, c.signature, c.selector)
		}
	}
	for _, c := range []struct {
		artifact *Artifact
		event    string
		topic    string
	}{
		{token, "Transfer", TransferTopic.Hex()},
		{token, "Approval", "0x8c5be1e5ebec7d5bd14f71427d1e84f3dd0314c0f7b2291e5b200ac8c7c3b925"},
		{anchoring, "SyncEvent", "0x2cc768a3de0c950ea2a38e55a9b143cc6fd5a8eec27e36993b542fb16ab591e1"},
		{anchoring, "MessageEvent", "0x548eda6c65f4bd05085e450712b22cfb19c58816b453f69294a94e78db9ab32b"},
	} {
		if got := c.artifact.ABI.Events[c.event].ID.Hex(); got != c.topic {
			t.Errorf("event %s has topic %s, want %s", c.event, got, c.topic)
		}
	}
}

// The compiler is a development dependency: `make test` installs it and runs the same check by itself.
func TestArtifactsAreWhatTheSourcesCompileTo(t *testing.T) {
	if _, err := os.Stat(filepath.Join("node_modules", "solc")); errors.Is(err, os.ErrNotExist) {
		t.Skip(`the Solidity compiler is not installed; run "npm ci" in contracts/`)
	}
	out, err := exec.CommandContext(t.Context(), "npm", "run", "--silent", "check").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// Both keys are public knowledge. The token takes the first for its owner's.
const (
	ownerKey    = "2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6"
	strangerKey = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
)

var (
	tokenAddress = common.HexToAddress("0x70ce")
	syncAddress  = common.HexToAddress("0x5c")
	alice        = common.HexToAddress("0xa11ce")
	bob          = common.HexToAddress("0xb0b")
)

// account signs what a test sends.
type account struct {
	key     *ecdsa.PrivateKey
	address common.Address
}

// world is a chain that holds both contracts in its genesis block, and two accounts that pay for gas.
type world struct {
	t               *testing.T
	backend         *simulated.Backend
	owner, stranger account
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t}
	alloc := types.GenesisAlloc{}
	for _, a := range []struct {
		account *account
		key     string
	}{{&w.owner, ownerKey}, {&w.stranger, strangerKey}} {
		key, err := crypto.HexToECDSA(a.key)
		if err != nil {
			t.Fatal(err)
		}
		*a.account = account{key, crypto.PubkeyToAddress(key.PublicKey)}
		alloc[a.account.address] = types.Account{Balance: big.NewInt(1e18)}
	}
	for address, artifact := range map[common.Address]func() (*Artifact, error){tokenAddress: Token, syncAddress: Sync} {
		a, err := artifact()
		if err != nil {
			t.Fatal(err)
		}
		alloc[address] = types.Account{Code: a.DeployedBytecode, Balance: new(big.Int)}
	}
	w.backend = simulated.NewBackend(alloc)
	t.Cleanup(func() { w.backend.Close() })
	return w
}

// send puts a transaction into a block of its own.
func (w *world) send(from account, to common.Address, input []byte, err error) *types.Receipt {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	nonce, err := w.backend.Client().NonceAt(w.t.Context(), from.address, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	id := big.NewInt(1337)
	tx := types.MustSignNewTx(from.key, types.LatestSignerForChainID(id), &types.DynamicFeeTx{
		ChainID: id, Nonce: nonce, To: &to, Data: input, Gas: 500_000, GasTipCap: big.NewInt(1e9), GasFeeCap: big.NewInt(10e9),
	})
	if err := w.backend.Client().SendTransaction(w.t.Context(), tx); err != nil {
		w.t.Fatal(err)
	}
	w.backend.Commit()
	receipt, err := w.backend.Client().TransactionReceipt(w.t.Context(), tx.Hash())
	if err != nil {
		w.t.Fatal(err)
	}
	return receipt
}

// succeeds sends a call of the token and wants it to do its work; fails wants it to be refused.
func (w *world) succeeds(from account, input []byte, err error) {
	w.t.Helper()
	if w.send(from, tokenAddress, input, err).Status != types.ReceiptStatusSuccessful {
		w.t.Error("the token refused the call")
	}
}

func (w *world) fails(from account, input []byte, err error) {
	w.t.Helper()
	if w.send(from, tokenAddress, input, err).Status == types.ReceiptStatusSuccessful {
		w.t.Error("the token took a call that it must refuse")
	}
}

func (w *world) holds(who common.Address, want int64) {
	w.t.Helper()
	got, err := BalanceOf(w.t.Context(), w.backend.Client(), tokenAddress, who)
	if err != nil {
		w.t.Fatal(err)
	}
	if got.Cmp(big.NewInt(want)) != 0 {
		w.t.Errorf("%s holds %s, want %d", who, got, want)
	}
}

func TestTokenSaysWhatItIs(t *testing.T) {
	w := newWorld(t)
	client := w.backend.Client()
	if symbol, err := Symbol(t.Context(), client, tokenAddress); err != nil || symbol != "ALEPH" {
		t.Errorf("symbol %q, %v", symbol, err)
	}
	if decimals, err := Decimals(t.Context(), client, tokenAddress); err != nil || decimals != 18 {
		t.Errorf("decimals %d, %v", decimals, err)
	}
	if supply, err := TotalSupply(t.Context(), client, tokenAddress); err != nil || supply.Sign() != 0 {
		t.Errorf("supply before the first mint %v, %v", supply, err)
	}
	if _, err := BalanceOf(t.Context(), client, bob, alice); err == nil || !strings.Contains(err.Error(), "no token at this address") {
		t.Errorf("an address without a contract answers %v", err)
	}
}

func TestOnlyTheOwnerMints(t *testing.T) {
	w := newWorld(t)
	input, err := MintInput(alice, big.NewInt(5))
	w.fails(w.stranger, input, err)
	w.succeeds(w.owner, input, err)
	w.holds(alice, 5)
	input, err = MintInput(common.Address{}, big.NewInt(5))
	w.fails(w.owner, input, err)
	if supply, err := TotalSupply(t.Context(), w.backend.Client(), tokenAddress); err != nil || supply.Int64() != 5 {
		t.Errorf("supply %v, %v", supply, err)
	}
}

func TestTokensMoveWithTheirHolder(t *testing.T) {
	w := newWorld(t)
	input, err := MintInput(w.stranger.address, big.NewInt(10))
	w.succeeds(w.owner, input, err)
	input, err = TransferInput(alice, big.NewInt(11))
	w.fails(w.stranger, input, err)
	input, err = TransferInput(common.Address{}, big.NewInt(1))
	w.fails(w.stranger, input, err)
	input, err = TransferInput(alice, big.NewInt(4))
	w.succeeds(w.stranger, input, err)
	input, err = TransferInput(w.stranger.address, big.NewInt(6))
	w.succeeds(w.stranger, input, err) // to oneself
	w.holds(w.stranger.address, 6)
	w.holds(alice, 4)

	transfers, err := FilterTransfers(t.Context(), w.backend.Client(), tokenAddress, 0, 5)
	if err != nil {
		t.Fatal(err)
	}
	if len(transfers) != 3 {
		t.Fatalf("%d transfers, want 3: %+v", len(transfers), transfers)
	}
	if mint := transfers[0]; mint.From != (common.Address{}) || mint.To != w.stranger.address || mint.Value.Int64() != 10 || mint.Block != 1 {
		t.Errorf("mint %+v", mint)
	}
	header, err := w.backend.Client().HeaderByNumber(t.Context(), new(big.Int).SetUint64(transfers[1].Block))
	if err != nil || header.Hash() != transfers[1].Hash {
		t.Errorf("the transfer is in block %s, want %v, %v", transfers[1].Hash, header, err)
	}
}

func TestSpenderMovesNoMoreThanAllowed(t *testing.T) {
	w := newWorld(t)
	input, err := MintInput(w.owner.address, big.NewInt(100))
	w.succeeds(w.owner, input, err)
	allowance := func(want *big.Int) {
		t.Helper()
		got, err := Allowance(t.Context(), w.backend.Client(), tokenAddress, w.owner.address, w.stranger.address)
		if err != nil || got.Cmp(want) != 0 {
			t.Errorf("allowance %v, %v, want %s", got, err, want)
		}
	}
	input, err = encode("approve", w.stranger.address, big.NewInt(10))
	w.succeeds(w.owner, input, err)
	input, err = encode("transferFrom", w.owner.address, bob, big.NewInt(11))
	w.fails(w.stranger, input, err)
	input, err = encode("transferFrom", w.owner.address, bob, big.NewInt(3))
	w.succeeds(w.stranger, input, err)
	allowance(big.NewInt(7))
	batch := func(values ...int64) ([]byte, error) {
		amounts := make([]*big.Int, len(values))
		for i, v := range values {
			amounts[i] = big.NewInt(v)
		}
		return encode("batchTransferFrom", w.owner.address, []common.Address{alice, bob}, amounts)
	}
	input, err = batch(4, 4)
	w.fails(w.stranger, input, err)
	input, err = batch(4)
	w.fails(w.stranger, input, err)
	input, err = batch(4, 3)
	w.succeeds(w.stranger, input, err)
	allowance(new(big.Int))
	w.holds(alice, 4)
	w.holds(bob, 6)

	// The greatest allowance is without end.
	endless := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1))
	input, err = encode("approve", w.stranger.address, endless)
	w.succeeds(w.owner, input, err)
	input, err = batch(1, 1)
	w.succeeds(w.stranger, input, err)
	allowance(endless)
}

func TestBatchMovesAllOrNothing(t *testing.T) {
	w := newWorld(t)
	input, err := MintInput(w.stranger.address, big.NewInt(10))
	w.succeeds(w.owner, input, err)
	input, err = encode("batchTransfer", []common.Address{alice, bob}, []*big.Int{big.NewInt(6), big.NewInt(6)})
	w.fails(w.stranger, input, err)
	w.holds(alice, 0)
	input, err = encode("batchTransfer", []common.Address{alice, bob}, []*big.Int{big.NewInt(6), big.NewInt(4)})
	w.succeeds(w.stranger, input, err)
	w.holds(alice, 6)
	w.holds(bob, 4)
	w.holds(w.stranger.address, 0)
}

func TestAnybodyAnchors(t *testing.T) {
	w := newWorld(t)
	artifact, err := Sync()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method, event string
		args          []any
	}{
		{"doEmit", "SyncEvent", []any{"hello"}},
		{"doMessage", "MessageEvent", []any{"POST", "{}"}},
	} {
		input, err := artifact.ABI.Pack(c.method, c.args...)
		receipt := w.send(w.stranger, syncAddress, input, err)
		if len(receipt.Logs) != 1 || receipt.Logs[0].Topics[0] != artifact.ABI.Events[c.event].ID {
			t.Fatalf("%s left %+v", c.method, receipt.Logs)
		}
		values, err := artifact.ABI.Unpack(c.event, receipt.Logs[0].Data)
		if err != nil {
			t.Fatal(err)
		}
		if got := values[1:]; !slices.Equal(got, append([]any{w.stranger.address}, c.args...)) {
			t.Errorf("%s says %v", c.event, got)
		}
	}
}
