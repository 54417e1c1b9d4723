package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature"
)

// Unsigned is a message that waits for its signature. As JSON it can be carried to where the key is, which may be a machine
// without a network, and back; the text to sign is in it.
type Unsigned struct {
	Message *message.Message // its Signature is empty
	// Content is the text of the content when it is too long to travel inside the message; nil otherwise. [Client.Broadcast]
	// stores it on the node first.
	Content []byte
}

// Build makes a message of type t from sender that is ready to be signed; see [message.Build] for content. channel is "" for
// none. It needs neither a key nor a network.
func Build(sender string, chain message.Chain, t message.Type, content any, channel string) (*Unsigned, error) {
	var ch *string
	if channel != "" {
		ch = &channel
	}
	m, outside, err := message.Build(sender, chain, t, content, ch, time.Now())
	if err != nil {
		return nil, err
	}
	return &Unsigned{m, outside}, nil
}

// Payload is the text to sign, as the wallets of the sender's chain sign messages.
func (u *Unsigned) Payload() []byte { return u.Message.SigningPayload() }

// Attach adds a signature that was made elsewhere. One that does not prove the sender is refused.
func (u *Unsigned) Attach(text string) (*Signed, error) {
	m := *u.Message
	m.Signature = text
	if err := signature.Default().Verify(&m); err != nil {
		return nil, fmt.Errorf("attach a signature to message %s: %w", m.ItemHash, err)
	}
	return &Signed{&m, u.Content}, nil
}

// Sign signs with an account, which must be the sender.
func (u *Unsigned) Sign(ctx context.Context, by Account) (*Signed, error) {
	m := *u.Message
	if err := signature.Sign(ctx, by, &m); err != nil {
		return nil, err
	}
	return &Signed{&m, u.Content}, nil
}

// Signed is a message that can be broadcast, by anybody. It has a form in JSON too.
type Signed struct {
	Message *message.Message
	Content []byte // as in Unsigned
}

// Broadcast publishes a signed message. It can be repeated: the message is known by its hash.
func (c *Client) Broadcast(ctx context.Context, s *Signed, sync bool) (Published, error) {
	if s.Content != nil {
		if err := c.storeContent(ctx, s.Message.ItemHash, s.Content); err != nil {
			return Published{}, err
		}
	}
	return c.PublishMessage(ctx, s.Message, sync)
}

// portable is how messages travel between build, sign and broadcast.
type portable struct {
	Message json.RawMessage `json:"message"`
	Payload string          `json:"payload,omitempty"` // what is to be signed, for people and devices
	Content string          `json:"content,omitempty"`
}

// MarshalJSON writes {"message": envelope, "payload": text to sign, "content": text, if it is not in the envelope}.
func (u *Unsigned) MarshalJSON() ([]byte, error) {
	return json.Marshal(portable{u.Message.AppendJSON(nil), string(u.Payload()), string(u.Content)})
}

// UnmarshalJSON reads what MarshalJSON writes and checks that the hash is that of the content, so that what is signed is what is
// shown.
func (u *Unsigned) UnmarshalJSON(raw []byte) error {
	p, err := parsePortable(raw)
	if err != nil {
		return err
	}
	u.Message, u.Content = p.message, p.content
	switch {
	case p.payload != "" && p.payload != string(u.Payload()):
		return fmt.Errorf("message %s: the text to sign is another", u.Message.ItemHash)
	case u.Message.ItemType != message.ItemInline && u.Content == nil:
		return fmt.Errorf("message %s: its content is missing", u.Message.ItemHash)
	}
	return nil
}

// MarshalJSON writes {"message": envelope, "content": text, if it is not in the envelope}.
func (s *Signed) MarshalJSON() ([]byte, error) {
	return json.Marshal(portable{Message: s.Message.AppendJSON(nil), Content: string(s.Content)})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (s *Signed) UnmarshalJSON(raw []byte) error {
	p, err := parsePortable(raw)
	if err != nil {
		return err
	}
	if s.Message, s.Content = p.message, p.content; s.Message.Signature == "" {
		return errors.New("the message is not signed")
	}
	return nil
}

// carried is what was read of a portable: the content has the hash that the message names.
type carried struct {
	message *message.Message
	payload string
	content []byte
}

func parsePortable(raw []byte) (*carried, error) {
	var p portable
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, fmt.Errorf("message to sign or to send: %w", err)
	}
	if p.Message == nil {
		return nil, errors.New(`message to sign or to send: want an object with the member "message"`)
	}
	m, _, err := message.Parse(p.Message)
	if err != nil {
		return nil, fmt.Errorf("message to sign or to send: %w", err)
	}
	c := &carried{message: m, payload: p.Payload}
	if m.ItemType == message.ItemInline || p.Content == "" {
		return c, nil
	}
	c.content = []byte(p.Content)
	if got := message.HashBytes(c.content); got != m.ItemHash {
		return nil, fmt.Errorf("message %s: its content is that of %s", m.ItemHash, got)
	}
	if _, err := message.ParseContent(m.Type, c.content); err != nil {
		return nil, fmt.Errorf("message %s: %w", m.ItemHash, err)
	}
	return c, nil
}
