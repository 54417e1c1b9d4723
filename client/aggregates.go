package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// Aggregate reads the merged content of one aggregate into dst. One that does not exist is [ErrNotFound].
func (c *Client) Aggregate(ctx context.Context, owner, key string, dst any) error {
	var reply struct {
		Data map[string]json.RawMessage `json:"data"`
	}
	path := "/api/v0/aggregates/" + url.PathEscape(owner) + ".json"
	if err := c.get(ctx, path, url.Values{"keys": {key}}, &reply); err != nil {
		return fmt.Errorf("aggregate %s of %s: %w", key, owner, err)
	}
	raw, ok := reply.Data[key]
	if !ok {
		return fmt.Errorf("aggregate %s of %s: %w", key, owner, ErrNotFound)
	}
	if err := json.Unmarshal(raw, dst); err != nil {
		return fmt.Errorf("aggregate %s of %s: %w", key, owner, err)
	}
	return nil
}

// AggregateInfo says when an aggregate was made and last changed, and by which message.
type AggregateInfo struct {
	Created     time.Time    `json:"created"`
	LastUpdated time.Time    `json:"last_updated"`
	First       message.Hash `json:"original_item_hash"`
	Last        message.Hash `json:"last_update_item_hash"`
}

// Aggregates returns all aggregates of owner by their keys, and what is known of each. An owner of none has no keys.
func (c *Client) Aggregates(ctx context.Context, owner string) (map[string]json.RawMessage, map[string]AggregateInfo, error) {
	var reply struct {
		Data map[string]json.RawMessage `json:"data"`
		Info map[string]AggregateInfo   `json:"info"`
	}
	err := c.get(ctx, "/api/v0/aggregates/"+url.PathEscape(owner)+".json", url.Values{"with_info": {"true"}}, &reply)
	if err != nil && !isNotFound(err) {
		return nil, nil, fmt.Errorf("aggregates of %s: %w", owner, err)
	}
	return reply.Data, reply.Info, nil
}

// AggregateEntry is an aggregate in a list.
type AggregateEntry struct {
	Address     string          `json:"address"` // owner
	Key         string          `json:"key"`
	Content     json.RawMessage `json:"content"`
	Created     time.Time       `json:"created"`
	LastUpdated time.Time       `json:"last_updated"`
}

// ListAggregates walks through the aggregates of all owners, the last changed first. Empty lists select everything.
func (c *Client) ListAggregates(ctx context.Context, owners, keys []string) iter.Seq2[*AggregateEntry, error] {
	q := url.Values{}
	set(q, "addresses", owners)
	set(q, "keys", keys)
	return walk[*AggregateEntry](ctx, c, "/api/v0/aggregates.json", "aggregates", q, 0)
}

// SetAggregate merges members into the aggregate that key names, each replacing the member of the same name; one that is nil, or
// null, is what readers take for removed. members is anything that encodes to a JSON object.
func (c *Client) SetAggregate(ctx context.Context, by Account, key string, members any, o SendOptions) (*Sent, error) {
	raw, err := encodeJSON(members)
	if err != nil {
		return nil, fmt.Errorf("set aggregate %s: %w", key, err)
	}
	if !strings.HasPrefix(string(raw), "{") {
		return nil, fmt.Errorf("set aggregate %s: its content must be a JSON object", key)
	}
	return c.sent(ctx, by, message.TypeAggregate, &message.Aggregate{Key: key, Content: raw}, o)
}

// UnsetAggregate removes members from an aggregate by setting each to null.
func (c *Client) UnsetAggregate(ctx context.Context, by Account, key string, members []string, o SendOptions) (*Sent, error) {
	if len(members) == 0 {
		return nil, errors.New("unset members of an aggregate: name at least one")
	}
	nulls := make(map[string]any, len(members))
	for _, name := range members {
		nulls[name] = nil
	}
	return c.SetAggregate(ctx, by, key, nulls, o)
}

// ForgetAggregate has the network forget all revisions of an aggregate, by as many messages as that takes, and returns the last
// of them. An aggregate that does not exist is [ErrNotFound].
func (c *Client) ForgetAggregate(ctx context.Context, by Account, key, reason string, o SendOptions) (*Sent, error) {
	owner := ownerOf(by, o)
	var revisions []message.Hash
	for m, err := range c.Messages(ctx, Filter{Types: []message.Type{message.TypeAggregate}, Owners: []string{owner}, ContentKeys: []string{key}}) {
		if err != nil {
			return nil, fmt.Errorf("revisions of aggregate %s of %s: %w", key, owner, err)
		}
		revisions = append(revisions, m.ItemHash)
	}
	if len(revisions) == 0 {
		return nil, fmt.Errorf("aggregate %s of %s: %w", key, owner, ErrNotFound)
	}
	var last *Sent
	for part := range slices.Chunk(revisions, maxForget) {
		var err error
		if last, err = c.Forget(ctx, by, part, reason, o); err != nil {
			return nil, err
		}
	}
	return last, nil
}
