package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// canonicalJSON writes a JSON value in the form whose hash names it on every node: members sorted, compact, texts not
// escaped where they need not be, numbers in their shortest form. With an integer beyond 64 bits the reference falls back
// on another writer, with spaces and in ASCII (ccn-api §8.3).
func canonicalJSON(raw []byte) ([]byte, error) {
	if !utf8.Valid(raw) {
		return nil, errors.New("it is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("text follows the value")
	}
	c := canonical{}
	if err := c.value(v); errors.Is(err, errBeyond64) {
		c = canonical{ascii: true}
		if err := c.value(v); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	return c.b, nil
}

var errBeyond64 = errors.New("an integer beyond 64 bits")

// canonical is a value being written.
type canonical struct {
	b     []byte
	ascii bool // the writer for integers beyond 64 bits
}

func (c *canonical) add(s string) { c.b = append(c.b, s...) }

func (c *canonical) separate(compact string) {
	c.add(compact)
	if c.ascii {
		c.add(" ")
	}
}

func (c *canonical) value(v any) error {
	switch v := v.(type) {
	case nil:
		c.add("null")
	case bool:
		c.b = strconv.AppendBool(c.b, v)
	case json.Number:
		return c.number(string(v))
	case string:
		c.text(v)
	case []any:
		c.add("[")
		for i, item := range v {
			if i > 0 {
				c.separate(",")
			}
			if err := c.value(item); err != nil {
				return err
			}
		}
		c.add("]")
	case map[string]any:
		c.add("{")
		for i, name := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				c.separate(",")
			}
			c.text(name)
			c.separate(":")
			if err := c.value(v[name]); err != nil {
				return err
			}
		}
		c.add("}")
	}
	return nil
}

// number writes integers digit for digit and everything else as the double that it is.
func (c *canonical) number(text string) error {
	if !strings.ContainsAny(text, ".eE") {
		if text == "-0" {
			text = "0"
		}
		_, signed := strconv.ParseInt(text, 10, 64)
		_, unsigned := strconv.ParseUint(text, 10, 64)
		if signed != nil && unsigned != nil && !c.ascii {
			return errBeyond64
		}
		c.add(text)
		return nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return fmt.Errorf("number %.40s is beyond a double", text)
	}
	c.add(shortest(f, c.ascii))
	return nil
}

// shortest writes the shortest text that reads back equal, always as a float: 1.0, 1e16, 1.5e-7. The writer in ASCII puts
// the sign and two digits into exponents and begins with them earlier.
func shortest(f float64, ascii bool) string {
	text := strconv.FormatFloat(f, 'e', -1, 64)
	mantissa, exponent, _ := strings.Cut(text, "e")
	n, _ := strconv.Atoi(exponent) // as FormatFloat writes it
	least := -5
	if ascii {
		least = -4
	}
	switch {
	case f == 0 || n >= least && n < 16:
		text = strconv.FormatFloat(f, 'f', -1, 64)
		if !strings.Contains(text, ".") {
			text += ".0"
		}
		return text
	case ascii:
		return text
	}
	return mantissa + "e" + strconv.Itoa(n)
}

// double is a number as the reference writes floats.
func double(f float64) json.Number {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return "null"
	}
	return json.Number(shortest(f, false))
}

const hexDigits = "0123456789abcdef"

func (c *canonical) text(s string) {
	c.add(`"`)
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			c.b = append(c.b, '\\', byte(r))
		case r < 0x20:
			c.control(byte(r))
		case c.ascii && r >= 0x10000:
			high, low := utf16.EncodeRune(r)
			c.unit(high)
			c.unit(low)
		case c.ascii && r >= 0x7f:
			c.unit(r)
		default:
			c.b = utf8.AppendRune(c.b, r)
		}
	}
	c.add(`"`)
}

func (c *canonical) control(b byte) {
	switch b {
	case '\b':
		c.add(`\b`)
	case '\t':
		c.add(`\t`)
	case '\n':
		c.add(`\n`)
	case '\f':
		c.add(`\f`)
	case '\r':
		c.add(`\r`)
	default:
		c.unit(rune(b))
	}
}

// unit writes a UTF-16 code unit.
func (c *canonical) unit(r rune) {
	c.b = append(c.b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}
