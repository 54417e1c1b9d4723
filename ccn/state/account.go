package state

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/cockroachdb/apd/v3"

	"github.com/aleph-im/aleph-go/ccn/ledger"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// account is what is known of the funds of an owner for one way to pay.
type account struct {
	row  store.AccountRow
	last place // of the newest event
}

// accountOf reads an account; one that does not exist yet is empty.
func accountOf(r *store.Reader, owner string, payment message.PaymentType) (*account, error) {
	row, err := r.Account(owner, payment)
	if err != nil {
		return nil, err
	}
	if row != nil {
		return &account{*row, place{row.LastTime, row.LastHash}}, nil
	}
	a := &account{row: store.AccountRow{Owner: owner, PaymentType: payment, Used: "0"}}
	if payment == message.PaymentCredit {
		a.last, err = lastCredit(r, owner)
	} else {
		a.last.time, a.last.hash, err = r.LastBalance(owner)
	}
	return a, err
}

// checkFunds decides whether the account covers a claim (spec/ccn-core.md §5.7). When something is known that comes after
// the claim, the account is replayed with it, and ch says what the claim pushes out.
func (s *State) checkFunds(r *store.Reader, ch *charge) error {
	claim := ch.claim
	a, err := accountOf(r, claim.Owner, claim.PaymentType)
	if err != nil {
		return err
	}
	at := place{claim.ContentTime, claim.Hash}
	if ch.late = !a.last.before(at); !claim.MustPay {
		return nil
	}
	if !ch.late {
		has, err := s.funds(r, claim.Owner, claim.PaymentType, at)
		if err != nil {
			return err
		}
		required, err := ledger.Sum(a.row.Used, claim.Need)
		if err != nil {
			return err
		}
		if has.Cmp(required) < 0 {
			return s.short(claim, required, has)
		}
		return nil
	}
	claims, replay, err := s.replay(r, claim.Owner, claim.PaymentType, claim)
	if err != nil {
		return err
	}
	if v := replay.Verdicts[claim.Hash]; v.Status == store.ClaimRefused {
		return s.short(claim, v.Required, v.Has)
	}
	for _, c := range claims {
		if c.Hash != claim.Hash && replay.Verdicts[c.Hash].Status == store.ClaimRefused {
			ch.evicted = append(ch.evicted, c.Hash)
		}
	}
	return nil
}

// funds returns what an account has at a place after which nothing of it is known.
func (s *State) funds(r *store.Reader, owner string, payment message.PaymentType, at place) (*apd.Decimal, error) {
	if payment != message.PaymentCredit {
		return Holding(r, owner)
	}
	credits, err := r.Credits(owner, at.clock())
	return apd.New(credits, 0), err
}

// replay replays an account, with one more claim, or with another version of one, when extra is not nil.
func (s *State) replay(r *store.Reader, owner string, payment message.PaymentType, extra *store.ClaimRow) ([]store.ClaimRow, *ledger.Replay, error) {
	rows, err := r.Claims(owner, payment)
	if err != nil {
		return nil, nil, err
	}
	if extra != nil {
		rows = slices.DeleteFunc(rows, func(c store.ClaimRow) bool { return c.Hash == extra.Hash })
		rows = append(rows, *extra)
	}
	claims := make([]ledger.Claim, len(rows))
	for i := range rows {
		if claims[i], err = s.ledgerClaim(&rows[i]); err != nil {
			return nil, nil, err
		}
	}
	var funds []ledger.Funds
	if payment == message.PaymentCredit {
		history, err := r.CreditHistory(owner)
		if err != nil {
			return nil, nil, err
		}
		funds = ledger.CreditFunds(history, message.TimeFrom(s.now()))
	} else {
		statements, err := r.BalanceStatements(owner)
		if err == nil {
			funds, err = ledger.HeldFunds(statements)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	out, err := ledger.Settle(claims, funds, message.Time(s.params.RemovalGracePeriod*1_000_000), message.TimeFrom(s.now()))
	if err != nil {
		return nil, nil, fmt.Errorf("account %s: %w", owner, err)
	}
	return rows, out, nil
}

// ledgerClaim says under which rules a claim falls. Whether it may be removed depends on when it was anchored, or made when
// it was not (spec/ccn-core.md §5.10).
func (s *State) ledgerClaim(row *store.ClaimRow) (ledger.Claim, error) {
	need, _, err := apd.NewFromString(row.Need)
	if err != nil {
		return ledger.Claim{}, fmt.Errorf("need of %s: %w", row.Hash, err)
	}
	cut := s.params.CutOffs
	paid := row.ContentTime >= float64(cut.StorageAndProgramCost)
	if row.Height != nil {
		paid = *row.Height >= cut.StorageAndProgramHeight
	}
	c := ledger.Claim{Hash: row.Hash, Time: row.ContentTime, Need: need, MustPay: row.MustPay, Removable: paid && !row.Exempt}
	if row.Ended != nil {
		c.Ended, c.EndTime, c.EndHash = true, *row.Ended, row.EndedBy
	}
	return c, nil
}

// open enters an accepted message into the account of its owner.
func (w *work) open(it *Item, ch *charge) error {
	if err := putCosts(w.tx, it.Message.ItemHash, it.Content.Base().Address, ch.costs); err != nil || ch.claim == nil {
		return err
	}
	if err := w.tx.PutClaim(ch.claim); err != nil {
		return err
	}
	if err := w.use(ch.claim, ch.claim.Need, "0", ch.late); err != nil {
		return err
	}
	w.judgeAgain(ch.evicted...)
	return nil
}

// reprice replaces what a message costs.
func (w *work) reprice(it *Item, ch *charge) error {
	h := it.Message.ItemHash
	if err := w.tx.DeleteCosts(h); err != nil {
		return err
	}
	if err := putCosts(w.tx, h, it.Content.Base().Address, ch.costs); err != nil || ch.claim == nil {
		return err
	}
	old, err := w.tx.Claim(h)
	if err != nil || old == nil || old.Need == ch.claim.Need {
		return err
	}
	claim := *old
	claim.Need = ch.claim.Need
	if err := w.tx.PutClaim(&claim); err != nil {
		return err
	}
	w.judgeAgain(ch.evicted...)
	return w.use(&claim, claim.Need, old.Need, true)
}

// close ends the claim of a message as if it had never been.
func (w *work) close(h message.Hash) error {
	claim, err := w.tx.Claim(h)
	if err != nil || claim == nil || claim.Ended != nil {
		return err
	}
	if err := w.tx.DeleteClaim(h); err != nil {
		return err
	}
	return w.use(claim, "0", claim.Need, true)
}

// end ends the claim of a message at the place of the first of the FORGETs that took it.
func (w *work) end(h message.Hash, by *store.Forgetting) error {
	claim, err := w.tx.Claim(h)
	if err != nil || claim == nil {
		return err
	}
	at := place{by.ContentTime, by.By}
	if claim.Ended != nil && !at.before(place{*claim.Ended, claim.EndedBy}) {
		return nil
	}
	used := claim.Need
	if claim.Ended != nil || claim.Status == store.ClaimRemoved {
		used = "0"
	}
	claim.Status, claim.Ended, claim.EndedBy = store.ClaimForgotten, &by.ContentTime, by.By
	if err := w.tx.PutClaim(claim); err != nil {
		return err
	}
	if err := w.use(claim, "0", used, true); err != nil {
		return err
	}
	return w.tx.TouchAccount(claim.Owner, claim.PaymentType, at.time, at.hash)
}

// use changes what an account uses. late says that something of it is known that comes after: it is to be looked at, and
// what was refused tried again.
func (w *work) use(claim *store.ClaimRow, more, less string, late bool) error {
	a, err := accountOf(w.tx.Reader, claim.Owner, claim.PaymentType)
	if err != nil {
		return err
	}
	if a.row.Used, err = ledger.Exchange(a.row.Used, more, less); err != nil {
		return err
	}
	if at := (place{claim.ContentTime, claim.Hash}); a.last.before(at) {
		a.last = at
	}
	a.row.LastTime, a.row.LastHash = a.last.time, a.last.hash
	if late {
		a.row.CheckAt = new(message.Time)
		w.wake(message.WaitFunds(claim.Owner))
	} else if claim.PaymentType == message.PaymentCredit {
		next, err := nextExpiry(w.tx.Reader, claim.Owner, message.TimeFromSeconds(claim.ContentTime))
		if err != nil {
			return err
		}
		a.row.CheckAt = sooner(a.row.CheckAt, next)
	}
	return w.tx.PutAccount(&a.row)
}

// SettleAccount looks at the funds of an account as they are now: what cannot be paid is removed after the grace period,
// what can be paid again recovers (spec/ccn-core.md §5.10).
func (s *State) SettleAccount(tx *store.Tx, owner string, payment message.PaymentType) (*Effect, error) {
	row, err := tx.Account(owner, payment)
	if err != nil || row == nil {
		return &Effect{}, err
	}
	rows, replay, err := s.replay(tx.Reader, owner, payment, nil)
	if err != nil {
		return nil, err
	}
	w := s.work(tx, &Effect{})
	changed := false
	for i := range rows {
		if c := &rows[i]; c.Ended == nil {
			moved, err := w.turn(c, replay.Verdicts[c.Hash])
			if err != nil {
				return nil, err
			}
			changed = changed || moved
		}
	}
	if err := w.settle(); err != nil {
		return nil, err
	}
	if row, err = tx.Account(owner, payment); err != nil || row == nil {
		return w.effect, err
	}
	row.CheckAt = replay.Next
	if payment == message.PaymentCredit {
		next, err := nextExpiry(tx.Reader, owner, message.TimeFrom(s.now()))
		if err != nil {
			return nil, err
		}
		row.CheckAt = sooner(row.CheckAt, next)
	}
	if changed {
		w.wake(message.WaitFunds(owner))
		row.CheckAt = new(message.Time) // what was decided may free funds for others
	}
	return w.effect, tx.PutAccount(row)
}

func sooner(a, b *message.Time) *message.Time {
	if a == nil || b != nil && *b < *a {
		return b
	}
	return a
}

// nextExpiry returns when the next credits of an owner expire after t; nil when none do.
func nextExpiry(r *store.Reader, owner string, t message.Time) (*message.Time, error) {
	lots, err := r.CreditLots(owner)
	var next *message.Time
	for i := range lots {
		if e := lots[i].Expiration; e != nil && *e > t {
			next = sooner(next, e)
		}
	}
	return next, err
}

// turn moves a claim to the status that the account gives it. It reports whether that is another one.
func (w *work) turn(c *store.ClaimRow, v ledger.Verdict) (bool, error) {
	if c.Status == store.ClaimRemoved {
		return w.review(c, v)
	}
	if v.Status == c.Status {
		return false, nil
	}
	m, err := w.tx.Message(c.Hash)
	if err != nil || m == nil {
		return false, err
	}
	switch v.Status {
	case store.ClaimRefused:
		w.judgeAgain(c.Hash)
		return true, nil
	case store.ClaimProcessed:
		err = w.recover(m)
	case store.ClaimRemoving:
		err = w.startRemoving(m, v.Since)
	case store.ClaimRemoved:
		return true, w.remove(m, c, v.Since)
	}
	if err != nil {
		return false, err
	}
	c.Status = v.Status
	return true, w.tx.PutClaim(c)
}

// review looks again at what was removed. It was removed at another time, or not at all, when something of the account
// arrives late: then it comes back, as if it had never been there.
func (w *work) review(c *store.ClaimRow, v ledger.Verdict) (bool, error) {
	row, err := w.tx.Removed(c.Hash)
	if err != nil || row == nil || v.Status == store.ClaimRemoved && v.Since == row.RemovedAt {
		return false, err
	}
	if v.Status != store.ClaimRemoved {
		if err := w.tx.DeleteClaim(c.Hash); err != nil {
			return false, err
		}
		return true, w.tx.ReviveRemoved(row, message.TimeFrom(w.state.now()))
	}
	if err := w.tx.DeleteRemoved(c.Hash); err != nil {
		return false, err
	}
	row.RemovedAt = v.Since
	return false, w.tx.InsertRemoved(row)
}

// startRemoving starts the grace period of a message at since.
func (w *work) startRemoving(m *store.MessageRow, since message.Time) error {
	h := m.Message.ItemHash
	if err := w.tx.SetMessageStatus(h, message.StatusRemoving); err != nil || m.Message.Type != message.TypeStore {
		return err
	}
	until := since + message.Time(w.state.params.RemovalGracePeriod*1_000_000)
	return w.repin(h, store.PinMessage, store.PinGrace, &until)
}

// recover takes back a removal that has not ended yet.
func (w *work) recover(m *store.MessageRow) error {
	h := m.Message.ItemHash
	if err := w.tx.SetMessageStatus(h, message.StatusProcessed); err != nil || m.Message.Type != message.TypeStore {
		return err
	}
	return w.repin(h, store.PinGrace, store.PinMessage, nil)
}

// repin changes the kind of the pin of a STORE message, and so the version that its tag names.
func (w *work) repin(h message.Hash, from, to string, until *message.Time) error {
	pin, err := w.tx.Pin(h, from)
	if err != nil || pin == nil {
		return err
	}
	if err := w.tx.DeletePin(h, from); err != nil {
		return err
	}
	pin.Type, pin.DeleteBy = to, until
	if err := w.tx.InsertPin(pin); err != nil || pin.Tag == nil {
		return err
	}
	w.wake(message.WaitTag(*pin.Tag))
	return nil
}

// remove replaces a message whose grace period ended by what must remain of it.
func (w *work) remove(m *store.MessageRow, c *store.ClaimRow, at message.Time) error {
	envelope, err := m.Message.MarshalJSON()
	if err != nil {
		return fmt.Errorf("encode message %s: %w", m.Message.ItemHash, err)
	}
	row := &store.RemovedRow{
		Message: m.Message, Envelope: envelope, Owner: m.Owner, PaymentType: string(cmp.Or(c.PaymentType, message.PaymentHold)), RemovedAt: at,
		ReceptionTime: m.ReceptionTime, ContentTime: m.ContentTime,
	}
	remains, err := w.remains(m)
	if err != nil {
		return err
	}
	row.Size, row.ContentRef, row.AllowAmend = remains.Size, remains.ContentRef, remains.AllowAmend
	if err := w.tx.InsertRemoved(row); err != nil {
		return err
	}
	// The grace period of its file is over as well.
	if err := w.tx.DeletePin(m.Message.ItemHash, store.PinGrace); err != nil {
		return err
	}
	if err := w.erase(m); err != nil {
		return err
	}
	c.Status = store.ClaimRemoved
	if err := w.tx.PutClaim(c); err != nil {
		return err
	}
	return w.use(c, "0", c.Need, true)
}
