package state

import (
	"bytes"
	"fmt"

	"github.com/cockroachdb/apd/v3"

	"github.com/aleph-im/aleph-go/ccn/ledger"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// priced is a price table and the aggregates that it was read from.
type priced struct {
	table             *ledger.Table
	pricing, settings []byte
}

// Prices returns the price table in force in a snapshot.
func (s *State) Prices(r *store.Reader) (*ledger.Table, error) {
	var texts [2][]byte
	if p := s.params.Pricing; len(p.Addresses) > 0 {
		for i, key := range []string{"pricing", "settings"} {
			row, err := r.Aggregate(p.Addresses[0], key)
			if err != nil {
				return nil, err
			}
			if row != nil {
				texts[i] = row.Content
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.prices.table != nil && bytes.Equal(texts[0], s.prices.pricing) && bytes.Equal(texts[1], s.prices.settings) {
		return s.prices.table, nil
	}
	table, err := ledger.NewTable(s.params, texts[0], texts[1])
	if err != nil {
		return nil, err
	}
	s.prices = priced{table, texts[0], texts[1]}
	return table, nil
}

// charge computes what a message costs and refuses it when its owner cannot pay (spec/ccn-core.md §5.6, §5.7). exempt says
// that nothing needs to be paid for it; it has a cost all the same.
func (s *State) charge(r *store.Reader, it *Item, exempt bool) (*ledger.Costs, error) {
	table, err := s.Prices(r)
	if err != nil {
		return nil, message.Errorf(message.ErrInternal, "%v", err)
	}
	costs, err := ledger.Cost(r, table, it.Message.ItemHash, it.Content)
	if err != nil {
		return nil, message.Errorf(message.ErrInternal, "%v", err)
	}
	if it.Accepted {
		return costs, nil
	}
	must, err := s.mustPay(it, costs.PaymentType)
	if err != nil || !must || exempt {
		return costs, err
	}
	cost, err := costs.Total()
	if err != nil {
		return nil, message.Errorf(message.ErrInternal, "%v", err)
	}
	owner := it.Content.Base().Address
	if costs.PaymentType == message.PaymentCredit {
		return costs, s.checkCredits(r, owner, cost)
	}
	return costs, checkHold(r, owner, cost)
}

// mustPay reports whether what the owner has must cover the message. It refuses ways to pay that are no longer allowed.
func (s *State) mustPay(it *Item, payment message.PaymentType) (bool, error) {
	refused := &message.Error{Code: message.ErrPaymentMethod}
	cut, t := s.params.CutOffs, it.Message.Time
	since := func(seconds int64) bool { return t >= message.TimeFromSeconds(float64(seconds)) }
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

type holdShort struct {
	Required string `json:"required_balance"`
	Has      string `json:"account_balance"`
}

func checkHold(r *store.Reader, owner string, cost *apd.Decimal) error {
	has, err := Holding(r, owner)
	if err != nil {
		return err
	}
	required, err := Committed(r, owner, message.PaymentHold)
	if err == nil {
		required, err = ledger.Sum(required.Text('f'), cost.Text('f'))
	}
	if err != nil {
		return err
	}
	if has.Cmp(required) < 0 {
		return &message.Error{Code: message.ErrBalanceInsufficient, Errors: []any{holdShort{required.Text('f'), has.Text('f')}}}
	}
	return nil
}

type creditShort struct {
	Required string `json:"required_credits"`
	Has      string `json:"account_credits"`
	Days     int64  `json:"min_runtime_days"`
}

// checkCredits refuses what credits do not cover for the least time. No post grants credits yet, so every account has none.
func (s *State) checkCredits(r *store.Reader, owner string, cost *apd.Decimal) error {
	used, err := Committed(r, owner, message.PaymentCredit)
	if err != nil {
		return err
	}
	required := new(apd.Decimal)
	exact := apd.BaseContext.WithPrecision(60)
	if _, err := exact.Add(required, used, cost); err != nil {
		return fmt.Errorf("credits of %s: %w", owner, err)
	}
	if _, err := exact.Mul(required, required, apd.New(s.params.MinCreditRuntime, 0)); err != nil {
		return fmt.Errorf("credits of %s: %w", owner, err)
	}
	if required.Sign() > 0 {
		return &message.Error{Code: message.ErrCreditInsufficient, Errors: []any{
			creditShort{required.Text('f'), "0", s.params.MinCreditRuntime / 86400},
		}}
	}
	return nil
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

// Committed returns what the resources of an owner that are paid for in one way cost together: ALEPH to hold, ALEPH per
// second or credits per second.
func Committed(r *store.Reader, owner string, payment message.PaymentType) (*apd.Decimal, error) {
	rows, err := r.AccountCosts(owner, payment)
	if err != nil {
		return nil, err
	}
	texts := make([]string, len(rows))
	for i, row := range rows {
		switch payment {
		case message.PaymentCredit:
			texts[i] = row.Credit
		case message.PaymentSuperfluid:
			texts[i] = row.Stream
		default:
			texts[i] = row.Hold
		}
	}
	return ledger.Sum(texts...)
}
