package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/client/payg"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

// What is streamed is worked out from the messages: to a compute node what all instances of the account there cost together, and
// to the community its share of all of them. So a creation that broke off is continued by doing the same again, on any machine.

// streaming is one account that pays by streams on one chain.
type streaming struct {
	a         *app
	api       *client.Client
	account   client.Account
	sender    payg.Sender
	chain     string
	streams   *payg.Streams
	community string // wallet that gets a share; "" when none does
}

// streamsOf prepares to pay on a chain; "" is the first that the network has.
func (a *app) streamsOf(ctx context.Context, api *client.Client, account client.Account, chain string) (*streaming, error) {
	if len(a.params.Streams) == 0 {
		return nil, usageError{fmt.Errorf("the network %s has no streams: pay with hold or credit", a.params.Name)}
	}
	chosen := slices.IndexFunc(a.params.Streams, func(c params.StreamChain) bool { return chain == "" || strings.EqualFold(c.Chain, chain) })
	if chosen < 0 {
		return nil, usageError{fmt.Errorf("--chain %s: the network has no streams there", chain)}
	}
	if a.owner != "" && !strings.EqualFold(a.owner, account.Address()) {
		return nil, usageError{errors.New("streams are paid by the account itself: leave --on-behalf-of out, or pay with hold or credit")}
	}
	sender, ok := account.(payg.Sender)
	if !ok {
		return nil, usageError{errors.New("this account signs messages only: to pay by streams use a key that is kept by this tool, of an Ethereum-like chain")}
	}
	s := &streaming{a: a, api: api, account: account, sender: sender, chain: a.params.Streams[chosen].Chain}
	var err error
	if s.streams, err = payg.New(payg.Config{Chain: a.params.Streams[chosen]}); err != nil {
		return nil, err
	}
	s.community, err = a.communityWallet(ctx, api)
	return s, err
}

// streamPayment is what users call payment by streams.
const streamPayment = "stream"

// toStream prepares to pay for an instance by a stream: it chooses the compute node and writes both into the content.
func (a *app) toStream(ctx context.Context, api *client.Client, account client.Account, f createFlags, content *message.Instance) (*streaming, error) {
	s, err := a.streamsOf(ctx, api, account, f.chain)
	if err != nil {
		return nil, err
	}
	n, err := s.node(ctx, f.node)
	if err != nil {
		return nil, err
	}
	a.say("It will run on %s, %s", n.Name, n.Address)
	terms, err := a.acceptTerms(ctx, api, &n.ComputeNode)
	if err != nil {
		return nil, err
	}
	content.Payment = &message.Payment{Chain: &s.chain, Type: message.PaymentSuperfluid, Receiver: &n.receiver}
	content.Requirements = &message.Requirements{Node: &message.NodeRequirements{NodeHash: &n.Hash, TermsAndConditions: terms}}
	return s, nil
}

// resumeInstance goes on with an instance whose message was sent.
func (a *app) resumeInstance(ctx context.Context, f createFlags) (*machineView, error) {
	hash, err := a.hash(ctx, f.resume)
	if err != nil {
		return nil, err
	}
	api := a.client()
	if err := waitFor(ctx, api, hash); err != nil {
		return nil, err
	}
	if err := a.payAgain(ctx, api, hash); err != nil {
		return nil, err
	}
	a.say("Waiting until %s runs", hash)
	return a.machine(ctx, api, hash, func(x client.Execution) bool { return x.Running || x.Awaiting })
}

// payAgain makes what lacks of the streams for an instance, when it is paid by streams, and has it started.
func (a *app) payAgain(ctx context.Context, api *client.Client, hash message.Hash) error {
	s, instance, err := a.streamedInstance(ctx, api, hash)
	if err != nil || s == nil {
		return err
	}
	cost, err := api.Price(ctx, hash)
	if err != nil {
		return err
	}
	o, err := offerOf("", cost)
	if err != nil {
		return err
	}
	receiver := *instance.Payment.Receiver
	plan, err := s.plan(ctx, receiver, "")
	if err != nil {
		return err
	}
	changes, err := s.changes(plan, receiver, cost.Cost)
	if err != nil {
		return err
	}
	a.say("Instance %s %s%s.", hash, s.costs(o), changes)
	if err := a.confirm("Go on with it?"); err != nil {
		return err
	}
	return s.pay(ctx, hash, receiver, *instance.Requirements.Node.NodeHash)
}

// streamedInstance returns what pays for an instance of the account; nil when that is no stream.
func (a *app) streamedInstance(ctx context.Context, api *client.Client, hash message.Hash) (*streaming, *message.Instance, error) {
	instance, err := instanceOf(ctx, api, hash)
	if err != nil || instance.PaymentType() != message.PaymentSuperfluid {
		return nil, nil, err
	}
	account, err := a.signer()
	if err != nil {
		return nil, nil, err
	}
	if !strings.EqualFold(instance.Address, account.Address()) {
		return nil, nil, usageError{fmt.Errorf("instance %s is paid by streams of %s: use that account", hash, instance.Address)}
	}
	s, err := a.streamsOf(ctx, api, account, *instance.Payment.Chain)
	return s, instance, err
}

// end stops paying for an instance; nil is what is not paid by streams.
func (s *streaming) end(ctx context.Context, hash message.Hash, instance *message.Instance) error {
	if s == nil {
		return nil
	}
	s.a.say("Ending its streams on %s", s.chain)
	if err := s.stop(ctx, hash, *instance.Payment.Receiver); err != nil {
		return fmt.Errorf("its streams go on, the same command tries again to end them: %w", err)
	}
	return nil
}

// communityWallet is the address that gets a share of each stream; "" when the network has none.
func (a *app) communityWallet(ctx context.Context, api *client.Client) (string, error) {
	var settings struct {
		Wallet string  `json:"community_wallet_address"`
		Since  float64 `json:"community_wallet_timestamp"` // Unix seconds
	}
	err := api.Aggregate(ctx, a.params.Pricing.Addresses[0], "settings", &settings)
	if errors.Is(err, client.ErrNotFound) || err == nil && float64(time.Now().Unix()) < settings.Since {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look who gets a share of streams: %w", err)
	}
	return settings.Wallet, nil
}

// owed are the streams that the account's instances need, without those of except, and with one more that costs price a second at
// receiver unless price is "". Whoever sent their messages: compute nodes add up what belongs to an account (crn §5.3).
func (s *streaming) owed(ctx context.Context, except message.Hash, receiver, price string) ([]payg.Flow, error) {
	var flows []payg.Flow
	add := func(price, receiver string) error {
		shares, err := payg.Shares(price, receiver, s.community)
		flows = append(flows, shares...)
		return err
	}
	if price != "" {
		if err := add(price, receiver); err != nil {
			return nil, err
		}
	}
	filter := client.Filter{Types: []message.Type{message.TypeInstance}, Owners: []string{s.account.Address()}, Statuses: []message.Status{message.StatusProcessed}}
	for m, err := range s.api.Messages(ctx, filter) {
		if err != nil {
			return nil, fmt.Errorf("look which instances are paid by streams: %w", err)
		}
		paid := streamOf(m.Content)
		if paid == nil || m.ItemHash == except || !strings.EqualFold(*paid.Chain, s.chain) {
			continue
		}
		cost, err := s.api.Price(ctx, m.ItemHash)
		if err != nil {
			return nil, err
		}
		if err := add(cost.Cost, *paid.Receiver); err != nil {
			return nil, err
		}
	}
	return payg.Sum(flows), nil
}

// streamOf returns how an instance is paid when it is by a stream, and nil otherwise.
func streamOf(content json.RawMessage) *message.Payment {
	var c struct{ Payment *message.Payment }
	if json.Unmarshal(content, &c) != nil || c.Payment == nil || c.Payment.Type != message.PaymentSuperfluid {
		return nil
	}
	if c.Payment.Chain == nil || c.Payment.Receiver == nil {
		return nil
	}
	return c.Payment
}

// plan is what has to change so that the instances at one receiver are paid, one more as owed takes it, and the community gets its share of
// all. Streams to other compute nodes stay as they are: who ended one may have meant it. What the account lacks is told before anything is
// done.
func (s *streaming) plan(ctx context.Context, receiver, price string) (*payg.Plan, error) {
	needed, err := s.owed(ctx, "", receiver, price)
	if err != nil {
		return nil, err
	}
	needed = slices.DeleteFunc(needed, func(f payg.Flow) bool {
		return !strings.EqualFold(f.Receiver, receiver) && !strings.EqualFold(f.Receiver, s.community)
	})
	if err := s.streams.Quiet(ctx, s.account.Address()); err != nil {
		return nil, err
	}
	plan, err := s.streams.Ensure(ctx, s.account.Address(), needed)
	if err != nil {
		return nil, err
	}
	return plan, s.streams.Check(ctx, plan)
}

// changes says what a plan does to each stream that it changes by another rate than that of one instance, which costs price a second.
func (s *streaming) changes(plan *payg.Plan, receiver, price string) (text string, err error) {
	shares, err := payg.Shares(price, receiver, s.community)
	for _, step := range plan.Steps {
		more := new(big.Int).Sub(step.To, step.From)
		alone := func(f payg.Flow) bool { return strings.EqualFold(f.Receiver, step.Receiver) && f.Rate.Cmp(more) == 0 }
		if !slices.ContainsFunc(shares, alone) {
			text += fmt.Sprintf(".\nThe stream to %s goes from %s to %s ALEPH an hour: all your instances that it pays count, and what streams already",
				step.Receiver, hourly(step.From), hourly(step.To))
		}
	}
	return text, err
}

// hourly writes wei a second as tokens an hour.
func hourly(rate *big.Int) string { return rateOf(new(big.Rat).SetFrac(rate, big.NewInt(1e18))).Hour }

// costs says what an offer costs by streams.
func (s *streaming) costs(o *offer) string {
	to := "all to the compute node"
	if s.community != "" {
		to = "four fifths to the compute node, one to the community"
	}
	return fmt.Sprintf("costs %s ALEPH an hour, %s a day, %s in 30 days, streamed on %s: %s",
		o.Stream.Hour, o.Stream.Day, o.Stream.Month, s.chain, to)
}

// pay makes the streams for an instance whose message is processed and has its compute node start it.
func (s *streaming) pay(ctx context.Context, hash message.Hash, receiver string, node message.Hash) error {
	goOn := func(err error) error {
		return fmt.Errorf("%w; go on with: aleph instance create --resume %s, or give it up: aleph instance delete %[2]s", err, hash)
	}
	place, err := s.node(ctx, string(node))
	if err != nil {
		return goOn(err)
	}
	plan, err := s.plan(ctx, receiver, "")
	if err == nil {
		s.a.say("Starting the streams on %s", s.chain)
		err = s.start(ctx, plan)
	}
	if err != nil {
		return goOn(fmt.Errorf("instance %s is published and not known to be paid: %w", hash, err))
	}
	s.a.say("Asking %s to start it", place.Name)
	if err := s.notify(ctx, place.Address, hash); err != nil {
		return goOn(fmt.Errorf("instance %s is published and paid: %w", hash, err))
	}
	return nil
}

// A compute node may see the chain later than others. For so long it is asked again that says that too little is streamed.
const (
	unpaidTime  = 30 * time.Second
	unpaidPause = time.Second
)

func (s *streaming) notify(ctx context.Context, url string, hash message.Hash) error {
	var unpaid time.Time // since when the node says so
	for {
		length := pollPause
		err := s.api.NotifyAllocation(ctx, url, hash)
		switch client.KindOf(err) {
		case client.KindInsufficientFunds:
			if unpaid.IsZero() {
				unpaid = time.Now()
			}
			if time.Since(unpaid) >= unpaidTime {
				return err
			}
			length = unpaidPause
		case client.KindNotFound, client.KindNetwork, client.KindUnavailable: // it may not have heard of the message
		default:
			return err
		}
		if ended := pauseFor(ctx, length); ended != nil {
			return errors.Join(err, ended)
		}
	}
}

// start makes all streams of a plan, or none: when one fails those before it are taken back. Nothing is while a transaction may still be
// taken: its stream would begin when nobody looks any more.
func (s *streaming) start(ctx context.Context, plan *payg.Plan) error {
	err := s.streams.Apply(ctx, s.sender, plan)
	if unsettled := new(payg.UnsettledError); err == nil || ctx.Err() != nil || errors.As(err, &unsettled) { // who was interrupted continues
		return err
	}
	if back := s.streams.Apply(ctx, s.sender, plan.Reverse()); back != nil {
		return errors.Join(err, fmt.Errorf("and what began is not taken back: %w", back))
	}
	return fmt.Errorf("%w; nothing is streamed for it", err)
}

// stop ends what is streamed for an instance alone. To a compute node that no other instance needs that is all, whatever was streamed for
// it: prices change.
func (s *streaming) stop(ctx context.Context, hash message.Hash, receiver string) error {
	cost, err := s.api.Price(ctx, hash)
	if err != nil {
		return err
	}
	shares, err := payg.Shares(cost.Cost, receiver, s.community)
	if err != nil {
		return err
	}
	others, err := s.owed(ctx, hash, "", "")
	if err != nil {
		return err
	}
	if err := s.streams.Quiet(ctx, s.account.Address()); err != nil {
		return err
	}
	plan, err := s.streams.Reduce(ctx, s.account.Address(), shares)
	if err != nil {
		return err
	}
	needed := func(step payg.Step) *big.Int {
		for _, o := range others {
			if strings.EqualFold(o.Receiver, step.Receiver) {
				return o.Rate
			}
		}
		return new(big.Int)
	}
	for i, step := range plan.Steps {
		switch need := needed(step); {
		case need.Sign() == 0 && strings.EqualFold(step.Receiver, receiver):
			plan.Steps[i].To = need
		case step.To.Cmp(need) < 0: // it may have been reduced before, and is not raised
			plan.Steps[i].To = need
			if step.From.Cmp(need) < 0 {
				plan.Steps[i].To = step.From
			}
		}
	}
	if err := s.streams.Apply(ctx, s.sender, plan); err != nil {
		return err
	}
	for _, step := range plan.Steps {
		if step.To.Sign() > 0 && needed(step).Sign() == 0 {
			s.a.say("%d wei a second (%s ALEPH an hour) still flow to %s, and no instance of this account needs that.", step.To, hourly(step.To), step.Receiver)
		}
	}
	return nil
}
