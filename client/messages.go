package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// StoredMessage is a message as a node shows it: the envelope, its content and what the node knows of it.
type StoredMessage struct {
	Sender        string           `json:"sender"`
	Chain         message.Chain    `json:"chain"`
	Signature     *string          `json:"signature"`
	Type          message.Type     `json:"type"`
	ItemContent   *string          `json:"item_content"`
	ItemType      message.ItemType `json:"item_type"`
	ItemHash      message.Hash     `json:"item_hash"`
	Time          float64          `json:"time"` // Unix seconds
	Channel       *string          `json:"channel"`
	Content       json.RawMessage  `json:"content,omitempty"` // absent when it was not asked for
	Size          *int64           `json:"size,omitempty"`    // bytes of the content; lists only
	Confirmed     bool             `json:"confirmed"`
	Confirmations []Confirmation   `json:"confirmations"`

	// Proven is set when Content is known to be what ItemHash names. It is not for contents that travel outside of the message,
	// in lists; see [Client.Prove].
	Proven bool `json:"-"`
}

// Confirmation is a transaction that anchors a message on a chain.
type Confirmation struct {
	Chain  string `json:"chain"`
	Height int64  `json:"height"`
	Hash   string `json:"hash"`
}

// MessageInfo is what a node knows about one message.
type MessageInfo struct {
	Status        message.Status    `json:"status"`
	ItemHash      message.Hash      `json:"item_hash"`
	ReceptionTime time.Time         `json:"reception_time"`
	ForgottenBy   []message.Hash    `json:"forgotten_by"`
	Reason        string            `json:"reason"` // why it is being removed
	Code          message.ErrorCode `json:"error_code"`
	Details       json.RawMessage   `json:"details"`

	Message *StoredMessage  `json:"-"` // while it is processed or being removed
	Raw     json.RawMessage `json:"-"` // the whole answer, whose shape depends on Status (ccn-api §3.3)
}

func (i *MessageInfo) rejection() error {
	return &RejectedError{Hash: i.ItemHash, Code: i.Code, Details: i.Details}
}

// GetMessage returns what the node knows about a message, whatever its status; a message that it does not know is
// [ErrNotFound], one that is not what its sender signed an [*UntrustedError].
func (c *Client) GetMessage(ctx context.Context, hash message.Hash) (*MessageInfo, error) {
	var raw json.RawMessage
	if err := c.get(ctx, "/api/v0/messages/"+url.PathEscape(string(hash)), nil, &raw); err != nil {
		return nil, err
	}
	info := &MessageInfo{Raw: raw}
	if err := json.Unmarshal(raw, info); err != nil {
		return nil, fmt.Errorf("message %s: the answer is not what was expected: %w", hash, err)
	}
	if info.Status == message.StatusProcessed || info.Status == message.StatusRemoving {
		body := struct{ Message **StoredMessage }{&info.Message}
		if err := json.Unmarshal(raw, &body); err != nil {
			return nil, fmt.Errorf("message %s: the answer is not what was expected: %w", hash, err)
		}
		if err := c.checkAnswer(ctx, hash, info.Message); err != nil {
			return nil, err
		}
	}
	return info, nil
}

// checkAnswer proves the message that was asked for. A content that the node does not hand out stays unproven.
func (c *Client) checkAnswer(ctx context.Context, hash message.Hash, m *StoredMessage) error {
	if m == nil || m.ItemHash != hash && !c.cfg.TrustNode {
		return &UntrustedError{What: "message " + string(hash), Err: errors.New("it is another message")}
	}
	if err := c.check(m); err != nil {
		return err
	}
	if err := c.Prove(ctx, m); err != nil && !isNotFound(err) {
		return err
	}
	return nil
}

func isNotFound(err error) bool { return errors.Is(err, ErrNotFound) }

// Filter selects messages or posts; empty members select everything. Members of one list are alternatives, lists must all
// match.
type Filter struct {
	Types        []message.Type
	Statuses     []message.Status
	Hashes       []message.Hash
	Addresses    []string // senders of messages, owners of posts
	Owners       []string // content.address; not for posts
	Chains       []message.Chain
	Channels     []string
	Refs         []string
	Tags         []string
	ContentTypes []string // types of posts
	ContentKeys  []string // keys of aggregates
	ContentFiles []message.Hash
	Since, Until time.Time // [Since, Until); the zero time is no bound
	OldestFirst  bool
	PageSize     int // of one call, 1 … 200; 0 stands for 200
}

func (f Filter) query() url.Values {
	q := url.Values{}
	set(q, "msgTypes", f.Types)
	set(q, "msgStatuses", f.Statuses)
	set(q, "hashes", f.Hashes)
	set(q, "addresses", f.Addresses)
	set(q, "owners", f.Owners)
	set(q, "chains", f.Chains)
	set(q, "channels", f.Channels)
	set(q, "refs", f.Refs)
	set(q, "tags", f.Tags)
	set(q, "contentTypes", f.ContentTypes)
	set(q, "contentKeys", f.ContentKeys)
	set(q, "contentHashes", f.ContentFiles)
	if !f.Since.IsZero() {
		q.Set("startDate", seconds(f.Since))
	}
	if !f.Until.IsZero() {
		q.Set("endDate", seconds(f.Until))
	}
	if f.OldestFirst {
		q.Set("sortOrder", "1")
	}
	return q
}

func set[T ~string](q url.Values, name string, values []T) {
	if len(values) == 0 {
		return
	}
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = string(v)
	}
	q.Set(name, strings.Join(texts, ","))
}

func seconds(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMicro())/1e6, 'f', -1, 64) }

// Messages walks through the messages that match f. Pages are fetched, and messages checked, while the loop asks for them; an
// error ends it.
func (c *Client) Messages(ctx context.Context, f Filter) iter.Seq2[*StoredMessage, error] {
	return func(yield func(*StoredMessage, error) bool) {
		for m, err := range c.unchecked(ctx, f) {
			if err == nil {
				err = c.check(m)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(m, nil) {
				return
			}
		}
	}
}

// unchecked is Messages without the proof.
func (c *Client) unchecked(ctx context.Context, f Filter) iter.Seq2[*StoredMessage, error] {
	return walk[*StoredMessage](ctx, c, "/api/v0/messages.json", "messages", f.query(), f.PageSize)
}

// walk follows the cursors of a list (ccn-api §1.8). Pages whose entries are too large together become smaller.
func walk[T any](ctx context.Context, c *Client, path, member string, q url.Values, size int) iter.Seq2[T, error] {
	if size < 1 || size > 200 {
		size = 200
	}
	return func(yield func(T, error) bool) {
		var none T
		for cursor := ""; ; {
			q.Set("cursor", cursor)
			q.Set("pagination", strconv.Itoa(size))
			var page map[string]json.RawMessage
			err := c.get(ctx, path, q, &page)
			if KindOf(err) == KindTooLarge && size > 1 {
				size /= 2
				continue
			}
			if err != nil {
				yield(none, err)
				return
			}
			var items []T
			var next *string
			err = json.Unmarshal(page[member], &items)
			if raw, ok := page["next_cursor"]; ok && err == nil {
				err = json.Unmarshal(raw, &next)
			}
			if err != nil {
				yield(none, fmt.Errorf("list %s: the answer is not what was expected: %w", member, err))
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if next == nil || *next == cursor {
				return
			}
			cursor = *next
		}
	}
}
