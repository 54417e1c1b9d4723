package corenode

import (
	"context"
	"errors"
	"fmt"

	"github.com/aleph-im/aleph-go/message"
)

// ErrNotInstance: the message exists, and is of another type.
var ErrNotInstance = errors.New("message is not an instance")

// Instance fetches the message of an instance, as [Client.Program] does.
func (c *Client) Instance(ctx context.Context, hash message.Hash) (*message.Instance, error) {
	workload, err := c.workload(ctx, hash)
	if err != nil {
		return nil, fmt.Errorf("instance %s: %w", hash, err)
	}
	instance, ok := workload.Content.(*message.Instance)
	if !ok {
		return nil, fmt.Errorf("instance %s: %w but of type %s", hash, ErrNotInstance, workload.Content.Type())
	}
	return instance, nil
}
