package main

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
)

func (a *app) nodeCommand() *cobra.Command {
	return group("node", "Look at the nodes of the network", "  aleph node list", &cobra.Command{
		Use: "list", Short: "List core nodes and the compute nodes linked to them", Args: cobra.NoArgs,
		Example: "  aleph node list -o json",
		RunE: a.within(func(ctx context.Context, _ []string) error {
			nodes, err := a.client().Nodes(ctx, a.params.Corechannel.Addresses[0])
			if err != nil {
				return err
			}
			return print(a, nodes, writeNodes)
		}),
	})
}

func writeNodes(w io.Writer, nodes *client.Nodes) {
	fmt.Fprintln(w, "KIND\tNAME\tSTATUS\tSCORE\tADDRESS\tHASH")
	compute := func(n client.ComputeNode) {
		fmt.Fprintf(w, "compute\t%s\t%s\t%.2f\t%s\t%s\n", n.Name, n.Status, n.Score, n.Address, n.Hash)
	}
	for _, core := range nodes.Core {
		fmt.Fprintf(w, "core\t%s\t%s\t%.2f\t%s\t%s\n", core.Name, core.Status, core.Score, core.Multiaddress, core.Hash)
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
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version of this tool", Args: cobra.NoArgs,
		Example: "  aleph version",
		RunE: a.within(func(context.Context, []string) error {
			v := map[string]string{"version": buildVersion()}
			return print(a, v, func(w io.Writer, v map[string]string) { fmt.Fprintln(w, v["version"]) })
		}),
	}
}

func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return info.Main.Version
}
