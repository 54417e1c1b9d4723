package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

func (a *app) domainCommand() *cobra.Command {
	return group("domain", "Reach what you run under names of yours", "  aleph domain add www.example.org --to "+exampleProgram,
		a.domainAdd(), a.domainAttach(), a.domainDetach(), a.domainList(), a.domainInfo(), a.domainCheck())
}

type domainView struct {
	Domain   string              `json:"domain"`
	ItemHash message.Hash        `json:"item_hash"`
	Kind     client.DomainTarget `json:"type"`
}

// kindOf tells what a message is for a domain.
func kindOf(ctx context.Context, api *client.Client, hash message.Hash) (client.DomainTarget, error) {
	info, err := api.GetMessage(ctx, hash)
	if err != nil {
		return "", err
	}
	if info.Message != nil {
		switch info.Message.Type {
		case message.TypeStore:
			return client.DomainIPFS, nil
		case message.TypeProgram:
			return client.DomainProgram, nil
		case message.TypeInstance:
			return client.DomainInstance, nil
		}
	}
	return "", usageError{fmt.Errorf("%s is no file, program or instance (status %s)", hash, info.Status)}
}

func domainName(text string) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(text, "."))
	labels := strings.Split(name, ".")
	bad := len(labels) < 2 || len(name) > 253 || slices.ContainsFunc(labels, func(l string) bool {
		return l == "" || len(l) > 63 || strings.Trim(l, "abcdefghijklmnopqrstuvwxyz0123456789-_") != ""
	})
	if bad {
		return "", usageError{fmt.Errorf("%q is no domain; names with other letters are written in their xn-- form", text)}
	}
	return name, nil
}

// lead makes a domain lead to something and prints the records that its DNS must have.
func (a *app) lead(ctx context.Context, text, to, catchAll string) error {
	domain, err := domainName(text)
	if err != nil {
		return err
	}
	hash, err := a.hash(ctx, to)
	if err != nil {
		return err
	}
	owner, err := a.address("")
	if err != nil {
		return err
	}
	account, err := a.signer()
	if err != nil {
		return err
	}
	api := a.client()
	kind, err := kindOf(ctx, api, hash)
	if err != nil {
		return err
	}
	d := client.Domain{Message: hash, Target: kind}
	if catchAll != "" {
		if d.Options, err = json.Marshal(map[string]string{"catch_all_path": catchAll}); err != nil {
			return err
		}
	}
	v, err := api.AttachDomain(ctx, account, domain, d, a.options())
	if err != nil {
		return err
	}
	if err := a.settled(ctx, api, v); err != nil {
		return err
	}
	type view struct {
		domainView
		Status  message.Status `json:"status"`
		Records []record       `json:"records"`
	}
	return print(a, view{domainView{domain, hash, kind}, message.StatusProcessed, recordsOf(domain, kind, owner)}, func(w io.Writer, v view) {
		fmt.Fprintf(w, "domain\t%s\nleads to\t%s (%s)\nstatus\t%s\n\nIts DNS must have:\n", v.Domain, v.ItemHash, v.Kind, v.Status)
		writeRecords(w, v.Records)
		fmt.Fprintf(w, "\nWhether it has: aleph domain check %s\n", v.Domain)
	})
}

func (a *app) domainAdd() *cobra.Command {
	var to, catchAll string
	c := &cobra.Command{
		Use: "add DOMAIN", Short: "Make a domain of yours lead to something", Args: cobra.ExactArgs(1),
		Long:    "Make a domain of yours lead to a website or file, a program or an instance, and print the records that its DNS must have.",
		Example: "  aleph domain add www.example.org --to " + exampleProgram,
		RunE: a.within(func(ctx context.Context, args []string) error {
			owner, err := a.address("")
			if err != nil {
				return err
			}
			known, err := a.client().Domains(ctx, owner)
			if err != nil {
				return err
			}
			if e := known[strings.ToLower(args[0])]; e.Message != "" {
				return fmt.Errorf("%s leads to %s already; change that with: aleph domain attach %[1]s --to HASH", args[0], e.Message)
			}
			return a.lead(ctx, args[0], to, catchAll)
		}),
	}
	domainFlags(c, &to, &catchAll)
	return c
}

func domainFlags(c *cobra.Command, to, catchAll *string) {
	c.Flags().StringVar(to, "to", "", "`hash` of what it leads to")
	c.Flags().StringVar(catchAll, "catch-all-path", "", "`path` of a website that answers for those it does not have")
	require(c, "to")
}

func (a *app) domainAttach() *cobra.Command {
	var to, catchAll string
	c := &cobra.Command{
		Use: "attach DOMAIN", Short: "Make a domain lead to something else", Args: cobra.ExactArgs(1),
		Example: "  aleph domain attach www.example.org --to " + exampleStore,
		RunE: a.within(func(ctx context.Context, args []string) error {
			return a.lead(ctx, args[0], to, catchAll)
		}),
	}
	domainFlags(c, &to, &catchAll)
	return c
}

func (a *app) domainDetach() *cobra.Command {
	return &cobra.Command{
		Use: "detach DOMAIN", Aliases: []string{"remove", "delete"}, Short: "Make a domain lead nowhere", Args: cobra.ExactArgs(1),
		Example: "  aleph domain detach www.example.org --yes",
		RunE: a.within(func(ctx context.Context, args []string) error {
			domain, _, err := a.domainOf(ctx, args[0], "")
			if err != nil {
				return err
			}
			if err := a.confirm(fmt.Sprintf("Make %s lead nowhere?", domain)); err != nil {
				return err
			}
			account, err := a.signer()
			if err != nil {
				return err
			}
			api := a.client()
			v, err := api.DetachDomain(ctx, account, domain, a.options())
			if err != nil {
				return err
			}
			if err := a.settled(ctx, api, v); err != nil {
				return err
			}
			return print(a, domainView{Domain: domain}, func(w io.Writer, v domainView) { fmt.Fprintf(w, "domain\t%s\nleads to\tnothing\n", v.Domain) })
		}),
	}
}

// domainOf finds a domain of an owner.
func (a *app) domainOf(ctx context.Context, text, owner string) (domain string, d client.Domain, err error) {
	if domain, err = domainName(text); err != nil {
		return "", d, err
	}
	address, err := a.address(owner)
	if err != nil {
		return "", d, err
	}
	all, err := a.client().Domains(ctx, address)
	if err != nil {
		return "", d, err
	}
	d, ok := all[domain]
	if !ok {
		return "", d, absentf("%s is no domain of %s; those are in: aleph domain list %[2]s", domain, address)
	}
	return domain, d, nil
}

func (a *app) domainList() *cobra.Command {
	return ofOwner(&cobra.Command{
		Use: "list [ADDRESS]", Short: "List domains and what they lead to", Args: cobra.MaximumNArgs(1),
		Example: "  aleph domain list",
		RunE: a.within(func(ctx context.Context, args []string) error {
			owner, err := a.address(addressOf(args))
			if err != nil {
				return err
			}
			all, err := a.client().Domains(ctx, owner)
			if err != nil {
				return err
			}
			list := []domainView{}
			for _, name := range slices.Sorted(maps.Keys(all)) {
				list = append(list, domainView{name, all[name].Message, all[name].Target})
			}
			return printTable(a, list,
				column[domainView]{name: "DOMAIN", cell: func(v domainView) string { return v.Domain }},
				column[domainView]{name: "TYPE", cell: func(v domainView) string { return string(v.Kind) }},
				column[domainView]{name: "LEADS TO", cell: func(v domainView) string { return string(v.ItemHash) }})
		}),
	})
}

func (a *app) domainInfo() *cobra.Command {
	var owner string
	c := &cobra.Command{
		Use: "info DOMAIN", Aliases: []string{"show", "get"}, Short: "Show what a domain leads to", Args: cobra.ExactArgs(1),
		Example: "  aleph domain info www.example.org",
		RunE: a.within(func(ctx context.Context, args []string) error {
			domain, entry, err := a.domainOf(ctx, args[0], owner)
			if err != nil {
				return err
			}
			type view struct {
				domainView
				UpdatedAt string          `json:"updated_at"`
				Options   json.RawMessage `json:"options"`
			}
			v := view{domainView{domain, entry.Message, entry.Target}, timeText(entry.Updated), entry.Options}
			return print(a, v, func(w io.Writer, v view) {
				fmt.Fprintf(w, "domain\t%s\nleads to\t%s\ntype\t%s\nchanged\t%s\n", v.Domain, v.ItemHash, v.Kind, v.UpdatedAt)
				if len(v.Options) > 0 && string(v.Options) != "null" {
					fmt.Fprintf(w, "options\t%s\n", a.clean(oneLine(v.Options)))
				}
			})
		}),
	}
	c.Flags().StringVar(&owner, "owner", "", "`address` of the owner; default the account in use")
	return c
}
