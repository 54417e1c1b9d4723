package store

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// creditSort says how the movements of credits are sorted by a column: where NULL goes differs.
type creditSort struct {
	column    string
	nullsLast bool // in both directions; otherwise NULL is the greatest
}

var creditSorts = map[string]creditSort{
	"message_timestamp": {column: "content_time"}, "amount": {column: "amount"}, "payment_method": {column: "payment_method"},
	"expiration_date": {"expiration_date", true}, "origin": {"origin", true}, "tx_hash": {"tx_hash", true}, "provider": {"provider", true},
}

// CreditSorts lists the names that movements of credits are sorted by.
func CreditSorts() []string { return slices.Sorted(maps.Keys(creditSorts)) }

// CreditFilter chooses movements of credits of an address.
type CreditFilter struct {
	Address        string
	Equal          map[string]string // columns and their values
	ExcludeMethods []string          // payment methods; movements without one are left out as well
	Expires        *bool
	Start, End     *float64 // Unix seconds, both inclusive
	Incoming       bool
	Outgoing       bool
	ResourceTypes  []string   // of the message that the movement is for
	Resource       *string    // that message, or other origin
	Sort           string     // message_timestamp if ""
	Ascending      bool       // of the sort column and of the ties
	After          *CreditRow // with a value for the sort column: only what follows
	Limit          int        // 0: no limit
	Offset         int64
}

func (f *CreditFilter) where() (*where, error) {
	w := &where{}
	w.add("address = ?", f.Address)
	for column, v := range f.Equal {
		switch column {
		case "tx_hash", "token", "chain", "provider", "origin", "origin_ref", "payment_method":
			w.add(column+" = ?", v)
		default:
			return nil, fmt.Errorf("no column %q to filter credits by", column)
		}
	}
	if len(f.ExcludeMethods) > 0 {
		args := make([]any, len(f.ExcludeMethods))
		for i, m := range f.ExcludeMethods {
			args[i] = m
		}
		w.add("payment_method NOT IN (?"+strings.Repeat(",?", len(args)-1)+")", args...)
	}
	if f.Expires != nil {
		if *f.Expires {
			w.add("expiration_date IS NOT NULL")
		} else {
			w.add("expiration_date IS NULL")
		}
	}
	if f.Start != nil {
		w.add("content_time >= ?", *f.Start)
	}
	if f.End != nil {
		w.add("content_time <= ?", *f.End)
	}
	if f.Incoming {
		w.add("amount > 0")
	}
	if f.Outgoing {
		w.add("amount < 0")
	}
	if len(f.ResourceTypes) > 0 {
		types := &where{}
		types.add(sameHash("effective_origin"))
		types.in("m.type", f.ResourceTypes)
		w.add("EXISTS (SELECT 1 FROM "+messagesByEnd+types.String()+")", types.args...)
	}
	if f.Resource != nil {
		w.add("effective_origin = ?", *f.Resource)
	}
	return w, nil
}

// ListCredits lists movements of credits.
func (r *Reader) ListCredits(f CreditFilter) ([]CreditRow, error) {
	if f.Sort == "" {
		f.Sort = "message_timestamp"
	}
	s, ok := creditSorts[f.Sort]
	if !ok {
		return nil, fmt.Errorf("list credits of %s: cannot be sorted by %q", f.Address, f.Sort)
	}
	w, err := f.where()
	if err != nil {
		return nil, err
	}
	order, past := "DESC", "<"
	if f.Ascending {
		order, past = "ASC", ">"
	}
	nulls := order // 1 for NULL: after everything when ascending
	if s.nullsLast {
		nulls = "ASC"
	}
	if f.After != nil {
		if err := r.afterCredit(w, s, f.After, past, nulls == "ASC"); err != nil {
			return nil, err
		}
	}
	rows, err := r.rows(creditColumns+w.String()+" ORDER BY CASE WHEN "+s.column+" IS NULL THEN 1 ELSE 0 END "+nulls+", "+s.column+" "+order+
		", credit_ref "+order+", credit_index "+order+w.limit(f.Limit, f.Offset), w.args...)
	list, err := collectFor(r, rows, err, scanCredit, nil)
	return list, wrap(err, "list credits of %s", f.Address)
}

// afterCredit adds the condition that a row comes after another. The times in a cursor are rounded, so what is known of
// that row goes before what the cursor says.
func (r *Reader) afterCredit(w *where, s creditSort, after *CreditRow, past string, nullsEnd bool) error {
	known, err := r.CreditRows(after.Ref)
	if err != nil {
		return err
	}
	for i := range known {
		if known[i].Index == after.Index {
			after = &known[i]
		}
	}
	tie := "(credit_ref " + past + " ? OR credit_ref = ? AND credit_index " + past + " ?)"
	ref := string(after.Ref)
	v, isNull := after.sorted(s.column)
	switch {
	case isNull && nullsEnd:
		w.add(s.column+" IS NULL AND "+tie, ref, ref, after.Index)
	case isNull:
		w.add("("+s.column+" IS NOT NULL OR "+tie+")", ref, ref, after.Index)
	case nullsEnd:
		w.add("("+s.column+" IS NULL OR "+s.column+" "+past+" ? OR "+s.column+" = ? AND "+tie+")", v, v, ref, ref, after.Index)
	default:
		w.add("("+s.column+" "+past+" ? OR "+s.column+" = ? AND "+tie+")", v, v, ref, ref, after.Index)
	}
	return nil
}

// sorted returns the value of a sort column.
func (c *CreditRow) sorted(column string) (v any, isNull bool) {
	text := func(s *string) (any, bool) { return value(s), s == nil }
	switch column {
	case "content_time":
		return c.ContentTime, false
	case "amount":
		return c.Amount, false
	case "payment_method":
		return text(c.PaymentMethod)
	case "origin":
		return text(c.Origin)
	case "tx_hash":
		return text(c.TxHash)
	case "provider":
		return text(c.Provider)
	}
	if c.Expiration == nil {
		return nil, true
	}
	return int64(*c.Expiration), false
}

// CreditSummary adds movements up. What 64 bits do not hold is the most, or the least, that they hold.
type CreditSummary struct {
	Count, Total, Incoming, Outgoing int64 // Outgoing is 0 or less
}

// SumCredits adds up what ListCredits would list without its limit.
func (r *Reader) SumCredits(f CreditFilter) (s CreditSummary, err error) {
	w, err := f.where()
	if err != nil {
		return s, err
	}
	var in, out halves
	_, err = found(r.row("SELECT COUNT(*), "+sumOf("CASE WHEN amount > 0 THEN amount ELSE 0 END")+", "+
		sumOf("CASE WHEN amount < 0 THEN amount ELSE 0 END")+" FROM credit_history"+w.String(), w.args...),
		&s.Count, &in.high, &in.low, &out.high, &out.low)
	s.Incoming, s.Outgoing = in.sum(), out.sum()
	s.Total = halves{in.high + out.high, in.low + out.low}.sum()
	return s, wrap(err, "sum credits of %s", f.Address)
}

// ConsumedByOwner returns what was spent for the resources of an owner, or of everybody when it is "".
func (r *Reader) ConsumedByOwner(owner string) (int64, error) {
	w := &where{}
	w.add("payment_method = 'credit_expense'")
	if owner != "" {
		w.add("address = ?", owner)
	}
	var sum halves
	_, err := found(r.row("SELECT "+sumOf("-amount")+" FROM credit_history"+w.String(), w.args...), &sum.high, &sum.low)
	return sum.sum(), wrap(err, "read credits consumed by %s", owner)
}

// halves is a sum of numbers that may be too large for a database to add up: the sum of how often each holds 2^32, and the
// sum of what remains of each.
type halves struct{ high, low int64 }

// sumOf selects the halves of the sum of an expression.
func sumOf(expression string) string {
	return "CAST(COALESCE(SUM((" + expression + ") / 4294967296), 0) AS BIGINT), CAST(COALESCE(SUM((" + expression + ") % 4294967296), 0) AS BIGINT)"
}

// sum returns the sum; what 64 bits do not hold is the most, or the least, that they hold.
func (h halves) sum() int64 {
	high := h.high + h.low>>32
	switch {
	case high > math.MaxInt32:
		return math.MaxInt64
	case high < math.MinInt32:
		return math.MinInt64
	}
	return high<<32 | h.low&math.MaxUint32
}
