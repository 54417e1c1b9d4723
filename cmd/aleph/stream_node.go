package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aleph-im/aleph-go/client"
)

// streamedNode is a compute node that takes streams.
type streamedNode struct {
	client.ComputeNode
	receiver string
}

// node finds the compute node that the user names by hash, name or address, or else the best of those that take streams.
func (s *streaming) node(ctx context.Context, wanted string) (*streamedNode, error) {
	nodes, err := s.a.nodes(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for compute nodes: %w", err)
	}
	takes, err := s.a.takesWorkloads(ctx, s.api)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(nodes.Compute, func(a, b client.ComputeNode) int { return cmp.Compare(b.Score, a.Score) })
	var reasons []error
	for _, n := range nodes.Compute {
		if wanted == "" && n.Parent != nil || isNamed(n, wanted) {
			err := takes(&n)
			if err == nil {
				var receiver string
				if receiver, err = s.receiver(ctx, &n); err == nil {
					return &streamedNode{n, receiver}, nil
				}
			}
			reasons = append(reasons, err)
		}
	}
	if wanted != "" && len(reasons) == 0 {
		return nil, unknownNode(wanted)
	}
	last := errors.New("no compute node takes streams: pay with hold or credit")
	if wanted != "" {
		last = errors.New("name another one with --node, or none to have one chosen")
	}
	return nil, errors.Join(append(reasons, last)...)
}

// isNamed says whether the user means a node by its hash, name or address.
func isNamed(n client.ComputeNode, wanted string) bool {
	return wanted == string(n.Hash) || strings.EqualFold(wanted, n.Name) || wanted == strings.TrimRight(n.Address, "/")
}

func unknownNode(wanted string) error {
	return usageError{fmt.Errorf("--node %s: no compute node has this hash, name or address; aleph node compute lists them", wanted)}
}

// receiver asks a node where streams to it go. It must be where its owner told the network.
func (s *streaming) receiver(ctx context.Context, n *client.ComputeNode) (string, error) {
	receiver, err := s.api.StreamReceiver(ctx, n.Address, s.chain)
	switch {
	case err != nil:
		return "", err
	case receiver == "":
		return "", fmt.Errorf("compute node %s takes no streams on %s", n.Name, s.chain)
	case n.StreamReward != "" && !strings.EqualFold(n.StreamReward, receiver):
		return "", fmt.Errorf("compute node %s wants streams to %s, its owner registered %s: not used", n.Name, receiver, n.StreamReward)
	}
	return receiver, nil
}

// takesWorkloads asks which compute nodes take workloads, and returns what tells why one does not. A stream to one that does not would
// pay for an instance that starts nowhere. Of a network whose scheduler does not say, all are taken to.
func (a *app) takesWorkloads(ctx context.Context, api *client.Client) (func(*client.ComputeNode) error, error) {
	taking, err := api.SchedulerNodes(ctx)
	if errors.Is(err, client.ErrNotFound) {
		return func(*client.ComputeNode) error { return nil }, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask which compute nodes take workloads: %w", err)
	}
	return func(n *client.ComputeNode) error {
		if slices.ContainsFunc(taking, func(t client.AllocatedNode) bool { return t.ID == string(n.Hash) }) {
			return nil
		}
		return fmt.Errorf("compute node %s takes no workloads: it is linked to no core node, does not answer, or is being drained", n.Name)
	}, nil
}
