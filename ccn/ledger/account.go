package ledger

import (
	"cmp"
	"container/heap"
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
	r := &replay{grace: grace, named: map[message.Hash]*claim{}, used: new(apd.Decimal), has: new(apd.Decimal), rest: new(apd.Decimal)}
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

// replay is an account at one moment. Funds are handed out in the order of places, so the claims that get them are those
// before some place: what an event changes is found from there, and not by going through all claims.
type replay struct {
	calc   exactly
	grace  message.Time
	claims []*claim // begun, in order of their places
	named  map[message.Hash]*claim
	used   *apd.Decimal // by the claims in force
	has    *apd.Decimal
	served int          // so many claims are served as far as they are in force; the next one needs more than rest
	rest   *apd.Decimal // of the funds, behind those
	short  shortest     // claims that are being removed, and others that were
	wait   []*claim     // claims that are refused, in order of their places
}

type claim struct {
	*Claim
	Verdict
	place int // in replay.claims
}

// inForce reports whether the claim counts.
func (c *claim) inForce() bool {
	return c.Status == store.ClaimProcessed || c.Status == store.ClaimRemoving
}

func (r *replay) event(e event) {
	t := message.TimeFromSeconds(e.time)
	switch {
	case e.begin != nil:
		c := &claim{e.begin, Verdict{Status: store.ClaimRefused}, len(r.claims)}
		r.claims = append(r.claims, c)
		r.named[c.Hash] = c
		if !r.try(c) {
			r.wait = append(r.wait, c)
		} else if r.forward(); c.place >= r.served {
			r.remove(c, t)
		}
	case e.end != "":
		if c := r.named[e.end]; c.Status != store.ClaimRemoved {
			r.leave(c, Verdict{Status: store.ClaimForgotten})
			r.forward()
		}
		r.tryAll()
	default:
		r.rest = r.calc.add(r.rest, r.calc.sub(e.funds, r.has))
		r.has = e.funds
		r.back(t)
		r.forward()
		r.tryAll()
	}
}

// try accepts a claim that the funds cover. They cover the ones before then, too.
func (r *replay) try(c *claim) bool {
	required := r.calc.add(r.used, c.Need)
	if c.MustPay && r.has.Cmp(required) < 0 {
		c.Required, c.Has = required, r.has
		return false
	}
	c.Verdict = Verdict{Status: store.ClaimProcessed}
	r.used = required
	if c.place < r.served {
		r.rest = r.calc.sub(r.rest, c.Need)
	}
	return true
}

// tryAll tries again what was refused, in the order of places.
func (r *replay) tryAll() {
	r.wait = slices.DeleteFunc(r.wait, func(c *claim) bool { return c.Status != store.ClaimRefused || r.try(c) })
	r.forward()
}

// leave takes a claim out of the account.
func (r *replay) leave(c *claim, v Verdict) {
	if c.inForce() {
		r.used = r.calc.sub(r.used, c.Need)
		if c.place < r.served {
			r.rest = r.calc.add(r.rest, c.Need)
		}
	}
	c.Verdict = v
}

// forward serves as many more claims as rest is enough for.
func (r *replay) forward() {
	for ; r.served < len(r.claims); r.served++ {
		c := r.claims[r.served]
		if !c.inForce() {
			continue
		}
		if r.rest.Cmp(c.Need) < 0 {
			return
		}
		r.rest = r.calc.sub(r.rest, c.Need)
		c.Verdict = Verdict{Status: store.ClaimProcessed}
	}
}

// back takes from the last claims that are served what is missing.
func (r *replay) back(t message.Time) {
	for r.rest.Negative && r.served > 0 {
		r.served--
		if c := r.claims[r.served]; c.inForce() {
			r.rest = r.calc.add(r.rest, c.Need)
			r.remove(c, t)
		}
	}
}

// remove begins the grace period of a claim that goes empty.
func (r *replay) remove(c *claim, t message.Time) {
	if c.Removable && !c.Need.IsZero() {
		c.Verdict = Verdict{Status: store.ClaimRemoving, Since: t}
		heap.Push(&r.short, shortage{c, t})
	}
}

// until lets the grace periods pass that end before t.
func (r *replay) until(t message.Time) {
	for len(r.short) > 0 {
		first := r.short[0]
		if first.Status != store.ClaimRemoving || first.Since != first.since {
			heap.Pop(&r.short) // it recovered, or left
			continue
		}
		end := first.since + r.grace
		if end >= t {
			return
		}
		r.leave(first.claim, Verdict{Status: store.ClaimRemoved, Since: end})
		r.forward()
		r.tryAll()
	}
}

// shortage is a claim that went empty at a time.
type shortage struct {
	*claim
	since message.Time
}

// shortest is a heap of claims: what went empty first is removed first, and of that what has the first place.
type shortest []shortage

func (s shortest) Len() int { return len(s) }
func (s shortest) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(s[i].since, s[j].since), cmp.Compare(s[i].place, s[j].place)) < 0
}
func (s shortest) Swap(i, j int) { s[i], s[j] = s[j], s[i] }
func (s *shortest) Push(x any)   { *s = append(*s, x.(shortage)) }
func (s *shortest) Pop() any {
	last := len(*s) - 1
	x := (*s)[last]
	*s = (*s)[:last]
	return x
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
