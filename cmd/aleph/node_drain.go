package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

func (a *app) nodeDrain() *cobra.Command {
	var end, untilEmpty bool
	c := &cobra.Command{
		Use: "drain HASH", Short: "Have what runs on a compute node move to others", Args: cobra.ExactArgs(1),
		Long: `Say that a compute node is to be emptied, before it is repaired or given up. It stays linked. Programs are called elsewhere at once;
instances move one after the other, each with its disks, and run on until it is their turn. What no other node can take stays, and
so does what its owner wants on this node: aleph node workloads lists what is there still. Nothing new is sent to the node, but for what
its owner wants there.

With --end it takes workloads again; what has moved does not come back by itself.`,
		Example: "  aleph node drain " + exampleCompute + " --yes\n  aleph node drain " + exampleCompute + " --end",
		RunE: a.within(func(ctx context.Context, args []string) error {
			n, err := a.computeNamed(ctx, args[0])
			if err != nil {
				return err
			}
			account, err := a.signer()
			if err != nil {
				return err
			}
			if !strings.EqualFold(n.Owner, cmp.Or(a.owner, account.Address())) {
				return usageError{fmt.Errorf("compute node %s is %s's, whose word it takes: use that account, or --on-behalf-of", n.Name, n.Owner)}
			}
			if !end {
				if err := a.confirm(fmt.Sprintf("Empty compute node %s? Each instance on it is off while its disks are on their way.", n.Name)); err != nil {
					return err
				}
			}
			api := a.client()
			sent, err := api.DrainNode(ctx, account, n.Hash, !end, a.options())
			if err == nil && (a.wait || untilEmpty) {
				if err = a.settled(ctx, api, sent); err == nil {
					err = a.heedDrain(ctx, n, !end)
				}
			}
			if err != nil {
				return err
			}
			if untilEmpty {
				if err := a.watchDrain(ctx, n); err != nil {
					return err
				}
			}
			return a.printWorkloads(ctx, n)
		}),
	}
	c.Flags().BoolVar(&end, "end", false, "let it take workloads again")
	c.Flags().BoolVar(&untilEmpty, "until-empty", false, "wait until all has moved that can; --timeout says how long")
	c.MarkFlagsMutuallyExclusive("end", "until-empty")
	return c
}

func (a *app) nodeWorkloads() *cobra.Command {
	return &cobra.Command{
		Use: "workloads HASH", Short: "List what is on a compute node, and where it is to be", Args: cobra.ExactArgs(1),
		Example: "  aleph node workloads " + exampleCompute,
		RunE: a.within(func(ctx context.Context, args []string) error {
			n, err := a.computeNamed(ctx, args[0])
			if err != nil {
				return err
			}
			return a.printWorkloads(ctx, n)
		}),
	}
}

// computeNamed finds a registered compute node by its hash, the beginning of it, or its name.
func (a *app) computeNamed(ctx context.Context, text string) (*client.ComputeNode, error) {
	hash, err := a.registered(ctx, text)
	if err != nil {
		return nil, err
	}
	nodes, err := a.nodes(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range nodes.Compute {
		if n.Hash == hash {
			return &n, nil
		}
	}
	return nil, usageError{fmt.Errorf("%s is a core node: name a compute node; aleph node compute lists them", text)}
}

// nodeWorkload is what is on a compute node.
type nodeWorkload struct {
	ItemHash message.Hash `json:"item_hash"`
	Kind     string       `json:"vm_type"`
	State    string       `json:"state"`   // running, stopped, or leaving: another node fetches its disks
	Planned  message.Hash `json:"planned"` // the compute node that it is to be on; "" for none
	Node     string       `json:"planned_name"`
}

// workloads lists what is on a compute node, by hash: what it says that it has, and what it has the disks of.
func (a *app) workloads(ctx context.Context, n *client.ComputeNode) ([]nodeWorkload, error) {
	api := a.client()
	nodes, err := a.nodes(ctx)
	if err != nil {
		return nil, err
	}
	homes, err := api.Homes(ctx, nodes)
	if err != nil {
		return nil, fmt.Errorf("ask where instances are: %w", err)
	}
	plan, err := api.Plan(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask where workloads are to be: %w", err)
	}
	here, err := api.Executions(ctx, n.Address)
	if err != nil {
		return nil, fmt.Errorf("ask what compute node %s has: %w", n.Name, err)
	}
	names := map[message.Hash]string{}
	for _, n := range nodes.Compute {
		names[n.Hash] = n.Name
	}
	planned := map[message.Hash]message.Hash{}
	for node, part := range plan.Nodes {
		for _, hash := range slices.Concat(part.Persistent, part.Instances, part.OnDemand) {
			planned[hash] = node
		}
	}
	list := []nodeWorkload{}
	add := func(hash message.Hash, kind, state string) {
		list = append(list, nodeWorkload{hash, kind, state, planned[hash], cmp.Or(names[planned[hash]], "-")})
	}
	for hash, x := range here {
		state := "stopped"
		if x.Running {
			state = "running"
		}
		add(hash, x.Kind, state)
	}
	for hash, home := range homes {
		_, listed := here[hash]
		if to, wanted := planned[hash]; home.Node == n.Hash && !listed && wanted && to != n.Hash {
			add(hash, "instance", "leaving")
		}
	}
	slices.SortFunc(list, func(x, y nodeWorkload) int { return cmp.Compare(x.ItemHash, y.ItemHash) })
	return list, nil
}

func (a *app) printWorkloads(ctx context.Context, n *client.ComputeNode) error {
	list, err := a.workloads(ctx, n)
	if err != nil {
		return err
	}
	return printTable(a, list,
		column[nodeWorkload]{name: "HASH", cell: func(w nodeWorkload) string { return string(w.ItemHash) }},
		column[nodeWorkload]{name: "KIND", cell: func(w nodeWorkload) string { return w.Kind }},
		column[nodeWorkload]{name: "STATE", cell: func(w nodeWorkload) string { return w.State }},
		column[nodeWorkload]{name: "IS TO BE ON", cell: func(w nodeWorkload) string { return w.Node }})
}

// watchDrain waits until nothing is on a node that is to be on another one.
func (a *app) watchDrain(ctx context.Context, n *client.ComputeNode) error {
	before := -1
	for {
		left, err := a.toLeave(ctx, n)
		if err == nil && left == 0 {
			return nil
		}
		if err == nil && left != before {
			before = left
			a.say("%s to leave %s", countOf(left, "workload"), n.Name)
		}
		if ended := pause(ctx); ended != nil {
			return pendingError{fmt.Errorf("compute node %s is not empty yet: %w; the rest moves all the same, look later with: aleph node workloads %s", n.Name, errors.Join(ended, err), n.Hash)}
		}
	}
}

// heedTime is how long a node that answers may take to be in the plan again.
const heedTime = 10 * time.Second

// heedDrain waits until the plan heeds that a node drains, or does not any more. One that does not answer, or is not linked, takes
// nothing either way.
func (a *app) heedDrain(ctx context.Context, n *client.ComputeNode, drains bool) error {
	if n.Parent == nil {
		return nil
	}
	limit := time.Now().Add(heedTime)
	for {
		taking, err := a.client().SchedulerNodes(ctx)
		if err != nil {
			return fmt.Errorf("ask which compute nodes take workloads: %w", err)
		}
		takes := slices.ContainsFunc(taking, func(t client.AllocatedNode) bool { return t.ID == string(n.Hash) })
		if takes != drains || !drains && time.Now().After(limit) {
			return nil
		}
		if ended := pause(ctx); ended != nil {
			return pendingError{fmt.Errorf("the network's plan does not heed yet that %s drains: %w", n.Name, ended)}
		}
	}
}

// called is the kind of programs that end by themselves when nobody calls them any more.
const called = "microvm"

// toLeave counts what is on a node and has to move to another one.
func (a *app) toLeave(ctx context.Context, n *client.ComputeNode) (int, error) {
	list, err := a.workloads(ctx, n)
	left := 0
	for _, w := range list {
		if w.Planned != n.Hash && w.Planned != "" && w.Kind != called {
			left++
		}
	}
	return left, err
}
