package ledger

import (
	"fmt"
	"math/big"
	"strconv"

	"github.com/cockroachdb/apd/v3"
)

// Amounts are decimals of 28 significant digits, rounded half to even after each operation; what is charged is cut to 18
// places toward minus infinity (spec/ccn-core.md §5.4). Every node must come to the same last digit.
var (
	arithmetic = apd.Context{
		Precision: 28, Rounding: apd.RoundHalfEven, MaxExponent: apd.MaxExponent, MinExponent: apd.MinExponent,
		Traps: apd.DefaultTraps,
	}
	flooring = func() apd.Context { c := arithmetic; c.Rounding = apd.RoundFloor; return c }()
	hour     = apd.New(3600, 0)
)

const places = 18

// calculator computes until the first error, which it keeps.
type calculator struct{ err error }

func (c *calculator) do(op func(d *apd.Decimal) (apd.Condition, error)) *apd.Decimal {
	d := new(apd.Decimal)
	if c.err == nil {
		_, c.err = op(d)
	}
	return d
}

func (c *calculator) mul(x, y *apd.Decimal) *apd.Decimal {
	return c.do(func(d *apd.Decimal) (apd.Condition, error) { return arithmetic.Mul(d, x, y) })
}

func (c *calculator) add(x, y *apd.Decimal) *apd.Decimal {
	return c.do(func(d *apd.Decimal) (apd.Condition, error) { return arithmetic.Add(d, x, y) })
}

func (c *calculator) perSecond(x *apd.Decimal) *apd.Decimal {
	return c.do(func(d *apd.Decimal) (apd.Condition, error) { return arithmetic.Quo(d, x, hour) })
}

func (c *calculator) floor(x *apd.Decimal) *apd.Decimal {
	return c.do(func(d *apd.Decimal) (apd.Condition, error) { return flooring.Quantize(d, x, -places) })
}

// amount parses a price; "" is zero.
func (c *calculator) amount(text string) *apd.Decimal {
	if text == "" {
		return new(apd.Decimal)
	}
	d, _, err := apd.NewFromString(text)
	if err != nil || d.Form != apd.Finite {
		if c.err == nil {
			c.err = fmt.Errorf("price %q is not a decimal number", text)
		}
		return new(apd.Decimal)
	}
	return d
}

// mebibytes converts bytes as the reference does: by way of a double, whose exact value counts.
func mebibytes(bytes int64) (float64, *apd.Decimal) {
	f := float64(bytes) / (1 << 20)
	return f, exact(f)
}

// exact returns the exact value of a finite double.
func exact(f float64) *apd.Decimal {
	// A double is an integer over a power of two, so its decimal expansion ends: at most 20 places for a size in bytes.
	text := new(big.Float).SetFloat64(f).Text('f', 60)
	if d, _, err := apd.NewFromString(text); err == nil {
		return d
	}
	return new(apd.Decimal)
}

func smaller(x, y *apd.Decimal) *apd.Decimal {
	if x.Cmp(y) <= 0 {
		return x
	}
	return y
}

func larger(x, y *apd.Decimal) *apd.Decimal {
	if x.Cmp(y) >= 0 {
		return x
	}
	return y
}

// Text writes an amount with 18 places, as the API and the database have it.
func Text(d *apd.Decimal) string {
	var q apd.Decimal
	if _, err := flooring.Quantize(&q, d, -places); err != nil {
		return d.Text('f')
	}
	if q.IsZero() {
		q.Negative = false
	}
	return q.Text('f')
}

// Sum adds decimal texts.
func Sum(texts ...string) (*apd.Decimal, error) {
	var c calculator
	total := new(apd.Decimal)
	for _, text := range texts {
		total = c.add(total, c.amount(text))
	}
	if c.err != nil {
		return nil, fmt.Errorf("sum amounts: %w", c.err)
	}
	return total, nil
}

// Float returns the double nearest to d.
func Float(d *apd.Decimal) float64 {
	f, err := strconv.ParseFloat(d.Text('e'), 64)
	if err != nil {
		return 0
	}
	return f
}
