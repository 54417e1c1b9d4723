package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

func (a *app) authorizationCommand() *cobra.Command {
	return group("authorization", "Let other accounts write for yours", "  aleph authorization add "+exampleDelegate+" --type POST",
		a.authorizationAdd(), a.authorizationList(), a.authorizationReceived(), a.authorizationRevoke(), a.authorizationCheck())
}

// grantFlags are the flags that narrow a grant, or describe a message.
type grantFlags struct {
	chain                            string
	types, channels, postTypes, keys []string
}

func (f *grantFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.chain, "chain", "", "only with keys of this chain")
	c.Flags().StringSliceVar(&f.types, "type", nil, "only messages of these types")
	c.Flags().StringSliceVar(&f.channels, "in-channel", nil, "only in these channels")
	c.Flags().StringSliceVar(&f.postTypes, "post-type", nil, "only posts of these types")
	c.Flags().StringSliceVar(&f.keys, "key", nil, "only these keys of aggregates")
}

func (f *grantFlags) grant(address string) (client.Grant, error) {
	types, err := parseTypes(f.types)
	return client.Grant{
		Address: address, Chain: message.Chain(strings.ToUpper(f.chain)), Types: types, Channels: f.channels, PostTypes: f.postTypes, AggregateKeys: f.keys,
	}, err
}

func (a *app) authorizationAdd() *cobra.Command {
	var f grantFlags
	c := &cobra.Command{
		Use: "add ADDRESS", Short: "Let an address write for the account", Args: cobra.ExactArgs(1),
		Long: "Let an address send messages that belong to the account and are paid by it. Without flags it may do everything.",
		Example: "  aleph authorization add " + exampleDelegate + " --type POST --post-type note\n" +
			"  aleph authorization add " + exampleDelegate + " --type AGGREGATE --key profile",
		RunE: a.within(func(ctx context.Context, args []string) error {
			account, err := a.signer()
			if err != nil {
				return err
			}
			api := a.client()
			delegate, err := a.resolve(args[0])
			if err != nil {
				return err
			}
			grant, err := f.grant(delegate)
			if err != nil {
				return err
			}
			v, err := api.Grant(ctx, account, grant, a.options())
			return a.printChange(ctx, api, account, v, err)
		}),
	}
	f.add(c)
	return c
}

// printChange tells what became of a change of the authorizations.
func (a *app) printChange(ctx context.Context, api *client.Client, account client.Account, v *client.Sent, err error) error {
	if err != nil {
		return err
	}
	if err := a.settled(ctx, api, v); err != nil {
		return err
	}
	s := &sent{v.Hash, message.TypeAggregate, account.Address(), cmp.Or(a.owner, account.Address()), message.StatusProcessed}
	return print(a, s, writeSent)
}

func (a *app) authorizationList() *cobra.Command {
	return ofOwner(&cobra.Command{
		Use: "list [ADDRESS]", Short: "List whom an address lets write for it", Args: cobra.MaximumNArgs(1),
		Example: "  aleph authorization list",
		RunE: a.within(func(ctx context.Context, args []string) error {
			owner, err := a.address(addressOf(args))
			if err != nil {
				return err
			}
			list, err := collect(a.client().Granted(ctx, owner))
			if err != nil {
				return err
			}
			return printTable(a, list, grantColumns("DELEGATE")...)
		}),
	})
}

func grantColumns(who string) []column[client.Grant] {
	texts := func(list []string) string {
		if len(list) == 0 {
			return "any"
		}
		return strings.Join(list, ",")
	}
	return []column[client.Grant]{
		{name: who, cell: func(g client.Grant) string { return g.Address }},
		{name: "TYPES", cell: func(g client.Grant) string {
			types := make([]string, len(g.Types))
			for i, t := range g.Types {
				types[i] = string(t)
			}
			return texts(types)
		}},
		{name: "CHANNELS", cell: func(g client.Grant) string { return texts(g.Channels) }},
		{name: "POST TYPES", cell: func(g client.Grant) string { return texts(g.PostTypes) }},
		{name: "KEYS", cell: func(g client.Grant) string { return texts(g.AggregateKeys) }},
	}
}

func (a *app) authorizationReceived() *cobra.Command {
	return &cobra.Command{
		Use: "received [ADDRESS]", Short: "List who lets an address write for them", Args: cobra.MaximumNArgs(1),
		Example: "  aleph authorization received",
		RunE: a.within(func(ctx context.Context, args []string) error {
			delegate, err := a.address(addressOf(args))
			if err != nil {
				return err
			}
			list, err := collect(a.client().Received(ctx, delegate))
			if err != nil {
				return err
			}
			return printTable(a, list, grantColumns("OWNER")...)
		}),
	}
}

func (a *app) authorizationRevoke() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use: "revoke [ADDRESS]", Aliases: []string{"remove", "delete"}, Short: "Let an address write no more", Args: cobra.MaximumNArgs(1),
		Example: "  aleph authorization revoke " + exampleDelegate + "\n  aleph authorization revoke --all --yes",
		RunE: a.within(func(ctx context.Context, args []string) error {
			if all == (len(args) == 1) {
				return usageError{errors.New("say either an address or --all")}
			}
			account, err := a.signer()
			if err != nil {
				return err
			}
			api := a.client()
			if !all {
				delegate, err := a.resolve(args[0])
				if err != nil {
					return err
				}
				v, err := api.Revoke(ctx, account, delegate, a.options())
				return a.printChange(ctx, api, account, v, err)
			}
			if err := a.confirm("Revoke all authorizations?"); err != nil {
				return err
			}
			v, err := api.SetAggregate(ctx, account, securityKey, map[string]any{"authorizations": []any{}}, a.options())
			return a.printChange(ctx, api, account, v, err)
		}),
	}
	c.Flags().BoolVar(&all, "all", false, "revoke all authorizations")
	return c
}

func (a *app) authorizationCheck() *cobra.Command {
	var f grantFlags
	var owner string
	c := &cobra.Command{
		Use: "check ADDRESS", Short: "Tell whether a message of an address would be allowed", Args: cobra.ExactArgs(1),
		Long:    "Tell whether an address may send a message that belongs to the account, or to --owner. The exit code is 6 when it may not.",
		Example: "  aleph authorization check " + exampleDelegate + " --type POST --post-type note",
		RunE: a.within(func(ctx context.Context, args []string) error {
			address, err := a.address(owner)
			if err != nil {
				return err
			}
			delegate, err := a.resolve(args[0])
			if err != nil {
				return err
			}
			want, err := f.grant(delegate)
			if err != nil {
				return err
			}
			list, err := collect(a.client().Granted(ctx, address))
			if err != nil {
				return err
			}
			allowed := want.Address == address || slices.ContainsFunc(list, func(g client.Grant) bool { return allows(g, want) })
			if !allowed {
				return keyError{fmt.Errorf("%s does not let %s send this; it does after: aleph authorization add %[2]s", address, want.Address)}
			}
			type view struct {
				Owner   string `json:"owner"`
				Sender  string `json:"sender"`
				Allowed bool   `json:"allowed"`
			}
			return print(a, view{address, want.Address, allowed}, func(w io.Writer, v view) {
				fmt.Fprintf(w, "owner\t%s\nsender\t%s\nallowed\t%s\n", v.Owner, v.Sender, yesNo(v.Allowed))
			})
		}),
	}
	c.Flags().StringVar(&owner, "owner", "", "`address` that the message would belong to; default the account in use")
	f.add(c)
	return c
}

// allows reports whether a grant covers all messages that want describes (ccn-core §4). What want does not say may be anything.
func allows(g, want client.Grant) bool {
	return g.Address == want.Address &&
		(g.Chain == "" || g.Chain == want.Chain) &&
		covers(g.Types, want.Types) && covers(g.Channels, want.Channels) &&
		// Types of posts and keys of aggregates only bind messages of their kind.
		(!may(want, message.TypePost) || covers(g.PostTypes, want.PostTypes)) &&
		(!may(want, message.TypeAggregate) || covers(g.AggregateKeys, want.AggregateKeys))
}

// covers reports whether each wanted value is allowed; an empty list allows, or wants, any.
func covers[T comparable](allowed, wanted []T) bool {
	if len(allowed) == 0 {
		return true
	}
	return len(wanted) > 0 && !slices.ContainsFunc(wanted, func(v T) bool { return !slices.Contains(allowed, v) })
}

func may(want client.Grant, t message.Type) bool {
	return len(want.Types) == 0 || slices.Contains(want.Types, t)
}
