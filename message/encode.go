package message

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// appendString appends s as a JSON string that escapes no more than it must; invalid UTF-8 becomes U+FFFD.
func appendString(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s) // the error only reports the replacement
	return dst
}

// appendFloat appends f with the shortest digits that read back equal. Whole numbers keep a ".0", as on the reference node.
func appendFloat(dst []byte, f float64) []byte {
	switch size := math.Abs(f); {
	case f == math.Trunc(f) && size < 1e16:
		return strconv.AppendFloat(dst, f, 'f', 1, 64)
	case size >= 1e-4 && size < 1e16:
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	return strconv.AppendFloat(dst, f, 'e', -1, 64)
}

// MarshalJSON writes the envelope with all its members: null for an item_content, signature or channel that is not there.
func (m *Message) MarshalJSON() ([]byte, error) { return m.AppendJSON(nil), nil }

// AppendJSON appends what MarshalJSON returns to dst.
func (m *Message) AppendJSON(dst []byte) []byte {
	w := writer{buf: dst, nulls: true}
	w.open()
	w.text("sender", m.Sender)
	w.text("chain", string(m.Chain))
	w.optionalText("signature", orNil(m.Signature, m.Signature != ""))
	w.text("type", string(m.Type))
	w.optionalText("item_content", orNil(m.ItemContent, m.ItemType == ItemInline))
	w.text("item_type", string(m.ItemType))
	w.text("item_hash", string(m.ItemHash))
	w.name("time")
	w.buf = m.Time.AppendJSON(w.buf)
	w.optionalText("channel", m.Channel)
	w.close()
	return w.buf
}

// UnmarshalJSON reads an envelope with [Parse]; it refuses what Parse refuses.
func (m *Message) UnmarshalJSON(raw []byte) error {
	parsed, _, err := Parse(raw)
	if err != nil {
		return fmt.Errorf("decode message: %w", err)
	}
	*m = *parsed
	return nil
}

// orNil returns &v if present, else nil.
func orNil[T any](v T, present bool) *T {
	if !present {
		return nil
	}
	return &v
}

// Normalise returns the typed form of a content as JSON: members in the order of the schema, every default filled in, null
// for what is absent, free-form parts as they were received (spec/ccn-api.md §3.3).
func Normalise(c Content) ([]byte, error) {
	switch c := c.(type) {
	case *Post:
		return c.MarshalJSON()
	case *Aggregate:
		return c.MarshalJSON()
	case *Store:
		return c.MarshalJSON()
	case *Forget:
		return c.MarshalJSON()
	case *Program:
		return c.MarshalJSON()
	case *Instance:
		return c.MarshalJSON()
	case *VProgram:
		return c.MarshalJSON()
	}
	return nil, fmt.Errorf("normalise content: unknown type %T", c)
}

// encodable is what the types of contents implement.
type encodable interface{ encode(w *writer) }

func encode(c encodable, nulls bool) ([]byte, error) {
	w := writer{nulls: nulls}
	c.encode(&w)
	if w.err != nil {
		return nil, fmt.Errorf("encode %T: %w", c, w.err)
	}
	return w.buf, nil
}

// The JSON of a content is its normalised form; see [Normalise].
func (c *Post) MarshalJSON() ([]byte, error)      { return encode(c, true) }
func (c *Aggregate) MarshalJSON() ([]byte, error) { return encode(c, true) }
func (c *Store) MarshalJSON() ([]byte, error)     { return encode(c, true) }
func (c *Forget) MarshalJSON() ([]byte, error)    { return encode(c, true) }
func (c *Program) MarshalJSON() ([]byte, error)   { return encode(c, true) }
func (c *Instance) MarshalJSON() ([]byte, error)  { return encode(c, true) }
func (c *VProgram) MarshalJSON() ([]byte, error)  { return encode(c, true) }

// writer appends JSON. nulls says whether absent members are written as null or left out.
type writer struct {
	buf   []byte
	nulls bool
	err   error
}

func (w *writer) open()  { w.buf = append(w.buf, '{') }
func (w *writer) close() { w.buf = append(w.buf, '}') }

// separate puts a comma between two members or elements.
func (w *writer) separate() {
	if len(w.buf) == 0 {
		return
	}
	switch w.buf[len(w.buf)-1] {
	case '{', '[', ':', ',':
	default:
		w.buf = append(w.buf, ',')
	}
}

func (w *writer) name(name string) {
	w.separate()
	w.buf = appendString(w.buf, name)
	w.buf = append(w.buf, ':')
}

func (w *writer) null(name string) {
	if w.nulls {
		w.name(name)
		w.buf = append(w.buf, "null"...)
	}
}

func (w *writer) text(name, v string) {
	w.name(name)
	w.buf = appendString(w.buf, v)
}

func (w *writer) optionalText(name string, v *string) {
	if v == nil {
		w.null(name)
		return
	}
	w.text(name, *v)
}

func (w *writer) float(name string, v float64) {
	w.name(name)
	w.buf = appendFloat(w.buf, v)
}

func (w *writer) integer(name string, v int64) {
	w.name(name)
	w.buf = strconv.AppendInt(w.buf, v, 10)
}

func (w *writer) boolean(name string, v bool) {
	w.name(name)
	w.buf = strconv.AppendBool(w.buf, v)
}

// raw writes free-form JSON as it is. What other code puts there is checked: it would break the whole content.
func (w *writer) raw(name string, v json.RawMessage) {
	if len(v) == 0 {
		w.null(name)
		return
	}
	w.name(name)
	w.value(v)
}

func (w *writer) value(v json.RawMessage) {
	w.separate()
	if _, err := scan(string(v)); err != nil && w.err == nil {
		w.err = fmt.Errorf("free-form JSON %q: %w", clip(string(v), 80), err)
	}
	w.buf = append(w.buf, v...)
}

// list writes an array whose elements are written by each.
func list[T any](w *writer, name string, items []T, each func(T)) {
	w.name(name)
	w.buf = append(w.buf, '[')
	for _, item := range items {
		w.separate()
		each(item)
	}
	w.buf = append(w.buf, ']')
}

func (w *writer) texts(name string, items []string) {
	if items == nil {
		w.null(name)
		return
	}
	list(w, name, items, func(s string) { w.buf = appendString(w.buf, s) })
}

func (w *writer) hashes(name string, items []Hash) {
	list(w, name, items, func(h Hash) { w.buf = appendString(w.buf, string(h)) })
}

func (b *BaseContent) encode(w *writer) {
	w.text("address", b.Address)
	w.float("time", b.Time)
}

func (c *Post) encode(w *writer) {
	w.open()
	c.BaseContent.encode(w)
	w.raw("content", c.Content)
	switch {
	case len(c.RefObject) > 0:
		w.raw("ref", c.RefObject)
	default:
		w.optionalText("ref", orNil(c.Ref, c.Ref != ""))
	}
	w.text("type", c.PostType)
	w.close()
}

func (c *Aggregate) encode(w *writer) {
	w.open()
	c.BaseContent.encode(w)
	if c.KeyObject {
		w.name("key")
		w.open()
		w.text("name", c.keyName)
		w.close()
	} else {
		w.text("key", c.Key)
	}
	content := c.Content
	if len(content) == 0 {
		content = json.RawMessage("{}")
	}
	w.raw("content", content)
	w.close()
}

func (c *Store) encode(w *writer) {
	w.open()
	c.BaseContent.encode(w)
	w.text("item_type", string(c.FileType))
	w.text("item_hash", string(c.FileHash))
	if c.Size == nil {
		w.null("size")
	} else {
		w.integer("size", *c.Size)
	}
	w.optionalText("content_type", c.ContentType)
	w.optionalText("ref", orNil(c.Ref, c.Ref != ""))
	w.raw("metadata", c.Metadata)
	c.Payment.encode(w)
	w.close()
}

func (c *Forget) encode(w *writer) {
	w.open()
	c.BaseContent.encode(w)
	w.hashes("hashes", c.Hashes)
	w.hashes("aggregates", c.Aggregates)
	w.optionalText("reason", c.Reason)
	w.close()
}

func (p *Payment) encode(w *writer) {
	if p == nil {
		w.null("payment")
		return
	}
	w.name("payment")
	w.open()
	w.optionalText("chain", p.Chain)
	w.optionalText("receiver", p.Receiver)
	w.text("type", string(p.Type))
	w.close()
}
