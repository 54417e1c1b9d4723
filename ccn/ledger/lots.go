package ledger

import (
	"math"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// Slice is a part of an amount with one date of expiry.
type Slice struct {
	Amount     int64
	Expiration *message.Time // nil: never
}

// Spendable returns what lots hold at t; what 64 bits do not hold is the most that they hold.
func Spendable(lots []store.CreditLot, t message.Time) (sum int64) {
	for i := range lots {
		if lots[i].Unexpired(t) {
			sum += min(lots[i].Remaining, math.MaxInt64-sum)
		}
	}
	return sum
}

// Drain takes amount at t from lots, the oldest grant first, and returns the parts as they were taken. What the lots do
// not hold is not taken.
func Drain(lots []store.CreditLot, amount int64, t message.Time) []Slice {
	var parts []Slice
	for i := range lots {
		lot := &lots[i]
		if amount == 0 {
			break
		}
		if taken := min(lot.Remaining, amount); taken > 0 && lot.Unexpired(t) {
			lot.Remaining -= taken
			amount -= taken
			parts = append(parts, Slice{taken, lot.Expiration})
		}
	}
	return parts
}

// Purse is what is left of the grants of one address. It goes forward in time only.
type Purse struct {
	Lots []store.CreditLot // the oldest first

	gone int // lots that nothing can be taken from any more
}

// live returns the lots without the first ones that are spent or expired at t, and stay so.
func (p *Purse) live(t message.Time) []store.CreditLot {
	for p.gone < len(p.Lots) && (p.Lots[p.gone].Remaining == 0 || !p.Lots[p.gone].Unexpired(t)) {
		p.gone++
	}
	return p.Lots[p.gone:]
}

// Holds reports whether amount can be taken at t.
func (p *Purse) Holds(amount int64, t message.Time) bool {
	for _, lot := range p.live(t) {
		if amount <= 0 {
			break
		}
		if lot.Unexpired(t) {
			amount -= lot.Remaining
		}
	}
	return amount <= 0
}

// Spendable returns what can be taken at t, as the function Spendable does.
func (p *Purse) Spendable(t message.Time) int64 { return Spendable(p.live(t), t) }

// Drain takes amount at t, as the function Drain does.
func (p *Purse) Drain(amount int64, t message.Time) []Slice { return Drain(p.live(t), amount, t) }

// Fold applies the next movement in the order of content time, POST and index.
func (p *Purse) Fold(row *store.CreditRow) {
	if row.Amount < 0 {
		p.Drain(-row.Amount, message.TimeFromSeconds(row.ContentTime))
		return
	}
	p.Lots = append(p.Lots, lotOf(row))
}

func lotOf(row *store.CreditRow) store.CreditLot {
	return store.CreditLot{Ref: row.Ref, Index: row.Index, Remaining: row.Amount, Expiration: row.Expiration, ContentTime: row.ContentTime}
}

// Transferred turns the parts that a sender gave into those that the recipient gets: none lives longer than asked for,
// and neighbours that expire together are one.
func Transferred(parts []Slice, asked *message.Time) []Slice {
	var slices []Slice
	for _, p := range parts {
		if asked != nil && (p.Expiration == nil || *asked < *p.Expiration) {
			p.Expiration = asked
		}
		if n := len(slices) - 1; n >= 0 && sameTime(slices[n].Expiration, p.Expiration) {
			slices[n].Amount += p.Amount
			continue
		}
		slices = append(slices, p)
	}
	return slices
}

func sameTime(a, b *message.Time) bool {
	return a == b || a != nil && b != nil && *a == *b
}
