package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// ErrNotInstance: the message exists, and is of another type.
var ErrNotInstance = errors.New("message is not an instance")

// Instance fetches the message of an instance, as [Client.Program] does.
func (c *Client) Instance(ctx context.Context, hash message.Hash) (*message.Instance, error) {
	content, err := c.content(ctx, hash)
	if err != nil {
		return nil, fmt.Errorf("instance %s: %w", hash, err)
	}
	instance, ok := content.(*message.Instance)
	if !ok {
		return nil, fmt.Errorf("instance %s: %w but of type %s", hash, ErrNotInstance, content.Type())
	}
	return instance, nil
}

// Aggregate reads the value of one key of an address's aggregate into v, from an answer no older than age. The error is
// [ErrNotFound] when there is none.
func (c *Client) Aggregate(ctx context.Context, address, key string, _ time.Duration, v any) error {
	raw, err := c.get(ctx, "/api/v0/aggregates/"+url.PathEscape(address)+".json?"+url.Values{"keys": {key}}.Encode())
	if err != nil {
		return fmt.Errorf("aggregate %s of %s: %w", key, address, err)
	}
	var answer struct {
		Data map[string]json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return fmt.Errorf("aggregate %s of %s: %w sensibly: %w", key, address, ErrUnavailable, err)
	}
	value, ok := answer.Data[key]
	if !ok {
		return fmt.Errorf("aggregate %s of %s: %w", key, address, ErrNotFound)
	}
	return json.Unmarshal(value, v)
}
