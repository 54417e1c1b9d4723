package client

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// Published is what a node answered to a message (ccn-api §4.1).
type Published struct {
	HTTPStatus int            // 200 processed, 202 accepted
	Status     message.Status // pending or processed
	Failed     []string       // networks that the node could not hand it to: "p2p", "ipfs"
}

// PublishMessage sends a signed message. With sync the node answers once it has decided, or after 30 s with
// [message.StatusPending]. A message that the node refuses is a [*RejectedError].
func (c *Client) PublishMessage(ctx context.Context, m *message.Message, sync bool) (Published, error) {
	return c.PublishRaw(ctx, m.AppendJSON(nil), sync)
}

// PublishRaw is PublishMessage for an envelope that is already encoded; its bytes are sent as they are.
func (c *Client) PublishRaw(ctx context.Context, envelope []byte, sync bool) (Published, error) {
	body, err := json.Marshal(submission{envelope, sync})
	if err != nil {
		return Published{}, fmt.Errorf("publish message: %w", err)
	}
	a, err := c.call(ctx, http.MethodPost, "/api/v0/messages", jsonHeader(), body)
	if err != nil {
		return Published{}, fmt.Errorf("publish message: %w", err)
	}
	var reply struct {
		Publication struct {
			Failed []string `json:"failed"`
		} `json:"publication_status"`
		Status message.Status `json:"message_status"`
	}
	if json.Unmarshal(a.body, &reply) == nil && reply.Status == message.StatusRejected {
		return Published{}, c.rejection(ctx, envelope)
	}
	if a.status != http.StatusOK && a.status != http.StatusAccepted {
		return Published{}, httpError(http.MethodPost, a.url, a)
	}
	return Published{a.status, reply.Status, reply.Publication.Failed}, nil
}

type submission struct {
	Message json.RawMessage `json:"message"`
	Sync    bool            `json:"sync"`
}

// rejection asks why the message in envelope was refused, which the answer to its publication does not say.
func (c *Client) rejection(ctx context.Context, envelope []byte) error {
	var head struct {
		Hash message.Hash `json:"item_hash"`
	}
	if err := json.Unmarshal(envelope, &head); err != nil {
		return fmt.Errorf("message was rejected, and is not JSON: %w", err)
	}
	info, err := c.GetMessage(ctx, head.Hash)
	if err != nil {
		return fmt.Errorf("message %s was rejected; why could not be read: %w", head.Hash, err)
	}
	if info.Status != message.StatusRejected {
		return fmt.Errorf("message %s was rejected, and is now %s", head.Hash, info.Status)
	}
	return info.rejection()
}

// SendOptions are the members of an envelope that its content does not determine.
type SendOptions struct {
	Channel string // "" for none
	Address string // on whose behalf; "" for the account itself. A content that names its owner keeps it
	Sync    bool   // wait until the node has decided, at most 30 s
}

// Send builds, signs and publishes a message of type t. content is what [message.Build] takes; one that is too long to
// travel inline is stored on the node first, under a hash that is computed here.
func (c *Client) Send(ctx context.Context, by Account, t message.Type, content any, o SendOptions) (*message.Message, Published, error) {
	if typed, ok := content.(message.Content); ok {
		base := typed.Base()
		base.Address = cmp.Or(base.Address, o.Address)
	}
	u, err := Build(by.Address(), by.Chain(), t, content, o.Channel)
	if err != nil {
		return nil, Published{}, err
	}
	signed, err := u.Sign(ctx, by)
	if err != nil {
		return nil, Published{}, err
	}
	p, err := c.Broadcast(ctx, signed, o.Sync)
	return signed.Message, p, err
}

// Sent is a message that a node took.
type Sent struct {
	Hash   message.Hash
	Status message.Status // processed, or pending: then WaitFor tells what becomes of it
	Failed []string       // networks that the node could not hand it to
}

func (c *Client) sent(ctx context.Context, by Account, t message.Type, content any, o SendOptions) (*Sent, error) {
	m, p, err := c.Send(ctx, by, t, content, o)
	if err != nil {
		return nil, err
	}
	return &Sent{m.ItemHash, p.Status, p.Failed}, nil
}

// Sign builds a message of type t and signs it; see [message.Build] for content and for upload.
func Sign(ctx context.Context, by Account, t message.Type, content any, channel string) (m *message.Message, upload []byte, err error) {
	u, err := Build(by.Address(), by.Chain(), t, content, channel)
	if err != nil {
		return nil, nil, err
	}
	signed, err := u.Sign(ctx, by)
	if err != nil {
		return nil, nil, err
	}
	return signed.Message, signed.Content, nil
}

// WaitFor returns when the node has processed the message, or with a [*RejectedError] when it has refused it. A message
// that the node does not know yet is waited for as well: it may be on its way from another node. ctx bounds the wait; its end is a
// [*PendingError].
func (c *Client) WaitFor(ctx context.Context, hash message.Hash) (*MessageInfo, error) {
	pause := 50 * time.Millisecond
	for {
		info, err := c.GetMessage(ctx, hash)
		switch {
		case err == nil && info.Status == message.StatusRejected:
			return info, info.rejection()
		case err == nil && info.Status != message.StatusPending:
			return info, nil
		case err != nil && !isNotFound(err):
			return nil, err
		}
		select {
		case <-ctx.Done():
			return info, &PendingError{hash, ctx.Err()}
		case <-time.After(pause):
		}
		pause = min(pause*3/2, 2*time.Second)
	}
}
