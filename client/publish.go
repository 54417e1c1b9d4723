package client

import (
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
	target := c.base + "/api/v0/messages"
	a, err := c.call(ctx, http.MethodPost, target, jsonHeader(), body)
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
		return Published{}, httpError(http.MethodPost, target, a)
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
	Sync    bool   // wait until the node has decided, at most 30 s
}

// Send builds, signs and publishes a message of type t. content is what [message.Build] takes; one that is too long to
// travel inline is stored on the node first, under a hash that is computed here.
func (c *Client) Send(ctx context.Context, by Account, t message.Type, content any, o SendOptions) (*message.Message, Published, error) {
	m, upload, err := Sign(ctx, by, t, content, o.Channel)
	if err != nil {
		return nil, Published{}, err
	}
	if upload != nil {
		if err := c.storeContent(ctx, m.ItemHash, upload); err != nil {
			return nil, Published{}, err
		}
	}
	p, err := c.PublishMessage(ctx, m, o.Sync)
	return m, p, err
}

// Sign builds a message of type t and signs it; see [message.Build] for content and for upload.
func Sign(ctx context.Context, by Account, t message.Type, content any, channel string) (m *message.Message, upload []byte, err error) {
	var ch *string
	if channel != "" {
		ch = &channel
	}
	if m, upload, err = message.Build(by.Address(), by.Chain(), t, content, ch, time.Now()); err != nil {
		return nil, nil, err
	}
	if m.Signature, err = by.Sign(ctx, m.SigningPayload()); err != nil {
		return nil, nil, fmt.Errorf("sign %s message as %s: %w", t, by.Address(), err)
	}
	return m, upload, nil
}

// WaitFor returns when the node has processed the message, or with a [*RejectedError] when it has refused it. A message
// that the node does not know yet is waited for as well: it may be on its way from another node. ctx bounds the wait.
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
			return info, fmt.Errorf("message %s is not processed yet: %w", hash, ctx.Err())
		case <-time.After(pause):
		}
		pause = min(pause*3/2, 2*time.Second)
	}
}
