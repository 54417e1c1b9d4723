package state

import (
	"maps"
	"slices"

	"github.com/aleph-im/aleph-go/ccn/ledger"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

const (
	creditProvider = "ALEPH" // of what is no purchase
	methodExpense  = "credit_expense"
	methodTransfer = "credit_transfer"
)

// creditPost is a POST that moves credits (spec/ccn-core.md §5.9).
type creditPost struct {
	kind    string
	minted  bool // a transfer by who may grant: its sender is not debited
	sender  string
	entries []ledger.CreditEntry
	at      place
}

// credits reads a POST that moves credits; nil when it is none, or by somebody who may not. A transfer of what the sender
// does not have at its place is refused; it comes back when that changes.
func (s *State) credits(r *reader, it *Item, c *message.Post) (*creditPost, error) {
	p, err := s.readCredits(it, c)
	if err != nil || p == nil || !p.debits() {
		return p, err
	}
	from, err := r.purseAt(p.sender, p.at)
	if err != nil {
		return nil, err
	}
	if sum, has := p.sum(), from.Spendable(p.at.clock()); has < sum {
		return nil, waitingFor(message.Errorf(message.ErrInvalidFormat, "the transfer needs %d credits, %s has %d", sum, p.sender, has),
			message.WaitFunds(p.sender))
	}
	return p, nil
}

// debits reports whether the post takes from its sender what it gives to others.
func (p *creditPost) debits() bool { return p.kind == ledger.CreditTransfer && !p.minted }

// sum returns what a transfer moves, of which ledger.ParseCredits says how much it can be.
func (p *creditPost) sum() (sum int64) {
	for _, e := range p.entries {
		sum += e.Amount
	}
	return sum
}

// readCredits reads a POST that moves credits, without regard to what there is to move.
func (s *State) readCredits(it *Item, c *message.Post) (*creditPost, error) {
	trusted := s.params.Credits
	if !slices.Contains(trusted.PostTypes, c.PostType) || emptyJSON(c.Content) {
		return nil, nil
	}
	if channels := trusted.Channels; len(channels) > 0 && (it.Message.Channel == nil || !slices.Contains(channels, *it.Message.Channel)) {
		return nil, nil
	}
	p := &creditPost{kind: c.PostType, minted: trusted.Trusts(c.Address), sender: c.Address, at: placeOf(it)}
	switch p.kind {
	case ledger.CreditTransfer:
	case ledger.CreditDistribution, ledger.CreditExpense:
		if !p.minted {
			return nil, nil
		}
	default:
		return nil, nil
	}
	scale := int64(1)
	if c.Time < float64(s.params.CutOffs.CreditPrecision) {
		scale = 10_000
	}
	var err error
	if p.entries, err = ledger.ParseCredits(p.kind, c.Content, scale); err != nil {
		return nil, message.Errorf(message.ErrInvalidFormat, "%v", err)
	}
	if p.kind != ledger.CreditTransfer {
		return p, nil
	}
	recipients := map[string]bool{}
	for _, e := range p.entries {
		switch {
		case e.Address == p.sender:
			return nil, message.Errorf(message.ErrInvalidFormat, "credits cannot be transferred to their sender")
		case recipients[e.Address]:
			return nil, message.Errorf(message.ErrInvalidFormat, "%s is named twice", e.Address)
		}
		recipients[e.Address] = true
	}
	return p, nil
}

// past is what an address had just before a place.
type past struct {
	purse
	at place
}

// purseAt returns what is left of the grants of an address just before a place. It is kept, and must not be changed: the
// transfers of an account that are judged one after the other fold it once.
func (r *reader) purseAt(address string, at place) (*ledger.Purse, error) {
	last, err := lastCredit(r.Reader, address)
	if err != nil {
		return nil, err
	}
	if last.before(at) {
		lots, err := r.CreditLots(address)
		return &ledger.Purse{Lots: lots}, err
	}
	p := r.had[address]
	if p == nil || at.before(p.at) {
		history, err := r.CreditHistory(address)
		if err != nil {
			return nil, err
		}
		p = &past{purse: purse{history: history}}
		put(&r.had, address, p)
	}
	p.foldTo(at)
	p.at = at
	return &p.Purse, nil
}

func lastCredit(r *store.Reader, address string) (place, error) {
	t, ref, err := r.LastCredit(address)
	return place{t, ref}, err
}

// move does what a POST says, and moves again what was moved after its place.
func (w *work) move(p *creditPost) error {
	f := w.creditFold()
	rows := p.rows
	if p.debits() {
		if err := w.ask(p); err != nil {
			return err
		}
		from, err := w.read.purseAt(p.sender, p.at)
		if err != nil {
			return err
		}
		delete(w.read.had, p.sender) // it is spent from here on
		rows = func() []store.CreditRow { return p.transferRows(from) }
	}
	if err := f.insert(rows(), p.at); err != nil {
		return err
	}
	return f.finish(p.at)
}

// ask notes what is to be transferred.
func (w *work) ask(p *creditPost) error {
	for i, e := range p.entries {
		err := w.tx.InsertCreditTransfer(&store.CreditTransfer{
			Ref: p.at.hash, Entry: int64(i), Sender: p.sender, Recipient: e.Address, Amount: e.Amount, Expiration: e.Expiration, ContentTime: p.at.time,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// askForgotten keeps a refused transfer that is forgotten: should it turn out that its sender had the credits at its place,
// or that its signer could act for him, it is as if it had been forgotten afterwards.
func (w *work) askForgotten(it *Item) error {
	c, ok := it.Content.(*message.Post)
	if !ok {
		return nil
	}
	p, err := w.state.readCredits(it, c)
	if err != nil || p == nil || !p.debits() {
		return nil // it would have been refused for ever
	}
	return w.ask(p)
}

// transferForgotten moves again what an address asked to transfer in forgotten messages that others signed for it.
func (w *work) transferForgotten(sender string) error {
	t, _, ok, err := w.tx.FirstForgottenTransfer(sender)
	if err != nil || !ok {
		return err
	}
	f := w.creditFold()
	f.dirty[sender] = true
	return f.finish(place{time: t})
}

// takeBack undoes what a POST moved.
func (w *work) takeBack(h message.Hash, at place) error {
	f := w.creditFold()
	rows, err := w.tx.CreditRows(h)
	if err != nil {
		return err
	}
	for _, row := range rows {
		f.dirty[row.Address], f.moved[row.Address] = true, true
	}
	if err := w.tx.DeleteCredits(h); err != nil {
		return err
	}
	if err := w.tx.DeleteCreditTransfers(h); err != nil {
		return err
	}
	return f.finish(at)
}

// creditFold is a change of credits at work.
type creditFold struct {
	*work
	now   message.Time
	dirty map[string]bool // addresses whose grants are to be folded again
	moved map[string]bool // addresses whose credits changed
}

func (w *work) creditFold() *creditFold {
	return &creditFold{work: w, now: message.TimeFrom(w.state.now()), dirty: map[string]bool{}, moved: map[string]bool{}}
}

// finish folds again what the change at a place calls for, and looks at the accounts that it funds.
func (f *creditFold) finish(at place) error {
	if err := f.refoldFrom(at); err != nil {
		return err
	}
	if len(f.moved) == 0 {
		return nil
	}
	waited, err := f.tx.WaitedFor(message.WaitFunds(""))
	if err != nil {
		return err
	}
	for _, address := range slices.Sorted(maps.Keys(f.moved)) {
		delete(f.read.had, address)
		if err := f.tx.TouchAccount(address, message.PaymentCredit, at.time, at.hash); err != nil {
			return err
		}
		if key := message.WaitFunds(address); waited[key] {
			f.wake(key)
		}
	}
	return nil
}

func text(s string) *string { return &s }

// rows returns the movements of a distribution, an expense, or a transfer that takes from nobody.
func (p *creditPost) rows() []store.CreditRow {
	rows := make([]store.CreditRow, len(p.entries))
	for i, e := range p.entries {
		row := store.CreditRow{
			Ref: p.at.hash, Index: int64(i), ContentTime: p.at.time, Address: e.Address, Amount: e.Amount, Expiration: e.Expiration,
			Price: e.Price, BonusAmount: e.BonusAmount, TxHash: e.TxHash, Token: e.Token, Chain: e.Chain, Provider: e.Provider,
			Origin: e.Origin, OriginRef: e.Ref, PaymentMethod: e.PaymentMethod, ExpenseCount: e.Count, ExpenseSizeMiB: e.SizeMiB,
		}
		switch p.kind {
		case ledger.CreditExpense:
			row.Amount, row.Provider, row.PaymentMethod = -e.Amount, text(creditProvider), text(methodExpense)
		case ledger.CreditTransfer:
			row.Provider, row.PaymentMethod, row.Origin = text(creditProvider), text(methodTransfer), &p.sender
		}
		rows[i] = row
	}
	return rows
}

// transferRows returns the movements of a transfer out of a purse, from which it takes what it moves: of each entry what the
// recipient gets, by date of expiry, then what the sender gives.
func (p *creditPost) transferRows(from *ledger.Purse) []store.CreditRow {
	var rows []store.CreditRow
	add := func(address, origin string, amount int64, expiration *message.Time) {
		rows = append(rows, store.CreditRow{
			Ref: p.at.hash, Index: int64(len(rows)), ContentTime: p.at.time, Address: address, Amount: amount, Expiration: expiration,
			Provider: text(creditProvider), PaymentMethod: text(methodTransfer), Origin: text(origin),
		})
	}
	for _, e := range p.entries {
		for _, slice := range ledger.Transferred(from.Drain(e.Amount, p.at.clock()), e.Expiration) {
			add(e.Address, p.sender, slice.Amount, slice.Expiration)
		}
		add(p.sender, e.Address, -e.Amount, nil)
	}
	return rows
}

// insert stores movements. Those that are the newest of their address are applied to what is left of its grants; the
// grants of other addresses are to be folded again.
func (f *creditFold) insert(rows []store.CreditRow, at place) error {
	newest := map[string]bool{}
	for i := range rows {
		row := &rows[i]
		row.LastUpdate = f.now
		if _, known := newest[row.Address]; !known {
			last, err := lastCredit(f.tx.Reader, row.Address)
			if err != nil {
				return err
			}
			later, err := f.transfersAfter(row.Address, at)
			if err != nil {
				return err
			}
			newest[row.Address] = last.before(at) && len(later) == 0
			f.moved[row.Address] = true
		}
	}
	for i := range rows {
		row := &rows[i]
		if err := f.tx.InsertCredit(row); err != nil {
			return err
		}
		if !newest[row.Address] {
			f.dirty[row.Address] = true
			continue
		}
		if err := f.apply(row); err != nil {
			return err
		}
	}
	return nil
}

// apply applies the newest movement of an address.
func (f *creditFold) apply(row *store.CreditRow) error {
	if row.Amount > 0 {
		return f.tx.PutCreditLot(row.Address, &store.CreditLot{
			Ref: row.Ref, Index: row.Index, Remaining: row.Amount, Expiration: row.Expiration, ContentTime: row.ContentTime,
		})
	}
	lots, err := f.tx.CreditLots(row.Address)
	if err != nil {
		return err
	}
	before := slices.Clone(lots)
	ledger.Drain(lots, -row.Amount, message.TimeFromSeconds(row.ContentTime))
	for i := range lots {
		if lots[i].Remaining != before[i].Remaining {
			if err := f.tx.PutCreditLot(row.Address, &lots[i]); err != nil {
				return err
			}
		}
	}
	return nil
}
