package state

import (
	"container/heap"
	"fmt"
	"slices"

	"github.com/aleph-im/aleph-go/ccn/ledger"
	"github.com/aleph-im/aleph-go/ccn/store"
)

// refoldFrom folds the grants of the dirty addresses again, and with them every transfer out of them that comes after a
// place, one after the other in the order of the fold. A transfer that its sender can no longer cover moves nothing. What
// an address has is read once and goes forward from transfer to transfer, so that the work grows with what there is to
// fold and not with its square.
func (f *creditFold) refoldFrom(after place) error {
	a := &again{creditFold: f, purses: map[string]*purse{}}
	for address := range f.dirty {
		if _, err := a.open(address, after); err != nil {
			return err
		}
	}
	for len(a.queue) > 0 {
		next := a.queue[0]
		p := next.transfers[0]
		if next.transfers = next.transfers[1:]; len(next.transfers) > 0 {
			heap.Fix(&a.queue, 0)
		} else {
			heap.Pop(&a.queue)
		}
		covered, err := a.transfer(next, p)
		if err != nil {
			return err
		}
		if !covered {
			f.judgeAgain(p.at.hash)
		}
	}
	for address, u := range a.purses {
		if err := f.tx.DeleteCreditLots(address); err != nil {
			return err
		}
		u.foldRest()
		for i := range u.Lots {
			if err := f.tx.PutCreditLot(address, &u.Lots[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// again folds credits again. Every dirty address has a purse, and no purse is ahead of the transfer that is made next.
type again struct {
	*creditFold
	purses map[string]*purse
	queue  purseQueue // those that there is a transfer to be made from
}

// purse is what an address has at the place up to which it is folded, and what comes after.
type purse struct {
	ledger.Purse
	history   []store.CreditRow // not folded yet
	transfers []*creditPost     // asked for and not made again yet
}

// purseQueue is a heap by the place of the next transfer.
type purseQueue []*purse

func (q purseQueue) Len() int           { return len(q) }
func (q purseQueue) Less(i, j int) bool { return q[i].transfers[0].at.before(q[j].transfers[0].at) }
func (q purseQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *purseQueue) Push(u any)        { *q = append(*q, u.(*purse)) }
func (q *purseQueue) Pop() any {
	last := len(*q) - 1
	u := (*q)[last]
	*q = (*q)[:last]
	return u
}

// open returns the purse of an address; of one that becomes dirty at a place it reads what is stored.
func (a *again) open(address string, at place) (*purse, error) {
	if u := a.purses[address]; u != nil {
		return u, nil
	}
	history, err := a.tx.CreditHistory(address)
	if err != nil {
		return nil, err
	}
	entries, err := a.transfersAfter(address, at)
	if err != nil {
		return nil, err
	}
	u := &purse{history: history}
	for _, e := range entries {
		n := len(u.transfers) - 1
		if n < 0 || u.transfers[n].at.hash != e.Ref {
			u.transfers = append(u.transfers, &creditPost{kind: ledger.CreditTransfer, sender: address, at: place{e.ContentTime, e.Ref}})
			n++
		}
		u.transfers[n].entries = append(u.transfers[n].entries, ledger.CreditEntry{Address: e.Recipient, Amount: e.Amount, Expiration: e.Expiration})
	}
	a.purses[address], a.dirty[address] = u, true
	if len(u.transfers) > 0 {
		heap.Push(&a.queue, u)
	}
	return u, nil
}

// foldTo folds what comes before a place.
func (u *purse) foldTo(at place) {
	for len(u.history) > 0 && (place{u.history[0].ContentTime, u.history[0].Ref}).before(at) {
		u.Fold(&u.history[0])
		u.history = u.history[1:]
	}
}

func (u *purse) foldRest() {
	for i := range u.history {
		u.Fold(&u.history[i])
	}
	u.history = nil
}

// pass leaves out what was moved at the place that comes next.
func (u *purse) pass(at place) {
	for len(u.history) > 0 && u.history[0].Ref == at.hash {
		u.history = u.history[1:]
	}
}

// transfer replaces the movements of a transfer by those that follow from what its sender has at its place.
func (a *again) transfer(from *purse, p *creditPost) (covered bool, err error) {
	if covered, err = a.signerMay(p); err != nil {
		return false, err
	}
	from.foldTo(p.at)
	var rows []store.CreditRow
	if covered = covered && from.Holds(p.sum(), p.at.clock()); covered {
		rows = p.transferRows(&from.Purse)
	}
	from.pass(p.at)
	old, err := a.tx.CreditRows(p.at.hash)
	if err != nil {
		return false, err
	}
	if slices.EqualFunc(old, rows, sameMovement) {
		return covered, nil
	}
	a.moved[p.sender] = true
	for _, row := range slices.Concat(old, rows) {
		if row.Address == p.sender {
			continue // it gave already
		}
		a.moved[row.Address] = true
		u, err := a.open(row.Address, p.at)
		if err != nil {
			return false, err
		}
		u.foldTo(p.at)
		u.pass(p.at)
	}
	if err := a.tx.DeleteCredits(p.at.hash); err != nil {
		return false, err
	}
	for i := range rows {
		row := &rows[i]
		row.LastUpdate = a.now
		if err := a.tx.InsertCredit(row); err != nil {
			return false, fmt.Errorf("fold transfer %s again: %w", p.at.hash, err)
		}
		if row.Address != p.sender {
			a.purses[row.Address].Fold(row)
		}
	}
	return covered, nil
}

// transfersAfter lists what an address asked to transfer after a place.
func (f *creditFold) transfersAfter(sender string, after place) ([]store.CreditTransfer, error) {
	entries, err := f.tx.CreditTransfersFrom(sender, after.time, after.hash)
	return slices.DeleteFunc(entries, func(e store.CreditTransfer) bool { return e.Ref == after.hash && e.ContentTime == after.time }), err
}

// signerMay reports whether a transfer was signed by who may. One that is applied is judged as a message.
func (f *creditFold) signerMay(p *creditPost) (bool, error) {
	row, err := f.tx.Forgotten(p.at.hash)
	if err != nil || row == nil {
		return true, err
	}
	return f.state.allowed(f.read, row.Message.Sender, row.Owner, forgottenScope(row), p.at)
}

func sameMovement(a, b store.CreditRow) bool {
	sameExpiry := a.Expiration == b.Expiration || a.Expiration != nil && b.Expiration != nil && *a.Expiration == *b.Expiration
	return a.Address == b.Address && a.Amount == b.Amount && a.Index == b.Index && sameExpiry
}
