package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

func (a *app) instanceMove() *cobra.Command {
	var to string
	var anywhere bool
	c := a.onInstance("move HASH", "Move an instance with its disks to another compute node", cobra.ExactArgs(1),
		func(ctx context.Context, api *client.Client, hash message.Hash, _ []string) error {
			v, err := a.moveInstance(ctx, api, hash, to)
			if err != nil {
				return err
			}
			return print(a, v, writeMachine)
		})
	c.Long = `Say on which compute node an instance is to be, and wait until it is there. Its disks are fetched by
the other node. Where that one can, its memory comes too and the guest goes on there after a moment; otherwise it is turned off and
starts there, and its log says why. Its addresses and forwarded ports are others. What is stopped stays stopped. It runs on where it is until the other node has room, and it moves without this command once that is asked for.

It stays on that node from then on, also while its node does not answer. With --anywhere the network chooses again, as it does when a
node is drained.`
	c.Example = "  aleph instance move " + exampleInstance + " --to crn-1 --yes\n  aleph instance move " + exampleInstance + " --anywhere --yes"
	c.Flags().StringVar(&to, "to", "", "hash, name or address of the compute `node`")
	c.Flags().BoolVar(&anywhere, "anywhere", false, "take back what was asked for: any node will do, for now the one that it is on")
	c.MarkFlagsOneRequired("to", "anywhere")
	c.MarkFlagsMutuallyExclusive("to", "anywhere")
	return c
}

// moveInstance asks for another node, "" for any, and waits until the instance is there.
func (a *app) moveInstance(ctx context.Context, api *client.Client, hash message.Hash, to string) (*machineView, error) {
	instance, err := movable(ctx, api, hash)
	if err != nil {
		return nil, err
	}
	account, err := a.signer()
	if err != nil {
		return nil, err
	}
	from, err := api.Allocation(ctx, hash)
	if err != nil {
		return nil, err
	}
	var node message.Hash
	if to == "" {
		err = a.confirm(fmt.Sprintf("Let the network choose where instance %s is?", hash))
	} else {
		var n *client.ComputeNode
		if n, err = a.destination(ctx, api, to); err != nil {
			return nil, err
		}
		node = n.Hash
		err = a.confirm(fmt.Sprintf("Move instance %s from %s to %s? It stands still for a moment, or is off for a while where its memory cannot come along.", hash, nodeName(&from.Node), n.Name))
	}
	if err != nil {
		return nil, err
	}
	before, err := api.Executions(ctx, from.Node.URL)
	if err != nil {
		a.say("%s does not answer; the instance moves when it is back", nodeName(&from.Node))
	}
	sent, err := api.MoveInstance(ctx, account, hash, node, a.asOwner(account, instance))
	if err == nil {
		err = a.settled(ctx, api, sent)
	}
	if err != nil {
		return nil, fmt.Errorf("ask for another node: %w", err)
	}
	if !a.wait {
		return &machineView{ItemHash: hash}, nil
	}
	if node == "" {
		return a.machine(ctx, api, hash, func(client.Execution) bool { return true })
	}
	x, known := before[hash]
	return a.watchMove(ctx, api, hash, from.Node, node, known && !x.Running && x.Status["stopped_at"] != nil)
}

// movable reads an instance that can be moved.
func movable(ctx context.Context, api *client.Client, hash message.Hash) (*message.Instance, error) {
	instance, err := instanceOf(ctx, api, hash)
	if err != nil {
		return nil, err
	}
	const instead = "back it up, and create another one on the other node"
	switch {
	case instance.PaymentType() == message.PaymentSuperfluid:
		return nil, usageError{fmt.Errorf("instance %s is paid by a stream to the node that it is on: %s", hash, instead)}
	case instance.Environment.TrustedExecution != nil:
		return nil, usageError{fmt.Errorf("instance %s is confidential, no other node may have its memory or open its disks: create another one there", hash)}
	case instance.Requirements != nil && len(instance.Requirements.GPU) > 0:
		return nil, usageError{fmt.Errorf("instance %s has a graphics card of its node: %s", hash, instead)}
	}
	return instance, nil
}

// destination is a compute node that takes workloads.
func (a *app) destination(ctx context.Context, api *client.Client, to string) (*client.ComputeNode, error) {
	nodes, err := a.nodes(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for compute nodes: %w", err)
	}
	for _, n := range nodes.Compute {
		if !isNamed(n, to) {
			continue
		}
		takes, err := a.takesWorkloads(ctx, api)
		if err != nil {
			return nil, err
		}
		if err := takes(&n); err != nil {
			return nil, err
		}
		return &n, nil
	}
	return nil, usageError{fmt.Errorf("--to %s: no compute node has this hash, name or address; aleph node compute lists them", to)}
}

// watchMove waits until an instance is on a node, and runs there unless it was stopped.
func (a *app) watchMove(ctx context.Context, api *client.Client, hash message.Hash, from client.AllocatedNode, node message.Hash, stopped bool) (*machineView, error) {
	stage, last := "", error(nil)
	for {
		place, err := api.Allocation(ctx, hash)
		now := "the network has it on another node still"
		if err == nil && place.Node.ID == string(node) {
			var there map[message.Hash]client.Execution
			there, err = api.Executions(ctx, place.Node.URL)
			x, arrived := there[hash]
			if arrived && (x.Running || stopped) {
				return machineAt(hash, place, x), nil
			}
			now = "it starts on " + nodeName(&place.Node)
			if !arrived {
				now = a.onItsWay(ctx, api, hash, from)
			}
		}
		if err != nil && ctx.Err() == nil {
			last = err
		}
		if now != stage && ctx.Err() == nil {
			stage = now
			a.say("Instance %s: %s", a.shorten(string(hash)), stage)
		}
		if ended := pause(ctx); ended != nil {
			return nil, pendingError{fmt.Errorf("instance %s is not there yet, %s: %w; it moves all the same, look later with: aleph instance show %[1]s",
				hash, stage, errors.Join(ended, last))}
		}
	}
}

// onItsWay says how far an instance is that has not arrived.
func (a *app) onItsWay(ctx context.Context, api *client.Client, hash message.Hash, from client.AllocatedNode) string {
	here, err := api.Executions(ctx, from.URL)
	if _, ok := here[hash]; ok {
		return "it is on " + nodeName(&from) + " until the other node can take it"
	}
	if err != nil {
		return nodeName(&from) + ", which has its disks, does not answer"
	}
	return "its disks are on their way"
}
