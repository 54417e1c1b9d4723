// Package anchor brings what happens on chains into the network. So far it reads token balances: [BalanceFeed] replays the
// Transfer events of the ALEPH token and publishes what every address holds, for the node that carries the authority's key
// (package ccn/authority).
package anchor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/aleph-im/aleph-go/contracts"
)

// Chain is what the feed asks of an Ethereum node; ethclient.Client is one.
type Chain interface {
	HeaderByNumber(ctx context.Context, number *big.Int) (*types.Header, error)
	FilterLogs(ctx context.Context, query ethereum.FilterQuery) ([]types.Log, error)
}

// State keeps the feed's cursor between two runs of the node. Load returns nil when there is none.
type State interface {
	Load(ctx context.Context) ([]byte, error)
	Save(ctx context.Context, cursor []byte) error
}

// Config is what a BalanceFeed needs.
type Config struct {
	Chain       Chain
	Token       common.Address
	ChainID     int64
	StartHeight uint64 // first block with Transfer events
	State       State
	// Publish publishes the content of a balances-update post, and returns once the node has accepted it.
	Publish func(ctx context.Context, content any) error
	Poll    time.Duration // between two looks at the chain; 5 s when 0
	Logger  *slog.Logger
}

const (
	defaultPoll = 5 * time.Second
	rpcTimeout  = 30 * time.Second
	window      = 10_000 // blocks asked for at once (corechannel.md §2.3)
	chunk       = 10_000 // addresses in one post (corechannel.md §9.1)
	memory      = 64     // block hashes kept to notice a reorganisation
	maxBackoff  = time.Minute
)

// BalanceFeed follows the token. Its fields are owned by the goroutine of Run, but for the progress.
type BalanceFeed struct {
	cfg    Config
	cursor cursor

	known, head atomic.Uint64 // heights; 0 before anything is known
}

// Progress returns the heights of the last block that was read and of the newest that is known of; 0 when none is yet.
func (f *BalanceFeed) Progress() (read, head uint64) { return f.known.Load(), f.head.Load() }

// cursor is how far the feed has come. Blocks remembers the hashes of the newest blocks that held transfers or were the
// head, and what their transfers changed, so that a block which the chain dropped can be taken back.
type cursor struct {
	Height      uint64                      `json:"height"`   // last block that was read
	Started     bool                        `json:"started"`  // Height means something
	Balances    map[common.Address]*big.Int `json:"balances"` // wei
	Unpublished map[common.Address]bool     `json:"unpublished"`
	Blocks      []block                     `json:"blocks"` // ascending
}

type block struct {
	Height uint64                      `json:"height"`
	Hash   common.Hash                 `json:"hash"`
	Change map[common.Address]*big.Int `json:"change,omitempty"` // wei, signed
}

// New returns a feed.
func New(cfg Config) (*BalanceFeed, error) {
	if cfg.Chain == nil || cfg.Publish == nil || cfg.State == nil {
		return nil, fmt.Errorf("balance feed: a chain, a state and a publisher are required")
	}
	if cfg.Poll == 0 {
		cfg.Poll = defaultPoll
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &BalanceFeed{cfg: cfg}, nil
}

// Run publishes all balances, and then those that change, until ctx ends. What fails is tried again.
func (f *BalanceFeed) Run(ctx context.Context) error {
	wait := time.Duration(0)
	backoff := f.cfg.Poll
	loaded := false
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		err := f.load(ctx, &loaded)
		if err == nil {
			err = f.step(ctx)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			f.cfg.Logger.Warn("balances not read, tried again", "after", backoff, "error", err)
			wait, backoff = backoff, min(2*backoff, maxBackoff)
			continue
		}
		wait, backoff = f.cfg.Poll, f.cfg.Poll
	}
}

func (f *BalanceFeed) load(ctx context.Context, loaded *bool) error {
	if *loaded {
		return nil
	}
	raw, err := f.cfg.State.Load(ctx)
	if err != nil {
		return fmt.Errorf("load cursor: %w", err)
	}
	if raw != nil {
		if err := json.Unmarshal(raw, &f.cursor); err != nil {
			return fmt.Errorf("decode cursor: %w", err)
		}
	}
	if f.cursor.Balances == nil {
		f.cursor.Balances = make(map[common.Address]*big.Int)
	}
	if f.cursor.Unpublished == nil {
		f.cursor.Unpublished = make(map[common.Address]bool)
	}
	*loaded = true
	return nil
}

// step reads what is new on the chain and then publishes what it changed. The cursor is saved with what remains to be
// published, so a node that is killed in between publishes it at the next start.
func (f *BalanceFeed) step(ctx context.Context) error {
	head, err := f.header(ctx, nil)
	if err != nil {
		return fmt.Errorf("read head of the chain: %w", err)
	}
	c := &f.cursor
	f.head.Store(head.Number.Uint64())
	defer func() { f.known.Store(c.Height) }()
	before := c.Height
	if err := f.rollBack(ctx); err != nil {
		return err
	}
	from := c.Height + 1
	if !c.Started {
		from = f.cfg.StartHeight
	}
	top := head.Number.Uint64()
	for at := from; at <= top; at += window {
		to := min(at+window-1, top)
		if err := f.read(ctx, at, to); err != nil {
			return err
		}
		c.Height, c.Started = to, true
	}
	if n := len(c.Blocks); n == 0 || c.Blocks[n-1].Height < top {
		c.remember(block{Height: top, Hash: head.Hash()})
	}
	if len(c.Unpublished) > 0 {
		if err := f.save(ctx); err != nil {
			return err
		}
		if err := f.publish(ctx, top); err != nil {
			return err
		}
		clear(c.Unpublished)
	} else if c.Height == before {
		return nil
	}
	return f.save(ctx)
}

func (f *BalanceFeed) save(ctx context.Context) error {
	raw, err := json.Marshal(f.cursor)
	if err != nil {
		return fmt.Errorf("encode cursor: %w", err)
	}
	if err := f.cfg.State.Save(ctx, raw); err != nil {
		return fmt.Errorf("save cursor: %w", err)
	}
	return nil
}

func (f *BalanceFeed) header(ctx context.Context, height *big.Int) (*types.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, rpcTimeout)
	defer cancel()
	return f.cfg.Chain.HeaderByNumber(ctx, height)
}

// rollBack takes back the blocks that are no longer part of the chain.
func (f *BalanceFeed) rollBack(ctx context.Context) error {
	c := &f.cursor
	for len(c.Blocks) > 0 {
		last := c.Blocks[len(c.Blocks)-1]
		header, err := f.header(ctx, new(big.Int).SetUint64(last.Height))
		if err != nil && !errors.Is(err, ethereum.NotFound) {
			return fmt.Errorf("read block %d: %w", last.Height, err)
		}
		if err == nil && header.Hash() == last.Hash {
			return nil
		}
		f.cfg.Logger.Warn("the chain dropped a block, its transfers are taken back", "height", last.Height, "hash", last.Hash)
		for address, change := range last.Change {
			c.add(address, new(big.Int).Neg(change))
		}
		c.Blocks = c.Blocks[:len(c.Blocks)-1]
		// Everything after the last block that still stands is read again; what lay between held no transfer.
		c.Height = max(last.Height, 1) - 1
		if n := len(c.Blocks); n > 0 {
			c.Height = c.Blocks[n-1].Height
		}
	}
	return nil
}

func (f *BalanceFeed) read(ctx context.Context, from, to uint64) error {
	ctx, cancel := context.WithTimeout(ctx, rpcTimeout)
	defer cancel()
	logs, err := f.cfg.Chain.FilterLogs(ctx, ethereum.FilterQuery{
		FromBlock: new(big.Int).SetUint64(from), ToBlock: new(big.Int).SetUint64(to),
		Addresses: []common.Address{f.cfg.Token}, Topics: [][]common.Hash{{contracts.TransferTopic}},
	})
	if err != nil {
		return fmt.Errorf("read transfers of blocks %d to %d: %w", from, to, err)
	}
	transfers := make([]contracts.Transfer, len(logs))
	for i, log := range logs { // all or nothing: a window is read again when it fails
		if transfers[i], err = contracts.ParseTransfer(log); err != nil {
			return err
		}
	}
	c := &f.cursor
	for i, t := range transfers {
		if n := len(c.Blocks); n == 0 || c.Blocks[n-1].Hash != logs[i].BlockHash {
			c.remember(block{Height: logs[i].BlockNumber, Hash: logs[i].BlockHash, Change: make(map[common.Address]*big.Int)})
		}
		last := &c.Blocks[len(c.Blocks)-1]
		last.change(c, t.From, new(big.Int).Neg(t.Value))
		last.change(c, t.To, t.Value)
	}
	return nil
}

// change moves a balance and remembers it. The zero address, where mints come from, holds nothing.
func (b *block) change(c *cursor, address common.Address, by *big.Int) {
	if address == (common.Address{}) {
		return
	}
	c.add(address, by)
	if b.Change[address] == nil {
		b.Change[address] = new(big.Int)
	}
	b.Change[address].Add(b.Change[address], by)
}

func (c *cursor) add(address common.Address, change *big.Int) {
	if c.Balances[address] == nil {
		c.Balances[address] = new(big.Int)
	}
	c.Balances[address].Add(c.Balances[address], change)
	c.Unpublished[address] = true
}

func (c *cursor) remember(b block) {
	c.Blocks = append(c.Blocks, b)
	c.Blocks = c.Blocks[max(0, len(c.Blocks)-memory):]
}

// update is the content of a balances-update post (corechannel.md §9.1).
type update struct {
	Tags          []string               `json:"tags"`
	Height        uint64                 `json:"height"`
	MainHeight    uint64                 `json:"main_height"`
	Platform      string                 `json:"platform"`
	TokenContract string                 `json:"token_contract"`
	TokenSymbol   string                 `json:"token_symbol"`
	NetworkID     int64                  `json:"network_id"`
	Chain         string                 `json:"chain"`
	Balances      map[string]json.Number `json:"balances"`
}

func (f *BalanceFeed) publish(ctx context.Context, height uint64) error {
	c := &f.cursor
	addresses := slices.SortedFunc(maps.Keys(c.Unpublished), func(a, b common.Address) int { return a.Cmp(b) })
	for part := range slices.Chunk(addresses, chunk) {
		u := update{
			Tags: []string{"ERC20", f.cfg.Token.Hex(), "mainnet"}, Height: height, MainHeight: height, Platform: "ALEPH_ETH",
			TokenContract: f.cfg.Token.Hex(), TokenSymbol: "ALEPH", NetworkID: f.cfg.ChainID, Chain: "ETH",
			Balances: make(map[string]json.Number, len(part)),
		}
		for _, address := range part {
			u.Balances[address.Hex()] = json.Number(FormatTokens(c.Balances[address]))
		}
		if err := f.cfg.Publish(ctx, u); err != nil {
			return fmt.Errorf("publish balances of %d addresses at block %d: %w", len(part), height, err)
		}
	}
	return nil
}

// FormatTokens writes wei as an exact decimal number of tokens, without trailing zeros.
func FormatTokens(wei *big.Int) string {
	if wei == nil {
		return "0"
	}
	text := new(big.Rat).SetFrac(wei, big.NewInt(1e18)).FloatString(18)
	for text[len(text)-1] == '0' {
		text = text[:len(text)-1]
	}
	if text[len(text)-1] == '.' {
		text = text[:len(text)-1]
	}
	return text
}
