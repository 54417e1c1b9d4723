package state

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/cockroachdb/apd/v3"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// balances reads a publication of token balances (spec/ccn-core.md §5.8); nil when the post is none.
func (s *State) balances(it *Item, c *message.Post) ([]store.BalanceRow, error) {
	p := s.params.Balances
	if !slices.Contains(p.PostTypes, c.PostType) || !p.Trusts(c.Address) || emptyJSON(c.Content) {
		return nil, nil
	}
	var update struct {
		Chain    *message.Chain         `json:"chain"`
		Height   *int64                 `json:"main_height"`
		Balances map[string]json.Number `json:"balances"`
		Dapp     *string                `json:"dapp"`
	}
	if err := json.Unmarshal(c.Content, &update); err != nil {
		return nil, message.Errorf(message.ErrInvalidFormat, "balances are not in the expected form: %v", err)
	}
	if update.Chain == nil || update.Height == nil || update.Balances == nil || !slices.Contains(message.Chains(), *update.Chain) {
		return nil, message.Errorf(message.ErrInvalidFormat, "balances need the members chain, main_height and balances")
	}
	rows := make([]store.BalanceRow, 0, len(update.Balances))
	for _, address := range slices.Sorted(maps.Keys(update.Balances)) {
		amount := update.Balances[address]
		if d, _, err := apd.NewFromString(amount.String()); err != nil || d.Form != apd.Finite {
			return nil, message.Errorf(message.ErrInvalidFormat, "balance %q of %s is not a number", amount, address)
		}
		row := store.BalanceRow{
			Address: address, Chain: *update.Chain, Balance: amount.String(), Height: *update.Height,
			Message: it.Message.ItemHash, LastUpdate: message.TimeFrom(s.now()),
		}
		if update.Dapp != nil {
			row.Dapp = *update.Dapp
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// publish stores balances, and looks at the accounts that they fund.
func (w *work) publish(it *Item, balances []store.BalanceRow) error {
	if len(balances) == 0 {
		return nil
	}
	waited, err := w.tx.WaitedFor(message.WaitFunds(""))
	if err != nil {
		return err
	}
	at := placeOf(it)
	for i := range balances {
		b := &balances[i]
		if err := w.tx.PutBalance(b); err != nil {
			return err
		}
		if b.Dapp != "" {
			continue
		}
		err := w.tx.PutBalanceStatement(&store.BalanceStatement{
			Address: b.Address, Chain: b.Chain, ContentTime: at.time, Message: at.hash, Height: b.Height, Balance: b.Balance,
		})
		if err != nil {
			return err
		}
		if err := w.tx.TouchAccount(b.Address, message.PaymentHold, at.time, at.hash); err != nil {
			return err
		}
		if key := message.WaitFunds(b.Address); waited[key] {
			w.wake(key)
		}
	}
	return nil
}
