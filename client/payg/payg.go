// Package payg pays for workloads by streams of tokens, as they are used: it opens, changes and ends streams on an Ethereum-like
// chain (sdk-cli §2.7, §4.6). It speaks JSON-RPC itself and links no library of Ethereum's.
//
// A change of streams is planned first and carried out then. The plan says from what to what each stream goes, so that one that broke
// off half way is carried on by carrying out the same plan again, or undone by carrying out its reverse.
package payg

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/params"
)

// Config says where streams are.
type Config struct {
	Chain      params.StreamChain
	HTTPClient *http.Client // http.DefaultClient if nil
}

// Streams are those of one token on one chain. It is safe for concurrent use.
type Streams struct {
	rpc              rpc
	cfg              Config
	token, agreement address
	writer           address
	method           string
}

// New prepares; it connects to nothing yet.
func New(cfg Config) (*Streams, error) {
	s := &Streams{rpc: rpc{cfg.Chain.RPC, cmp.Or(cfg.HTTPClient, http.DefaultClient)}, cfg: cfg, method: "setFlow(address,address,int96)"}
	var err1, err2, err3 error
	s.token, err1 = parseAddress(cfg.Chain.Token)
	s.agreement, err2 = parseAddress(cfg.Chain.Agreement)
	if s.writer = s.agreement; cfg.Chain.Forwarder != "" {
		s.writer, err3 = parseAddress(cfg.Chain.Forwarder)
		s.method = "setFlowrate(address,address,int96)"
	}
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, fmt.Errorf("streams on chain %s: %w", cfg.Chain.Chain, err)
	}
	return s, nil
}

// Flow returns what sender streams to receiver, in wei a second.
func (s *Streams) Flow(ctx context.Context, sender, receiver string) (*big.Int, error) {
	from, err1 := parseAddress(sender)
	to, err2 := parseAddress(receiver)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	words, err := s.rpc.contract(ctx, s.agreement, encodeCall("getFlow(address,address,address)", s.token, from, to))
	if err == nil && len(words) != 4 {
		err = errors.New("the contract keeps no streams")
	}
	if err != nil {
		return nil, fmt.Errorf("stream from %s to %s on chain %s: %w", sender, receiver, s.cfg.Chain.Chain, err)
	}
	return words[1], nil
}

// Quiet returns when no transaction of an account is on its way: one that is may change its streams after they were read. The error says that
// there still is one after some seconds.
func (s *Streams) Quiet(ctx context.Context, sender string) error {
	from, err := parseAddress(sender)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		var taken *big.Int
		sent, err := s.rpc.quantity(ctx, "eth_getTransactionCount", from.String(), "pending")
		if err == nil {
			taken, err = s.rpc.quantity(ctx, "eth_getTransactionCount", from.String(), "latest")
		}
		if err != nil {
			return fmt.Errorf("transactions of %s on chain %s: %w", sender, s.cfg.Chain.Chain, err)
		}
		if sent.Cmp(taken) <= 0 {
			return nil
		}
		if ended := wait(ctx, pause); ended != nil {
			return fmt.Errorf("a transaction of %s on chain %s is in no block yet, and may change its streams; try again later: %w", sender, s.cfg.Chain.Chain, ended)
		}
	}
}

// Flow is a stream to a receiver, in wei a second.
type Flow struct {
	Receiver string
	Rate     *big.Int
}

// Sum adds up the streams that go to the same receiver. Spellings of an address differ in their case only.
func Sum(flows []Flow) (sums []Flow) {
	for _, f := range flows {
		i := slices.IndexFunc(sums, func(sum Flow) bool { return strings.EqualFold(sum.Receiver, f.Receiver) })
		if i < 0 {
			sums = append(sums, f)
			continue
		}
		sums[i].Rate = new(big.Int).Add(sums[i].Rate, f.Rate)
	}
	return sums
}

// nodeShare is how much of a workload's price goes to its compute node, in hundredths; the rest is the community's.
const nodeShare = 80

// Shares splits a price in tokens a second, a decimal such as that of client.Cost, among a compute node and the community's wallet.
// Each share is rounded up to whole wei. Without a wallet all goes to the node.
func Shares(price, node, community string) ([]Flow, error) {
	total, ok := new(big.Rat).SetString(price)
	if !ok || total.Sign() <= 0 {
		return nil, fmt.Errorf("the price %q a second is no amount that can be streamed", price)
	}
	total.Mul(total, new(big.Rat).SetInt64(1e18))
	part := func(hundredths int64) *big.Int {
		r := new(big.Rat).Mul(total, big.NewRat(hundredths, 100))
		up := new(big.Int).Add(r.Num(), new(big.Int).Sub(r.Denom(), big.NewInt(1)))
		return up.Div(up, r.Denom())
	}
	if community == "" || strings.EqualFold(community, node) {
		return []Flow{{node, part(100)}}, nil
	}
	return []Flow{{node, part(nodeShare)}, {community, part(100 - nodeShare)}}, nil
}

// Plan is a change of streams that is to be made. It can be kept as JSON until it is done.
type Plan struct {
	Chain  string `json:"chain"`
	Sender string `json:"sender"`
	Steps  []Step `json:"steps"`
}

// Step takes one stream from one rate to another, in wei a second.
type Step struct {
	Receiver string
	From, To *big.Int
}

// keptStep is a step as JSON, in every SDK.
type keptStep struct {
	Receiver string `json:"receiver"`
	From     *rate  `json:"from"`
	To       *rate  `json:"to"`
}

// MarshalJSON implements [json.Marshaler].
func (s Step) MarshalJSON() ([]byte, error) {
	return json.Marshal(keptStep{s.Receiver, (*rate)(s.From), (*rate)(s.To)})
}

// UnmarshalJSON implements [json.Unmarshaler].
func (s *Step) UnmarshalJSON(raw []byte) error {
	var kept keptStep
	err := json.Unmarshal(raw, &kept)
	*s = Step{kept.Receiver, (*big.Int)(kept.From), (*big.Int)(kept.To)}
	return err
}

// rate is a text in JSON, as JavaScript would lose digits of a number; a number is read as well.
type rate big.Int

func (r *rate) MarshalText() ([]byte, error) { return (*big.Int)(r).MarshalText() }
func (r *rate) UnmarshalJSON(text []byte) error {
	return (*big.Int)(r).UnmarshalText(bytes.Trim(text, `"`))
}

// Reverse is the plan that undoes p.
func (p *Plan) Reverse() *Plan {
	back := &Plan{Chain: p.Chain, Sender: p.Sender}
	for _, s := range p.Steps {
		back.Steps = append([]Step{{s.Receiver, s.To, s.From}}, back.Steps...)
	}
	return back
}

// least is the rate below which a stream is ended, in wei a second: what rounding leaves.
var least = big.NewInt(100)

// Increase plans streams that are added to those there are: several workloads may be paid to one receiver.
func (s *Streams) Increase(ctx context.Context, sender string, by []Flow) (*Plan, error) {
	return s.plan(ctx, sender, by, func(now, rate *big.Int) *big.Int { return new(big.Int).Add(now, rate) })
}

// Reduce plans to take streams away from those there are.
func (s *Streams) Reduce(ctx context.Context, sender string, by []Flow) (*Plan, error) {
	return s.plan(ctx, sender, by, func(now, rate *big.Int) *big.Int {
		if left := new(big.Int).Sub(now, rate); left.Cmp(least) >= 0 {
			return left
		}
		return new(big.Int)
	})
}

// Ensure plans streams of at least these rates. What streams already is used; so planning and applying it again does no more.
func (s *Streams) Ensure(ctx context.Context, sender string, least []Flow) (*Plan, error) {
	return s.plan(ctx, sender, least, func(now, rate *big.Int) *big.Int {
		if now.Cmp(rate) > 0 {
			return now
		}
		return rate
	})
}

func (s *Streams) plan(ctx context.Context, sender string, flows []Flow, to func(now, rate *big.Int) *big.Int) (*Plan, error) {
	p := &Plan{Chain: s.cfg.Chain.Chain, Sender: sender}
	for _, f := range Sum(flows) {
		now, err := s.Flow(ctx, sender, f.Receiver)
		if err != nil {
			return nil, err
		}
		p.Steps = append(p.Steps, Step{f.Receiver, now, to(now, f.Rate)})
	}
	return p, nil
}

var (
	// leastGas is what an account must have of the chain's own coin to start, in wei: a thousandth of a coin.
	leastGas = big.NewInt(1e15)
	// leastTime is for how long its tokens must last, in seconds: four hours.
	leastTime = big.NewInt(4 * 3600)
)

// Check returns a [*client.InsufficientFundsError] when the sender of a plan has too little of the chain's coin for its transactions, or
// too few tokens for four hours of what it adds.
func (s *Streams) Check(ctx context.Context, p *Plan) error {
	from, err := parseAddress(p.Sender)
	if err != nil {
		return err
	}
	gas, err := s.rpc.quantity(ctx, "eth_getBalance", from.String(), "latest")
	if err != nil {
		return fmt.Errorf("gas of %s: %w", p.Sender, err)
	}
	if gas.Cmp(leastGas) < 0 {
		return &client.InsufficientFundsError{Address: p.Sender, Required: tokens(leastGas), Available: tokens(gas), Unit: client.UnitGas}
	}
	words, err := s.rpc.contract(ctx, s.token, encodeCall("balanceOf(address)", from))
	if err != nil {
		return fmt.Errorf("tokens of %s on chain %s: %w", p.Sender, s.cfg.Chain.Chain, err)
	}
	need := new(big.Int)
	for _, step := range p.Steps {
		if more := new(big.Int).Sub(step.To, step.From); more.Sign() > 0 {
			need.Add(need, more)
		}
	}
	if need.Mul(need, leastTime); words[0].Cmp(need) < 0 {
		return &client.InsufficientFundsError{Address: p.Sender, Required: tokens(need), Available: tokens(words[0]), Unit: client.UnitALEPH}
	}
	return nil
}

// tokens writes wei as a decimal of tokens.
func tokens(wei *big.Int) string {
	text := new(big.Rat).SetFrac(wei, big.NewInt(1e18)).FloatString(18)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

// Apply carries out a plan: each stream that is not yet as it should be is changed, and read again. After an error, and after one that
// cut it short, the same plan can be applied again. A stream that is neither as it was nor as it should be is left alone and told: then
// something else changes it. After an [*UnsettledError] the plan must not be reversed before it is known what became of the transaction.
func (s *Streams) Apply(ctx context.Context, by Sender, p *Plan) error {
	if !strings.EqualFold(by.Address(), p.Sender) || p.Chain != s.cfg.Chain.Chain {
		return fmt.Errorf("the plan is of %s on chain %s, and not of %s on chain %s", p.Sender, p.Chain, by.Address(), s.cfg.Chain.Chain)
	}
	id, err := s.rpc.quantity(ctx, "eth_chainId")
	if err != nil {
		return err
	}
	if id.Cmp(big.NewInt(s.cfg.Chain.ChainID)) != 0 {
		return fmt.Errorf("the node at %s is of chain %d, and not of %s, which is %d", s.cfg.Chain.RPC, id, s.cfg.Chain.Chain, s.cfg.Chain.ChainID)
	}
	for _, step := range p.Steps {
		if err := s.apply(ctx, by, step); err != nil {
			return fmt.Errorf("stream from %s to %s: %w", p.Sender, step.Receiver, err)
		}
	}
	return nil
}

// maxRate is how many bits a rate has, which the contract keeps with a sign in 96.
const maxRate = 95

func (s *Streams) apply(ctx context.Context, by Sender, step Step) error {
	if step.From == nil || step.To == nil || step.From.Sign() < 0 || step.To.Sign() < 0 || step.To.BitLen() > maxRate {
		return errors.New("the plan does not say from what to what it goes")
	}
	now, err := s.Flow(ctx, by.Address(), step.Receiver)
	switch {
	case err != nil:
		return err
	case now.Cmp(step.To) == 0:
		return nil
	case now.Cmp(step.From) != 0:
		return fmt.Errorf("it is at %d wei a second, neither at %d nor at %d: something else has changed it, plan anew", now, step.From, step.To)
	}
	to, err := parseAddress(step.Receiver)
	if err != nil {
		return err
	}
	hash, err := s.rpc.send(ctx, by, s.cfg.Chain.ChainID, s.writer, encodeCall(s.method, s.token, to, step.To))
	if err != nil {
		return err
	}
	return s.settle(ctx, by.Address(), step, hash)
}

// settle returns when a stream is as a transaction made it. Many nodes may answer for a chain, some of them a block behind.
func (s *Streams) settle(ctx context.Context, sender string, step Step, hash string) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	var last error
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		now, err := s.Flow(ctx, sender, step.Receiver)
		switch {
		case err == nil && now.Cmp(step.To) == 0:
			return nil
		case err == nil:
			last = fmt.Errorf("the chain says that it is in a block, and that the stream is at %d wei a second instead of %d", now, step.To)
		case ctx.Err() == nil:
			last = err
		}
		if ended := wait(ctx, pause); ended != nil {
			return &UnsettledError{hash, errors.Join(last, ended)}
		}
	}
}

// Done reports whether all streams of a plan are as they should be.
func (s *Streams) Done(ctx context.Context, p *Plan) (bool, error) {
	for _, step := range p.Steps {
		if now, err := s.Flow(ctx, p.Sender, step.Receiver); err != nil || now.Cmp(step.To) != 0 {
			return false, err
		}
	}
	return true, nil
}
