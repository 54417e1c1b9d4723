// Package meter holds workloads to what their owners pay (spec/crn.md §5): it admits those that are paid for and, every minute,
// ends those that are not any more or whose message is gone. crn wires it to crn/api, which asks for admission, and to the pools
// that run workloads.
//
// What is not known ends nobody: a core node or a chain that does not answer, or answers nonsense, costs a check and no more.
package meter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/apd/v3"

	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/message"
)

// Accounts is what the core node says of messages and who pays for them; [corenode.Client] in a node.
type Accounts interface {
	Price(ctx context.Context, hash message.Hash) (corenode.Price, error)
	Balance(ctx context.Context, address string) (corenode.Balance, error)
	Status(ctx context.Context, hash message.Hash) (string, error)
	Aggregate(ctx context.Context, address, key string, age time.Duration, v any) error
}

// Streams reads streams of tokens from chains; [Chains] in a node.
type Streams interface {
	// Flow returns what sender streams to receiver, in tokens per second. The error is [ErrChain] or [ErrAddress] when there can
	// be no such stream.
	Flow(ctx context.Context, chain, sender, receiver string) (*apd.Decimal, error)
}

// Workloads are what the node runs.
type Workloads interface {
	// List returns all that is defined, in any state, the oldest first, from one look at their state.
	List() []Workload
	// End stops a workload and returns when it has ended. With forget, it is also to leave nothing that would be used when it
	// came back, such as its ports.
	End(ctx context.Context, hash message.Hash, forget bool) error
}

// Workload is one of them.
type Workload struct {
	Hash         message.Hash
	Owner        string // content.address: who pays
	Payment      message.PaymentType
	Chain        string    // of streams
	Started      time.Time // zero when it does not run
	Confidential bool
	// OnCall is set for programs that run because somebody called them. Nobody pays this node for them.
	OnCall bool
}

// Config of a meter.
type Config struct {
	Accounts  Accounts
	Streams   Streams
	Workloads Workloads
	Settings  string         // the address that publishes the network's settings
	Receiver  string         // the address that streams to this node go to; empty when there is none
	Exempt    []message.Hash // workloads that nobody pays for: diagnostics
	Interval  time.Duration  // between two sweeps; a minute when 0
	Now       func() time.Time
	Log       *slog.Logger
}

// Meter checks payments.
type Meter struct {
	cfg     Config
	strikes map[message.Hash]int // sweeps in a row that found the message gone; only Sweep uses it
}

// New makes a meter.
func New(cfg Config) *Meter {
	if cfg.Interval == 0 {
		cfg.Interval = time.Minute
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Meter{cfg: cfg, strikes: map[message.Hash]int{}}
}

// settingsAge is how old the network's settings may be.
const settingsAge = time.Minute

// community is who gets a share of streams, and from when on.
type community struct {
	wallet string // empty: nobody
	since  time.Time
}

// takes reports whether a stream that began at a time owes the community its share.
func (c community) takes(at time.Time) bool { return c.wallet != "" && at.After(c.since) }

// community reads the settings. The error is [corenode.ErrNotFound] when the network has none.
func (m *Meter) community(ctx context.Context) (community, error) {
	var settings struct {
		Wallet string  `json:"community_wallet_address"`
		Since  float64 `json:"community_wallet_timestamp"` // Unix seconds
	}
	if err := m.cfg.Accounts.Aggregate(ctx, m.cfg.Settings, "settings", settingsAge, &settings); err != nil {
		return community{}, err
	}
	return community{settings.Wallet, time.Unix(int64(settings.Since), 0)}, nil
}

// price asks what a workload costs in the way that it is paid.
func (m *Meter) price(ctx context.Context, hash message.Hash, payment message.PaymentType) (*apd.Decimal, error) {
	p, err := m.cfg.Accounts.Price(ctx, hash)
	if err != nil {
		return nil, err
	}
	if p.PaymentType != payment {
		return nil, fmt.Errorf("price of %s is for payment by %q, and it is paid by %q", hash, p.PaymentType, payment)
	}
	return p.Cost, nil
}

// exact computes with amounts. Their digits all fit: 28 before and 18 behind the point, times numbers of workloads.
var exact = apd.Context{Precision: 100, MaxExponent: apd.MaxExponent, MinExponent: apd.MinExponent, Traps: apd.DefaultTraps}

// buffer forgives what rounding takes, in tokens or credits per second.
var buffer = apd.New(1, -10)

// shares splits what a stream must carry: the node's part, and the community's where it takes one. Both are rounded down to
// 18 digits, as wallets do when they open the streams.
func shares(cost *apd.Decimal, withCommunity bool) (node, community *apd.Decimal, err error) {
	if !withCommunity {
		return cost, new(apd.Decimal), nil
	}
	down := exact
	down.Rounding = apd.RoundFloor
	node, community = new(apd.Decimal), new(apd.Decimal)
	_, err1 := exact.Mul(node, cost, apd.New(8, -1))
	_, err2 := down.Quantize(node, node, -18)
	_, err3 := exact.Mul(community, cost, apd.New(2, -1))
	_, err4 := down.Quantize(community, community, -18)
	return node, community, errors.Join(err1, err2, err3, err4)
}

// covers reports whether have, with the buffer, is more than need.
func covers(have, need *apd.Decimal) (bool, error) {
	sum := new(apd.Decimal)
	_, err := exact.Add(sum, have, buffer)
	return sum.Cmp(need) > 0, err
}
