package message

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// InlineLimit is the size in bytes from which a content does not travel inside its message (spec/messages.md §8.1).
const InlineLimit = 50_000

// Build makes a message that is ready to be signed: it serialises content once, checks it as a node would, and hashes that
// very text. channel is nil for none; now, cut to microseconds, becomes the time of the envelope.
//
// content is one of
//   - a [Content], written without its absent members; an empty Address becomes the sender and a zero Time becomes now, in
//     content itself;
//   - a json.RawMessage, taken as it is;
//   - anything else that encodes to the JSON of a content.
//
// A content of [InlineLimit] bytes or more does not fit in a message. Its text is then returned as upload and named by its
// sha256: the caller must put it on the node's storage before it sends the message. Otherwise upload is nil.
func Build(sender string, chain Chain, t Type, content any, channel *string, now time.Time) (m *Message, upload []byte, err error) {
	now = now.Truncate(time.Microsecond) // what comes later must be later: of the same moment the hash decides
	text, err := contentText(sender, content, now)
	if err != nil {
		return nil, nil, fmt.Errorf("build %s message: %w", t, err)
	}
	if _, err := ParseContent(t, text); err != nil {
		return nil, nil, fmt.Errorf("build %s message: %w", t, err)
	}
	m = &Message{
		Sender: sender, Chain: chain, Type: t, ItemHash: HashBytes(text), Time: TimeFrom(now), Channel: channel,
	}
	if len(text) < InlineLimit {
		m.ItemType, m.ItemContent = ItemInline, string(text)
		return m, nil, nil
	}
	m.ItemType = ItemStorage
	return m, text, nil
}

// contentText serialises what [Build] was given.
func contentText(sender string, content any, now time.Time) ([]byte, error) {
	switch c := content.(type) {
	case json.RawMessage:
		return c, nil
	case Content:
		base := c.Base()
		if base.Address == "" {
			base.Address = sender
		}
		if base.Time == 0 {
			base.Time = TimeFrom(now).Seconds()
		}
		e, ok := content.(encodable)
		if !ok {
			return nil, fmt.Errorf("unknown content type %T", content)
		}
		return encode(e, false)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(content); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
