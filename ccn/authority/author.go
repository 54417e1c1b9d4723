package authority

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature"
)

// Author writes messages in the name of one account and hands them to the node it runs in.
type Author struct {
	Account signature.Account
	Channel string
	// Submit takes the signed envelope as a user's would be taken, and returns once it is accepted.
	Submit func(ctx context.Context, envelope []byte) error
	// PutFile stores the bytes of a content that is too long to travel inline.
	PutFile func(ctx context.Context, content []byte) (message.Hash, error)
	// MaxInline is the length, in code points, up to which content travels inline.
	MaxInline int
}

// Post publishes a POST.
func (a *Author) Post(ctx context.Context, postType string, ref string, content any) error {
	return a.publish(ctx, message.TypePost, struct {
		Address string  `json:"address"`
		Time    float64 `json:"time"`
		Content any     `json:"content"`
		Ref     string  `json:"ref,omitempty"`
		Type    string  `json:"type"`
	}{a.Account.Address(), now(), content, ref, postType})
}

// Aggregate publishes a revision of one of the account's aggregates.
func (a *Author) Aggregate(ctx context.Context, key string, content any) error {
	return a.publish(ctx, message.TypeAggregate, struct {
		Address string  `json:"address"`
		Time    float64 `json:"time"`
		Key     string  `json:"key"`
		Content any     `json:"content"`
	}{a.Account.Address(), now(), key, content})
}

// now is in whole milliseconds, which every client reads back unchanged.
func now() float64 { return float64(time.Now().UnixMicro()) / 1e6 }

func (a *Author) publish(ctx context.Context, t message.Type, content any) error {
	text, err := encode(content)
	if err != nil {
		return fmt.Errorf("encode %s content: %w", t, err)
	}
	m := &message.Message{
		Sender:   a.Account.Address(),
		Chain:    a.Account.Chain(),
		Type:     t,
		ItemType: message.ItemInline,
		ItemHash: message.HashBytes(text),
		Time:     message.TimeFromSeconds(now()),
		Channel:  &a.Channel,
	}
	if utf8.RuneCount(text) <= a.MaxInline {
		m.ItemContent = string(text)
	} else {
		m.ItemType = message.ItemStorage
		if m.ItemHash, err = a.PutFile(ctx, text); err != nil {
			return fmt.Errorf("store %s content of %d bytes: %w", t, len(text), err)
		}
	}
	if m.Signature, err = a.Account.Sign(ctx, m.SigningPayload()); err != nil {
		return fmt.Errorf("sign %s %s: %w", t, m.ItemHash, err)
	}
	envelope, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode %s %s: %w", t, m.ItemHash, err)
	}
	if err := a.Submit(ctx, envelope); err != nil {
		return fmt.Errorf("submit %s %s: %w", t, m.ItemHash, err)
	}
	return nil
}

// encode writes JSON as the network's clients do: no escaping of <, > and &.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
