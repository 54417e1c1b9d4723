package client

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// Aggregates by which owners have instances moved and replicated, and core nodes say where they are (decisions 0025, 0029 and 0038).
const (
	wishesKey   = "instance-nodes"
	replicasKey = "instance-replicas"
	drainingKey = "crn-draining"
	homesKey    = "instance-homes"
)

// MoveInstance says on which compute node an instance is to be, "" for any; it goes there with its disks. [Client.Allocation] tells
// where the network has it by then. An instance that is paid by a stream stays where that goes.
func (c *Client) MoveInstance(ctx context.Context, by Account, instance, node message.Hash, o SendOptions) (*Sent, error) {
	return c.SetAggregate(ctx, by, wishesKey, map[message.Hash]message.Hash{instance: node}, o)
}

// ReplicateInstance has the persistent volumes of an instance kept on a second compute node, anew after each period, which is cut to
// whole seconds; the network may take longer. Zero ends it. Where the copy is kept is in [Client.Homes].
func (c *Client) ReplicateInstance(ctx context.Context, by Account, instance message.Hash, every time.Duration, o SendOptions) (*Sent, error) {
	type replicas struct {
		Every int64 `json:"every"` // seconds
	}
	var word *replicas // null when it has no replica
	if every > 0 {
		word = &replicas{max(int64(every/time.Second), 1)}
	}
	return c.SetAggregate(ctx, by, replicasKey, map[message.Hash]*replicas{instance: word}, o)
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

// Home is where the disks of an instance are.
type Home struct {
	Node    message.Hash `json:"node"`    // hash of a compute node
	Replica message.Hash `json:"replica"` // hash of the one that keeps its volumes a second time; "" for none
	Since   float64      `json:"since"`   // Unix seconds
}

// Homes returns where the disks of instances are, as the owners of core nodes say.
func (c *Client) Homes(ctx context.Context, nodes *Nodes) (map[message.Hash]Home, error) {
	var owners []string
	for _, core := range nodes.Core {
		owners = append(owners, core.Owner)
	}
	slices.Sort(owners)
	homes := make(map[message.Hash]Home)
	for part := range slices.Chunk(slices.Compact(owners), ownersAtOnce) {
		for a, err := range c.ListAggregates(ctx, part, []string{homesKey}) {
			if err != nil {
				return nil, err
			}
			var said map[message.Hash]Home
			if json.Unmarshal(a.Content, &said) != nil {
				continue // what makes no sense counts as nothing
			}
			for hash, h := range said {
				if known := homes[hash]; cmp.Or(cmp.Compare(h.Since, known.Since), cmp.Compare(h.Node, known.Node)) > 0 {
					homes[hash] = h
				}
			}
		}
	}
	return homes, nil
}
