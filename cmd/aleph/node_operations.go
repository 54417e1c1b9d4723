package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

// The registry of nodes is made of what owners and stakers post (corechannel §4). Nodes keep such a post whether the registry
// takes it or not: what became of it shows in the lists.

func (a *app) nodeCreateCore() *cobra.Command {
	var multiaddress string
	c := &cobra.Command{
		Use: "create-core NAME", Short: "Register a core node", Args: cobra.ExactArgs(1),
		Long:    "Register a core node that runs already. Its owner must hold the tokens that the network asks for.",
		Example: "  aleph node create-core my-node --multiaddress /ip4/203.0.113.7/tcp/4025/p2p/QmZkurbY2G2hWay59yiTgQNaQxHSNzKZFt2jbnwJhQcKgV",
		RunE: a.within(func(ctx context.Context, args []string) error {
			return a.operateNodes(ctx, "create-node", "", map[string]any{"name": args[0], "multiaddress": multiaddress})
		}),
	}
	c.Flags().StringVar(&multiaddress, "multiaddress", "", "where it is reached, with /p2p/ and its identity")
	require(c, "multiaddress")
	return c
}

// require marks flags without which a command makes no sense.
func require(c *cobra.Command, flags ...string) {
	for _, name := range flags {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err)
		}
	}
}

func (a *app) nodeCreateCompute() *cobra.Command {
	var url string
	c := &cobra.Command{
		Use: "create-compute NAME", Short: "Register a compute node", Args: cobra.ExactArgs(1),
		Example: "  aleph node create-compute my-node --url https://crn.example.org",
		RunE: a.within(func(ctx context.Context, args []string) error {
			return a.operateNodes(ctx, "create-resource-node", "", map[string]any{"name": args[0], "address": url, "type": "compute"})
		}),
	}
	c.Flags().StringVar(&url, "url", "", "`URL` of its API")
	require(c, "url")
	return c
}

// nodeOperation makes the command of an operation that needs nothing but a node.
func (a *app) nodeOperation(use, action, short, example string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1), Example: example,
		RunE: a.within(func(ctx context.Context, args []string) error {
			hash, err := a.registered(ctx, args[0])
			if err != nil {
				return err
			}
			return a.operateNodes(ctx, action, string(hash), nil)
		}),
	}
}

func (a *app) nodeDrop() *cobra.Command {
	c := a.nodeOperation("drop HASH", "drop-node", "Take a node out of the registry", "  aleph node drop "+exampleCompute+" --yes")
	drop := c.RunE
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := a.confirm(fmt.Sprintf("Take node %s out of the registry for ever?", args[0])); err != nil {
			return err
		}
		return drop(cmd, args)
	}
	return c
}

// registered finds a registered node by its hash, the beginning of it, or its name.
func (a *app) registered(ctx context.Context, text string) (message.Hash, error) {
	nodes, err := a.nodes(ctx)
	if err != nil {
		return "", err
	}
	var found []message.Hash
	for _, n := range nodeRows(nodes) {
		switch {
		case n.hash == text:
			return message.Hash(n.hash), nil
		case n.name == text, len(text) >= minPrefix && strings.HasPrefix(n.hash, strings.TrimRight(text, "….")):
			found = append(found, message.Hash(n.hash))
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", absentf("no node %s is registered; those are in: aleph node list", text)
	}
	return "", usageError{fmt.Errorf("%d nodes are called %s: name one by its hash", len(found), text)}
}

func (a *app) nodeAmend() *cobra.Command {
	c := &cobra.Command{
		Use: "amend HASH", Short: "Change what is registered of a node", Args: cobra.ExactArgs(1),
		Example: "  aleph node amend " + exampleCompute + " --name better-name --description 'In a cellar'",
	}
	flags := c.Flags()
	texts := map[string]*string{}
	for _, f := range [][2]string{
		{"name", "its name"}, {"description", "what its owner says of it"}, {"picture", "hash of a picture"}, {"banner", "hash of a banner"},
		{"multiaddress", "of a core node: where it is reached"}, {"url", "of a compute node: `URL` of its API"},
		{"reward", "`address` that is rewarded"}, {"stream-reward", "of a compute node: `address` that streams pay"},
		{"manager", "`address` that may change it as well"}, {"registration-url", "`URL` where stakers register"},
		{"terms-and-conditions", "hash of what users must accept"},
	} {
		texts[f[0]] = flags.String(f[0], "", f[1])
	}
	locked := flags.Bool("locked", false, "take no compute nodes, or no stakers, but those that are authorized")
	authorized := flags.StringSlice("authorized", nil, "addresses that may stake or link")
	c.RunE = a.within(func(ctx context.Context, args []string) error {
		details := map[string]any{}
		for flag, text := range texts {
			if flags.Changed(flag) {
				details[detailName(flag)] = *text
			}
		}
		if flags.Changed("locked") {
			details["locked"] = *locked
		}
		if flags.Changed("authorized") {
			details["authorized"] = *authorized
		}
		if len(details) == 0 {
			return usageError{errors.New("say what is to be changed, such as --name")}
		}
		hash, err := a.registered(ctx, args[0])
		if err != nil {
			return err
		}
		nodes, err := a.nodes(ctx)
		if err != nil {
			return err
		}
		action := "create-resource-node"
		if slices.ContainsFunc(nodes.Core, func(n client.CoreNode) bool { return n.Hash == hash }) {
			action = "create-node"
		}
		return a.postToRegistry(ctx, message.PostTypeAmend, action, string(hash), details)
	})
	return c
}

// detailName is what the registry calls that which a flag says.
func detailName(flag string) string {
	if flag == "url" {
		return "address"
	}
	return strings.ReplaceAll(flag, "-", "_")
}

func (a *app) operateNodes(ctx context.Context, action, ref string, details map[string]any) error {
	return a.postToRegistry(ctx, a.params.Nodes.OperationType, action, ref, details)
}

func (a *app) postToRegistry(ctx context.Context, kind, action, ref string, details map[string]any) error {
	content := map[string]any{"action": action, "tags": []string{action, a.params.Nodes.Tag}}
	if details != nil {
		content["details"] = details
	}
	raw, err := json.Marshal(content)
	if err != nil {
		return err
	}
	if a.channel == defaultChannel && len(a.params.Corechannel.Channels) > 0 {
		a.channel = a.params.Corechannel.Channels[0]
	}
	return a.submit(ctx, &message.Post{PostType: kind, Ref: ref, Content: raw})
}
