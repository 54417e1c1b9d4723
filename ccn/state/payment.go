package state

import (
	"fmt"
	"math"

	"github.com/cockroachdb/apd/v3"

	"github.com/aleph-im/aleph-go/ccn/ledger"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// charge is what a message costs its owner.
type charge struct {
	costs   *ledger.Costs
	claim   *store.ClaimRow // nil when the node does not watch the funds: a stream
	late    bool            // something of the account is known that comes after the message
	evicted []message.Hash  // what cannot be paid any more beside it
}

// charge computes what a message costs and refuses it when its owner cannot pay (spec/ccn-core.md §5.6, §5.7). free says
// that nothing needs to be paid for it, although it has a cost; kept, that it is not removed when funds are short. needs are the
// messages without which it is refused.
func (s *State) charge(r *store.Reader, it *Item, free, kept bool, needs ...message.Hash) (*charge, error) {
	at := placeOf(it)
	table, err := s.pricesAt(r, at)
	if err != nil {
		return nil, s.noPrice(err)
	}
	costs, err := ledger.Cost(sizesAt{r, at}, table, it.Message.ItemHash, it.Content)
	if err != nil {
		return nil, s.noPrice(err)
	}
	must, err := s.mustPay(it, costs.PaymentType)
	if err != nil && !it.Accepted {
		return nil, err
	}
	ch := &charge{costs: costs}
	if costs.PaymentType == message.PaymentSuperfluid {
		return ch, nil
	}
	need, err := s.need(costs)
	if err != nil {
		return nil, s.noPrice(err)
	}
	turn, err := turnOf(r, at, needs)
	if err != nil {
		return nil, err
	}
	ch.claim = &store.ClaimRow{
		Hash: it.Message.ItemHash, Owner: it.Content.Base().Address, PaymentType: costs.PaymentType, ContentTime: turn,
		Need: need.Text('f'), MustPay: must && !free && !it.Accepted, Exempt: kept, Status: store.ClaimProcessed,
	}
	return ch, s.checkFunds(r, ch)
}

// turnOf returns the time at which a message at a place asks for funds: that of its content, or just after those of the messages that
// it needs, should one of these say that it is newer. It must not take the funds of what it needs: that would be refused, and so
// would it be itself, whereupon there are funds for both again, without end.
func turnOf(r *store.Reader, at place, needs []message.Hash) (float64, error) {
	for _, h := range needs {
		claim, err := r.Claim(h)
		if err != nil {
			return 0, err
		}
		if claim != nil && at.before(place{claim.ContentTime, h}) {
			at.time = math.Nextafter(claim.ContentTime, math.Inf(1))
		}
	}
	return at.time, nil
}

// noPrice refuses what cannot be priced. It comes back when prices change.
func (s *State) noPrice(err error) error {
	refusal := message.Errorf(message.ErrInternal, "%v", err)
	refusal.WaitsFor = s.waitPrices()
	return refusal
}

// waitPrices returns what comes to be when prices change.
func (s *State) waitPrices() []message.WaitKey {
	if len(s.params.Pricing.Addresses) == 0 {
		return nil
	}
	owner := s.params.Pricing.Addresses[0]
	return []message.WaitKey{message.WaitAggregate(owner, pricingKey), message.WaitAggregate(owner, settingsKey)}
}

// mustPay reports whether what the owner has must cover the message. It refuses ways to pay that are no longer allowed. As
// everything, that goes by the time of the content, which is signed, and not by that of the envelope.
func (s *State) mustPay(it *Item, payment message.PaymentType) (bool, error) {
	refused := &message.Error{Code: message.ErrPaymentMethod}
	cut := s.params.CutOffs
	since := func(seconds int64) bool { return it.Content.Base().Time >= float64(seconds) }
	credit := payment == message.PaymentCredit
	persistent := false
	switch c := it.Content.(type) {
	case *message.VProgram:
		if !credit {
			return false, refused
		}
		return true, nil
	case *message.Store:
		if !since(cut.StorageAndProgramCost) {
			return false, nil
		}
	case *message.Program:
		persistent = c.Persistent()
		if !persistent && !since(cut.StorageAndProgramCost) {
			return false, nil
		}
	case *message.Instance:
		persistent = true
	}
	if !credit && (since(cut.CreditOnly) || persistent && since(cut.HoldAndStream)) {
		return false, refused
	}
	return payment != message.PaymentSuperfluid, nil
}

// need returns what a resource asks of the funds: ALEPH to hold, or the credits of the least time that they must last.
func (s *State) need(costs *ledger.Costs) (*apd.Decimal, error) {
	total, err := costs.Total()
	if err != nil || costs.PaymentType != message.PaymentCredit {
		return total, err
	}
	exact := apd.BaseContext.WithPrecision(60)
	if _, err := exact.Mul(total, total, apd.New(s.params.MinCreditRuntime, 0)); err != nil {
		return nil, fmt.Errorf("credits for %d s: %w", s.params.MinCreditRuntime, err)
	}
	return total, nil
}

type holdShort struct {
	Required string `json:"required_balance"`
	Has      string `json:"account_balance"`
}

type creditShort struct {
	Required string `json:"required_credits"`
	Has      string `json:"account_credits"`
	Days     int64  `json:"min_runtime_days"`
}

// short refuses what funds do not cover. It comes back when they grow or prices change.
func (s *State) short(claim *store.ClaimRow, required, has *apd.Decimal) *message.Error {
	refusal := &message.Error{
		Code: message.ErrBalanceInsufficient, Errors: []any{holdShort{required.Text('f'), has.Text('f')}},
		WaitsFor: append(s.waitPrices(), message.WaitFunds(claim.Owner)),
	}
	if claim.PaymentType == message.PaymentCredit {
		refusal.Code = message.ErrCreditInsufficient
		refusal.Errors = []any{creditShort{required.Text('f'), has.Text('f'), s.params.MinCreditRuntime / 86400}}
	}
	return refusal
}

// Holding returns the tokens that an address itself holds on all chains, in ALEPH.
func Holding(r *store.Reader, address string) (*apd.Decimal, error) {
	rows, err := r.Balances(address)
	if err != nil {
		return nil, err
	}
	var texts []string
	for _, row := range rows {
		if row.Dapp == "" {
			texts = append(texts, row.Balance)
		}
	}
	return ledger.Sum(texts...)
}
