package meter

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/apd/v3"

	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/message"
)

// Refusal says why a workload is not admitted, in words that clients show.
type Refusal struct {
	Unpaid bool // the payment is wanting; else the message asks for what this node does not take
	Reason string
}

func (r *Refusal) Error() string { return r.Reason }

// month is how many days a month has where amounts are shown.
const month = "30.41666666666923904761904784"

// hour is how many seconds credits must last for at the start.
var hour = apd.New(3600, 0)

// Admit decides whether an instance that its owner asks this node for is paid for (spec/crn.md §5.2). The error is a *Refusal,
// or says why that cannot be known.
func (m *Meter) Admit(ctx context.Context, w *corenode.Workload) error {
	instance, ok := w.Content.(*message.Instance)
	if !ok {
		return &Refusal{Reason: "400: Message is not an instance"}
	}
	payment := instance.PaymentType()
	if payment == message.PaymentSuperfluid {
		return m.admitStream(ctx, w, instance)
	}
	if payment == message.PaymentHold && !ownerPlaced(instance) {
		// Where these run is the scheduler's to say.
		return &Refusal{Reason: "Invalid payment method"}
	}
	cost, err := m.price(ctx, w.Hash, payment)
	if err != nil {
		return err
	}
	payer := w.Sender
	if payment == message.PaymentCredit {
		payer = instance.Address
	}
	balance, err := m.cfg.Accounts.Balance(ctx, payer)
	if errors.Is(err, corenode.ErrNotFound) {
		balance, err = corenode.Balance{Tokens: new(apd.Decimal), Credits: new(apd.Decimal)}, nil
	}
	if err != nil {
		return err
	}
	if payment == message.PaymentHold {
		if cost.Cmp(balance.Tokens) > 0 {
			return &Refusal{true, fmt.Sprintf("Insufficient balance for this instance\n\nRequired: %f token \nCurrent user balance: %f", cost, balance.Tokens)}
		}
		return nil
	}
	need := new(apd.Decimal)
	if _, err := exact.Mul(need, cost, hour); err != nil {
		return err
	}
	if need.Cmp(balance.Credits) > 0 {
		return &Refusal{true, fmt.Sprintf("Insufficient credits for this instance\n\nRequired: %f credits \nCurrent user credits: %f", need, balance.Credits)}
	}
	return nil
}

// ownerPlaced reports whether an instance is placed by its owner although it is paid by holding: it needs hardware of a certain
// node.
func ownerPlaced(i *message.Instance) bool {
	return i.Environment.TrustedExecution != nil || i.Requirements != nil && len(i.Requirements.GPU) > 0
}

func (m *Meter) admitStream(ctx context.Context, w *corenode.Workload, instance *message.Instance) error {
	// Spellings of an address differ in their case only.
	if r := instance.Payment.Receiver; r == nil || m.cfg.Receiver == "" || !strings.EqualFold(*r, m.cfg.Receiver) {
		return &Refusal{Reason: "400: Message is not for this instance"}
	}
	var chain string
	if instance.Payment.Chain != nil {
		chain = *instance.Payment.Chain
	}
	flow, err := m.cfg.Streams.Flow(ctx, chain, w.Sender, m.cfg.Receiver)
	if errors.Is(err, ErrChain) || errors.Is(err, ErrAddress) {
		return &Refusal{Reason: "Invalid Chain: " + err.Error()}
	}
	if err != nil {
		return err
	}
	if flow.IsZero() {
		return &Refusal{true, "402: Empty payment stream for this instance"}
	}
	cost, err := m.price(ctx, w.Hash, message.PaymentSuperfluid)
	if err != nil {
		return err
	}
	share, err := m.community(ctx)
	if err != nil && !errors.Is(err, corenode.ErrNotFound) {
		return err
	}
	node, forCommunity, err := shares(cost, share.takes(m.cfg.Now()))
	if err != nil {
		return err
	}
	if err := wanting("this instance", "", flow, node); err != nil {
		return err
	}
	if forCommunity.IsZero() {
		return nil
	}
	if flow, err = m.cfg.Streams.Flow(ctx, chain, w.Sender, share.wallet); err != nil {
		return err
	}
	return wanting("community", "\nAddress: "+share.wallet, flow, forCommunity)
}

// wanting refuses a stream that falls short of its share of the cost by more than the buffer.
func wanting(whose, address string, flow, need *apd.Decimal) error {
	have := new(apd.Decimal)
	if _, err := exact.Add(have, flow, buffer); err != nil {
		return err
	}
	if have.Cmp(need) >= 0 {
		return nil
	}
	required, err1 := monthly(need)
	present, err2 := monthly(flow)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	return &Refusal{true, fmt.Sprintf("Insufficient payment stream for %s\n\nRequired: %f / month (flow = %f)\nPresent: %f / month (flow = %f)%s",
		whose, required, need, present, flow, address)}
}

// monthly is what a rate per second makes in a month, to 18 digits.
func monthly(rate *apd.Decimal) (*apd.Decimal, error) {
	days, _, err := apd.NewFromString(month)
	if err != nil {
		return nil, err
	}
	sum := new(apd.Decimal)
	_, err1 := exact.Mul(sum, rate, days)
	_, err2 := exact.Mul(sum, sum, apd.New(24*3600, 0))
	_, err3 := exact.Quantize(sum, sum, -18)
	return sum, errors.Join(err1, err2, err3)
}
