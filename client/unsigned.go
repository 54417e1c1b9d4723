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
func (u *Unsigned) UnmarshalJSON(raw []byte) (err error) {
	u.Message, u.Content, err = parsePortable(raw)
	return err
}

// MarshalJSON writes {"message": envelope, "content": text, if it is not in the envelope}.
func (s *Signed) MarshalJSON() ([]byte, error) {
	return json.Marshal(portable{Message: s.Message.AppendJSON(nil), Content: string(s.Content)})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (s *Signed) UnmarshalJSON(raw []byte) (err error) {
	if s.Message, s.Content, err = parsePortable(raw); err == nil && s.Message.Signature == "" {
		return errors.New("the message is not signed")
	}
	return err
}

func parsePortable(raw []byte) (*message.Message, []byte, error) {
	var p portable
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, nil, fmt.Errorf("message to sign or to send: %w", err)
	}
	if p.Message == nil {
		return nil, nil, errors.New(`message to sign or to send: want an object with the member "message"`)
	}
	m, _, err := message.Parse(p.Message)
	if err != nil {
		return nil, nil, fmt.Errorf("message to sign or to send: %w", err)
	}
	if m.ItemType == message.ItemInline {
		return m, nil, nil
	}
	content := []byte(p.Content)
	if len(content) == 0 {
		return m, nil, nil
	}
	if got := message.HashBytes(content); got != m.ItemHash {
		return nil, nil, fmt.Errorf("message %s: its content is that of %s", m.ItemHash, got)
	}
	if _, err := message.ParseContent(m.Type, content); err != nil {
		return nil, nil, fmt.Errorf("message %s: %w", m.ItemHash, err)
	}
	return m, content, nil
}
