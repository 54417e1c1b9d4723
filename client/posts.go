package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// Post is a post merged with its latest amendment.
type Post struct {
	ItemHash         message.Hash    `json:"item_hash"` // of the version that counts
	OriginalItemHash message.Hash    `json:"original_item_hash"`
	OriginalType     string          `json:"original_type"`
	Address          string          `json:"address"` // owner
	Content          json.RawMessage `json:"content"`
	Ref              *string         `json:"ref"`
	Channel          *string         `json:"channel"`
	Created          time.Time       `json:"created"`
	LastUpdated      time.Time       `json:"last_updated"`
}

// Posts walks through the posts that match f. What a node says of posts is put together from several messages and not proven;
// the messages are, by [Client.GetMessage].
func (c *Client) Posts(ctx context.Context, f Filter) iter.Seq2[*Post, error] {
	return walk[*Post](ctx, c, "/api/v1/posts.json", "posts", postQuery(f), f.PageSize)
}

func postQuery(f Filter) url.Values {
	q := f.query()
	q.Del("contentTypes")
	set(q, "types", f.ContentTypes)
	return q
}

// PostV0 is a post in the older form, which says more of the messages that make it (ccn-api §5).
type PostV0 struct {
	Chain             message.Chain    `json:"chain"`
	ItemHash          message.Hash     `json:"item_hash"` // of the version that counts
	Address           string           `json:"address"`   // owner
	Type              string           `json:"type"`      // "amend" once it was amended
	OriginalType      string           `json:"original_type"`
	OriginalItemHash  message.Hash     `json:"original_item_hash"`
	OriginalSignature *string          `json:"original_signature"`
	Channel           *string          `json:"channel"`
	Ref               *string          `json:"ref"`
	Content           json.RawMessage  `json:"content"`
	ItemContent       *string          `json:"item_content"`
	ItemType          message.ItemType `json:"item_type"`
	Signature         *string          `json:"signature"`
	Size              int64            `json:"size"` // bytes of the content
	Time              float64          `json:"time"` // Unix seconds
	Confirmed         bool             `json:"confirmed"`
	Confirmations     []Confirmation   `json:"confirmations"`
}

// PostsV0 is Posts in the older form.
func (c *Client) PostsV0(ctx context.Context, f Filter) iter.Seq2[*PostV0, error] {
	return walk[*PostV0](ctx, c, "/api/v0/posts.json", "posts", postQuery(f), f.PageSize)
}

// Post returns one post by the hash of its first version; one that does not exist is [ErrNotFound].
func (c *Client) Post(ctx context.Context, original message.Hash) (*Post, error) {
	for p, err := range c.Posts(ctx, Filter{Hashes: []message.Hash{original}, PageSize: 1}) {
		return p, err
	}
	return nil, fmt.Errorf("post %s: %w", original, ErrNotFound)
}

// SendPost publishes a post of the given type. ref is what it refers to, or "". content is anything that encodes to JSON.
func (c *Client) SendPost(ctx context.Context, by Account, postType, ref string, content any, o SendOptions) (*Sent, error) {
	raw, err := encodeJSON(content)
	if err != nil {
		return nil, fmt.Errorf("send post: %w", err)
	}
	return c.sent(ctx, by, message.TypePost, &message.Post{PostType: postType, Ref: ref, Content: raw}, o)
}

// AmendPost replaces the content of a post, which is named by the hash of its first version.
func (c *Client) AmendPost(ctx context.Context, by Account, original message.Hash, content any, o SendOptions) (*Sent, error) {
	if original.Kind() == "" {
		return nil, errors.New("amend post: it is named by the hash of its first version")
	}
	return c.SendPost(ctx, by, message.PostTypeAmend, string(original), content, o)
}

// maxForget is how many messages one FORGET names at most.
const maxForget = 1000

// Forget asks the network to forget messages, at most 1000. reason is "" for none.
func (c *Client) Forget(ctx context.Context, by Account, messages []message.Hash, reason string, o SendOptions) (*Sent, error) {
	content := &message.Forget{Hashes: messages}
	if reason != "" {
		content.Reason = &reason
	}
	return c.sent(ctx, by, message.TypeForget, content, o)
}

// encodeJSON is the JSON of v with its text as it is, <, > and & too.
func encodeJSON(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
