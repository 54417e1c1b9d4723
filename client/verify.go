package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/aleph-im/aleph-go/message"
)

// Envelope returns what the sender signed. A part that the node left out is empty.
func (m *StoredMessage) Envelope() *message.Message {
	e := &message.Message{
		Sender: m.Sender, Chain: m.Chain, Type: m.Type, ItemType: m.ItemType, ItemHash: m.ItemHash,
		Time: message.TimeFromSeconds(m.Time), Channel: m.Channel,
	}
	if m.Signature != nil {
		e.Signature = *m.Signature
	}
	if m.ItemContent != nil {
		e.ItemContent = *m.ItemContent
	}
	return e
}

// check proves that m is what its sender signed, as far as that can be done without another call: the signature, and the hash
// of a content that travels inside. Such a content is then taken from the text that was hashed, whatever else the node said.
func (c *Client) check(m *StoredMessage) error {
	if c.cfg.TrustNode {
		return nil
	}
	wrong := func(err error) error { return &UntrustedError{What: "message " + string(m.ItemHash), Err: err} }
	envelope := m.Envelope()
	if m.ItemType == message.ItemInline {
		if m.ItemContent == nil {
			return wrong(errors.New("its content is missing"))
		}
		if got := message.HashBytes([]byte(envelope.ItemContent)); got != m.ItemHash {
			return wrong(fmt.Errorf("the hash of its content is %s", got))
		}
		if err := m.adopt([]byte(envelope.ItemContent)); err != nil {
			return wrong(err)
		}
	}
	switch {
	case c.cfg.SkipSignatures:
		return nil
	case m.Signature == nil && m.Confirmed:
		return nil // made of an event on a chain, which nobody signs
	case m.Signature == nil:
		return wrong(errors.New("it has neither a signature nor a confirmation"))
	}
	if err := c.signatures.Verify(envelope); err != nil {
		return wrong(err)
	}
	return nil
}

// adopt takes text, whose hash was checked, as the content, and adds the members that the network takes from the envelope when
// the sender left them out.
func (m *StoredMessage) adopt(text []byte) error {
	m.Proven = true
	if len(m.Content) == 0 { // it was not asked for
		return nil
	}
	var given struct {
		Address json.RawMessage `json:"address"`
		Time    json.RawMessage `json:"time"`
	}
	if err := json.Unmarshal(text, &given); err != nil {
		return fmt.Errorf("its content is not JSON: %w", err)
	}
	if m.Content = bytes.TrimSpace(text); m.Content[0] != '{' {
		return errors.New("its content is no object")
	}
	if given.Address == nil {
		m.Content = insert(m.Content, "address", m.Sender)
	}
	if given.Time == nil {
		m.Content = insert(m.Content, "time", m.Time)
	}
	return nil
}

// insert puts a member at the beginning of an object.
func insert(object json.RawMessage, name string, value any) json.RawMessage {
	member, err := json.Marshal(map[string]any{name: value})
	if err != nil {
		panic(fmt.Sprintf("a text or a number is not JSON: %v", err))
	}
	rest := bytes.TrimSpace(object[1:])
	if rest[0] == '}' {
		return member
	}
	return append(append(member[:len(member)-1:len(member)-1], ','), rest...)
}

// Prove fetches the content of a message that does not travel inside it, by its hash, checks it and takes it instead of what the
// node said that it is. It does nothing when that is proven already.
func (c *Client) Prove(ctx context.Context, m *StoredMessage) error {
	if m.Proven || c.cfg.TrustNode {
		return nil
	}
	var text bytes.Buffer
	if _, err := c.DownloadFile(ctx, m.ItemHash, &text); err != nil {
		return fmt.Errorf("content of message %s: %w", m.ItemHash, err)
	}
	if len(m.Content) == 0 {
		m.Content = json.RawMessage("{}")
	}
	return m.adopt(text.Bytes())
}
