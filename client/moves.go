package client

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"

	"github.com/aleph-im/aleph-go/message"
)

// Aggregates by which owners have instances moved, and core nodes say where they are (decisions 0025 and 0038).
const (
	wishesKey   = "instance-nodes"
	drainingKey = "crn-draining"
	homesKey    = "instance-homes"
)

// MoveInstance says on which compute node an instance is to be, "" for any; it goes there with its disks. [Client.Allocation] tells
// where the network has it by then. An instance that is paid by a stream stays where that goes.
func (c *Client) MoveInstance(ctx context.Context, by Account, instance, node message.Hash, o SendOptions) (*Sent, error) {
	return c.SetAggregate(ctx, by, wishesKey, map[message.Hash]message.Hash{instance: node}, o)
}

// DrainNode says whether a compute node is to be emptied, or takes workloads again. The account must be the owner of the node.
func (c *Client) DrainNode(ctx context.Context, by Account, node message.Hash, drain bool, o SendOptions) (*Sent, error) {
	var word *bool // null when it does not drain
	if drain {
		word = &drain
	}
	return c.SetAggregate(ctx, by, drainingKey, map[message.Hash]*bool{node: word}, o)
}

// ownersAtOnce bounds how many owners one question names.
const ownersAtOnce = 50

// Homes returns on which compute nodes the disks of instances are, as the owners of core nodes say.
func (c *Client) Homes(ctx context.Context, nodes *Nodes) (map[message.Hash]message.Hash, error) {
	var owners []string
	for _, core := range nodes.Core {
		owners = append(owners, core.Owner)
	}
	slices.Sort(owners)
	type home struct {
		Node  message.Hash `json:"node"`
		Since float64      `json:"since"`
	}
	newest := make(map[message.Hash]home)
	for part := range slices.Chunk(slices.Compact(owners), ownersAtOnce) {
		for a, err := range c.ListAggregates(ctx, part, []string{homesKey}) {
			if err != nil {
				return nil, err
			}
			var said map[message.Hash]home
			if json.Unmarshal(a.Content, &said) != nil {
				continue // what makes no sense counts as nothing
			}
			for hash, h := range said {
				if known := newest[hash]; cmp.Or(cmp.Compare(h.Since, known.Since), cmp.Compare(h.Node, known.Node)) > 0 {
					newest[hash] = h
				}
			}
		}
	}
	homes := make(map[message.Hash]message.Hash, len(newest))
	for hash, h := range newest {
		homes[hash] = h.Node
	}
	return homes, nil
}
