package anchor

import (
	"context"
	"encoding/json"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/ethclient/simulated"
	"pgregory.net/rapid"

	"github.com/aleph-im/aleph-go/contracts"
)

// The contract believes this well-known development key to be the minter's.
const minterKey = "2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6"

var (
	token = common.HexToAddress("0x70ce")
	alice = common.HexToAddress("0xa11ce")
	bob   = common.HexToAddress("0xb0b")
)

// memoryState is a State that is lost with the test.
type memoryState struct {
	mu     sync.Mutex
	cursor []byte // guarded by mu
}

func (s *memoryState) Load(context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cursor, nil
}

func (s *memoryState) Save(_ context.Context, cursor []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cursor = cursor
	return nil
}

// rig is a simulated chain with a feed on it that is stepped by hand.
type rig struct {
	t       testing.TB
	backend *simulated.Backend
	feed    *BalanceFeed
	state   *memoryState
	posts   []update
	nonce   uint64
}

func newRig(t testing.TB) *rig {
	t.Helper()
	artifact, err := contracts.Token()
	if err != nil {
		t.Fatal(err)
	}
	key, err := crypto.HexToECDSA(minterKey)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, state: &memoryState{}}
	r.backend = simulated.NewBackend(types.GenesisAlloc{
		token:                                 {Code: artifact.DeployedBytecode, Balance: new(big.Int)},
		crypto.PubkeyToAddress(key.PublicKey): {Balance: new(big.Int).Mul(big.NewInt(1e18), big.NewInt(1000))},
	})
	t.Cleanup(func() { r.backend.Close() })
	r.restart()
	return r
}

// restart forgets the feed and builds one from what it saved.
func (r *rig) restart() {
	feed, err := New(Config{
		Chain: r.backend.Client(), Token: token, ChainID: 1337, State: r.state,
		Publish: func(_ context.Context, content any) error { r.posts = append(r.posts, content.(update)); return nil },
	})
	if err != nil {
		r.t.Fatal(err)
	}
	loaded := false
	if err := feed.load(context.Background(), &loaded); err != nil {
		r.t.Fatal(err)
	}
	r.feed = feed
}

func (r *rig) step() {
	r.t.Helper()
	if err := r.feed.step(context.Background()); err != nil {
		r.t.Fatal(err)
	}
}

// send calls the token as the minter without making a block.
func (r *rig) send(nonce uint64, tip int64, method string, args ...any) {
	r.t.Helper()
	artifact, err := contracts.Token()
	if err != nil {
		r.t.Fatal(err)
	}
	input, err := artifact.ABI.Pack(method, args...)
	if err != nil {
		r.t.Fatal(err)
	}
	key, err := crypto.HexToECDSA(minterKey)
	if err != nil {
		r.t.Fatal(err)
	}
	tx := types.MustSignNewTx(key, types.LatestSignerForChainID(big.NewInt(1337)), &types.DynamicFeeTx{
		ChainID: big.NewInt(1337), Nonce: nonce, To: &token, Data: input, Gas: 500_000,
		GasTipCap: big.NewInt(tip), GasFeeCap: big.NewInt(100 * tip),
	})
	// The pool of transactions follows the chain beside it: after a fork it may still stand on the block that was dropped.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		err := r.backend.Client().SendTransaction(ctx, tx)
		if err == nil {
			return
		}
		if !strings.Contains(err.Error(), core.ErrNonceTooLow.Error()) || ctx.Err() != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *rig) call(method string, args ...any) {
	r.t.Helper()
	r.send(r.nonce, 1e9, method, args...)
	r.nonce++
	r.backend.Commit()
}

func tokens(n int64) *big.Int { return new(big.Int).Mul(big.NewInt(n), big.NewInt(1e18)) }

// last returns what the newest post says an address holds; "" when it does not name it.
func (r *rig) last(address common.Address) string {
	if len(r.posts) == 0 {
		return ""
	}
	return r.posts[len(r.posts)-1].Balances[address.Hex()].String()
}

func TestFeedPublishesEverybodyFirstAndThenWhatChanges(t *testing.T) {
	r := newRig(t)
	r.call("mint", alice, tokens(5))
	r.call("mint", bob, big.NewInt(1))
	r.step()
	if len(r.posts) != 1 || r.last(alice) != "5" || r.last(bob) != "0.000000000000000001" {
		t.Fatalf("first posts: %+v", r.posts)
	}
	r.step()
	if len(r.posts) != 1 {
		t.Fatalf("nothing changed, and %d posts were published", len(r.posts))
	}
	r.call("mint", alice, tokens(1))
	r.step()
	if len(r.posts) != 2 || r.last(alice) != "6" || r.last(bob) != "" {
		t.Errorf("second post: %+v", r.posts[len(r.posts)-1])
	}
	raw, err := json.Marshal(r.posts[1])
	if err != nil {
		t.Fatal(err)
	}
	var shape map[string]any
	if err := json.Unmarshal(raw, &shape); err != nil {
		t.Fatal(err)
	}
	for _, member := range []string{"tags", "height", "main_height", "platform", "token_contract", "token_symbol", "network_id", "chain", "balances"} {
		if _, ok := shape[member]; !ok {
			t.Errorf("the post lacks %q", member)
		}
	}
}

func TestFeedGoesOnAfterARestart(t *testing.T) {
	r := newRig(t)
	r.call("mint", alice, tokens(5))
	r.step()
	r.restart()
	r.step()
	if len(r.posts) != 1 {
		t.Errorf("a restart published again: %+v", r.posts)
	}
	r.call("mint", bob, tokens(2))
	r.step()
	if len(r.posts) != 2 || r.last(bob) != "2" || r.last(alice) != "" {
		t.Errorf("after the restart: %+v", r.posts)
	}
}

func TestDroppedBlockIsTakenBack(t *testing.T) {
	r := newRig(t)
	r.call("mint", alice, tokens(5))
	head, err := r.backend.Client().HeaderByNumber(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.call("mint", bob, tokens(7))
	r.step()
	if r.last(bob) != "7" {
		t.Fatalf("bob holds %q", r.last(bob))
	}
	// The chain forks before bob's tokens; another transaction takes the place of theirs.
	if err := r.backend.Fork(head.Hash()); err != nil {
		t.Fatal(err)
	}
	r.send(r.nonce-1, 4e9, "mint", alice, tokens(1))
	r.backend.Commit()
	r.backend.Commit()
	r.step()
	if r.last(bob) != "0" || r.last(alice) != "6" {
		t.Errorf("after the fork bob holds %q and alice %q", r.last(bob), r.last(alice))
	}
}

func TestBalancesAddUpToTheSupply(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := newRig(t)
		supply := new(big.Int)
		for range rapid.IntRange(1, 4).Draw(rt, "mints") {
			amount := big.NewInt(rapid.Int64Range(0, 1e18).Draw(rt, "amount"))
			to := common.BigToAddress(big.NewInt(rapid.Int64Range(1, 4).Draw(rt, "to")))
			r.call("mint", to, amount)
			supply.Add(supply, amount)
			if rapid.Bool().Draw(rt, "step") {
				r.step()
			}
		}
		r.step()
		sum := new(big.Int)
		for _, b := range r.feed.cursor.Balances {
			sum.Add(sum, b)
		}
		if sum.Cmp(supply) != 0 {
			rt.Fatalf("balances add up to %s, the supply is %s", sum, supply)
		}
	})
}

func TestTokensAreWrittenExactly(t *testing.T) {
	for wei, want := range map[string]string{
		"0": "0", "1": "0.000000000000000001", "1000000000000000000": "1", "1500000000000000000": "1.5",
		"123456789012345678901234567890": "123456789012.34567890123456789",
	} {
		amount, _ := new(big.Int).SetString(wei, 10)
		if got := FormatTokens(amount); got != want {
			t.Errorf("%s wei is %q, want %q", wei, got, want)
		}
	}
}
