package message

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// readBool reads a boolean or one of the texts and numbers that stand for one (spec/messages.md §5.0).
func readBool(d *decoder, i int32) bool {
	switch d.nodes[i].kind {
	case kindTrue:
		return true
	case kindFalse:
		return false
	case kindString:
		switch strings.ToLower(d.str(i)) {
		case "true", "t", "yes", "y", "on", "1":
			return true
		case "false", "f", "no", "n", "off", "0":
			return false
		}
	case kindNumber:
		switch f, _ := strconv.ParseFloat(d.raw(i), 64); f {
		case 0:
			return false
		case 1:
			return true
		}
	default:
		d.fail(i, "", "bool_type", "Input should be a valid boolean")
		return false
	}
	d.fail(i, "", "bool_parsing", "Input should be a valid boolean, unable to interpret input")
	return false
}

// readFloat reads a number, or a text or boolean that stands for one, within [low, high].
func readFloat(low, high float64) reader[float64] {
	return func(d *decoder, i int32) float64 {
		var f float64
		switch d.nodes[i].kind {
		case kindNumber:
			f, _ = strconv.ParseFloat(d.raw(i), 64)
		case kindTrue:
			f = 1
		case kindFalse:
		case kindString:
			s := strings.TrimSpace(d.str(i))
			var err error
			if f, err = strconv.ParseFloat(s, 64); err != nil || strings.ContainsAny(s, "xXpP_") {
				d.fail(i, "", "float_parsing", "Input should be a valid number, unable to parse string as a number")
				return 0
			}
		default:
			d.fail(i, "", "float_type", "Input should be a valid number")
			return 0
		}
		switch {
		case !(f >= low): // also NaN
			d.fail(i, "", "greater_than_equal", fmt.Sprintf("Input should be greater than or equal to %v", low))
		case f > high:
			d.fail(i, "", "less_than_equal", fmt.Sprintf("Input should be less than or equal to %.0f", high))
		}
		return f
	}
}

// readInt reads an integer within [low, high], or a text, boolean or float without fraction that stands for one.
func readInt(low, high int64) reader[int64] { return readInteger(low, high, true) }

// readStrictInt reads a JSON integer within [low, high], in no other disguise.
func readStrictInt(low, high int64) reader[int64] { return readInteger(low, high, false) }

func readInteger(low, high int64, lax bool) reader[int64] {
	return func(d *decoder, i int32) int64 {
		n, ok := d.integer(i, lax)
		if !ok {
			return 0
		}
		switch {
		case n.negative && (n.size > 1<<63 || -int64(n.size) < low), !n.negative && low > 0 && n.size < uint64(low):
			d.fail(i, "", "greater_than_equal", fmt.Sprintf("Input should be greater than or equal to %d", low))
			return 0
		case !n.negative && (high < 0 || n.size > uint64(high)):
			d.fail(i, "", "less_than_equal", fmt.Sprintf("Input should be less than or equal to %d", high))
			return 0
		case n.negative:
			return -int64(n.size)
		}
		return int64(n.size)
	}
}

// readUint64 reads an integer from 0 to 2^64−1, or what stands for one.
func readUint64(d *decoder, i int32) uint64 {
	n, ok := d.integer(i, true)
	switch {
	case !ok:
	case n.negative:
		d.fail(i, "", "greater_than_equal", "Input should be greater than or equal to 0")
	case n.over:
		d.fail(i, "", "less_than", "Input should be less than 18446744073709551616")
	default:
		return n.size
	}
	return 0
}

// wide is an integer in sign and magnitude; over says that the magnitude, then math.MaxUint64, stands for a larger one.
type wide struct {
	negative, over bool
	size           uint64
}

// integer reads node i as a whole number. Without lax only JSON integers count.
func (d *decoder) integer(i int32, lax bool) (wide, bool) {
	n := d.nodes[i]
	text := d.text[n.start:n.end]
	switch {
	case n.kind == kindNumber && !strings.ContainsAny(text, ".eE"):
		w, _ := parseWide(text)
		return w, true
	case n.kind == kindNumber && lax:
		f, _ := strconv.ParseFloat(text, 64)
		if f != math.Trunc(f) {
			d.fail(i, "", "int_from_float", "Input should be a valid integer, got a number with a fractional part")
			return wide{}, false
		}
		w, _ := parseWide(strconv.FormatFloat(f, 'f', -1, 64))
		return w, true
	case n.kind == kindTrue && lax:
		return wide{size: 1}, true
	case n.kind == kindFalse && lax:
		return wide{}, true
	case n.kind == kindString && lax:
		if w, ok := parseWide(wholeText(d.str(i))); ok {
			return w, true
		}
		d.fail(i, "", "int_parsing", "Input should be a valid integer, unable to parse string as an integer")
	default:
		d.fail(i, "", "int_type", "Input should be a valid integer")
	}
	return wide{}, false
}

// wholeText strips what the reference accepts around the digits of an integer in a string: spaces, a plus sign, a fraction
// of zeros.
func wholeText(s string) string {
	s = strings.TrimPrefix(strings.TrimSpace(s), "+")
	if whole, fraction, ok := strings.Cut(s, "."); ok && fraction != "" && strings.Trim(fraction, "0") == "" {
		return whole
	}
	return s
}

// parseWide parses an optional minus sign and decimal digits.
func parseWide(s string) (w wide, ok bool) {
	s, w.negative = strings.CutPrefix(s, "-")
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return wide{}, false
	}
	var err error
	if w.size, err = strconv.ParseUint(s, 10, 64); err != nil {
		w.size, w.over = math.MaxUint64, true
	}
	if w.size == 0 {
		w.negative = false
	}
	return w, true
}
