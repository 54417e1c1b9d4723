package message

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of an envelope. The first is a rule of the network; the others keep nonsense out of storage and are far above
// anything a signer makes (spec/messages.md §12).
const (
	MaxInlineContent = 200_000 // code points of item_content
	maxSignature     = 4096    // bytes
	maxEnvelopeText  = 1024    // bytes of sender, of channel
)

// Years 1 to 9999, the calendar of the network, in Unix seconds.
const (
	minTime = -62_135_596_800
	maxTime = 253_402_300_799
)

// Parse reads an envelope as it travels on the wire and checks everything that can be checked without a signature scheme:
// members and their types, the rules of item_type, the hash of inline content and its schema (spec/messages.md §1.7).
// Unknown members are ignored. It returns the typed content of an inline message; the content of another message is nil
// even when the envelope carries one, because only the fetched bytes count, but a wrong one refuses the message.
//
// The error, if any, is an [*Error] with code [ErrInvalidFormat].
func Parse(raw []byte) (*Message, Content, error) {
	doc, err := scan(string(raw))
	if err != nil {
		return nil, nil, Errorf(ErrInvalidFormat, "Message is not valid JSON: %v", err)
	}
	d := &decoder{document: doc}
	if d.nodes[0].kind != kindObject {
		return nil, nil, Errorf(ErrInvalidFormat, "Message is not a dictionary")
	}
	o := object{d, 0}

	m := &Message{}
	if m.Type, err = o.messageType(); err != nil {
		return nil, nil, err
	}
	item, ok := o.item(m)
	if !ok {
		return nil, nil, d.refusal()
	}
	m.Sender = required(o, "sender", readEnvelopeText(maxEnvelopeText))
	m.Chain = required(o, "chain", readChain)
	m.Signature = optionalZero(o, "signature", readEnvelopeText(maxSignature))
	m.Channel = optional(o, "channel", readEnvelopeText(maxEnvelopeText))
	m.Time = required(o, "time", readEnvelopeTime)

	var content Content
	if m.ItemType == ItemInline {
		if got := HashBytes([]byte(m.ItemContent)); m.ItemHash != got && item.hashIsText {
			d.fail(item.hash, "", "value_error", fmt.Sprintf(
				"Value error, 'item_hash' does not match 'sha256(item_content)', expecting %s", got))
		}
		content = item.content.decode(m.Type)
		d.errs = append(d.errs, item.content.errs...)
	} else if i := o.find(0, "content"); i >= 0 && d.nodes[i].kind != kindNull {
		inner := &decoder{document: sub(doc, i), prefix: []any{"content"}}
		inner.decode(m.Type)
		d.errs = append(d.errs, inner.errs...)
	}
	if len(d.errs) > 0 {
		return nil, nil, d.refusal()
	}
	return m, content, nil
}

// Check applies to a message that was built rather than received the same rules that [Parse] applies to a received one,
// and returns its typed content when it is inline.
func (m *Message) Check() (Content, error) {
	raw, err := m.MarshalJSON()
	if err != nil {
		return nil, Errorf(ErrInvalidFormat, "%v", err)
	}
	_, content, err := Parse(raw)
	return content, err
}

// refusal makes an error of the complaints so far.
func (d *decoder) refusal() error {
	e := &Error{Code: ErrInvalidFormat, Errors: make([]any, 0, len(d.errs))}
	for _, f := range d.errs {
		e.Errors = append(e.Errors, f)
	}
	return e
}

// whole complains about the document as a whole, in the words of the reference's model validators.
func (d *decoder) whole(format string, args ...any) {
	d.errs = append(d.errs, newFieldError(d.prefix, "value_error", "Value error, "+fmt.Sprintf(format, args...)))
}

// messageType reads the type before anything else: all other rules depend on it.
func (o object) messageType() (Type, error) {
	name := "None"
	if i := o.find(o.at, "type"); i >= 0 {
		switch o.nodes[i].kind {
		case kindString:
			t := Type(o.str(i))
			if t.known() {
				return t, nil
			}
			name = string(t)
		case kindNull:
		default:
			name = o.raw(i)
		}
	}
	return "", Errorf(ErrInvalidFormat, "Invalid message_type: '%s'", clip(name, 80))
}

func (t Type) known() bool {
	switch t {
	case TypePost, TypeAggregate, TypeStore, TypeProgram, TypeInstance, TypeForget, TypeVProgram:
		return true
	}
	return false
}

func readChain(d *decoder, i int32) Chain { return readOneOf(chains...)(d, i) }

// item is what the envelope says about its content.
type item struct {
	hash       int32 // node of item_hash
	hashIsText bool
	content    *decoder // of item_content, when inline
}

// item reads item_type, item_hash and item_content, which depend on each other (spec/messages.md §1.3).
// It returns false when they make no sense together, so that nothing else is worth a complaint.
func (o object) item(m *Message) (item, bool) {
	it := item{hash: o.find(o.at, "item_hash")}
	if it.hash < 0 || o.nodes[it.hash].kind == kindNull {
		o.whole("Could not determine item hash")
		return it, false
	}
	it.hashIsText = o.nodes[it.hash].kind == kindString
	m.ItemHash = Hash(readText(o.decoder, it.hash))

	text := o.find(o.at, "item_content")
	hasText := text >= 0 && o.nodes[text].kind != kindNull
	kind := o.find(o.at, "item_type")
	switch {
	case kind >= 0 && o.nodes[kind].kind == kindString:
		m.ItemType = ItemType(o.str(kind))
	case kind >= 0 && o.nodes[kind].kind != kindNull:
		o.fail(kind, "", "enum", "Input should be 'inline', 'storage' or 'ipfs'")
		return it, false
	case hasText:
		m.ItemType = ItemInline
	case it.hashIsText:
		m.ItemType = m.ItemHash.Kind()
	}

	if m.ItemType == ItemInline {
		switch {
		case !hasText:
			o.whole("Item content not specified for inline item type")
			return it, false
		case o.nodes[text].kind != kindString:
			o.fail(text, "", "string_type", "Input should be a valid string")
			return it, false
		}
		m.ItemContent = o.str(text)
		var err error
		if it.content, err = scanContent(m.ItemContent); err != nil {
			o.whole("%v", err)
			return it, false
		}
		it.content.prefix = []any{"content"}
		return it, true
	}

	if hasText {
		o.whole("%s messages cannot define item_content", clip(string(m.ItemType), 80))
		return it, false
	}
	if !it.hashIsText {
		return it, true // already complained about
	}
	switch want := m.ItemHash.Kind(); {
	case want == "":
		o.whole("Unexpected hash type: '%s'", clip(string(m.ItemHash), 80))
		return it, false
	case m.ItemType != ItemStorage && m.ItemType != ItemIPFS:
		o.fail(kind, "", "enum", "Input should be 'inline', 'storage' or 'ipfs'")
		o.fail(it.hash, "", "value_error", "Value error, the item type that goes with the hash is "+string(want))
	case m.ItemType != want:
		o.whole("Expected %s based on hash but item type is %s.", want, m.ItemType)
		return it, false
	}
	return it, true
}

// scanContent parses the text of an inline content and applies the rules that hold for all of them.
func scanContent(text string) (*decoder, error) {
	if len(text) > MaxInlineContent && utf8.RuneCountInString(text) > MaxInlineContent {
		return nil, errors.New("Message too long")
	}
	return scanContentBytes(text)
}

// scanContentBytes is scanContent for content of any length.
func scanContentBytes(text string) (*decoder, error) {
	doc, err := scan(text)
	if err != nil {
		return nil, fmt.Errorf("the content is not valid JSON: %w", err)
	}
	// A plain substring test, as on the network: databases cannot hold what this usually means.
	if strings.Contains(text, `\u0000`) {
		return nil, errors.New(`unsupported character in the content: \u0000`)
	}
	return &decoder{document: doc}, nil
}

// sub returns the document whose root is node i of doc.
func sub(doc document, i int32) document {
	nodes := slices.Clone(doc.nodes[i:doc.nodes[i].next])
	for j := range nodes {
		nodes[j].next -= i
	}
	return document{text: doc.text, nodes: nodes}
}

// readEnvelopeText reads a string of at most n bytes. NUL is refused because databases cannot hold it.
func readEnvelopeText(n int) reader[string] {
	return func(d *decoder, i int32) string {
		s := readText(d, i)
		switch {
		case len(s) > n:
			d.fail(i, "", "string_too_long", fmt.Sprintf("String should have at most %d bytes", n))
		case strings.IndexByte(s, 0) >= 0:
			d.fail(i, "", "value_error", "Value error, NUL characters are not supported")
		}
		return s
	}
}

// readEnvelopeTime reads Unix seconds. Unlike in contents, only numbers and booleans pass (spec/messages.md §1.4).
func readEnvelopeTime(d *decoder, i int32) Time {
	var seconds float64
	switch d.nodes[i].kind {
	case kindNumber:
		seconds, _ = strconv.ParseFloat(d.raw(i), 64)
	case kindTrue:
		seconds = 1
	case kindFalse:
	default:
		d.fail(i, "", "float_type", "Input should be a number of seconds since 1970")
		return 0
	}
	if t := TimeFromSeconds(math.Max(math.Min(seconds, maxTime+2), minTime-2)); t >= minTime*1_000_000 && t < (maxTime+1)*1_000_000 {
		return t
	}
	d.fail(i, "", "value_error", "Value error, year is out of range (time is in seconds, not milliseconds)")
	return 0
}

// ParseContent reads and validates a content of type t under the schema of spec/messages.md §5.
// The error, if any, is an [*Error] with code [ErrInvalidFormat].
func ParseContent(t Type, raw []byte) (Content, error) {
	return parseContent(t, raw, nil, false)
}

// ParseContentRelaxed is [ParseContent] for the estimation of prices (spec/messages.md §10): instances and verifiable
// programs may lack time and allow_amend, and files that are not there yet may carry estimated_size_mib.
func ParseContentRelaxed(t Type, raw []byte) (Content, error) {
	return parseContent(t, raw, nil, true)
}

// ParseFetched reads the content that was fetched for m, whose hash the caller has checked. A missing or null address or
// time is taken from the envelope (spec/messages.md §1.6). It returns the typed content and the JSON object that the node
// stores and serves: raw itself, or raw with those members put in.
func (m *Message) ParseFetched(raw []byte) (Content, json.RawMessage, error) {
	content, err := parseContent(m.Type, raw, &BaseContent{Address: m.Sender, Time: m.Time.Seconds()}, false)
	if err != nil {
		return nil, nil, err
	}
	return content, withBase(raw, content.Base()), nil
}

func parseContent(t Type, raw []byte, base *BaseContent, relaxed bool) (Content, error) {
	d, err := scanContentBytes(string(raw))
	if err != nil {
		return nil, Errorf(ErrInvalidFormat, "%v", err)
	}
	d.base, d.relaxed, d.draft = base, relaxed, relaxed && (t == TypeInstance || t == TypeVProgram)
	content := d.decode(t)
	if len(d.errs) > 0 {
		return nil, d.refusal()
	}
	return content, nil
}

// decode reads the root of the document as a content of type t. The result counts only when d has no complaints.
func (d *decoder) decode(t Type) Content {
	o, ok := d.readObject(0)
	if !ok {
		return nil
	}
	switch t {
	case TypePost:
		return o.post()
	case TypeAggregate:
		return o.aggregate()
	case TypeStore:
		return o.store()
	case TypeForget:
		return o.forget()
	case TypeProgram:
		return o.program()
	case TypeInstance:
		return o.instance()
	case TypeVProgram:
		return o.vprogram()
	}
	d.whole("unknown message type %q", clip(string(t), 80))
	return nil
}

// withBase returns the JSON object raw with a missing or null address or time filled in from base.
func withBase(raw []byte, base *BaseContent) json.RawMessage {
	for _, member := range []struct {
		name  string
		value []byte
	}{{"time", appendFloat(nil, base.Time)}, {"address", appendString(nil, base.Address)}} {
		doc, err := scan(string(raw))
		if err != nil {
			return raw // the caller has parsed it
		}
		switch i := doc.find(0, member.name); {
		case i < 0:
			open := int(doc.nodes[0].start) + 1
			text := append([]byte(`"`+member.name+`":`), member.value...)
			if doc.nodes[0].count > 0 {
				text = append(text, ',')
			}
			raw = slices.Insert(slices.Clone(raw), open, text...)
		case doc.nodes[i].kind == kindNull:
			raw = slices.Replace(slices.Clone(raw), int(doc.nodes[i].start), int(doc.nodes[i].end), member.value...)
		}
	}
	return raw
}
