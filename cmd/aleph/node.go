package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/internal/build"
)

func (a *app) nodeCommand() *cobra.Command {
	return group("node", "Look at the nodes of the network, run and back them", "  aleph node list",
		a.nodeList(), a.nodeCore(), a.nodeCompute(), a.nodeCreateCore(), a.nodeCreateCompute(),
		a.nodeOperation("link HASH", "link", "Link a compute node to the core node of the account", "  aleph node link "+exampleCompute),
		a.nodeOperation("unlink HASH", "unlink", "Take the link of a compute node away", "  aleph node unlink "+exampleCompute),
		a.nodeDrain(), a.nodeWorkloads(),
		a.nodeOperation("stake HASH", "stake-split", "Back a core node with what the account holds", "  aleph node stake "+exampleCore),
		a.nodeOperation("unstake HASH", "unstake", "Back a core node no more", "  aleph node unstake "+exampleCore),
		a.nodeAmend(), a.nodeDrop())
}

func (a *app) nodes(ctx context.Context) (*client.Nodes, error) {
	nodes, err := a.client().Nodes(ctx, a.params.Corechannel.Addresses[0])
	return nodes, a.ofNetwork("the list of nodes", err)
}

// nodeRow is a node of either kind.
type nodeRow struct{ kind, name, status, score, address, hash string }

func nodeRows(nodes *client.Nodes) []nodeRow {
	var rows []nodeRow
	compute := func(n client.ComputeNode) {
		rows = append(rows, nodeRow{"compute", n.Name, n.Status, score(n.Score), n.Address, string(n.Hash)})
	}
	for _, core := range nodes.Core {
		rows = append(rows, nodeRow{"core", core.Name, core.Status, score(core.Score), core.Multiaddress, string(core.Hash)})
		for _, n := range nodes.Compute {
			if n.Parent != nil && *n.Parent == string(core.Hash) {
				compute(n)
			}
		}
	}
	for _, n := range nodes.Compute {
		if n.Parent == nil || *n.Parent == "" {
			compute(n)
		}
	}
	return rows
}

func score(v float64) string { return fmt.Sprintf("%.2f", v) }

func (a *app) nodeList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List core nodes and the compute nodes linked to them", Args: cobra.NoArgs,
		Example: "  aleph node list -o json",
		RunE: a.within(func(ctx context.Context, _ []string) error {
			nodes, err := a.nodes(ctx)
			if err != nil {
				return err
			}
			if a.output != "text" {
				return print(a, nodes, nil)
			}
			return printTable(a, nodeRows(nodes),
				column[nodeRow]{name: "KIND", cell: func(n nodeRow) string { return n.kind }},
				column[nodeRow]{name: "NAME", cell: func(n nodeRow) string { return n.name }},
				column[nodeRow]{name: "STATUS", cell: func(n nodeRow) string { return n.status }},
				column[nodeRow]{name: "SCORE", cell: func(n nodeRow) string { return n.score }},
				column[nodeRow]{name: "ADDRESS", cell: func(n nodeRow) string { return n.address }},
				column[nodeRow]{name: "HASH", cell: func(n nodeRow) string { return n.hash }})
		}),
	}
}

func (a *app) nodeCore() *cobra.Command {
	var active bool
	var owner string
	c := &cobra.Command{
		Use: "core", Short: "List core nodes", Args: cobra.NoArgs,
		Example: "  aleph node core --active",
		RunE: a.within(func(ctx context.Context, _ []string) error {
			nodes, err := a.nodes(ctx)
			if err != nil {
				return err
			}
			if owner, err = a.resolve(owner); err != nil {
				return err
			}
			list := []client.CoreNode{}
			for _, n := range nodes.Core {
				if (!active || n.Status == "active") && (owner == "" || strings.EqualFold(n.Owner, owner)) {
					list = append(list, n)
				}
			}
			return printTable(a, list,
				column[client.CoreNode]{name: "NAME", cell: func(n client.CoreNode) string { return n.Name }},
				column[client.CoreNode]{name: "STATUS", cell: func(n client.CoreNode) string { return n.Status }},
				column[client.CoreNode]{name: "SCORE", cell: func(n client.CoreNode) string { return score(n.Score) }},
				column[client.CoreNode]{name: "STAKED", cell: func(n client.CoreNode) string { return strconv.FormatFloat(n.Stake, 'f', 0, 64) }},
				column[client.CoreNode]{name: "COMPUTE", cell: func(n client.CoreNode) string { return strconv.Itoa(len(n.Compute)) }},
				column[client.CoreNode]{name: "OWNER", cell: func(n client.CoreNode) string { return n.Owner }},
				column[client.CoreNode]{name: "HASH", cell: func(n client.CoreNode) string { return string(n.Hash) }})
		}),
	}
	c.Flags().BoolVar(&active, "active", false, "only those that are active")
	c.Flags().StringVar(&owner, "owner", "", "only those of this `address`")
	return c
}

func (a *app) nodeCompute() *cobra.Command {
	var active bool
	var owner, core string
	c := &cobra.Command{
		Use: "compute", Short: "List compute nodes", Args: cobra.NoArgs,
		Example: "  aleph node compute --linked",
		RunE: a.within(func(ctx context.Context, _ []string) error {
			nodes, err := a.nodes(ctx)
			if err != nil {
				return err
			}
			if owner, err = a.resolve(owner); err != nil {
				return err
			}
			if at := slices.IndexFunc(nodes.Core, func(n client.CoreNode) bool { return n.Name == core }); at >= 0 {
				core = string(nodes.Core[at].Hash)
			}
			list := []client.ComputeNode{}
			for _, n := range nodes.Compute {
				if (!active || n.Status == "linked") && (owner == "" || strings.EqualFold(n.Owner, owner)) && (core == "" || textOr(n.Parent, "") == core) {
					list = append(list, n)
				}
			}
			return printTable(a, list,
				column[client.ComputeNode]{name: "NAME", cell: func(n client.ComputeNode) string { return n.Name }},
				column[client.ComputeNode]{name: "STATUS", cell: func(n client.ComputeNode) string { return n.Status }},
				column[client.ComputeNode]{name: "SCORE", cell: func(n client.ComputeNode) string { return score(n.Score) }},
				column[client.ComputeNode]{name: "ADDRESS", cell: func(n client.ComputeNode) string { return n.Address }},
				column[client.ComputeNode]{name: "CORE NODE", cell: func(n client.ComputeNode) string { return textOr(n.Parent, "-") }},
				column[client.ComputeNode]{name: "HASH", cell: func(n client.ComputeNode) string { return string(n.Hash) }})
		}),
	}
	c.Flags().BoolVar(&active, "linked", false, "only those that are linked to a core node")
	c.Flags().StringVar(&owner, "owner", "", "only those of this `address`")
	c.Flags().StringVar(&core, "core", "", "only those that are linked to the core node of this `hash` or name")
	return c
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version of this tool", Args: cobra.NoArgs,
		Example: "  aleph version",
		RunE: a.within(func(context.Context, []string) error {
			v := map[string]string{"version": build.Version()}
			return print(a, v, func(w io.Writer, v map[string]string) { fmt.Fprintln(w, v["version"]) })
		}),
	}
}
