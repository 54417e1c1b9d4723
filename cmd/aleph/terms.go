package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

// acceptTerms asks the user to accept the terms of a compute node, and returns the STORE message that has them, for the message of
// the instance; nil when its owner registered none.
func (a *app) acceptTerms(ctx context.Context, api *client.Client, n *client.ComputeNode) (*message.Hash, error) {
	if n.Terms == "" {
		return nil, nil
	}
	file, err := api.FileOf(ctx, n.Terms)
	if errors.Is(err, client.ErrNotFound) {
		return nil, fmt.Errorf("compute node %s wants its terms accepted, %s, and the network does not have them: choose another node with --node: %w", n.Name, n.Terms, err)
	} else if err != nil {
		return nil, fmt.Errorf("terms of compute node %s: %w", n.Name, err)
	}
	a.say("Terms of %s: %s", n.Name, fileURL(api, file))
	if err := a.confirm("Do you accept the terms of " + n.Name + "?"); err != nil {
		return nil, err
	}
	return &n.Terms, nil
}
