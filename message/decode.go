package message

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// FieldError is one complaint about one member, in the shape of the reference node (spec/ccn-core.md §2.6). It is an item
// of [Error.Errors].
type FieldError struct {
	Type  string          `json:"type"`            // class of the complaint, such as "missing" or "string_type"
	Loc   string          `json:"loc"`             // where, as the text of a tuple: "('content', 'time')"
	Msg   string          `json:"msg"`             // what is wrong
	Input json.RawMessage `json:"input,omitempty"` // the value that was refused, when it is short

	path []any
}

const (
	maxFieldErrors = 32  // more complaints about one message help nobody
	maxErrorInput  = 512 // bytes; longer values are left out of the complaint
)

// decoder reads typed values out of a document and collects what is wrong with them. Readers return the zero value after
// a complaint, so that all complaints are found in one go; the result counts only when there are none.
type decoder struct {
	document
	errs    []FieldError
	prefix  []any        // path of the document's root in the message
	relaxed bool         // a price estimate, see [ParseContentRelaxed]
	draft   bool         // a price estimate of a type that may lack time and allow_amend
	base    *BaseContent // what stands in for a missing or null address and time; nil when they are required
}

// fail records a complaint about node i, or about its member when that is not "".
func (d *decoder) fail(i int32, member, kind, msg string) {
	if len(d.errs) == maxFieldErrors {
		return
	}
	path := append(slices.Clip(d.prefix), d.path(i)...)
	if member != "" {
		path = append(path, member)
	}
	e := newFieldError(path, kind, msg)
	if raw := d.raw(i); len(raw) <= maxErrorInput {
		e.Input = json.RawMessage(raw)
	}
	d.errs = append(d.errs, e)
}

func newFieldError(path []any, kind, msg string) FieldError {
	return FieldError{Type: kind, Loc: tuple(path), Msg: msg, path: path}
}

// tuple writes a path as the reference node does.
func tuple(path []any) string {
	var b strings.Builder
	b.WriteByte('(')
	for i, p := range path {
		if i > 0 {
			b.WriteString(", ")
		}
		switch p := p.(type) {
		case string:
			b.WriteString(pythonQuote(p))
		default:
			fmt.Fprint(&b, p)
		}
	}
	if len(path) == 1 {
		b.WriteByte(',')
	}
	b.WriteByte(')')
	return b.String()
}

// pythonQuote writes s as a Python string literal, for the two places where that form crosses the wire.
func pythonQuote(s string) string {
	quote := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	b := []byte{quote}
	for _, r := range s {
		switch {
		case r == rune(quote) || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r == ' ' || strconv.IsPrint(r):
			b = utf8.AppendRune(b, r)
		case r < 0x100:
			b = fmt.Appendf(b, `\x%02x`, r)
		case r < 0x10000:
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			b = fmt.Appendf(b, `\U%08x`, r)
		}
	}
	return string(append(b, quote))
}

// object is a JSON object that is being read.
type object struct {
	*decoder
	at int32
}

// has reports whether the object has the member, null or not.
func (o object) has(name string) bool { return o.find(o.at, name) >= 0 }

// only complains about every member that is not named.
func (o object) only(names ...string) {
	key := o.at + 1
	for range o.nodes[o.at].count {
		if !slices.ContainsFunc(names, func(n string) bool { return o.keyIs(key, n) }) {
			o.fail(key+1, "", "extra_forbidden", "Extra inputs are not permitted")
		}
		key = o.nodes[key+1].next
	}
}

// A reader converts one node to a T, or complains and returns the zero T.
type reader[T any] func(d *decoder, i int32) T

// required reads a member that must be there.
func required[T any](o object, name string, read reader[T]) (v T) {
	i := o.find(o.at, name)
	if i < 0 {
		o.fail(o.at, name, "missing", "Field required")
		return v
	}
	return read(o.decoder, i)
}

// withDefault reads a member that may be absent; null is refused unless read accepts it.
func withDefault[T any](o object, name string, value T, read reader[T]) T {
	i := o.find(o.at, name)
	if i < 0 {
		return value
	}
	return read(o.decoder, i)
}

// optional reads a member that may be absent or null.
func optional[T any](o object, name string, read reader[T]) *T {
	i := o.find(o.at, name)
	if i < 0 || o.nodes[i].kind == kindNull {
		return nil
	}
	v := read(o.decoder, i)
	return &v
}

// optionalZero is optional for types whose zero value says absent.
func optionalZero[T any](o object, name string, read reader[T]) (v T) {
	i := o.find(o.at, name)
	if i < 0 || o.nodes[i].kind == kindNull {
		return v
	}
	return read(o.decoder, i)
}

// readObject complains unless node i is an object.
func (d *decoder) readObject(i int32) (object, bool) {
	if d.nodes[i].kind != kindObject {
		d.fail(i, "", "model_type", "Input should be a valid dictionary")
		return object{}, false
	}
	return object{d, i}, true
}

func readText(d *decoder, i int32) string {
	if d.nodes[i].kind != kindString {
		d.fail(i, "", "string_type", "Input should be a valid string")
		return ""
	}
	return d.str(i)
}

// readTextMax reads a string of at most n code points.
func readTextMax(n int) reader[string] {
	return func(d *decoder, i int32) string {
		s := readText(d, i)
		if len(s) > n && utf8.RuneCountInString(s) > n {
			d.fail(i, "", "string_too_long", fmt.Sprintf("String should have at most %d characters", n))
		}
		return s
	}
}

// readHex reads a string of lower-case hex digits; "" comes with a complaint.
func readHex(d *decoder, i int32) string {
	s := readText(d, i)
	if d.nodes[i].kind == kindString && (s == "" || strings.Trim(s, "0123456789abcdef") != "") {
		d.fail(i, "", "string_pattern_mismatch", "String should be lower-case hex digits")
		return ""
	}
	return s
}

func readHash(d *decoder, i int32) Hash {
	if d.nodes[i].kind != kindString {
		d.fail(i, "", "string_type", "Input should be a valid string")
		return ""
	}
	h, err := ParseHash(d.str(i))
	if err != nil {
		d.fail(i, "", "value_error", "Value error, "+err.Error())
	}
	return h
}

// readOneOf reads one of the given texts, exactly.
func readOneOf[T ~string](allowed ...T) reader[T] {
	return func(d *decoder, i int32) T {
		if d.nodes[i].kind == kindString {
			if s := T(d.str(i)); slices.Contains(allowed, s) {
				return s
			}
		}
		kind := "enum"
		if len(allowed) == 1 {
			kind = "literal_error"
		}
		d.fail(i, "", kind, "Input should be "+choices(allowed))
		return ""
	}
}

// choices writes 'a', 'b' or 'c'.
func choices[T ~string](allowed []T) string {
	var b strings.Builder
	for i, a := range allowed {
		switch {
		case i > 0 && i == len(allowed)-1:
			b.WriteString(" or ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString("'" + string(a) + "'")
	}
	return b.String()
}

// readRaw keeps any value as its exact text.
func readRaw(d *decoder, i int32) json.RawMessage { return json.RawMessage(d.raw(i)) }

// readDict keeps an object of at most n members as its exact text; a negative n sets no limit.
func readDict(n int) reader[json.RawMessage] {
	return func(d *decoder, i int32) json.RawMessage {
		if d.nodes[i].kind != kindObject {
			d.fail(i, "", "dict_type", "Input should be a valid dictionary")
			return nil
		}
		if n >= 0 && d.size(i) > n {
			d.fail(i, "", "too_long", fmt.Sprintf("Dictionary should have at most %d items", n))
		}
		return json.RawMessage(d.raw(i))
	}
}

// size returns how many different member names object i has.
func (d *decoder) size(i int32) int {
	names := make(map[string]struct{}, d.nodes[i].count)
	for name := range d.members(i) {
		names[name] = struct{}{}
	}
	return len(names)
}

// readList reads an array of at most max elements. The result is never nil.
func readList[T any](max int, read reader[T]) reader[[]T] {
	return func(d *decoder, i int32) []T {
		switch n := d.nodes[i]; {
		case n.kind != kindArray:
			d.fail(i, "", "list_type", "Input should be a valid list")
			return nil
		case int(n.count) > max:
			d.fail(i, "", "too_long", fmt.Sprintf("List should have at most %d items after validation, not %d", max, n.count))
			return nil
		}
		list := make([]T, 0, d.nodes[i].count)
		for v := range d.elements(i) {
			list = append(list, read(d, v))
		}
		return list
	}
}

// noLimit is for lists that the schema does not bound; the size of the message does.
const noLimit = math.MaxInt
