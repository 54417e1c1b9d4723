package ledger

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/cockroachdb/apd/v3"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// Claim is what one resource asks of the funds of its owner, from its place in the fold until its end.
type Claim struct {
	Hash      message.Hash
	Time      float64      // content time; with Hash its place
	Need      *apd.Decimal // of the funds, as long as it is in force
	MustPay   bool         // it is refused while funds do not cover it
	Removable bool         // it is removed when funds are short for the grace period
	Ended     bool         // it was forgotten, at the place EndTime, EndHash
	EndTime   float64
	EndHash   message.Hash
}

// Funds is what an account has from a place on.
type Funds struct {
	Time   float64
	Hash   message.Hash
	Amount *apd.Decimal
}

// Verdict is what becomes of a claim.
type Verdict struct {
	Status string       // one of store.ClaimRefused, …Processed, …Removing, …Removed, …Forgotten
	Since  message.Time // when it was removed, or when funds became short for it
	// Required and Has are what a refused claim failed on the last time it was tried: at its own place, or when funds changed
	// or became free after it.
	Required, Has *apd.Decimal
}

// Replay is the account of one owner, for one way to pay, as it comes out of everything that is known.
type Replay struct {
	Verdicts map[message.Hash]Verdict
	Used     *apd.Decimal // by the claims in force
	Has      *apd.Decimal
	Next     *message.Time // when the grace period of a claim ends; nil when none is to be removed
}

// Settle replays an account in the order of content time and hash, until now. A claim is accepted at its own place or, when
// funds do not cover it then, at the first later event with which they do. Whenever funds fall short, the oldest claims are
// served first; those that go empty are removed after the grace period unless funds return before (spec/ccn-core.md §5.10).
func Settle(claims []Claim, funds []Funds, grace, now message.Time) (*Replay, error) {
	r := &replay{grace: grace, used: new(apd.Decimal), has: new(apd.Decimal)}
	for _, e := range events(claims, funds) {
		r.until(message.TimeFromSeconds(e.time))
		r.event(e)
	}
	r.until(now)
	if r.calc.err != nil {
		return nil, fmt.Errorf("replay account: %w", r.calc.err)
	}
	out := &Replay{Verdicts: make(map[message.Hash]Verdict, len(claims)), Used: r.used, Has: r.has}
	for _, c := range r.claims {
		out.Verdicts[c.Hash] = c.Verdict
		if end := c.Since + grace; c.Status == store.ClaimRemoving && c.Removable && (out.Next == nil || end < *out.Next) {
			out.Next = &end
		}
	}
	return out, nil
}

// event is a claim that begins or ends, or a change of funds.
type event struct {
	time  float64
	hash  message.Hash
	begin *Claim
	end   message.Hash
	funds *apd.Decimal
}

func events(claims []Claim, funds []Funds) []event {
	list := make([]event, 0, 2*len(claims)+len(funds))
	for i := range claims {
		c := &claims[i]
		list = append(list, event{time: c.Time, hash: c.Hash, begin: c})
		if c.Ended {
			// What is forgotten was there before, whatever its clock said.
			end := event{time: c.EndTime, hash: c.EndHash, end: c.Hash}
			if cmp.Or(cmp.Compare(end.time, c.Time), cmp.Compare(end.hash, c.Hash)) < 0 {
				end.time, end.hash = c.Time, c.Hash
			}
			list = append(list, end)
		}
	}
	for _, f := range funds {
		list = append(list, event{time: f.Time, hash: f.Hash, funds: f.Amount})
	}
	slices.SortStableFunc(list, func(a, b event) int {
		return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.hash, b.hash))
	})
	return list
}

// replay is an account at one moment.
type replay struct {
	calc   exactly
	grace  message.Time
	claims []*claim // begun, in order of their places
	used   *apd.Decimal
	has    *apd.Decimal
	short  int // claims that are being removed
	wait   int // claims that are refused
}

type claim struct {
	*Claim
	Verdict
}

// inForce reports whether the claim counts.
func (c *claim) inForce() bool {
	return c.Status == store.ClaimProcessed || c.Status == store.ClaimRemoving
}

func (r *replay) event(e event) {
	t := message.TimeFromSeconds(e.time)
	switch {
	case e.begin != nil:
		c := &claim{e.begin, Verdict{Status: store.ClaimRefused}}
		r.claims = append(r.claims, c)
		r.wait++
		r.try(c)
		r.serve(t)
		return
	case e.end != "":
		for _, c := range r.claims {
			if c.Hash == e.end && c.Status != store.ClaimRemoved {
				r.leave(c, Verdict{Status: store.ClaimForgotten})
			}
		}
	default:
		r.has = e.funds
	}
	r.serve(t)
	r.tryAll()
}

// try accepts a claim that the funds cover.
func (r *replay) try(c *claim) {
	required := r.calc.add(r.used, c.Need)
	if c.MustPay && r.has.Cmp(required) < 0 {
		c.Required, c.Has = required, r.has
		return
	}
	r.wait--
	c.Verdict = Verdict{Status: store.ClaimProcessed}
	r.used = required
}

// tryAll tries again what was refused, in the order of places.
func (r *replay) tryAll() {
	if r.wait == 0 {
		return
	}
	for _, c := range r.claims {
		if c.Status == store.ClaimRefused {
			r.try(c)
		}
	}
}

// leave takes a claim out of the account.
func (r *replay) leave(c *claim, v Verdict) {
	switch c.Status {
	case store.ClaimRefused:
		r.wait--
	case store.ClaimRemoving:
		r.short--
	}
	if c.inForce() {
		r.used = r.calc.sub(r.used, c.Need)
	}
	c.Verdict = v
}

// serve hands out the funds to the claims in force, in the order of their places.
func (r *replay) serve(t message.Time) {
	if r.has.Cmp(r.used) >= 0 && r.short == 0 {
		return
	}
	rest := r.has
	for _, c := range r.claims {
		if !c.inForce() {
			continue
		}
		served := rest.Cmp(c.Need) >= 0
		if rest = r.calc.sub(rest, c.Need); rest.Negative {
			rest = new(apd.Decimal)
		}
		switch {
		case served && c.Status == store.ClaimRemoving:
			c.Verdict = Verdict{Status: store.ClaimProcessed}
			r.short--
		case !served && c.Status == store.ClaimProcessed && c.Removable:
			c.Verdict = Verdict{Status: store.ClaimRemoving, Since: t}
			r.short++
		}
	}
}

// until lets the grace periods pass that end before t.
func (r *replay) until(t message.Time) {
	for r.short > 0 {
		var first *claim
		for _, c := range r.claims {
			if c.Status == store.ClaimRemoving && (first == nil || c.Since < first.Since) {
				first = c
			}
		}
		end := first.Since + r.grace
		if end >= t {
			return
		}
		r.leave(first, Verdict{Status: store.ClaimRemoved, Since: end})
		r.serve(end)
		r.tryAll()
	}
}

// exactly adds amounts without rounding.
type exactly struct{ err error }

var exact60 = apd.BaseContext.WithPrecision(60)

func (c *exactly) add(x, y *apd.Decimal) *apd.Decimal {
	d := new(apd.Decimal)
	if _, err := exact60.Add(d, x, y); err != nil && c.err == nil {
		c.err = err
	}
	return d
}

func (c *exactly) sub(x, y *apd.Decimal) *apd.Decimal {
	d := new(apd.Decimal)
	if _, err := exact60.Sub(d, x, y); err != nil && c.err == nil {
		c.err = err
	}
	return d
}

// HeldFunds returns what an address holds over time, from all that was published of it. Of each chain the statement of the
// greatest height counts, and of equal heights that of the greater hash.
func HeldFunds(statements []store.BalanceStatement) ([]Funds, error) {
	newest := map[message.Chain]*store.BalanceStatement{}
	var list []Funds
	for i := range statements {
		b := &statements[i]
		if n := newest[b.Chain]; n == nil || cmp.Or(cmp.Compare(b.Height, n.Height), cmp.Compare(b.Message, n.Message)) > 0 {
			newest[b.Chain] = b
		}
		texts := make([]string, 0, len(newest))
		for _, chain := range slices.Sorted(maps.Keys(newest)) {
			texts = append(texts, newest[chain].Balance)
		}
		sum, err := Sum(texts...)
		if err != nil {
			return nil, fmt.Errorf("balances of %s: %w", b.Address, err)
		}
		list = append(list, Funds{b.ContentTime, b.Message, sum})
	}
	return list, nil
}

// CreditFunds returns what credits an address can spend over time, from all movements of them, until now.
func CreditFunds(history []store.CreditRow, now message.Time) []Funds {
	var lots []store.CreditLot
	var list []Funds
	at := func(t message.Time, f Funds) {
		f.Amount = apd.New(Spendable(lots, t), 0)
		list = append(list, f)
	}
	// What expires before t does so between the movements.
	expire := func(after, t message.Time) {
		var ends []message.Time
		for _, lot := range lots {
			if e := lot.Expiration; e != nil && lot.Remaining > 0 && *e > after && *e <= t {
				ends = append(ends, *e)
			}
		}
		slices.Sort(ends)
		for _, e := range slices.Compact(ends) {
			at(e, Funds{Time: e.Seconds()})
		}
	}
	last := message.Time(math.MinInt64)
	for i := range history {
		row := &history[i]
		t := message.TimeFromSeconds(row.ContentTime)
		expire(last, t)
		if row.Amount < 0 {
			Drain(lots, -row.Amount, t)
		} else {
			lots = append(lots, lotOf(row))
		}
		at(t, Funds{Time: row.ContentTime, Hash: row.Ref})
		last = t
	}
	expire(last, now)
	return list
}

// Exchange adds more to an amount and takes less from it, exactly.
func Exchange(amount, more, less string) (string, error) {
	var c exactly
	var parsed calculator
	d := c.sub(c.add(parsed.amount(amount), parsed.amount(more)), parsed.amount(less))
	if err := cmp.Or(c.err, parsed.err); err != nil {
		return "", fmt.Errorf("%s + %s - %s: %w", amount, more, less, err)
	}
	return d.Text('f'), nil
}
