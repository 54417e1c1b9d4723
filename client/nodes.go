package client

import (
	"context"
	"net/url"

	"github.com/aleph-im/aleph-go/message"
)

// Allocation says where a workload runs (sdk-cli §4.13).
type Allocation struct {
	Hash   message.Hash   `json:"vm_hash"`
	Kind   string         `json:"vm_type"` // instance, persistent_program or micro_vm
	IPv6   *string        `json:"vm_ipv6"`
	Period Period         `json:"period"`
	Node   AllocatedNode  `json:"node"` // the compute node
	Core   *AllocatedNode `json:"ccn"`  // the core node it is linked to; nil when the answer does not say
}

// Period is from when, and for how many seconds, an allocation holds.
type Period struct {
	Start    string `json:"start_timestamp"`
	Duration int64  `json:"duration_seconds"`
}

// AllocatedNode is a node in an [Allocation].
type AllocatedNode struct {
	ID           string  `json:"node_id"` // its registration message
	Name         string  `json:"name"`
	URL          string  `json:"url"`
	IPv6         *string `json:"ipv6"`
	SupportsIPv6 bool    `json:"supports_ipv6"`
}

// Allocation asks where a workload runs; one that runs nowhere is [ErrNotFound].
func (c *Client) Allocation(ctx context.Context, hash message.Hash) (*Allocation, error) {
	a := &Allocation{}
	if err := c.getScheduler(ctx, "/api/v0/allocation/"+url.PathEscape(string(hash)), a); err != nil {
		return nil, err
	}
	return a, nil
}

// Nodes are the registered nodes of the network.
type Nodes struct {
	Core    []CoreNode    `json:"nodes"`
	Compute []ComputeNode `json:"resource_nodes"`
}

// CoreNode is a registered core node. Stake is in ALEPH.
type CoreNode struct {
	Hash         message.Hash `json:"hash"`
	Name         string       `json:"name"`
	Owner        string       `json:"owner"`
	Status       string       `json:"status"` // waiting or active
	Score        float64      `json:"score"`  // 0 … 1
	Stake        float64      `json:"total_staked"`
	Multiaddress string       `json:"multiaddress"`
	Compute      []string     `json:"resource_nodes"`
}

// ComputeNode is a registered compute node.
type ComputeNode struct {
	Hash    message.Hash `json:"hash"`
	Name    string       `json:"name"`
	Owner   string       `json:"owner"`
	Status  string       `json:"status"` // waiting or linked
	Score   float64      `json:"score"`  // 0 … 1
	Address string       `json:"address"`
	Parent  *string      `json:"parent"` // the core node it is linked to

	StreamReward string       `json:"stream_reward,omitempty"`        // where its owner says that streams go; "" when they do not
	Terms        message.Hash `json:"terms_and_conditions,omitempty"` // STORE message of what users must accept; "" when there is nothing
}

// Nodes reads the registry of nodes, the aggregate "corechannel" of owner.
func (c *Client) Nodes(ctx context.Context, owner string) (*Nodes, error) {
	n := &Nodes{}
	if err := c.Aggregate(ctx, owner, "corechannel", n); err != nil {
		return nil, err
	}
	return n, nil
}

// getScheduler asks who says where workloads run.
func (c *Client) getScheduler(ctx context.Context, path string, dst any) error {
	if c.cfg.Scheduler == "" {
		return c.get(ctx, path, nil, dst)
	}
	return c.getFrom(ctx, c.cfg.Scheduler, path, nil, dst)
}

// Plan is where all workloads run.
type Plan struct {
	Period Period                   `json:"period"`
	Nodes  map[message.Hash]Planned `json:"plan"` // by compute node
}

// Planned is what one compute node should run.
type Planned struct {
	Persistent []message.Hash `json:"persistent_vms"`
	Instances  []message.Hash `json:"instances"`
	OnDemand   []message.Hash `json:"on_demand_vms"`
}

// Plan returns where all workloads run.
func (c *Client) Plan(ctx context.Context) (*Plan, error) {
	p := &Plan{}
	if err := c.getScheduler(ctx, "/api/v0/plan", p); err != nil {
		return nil, err
	}
	return p, nil
}

// SchedulerNodes returns the compute nodes that take workloads.
func (c *Client) SchedulerNodes(ctx context.Context) ([]AllocatedNode, error) {
	var reply struct {
		Nodes []AllocatedNode `json:"nodes"`
	}
	err := c.getScheduler(ctx, "/api/v0/nodes", &reply)
	return reply.Nodes, err
}
