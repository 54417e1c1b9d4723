package client

import (
	"context"
	"fmt"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// NodeAction is what an owner or a staker does with a node of the registry (spec/corechannel.md §4).
type NodeAction string

const (
	NodeLink    NodeAction = "link"        // a compute node to the account's core node
	NodeUnlink  NodeAction = "unlink"      // a compute node from its core node
	NodeDrop    NodeAction = "drop-node"   // a node of the account from the registry
	NodeStake   NodeAction = "stake-split" // on a core node, the stake being split over all that the account stakes on
	NodeUnstake NodeAction = "unstake"     // from a core node
)

const (
	createCore    = "create-node"
	createCompute = "create-resource-node"

	registryChannel = "FOUNDATION"
	operationType   = "corechan-operation"
)

// NodeDetails are what an owner says of a node. Members that are empty are left as they are.
type NodeDetails struct {
	Name         string   `json:"name,omitempty"`
	Multiaddress string   `json:"multiaddress,omitempty"` // of a core node
	Address      string   `json:"address,omitempty"`      // base URL of a compute node
	Type         string   `json:"type,omitempty"`         // "compute" for compute nodes
	Picture      string   `json:"picture,omitempty"`
	Banner       string   `json:"banner,omitempty"`
	Description  string   `json:"description,omitempty"`
	Reward       string   `json:"reward,omitempty"`        // the address that rewards go to
	StreamReward string   `json:"stream_reward,omitempty"` // the address that streams go to
	Manager      string   `json:"manager,omitempty"`
	Authorized   []string `json:"authorized,omitempty"` // who may stake on a locked node
	Locked       *bool    `json:"locked,omitempty"`
	Terms        string   `json:"terms_and_conditions,omitempty"`
}

// Registry changes the registry of nodes. Tag is what the network marks its operations with, "mainnet" on the public one
// (params.Network.Nodes.Tag).
type Registry struct {
	Client *Client
	Tag    string
	By     Account
}

// CreateCore registers a core node; the hash of the message is the node's.
func (r Registry) CreateCore(ctx context.Context, d NodeDetails) (*Sent, error) {
	return r.send(ctx, operationType, "", createCore, &d)
}

// CreateCompute registers a compute node; the hash of the message is the node's.
func (r Registry) CreateCompute(ctx context.Context, d NodeDetails) (*Sent, error) {
	d.Type = "compute"
	return r.send(ctx, operationType, "", createCompute, &d)
}

// AmendCore changes what is said of a core node of the account.
func (r Registry) AmendCore(ctx context.Context, node message.Hash, d NodeDetails) (*Sent, error) {
	return r.send(ctx, message.PostTypeAmend, node, createCore, &d)
}

// AmendCompute changes what is said of a compute node of the account.
func (r Registry) AmendCompute(ctx context.Context, node message.Hash, d NodeDetails) (*Sent, error) {
	return r.send(ctx, message.PostTypeAmend, node, createCompute, &d)
}

// Do does something with a node. The registry ignores without a word what its rules do not allow: look at it afterwards.
func (r Registry) Do(ctx context.Context, action NodeAction, node message.Hash) (*Sent, error) {
	return r.send(ctx, operationType, node, string(action), nil)
}

func (r Registry) send(ctx context.Context, postType string, ref message.Hash, action string, d *NodeDetails) (*Sent, error) {
	content := struct {
		Tags    []string     `json:"tags"`
		Action  string       `json:"action"`
		Details *NodeDetails `json:"details,omitempty"`
	}{[]string{action, r.Tag}, action, d}
	sent, err := r.Client.SendPost(ctx, r.By, postType, string(ref), content, SendOptions{Channel: registryChannel, Sync: true})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", action, err)
	}
	return sent, nil
}

// Await reads the registry of owner until it is as done wants it, such as a node being linked. ctx bounds the wait.
func (r Registry) Await(ctx context.Context, owner string, done func(*Nodes) bool) (*Nodes, error) {
	pause := 100 * time.Millisecond
	for {
		nodes, err := r.Client.Nodes(ctx, owner)
		if err != nil && !isNotFound(err) {
			return nil, err
		}
		if err == nil && done(nodes) {
			return nodes, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the registry of nodes has not changed yet: %w", ctx.Err())
		case <-time.After(pause):
		}
		pause = min(2*pause, 2*time.Second)
	}
}
