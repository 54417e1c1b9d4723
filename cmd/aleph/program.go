package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

func (a *app) programCommand() *cobra.Command {
	return group("program", "Run programs on the network", "  aleph program deploy my-app",
		a.programDeploy(), a.programUpdate(), a.programCall(), a.programList(), a.programShow(), a.programDelete(),
		a.logsCommand("Print what a program printed", "  aleph program logs "+exampleProgram),
		a.programPersist("persist", "Keep a program running between calls", true),
		a.programPersist("unpersist", "Run a program only when it is called", false))
}

func (a *app) programList() *cobra.Command {
	return a.listOf("program", "List programs", message.TypeProgram)
}

// listOf makes the command that lists a kind of workload.
func (a *app) listOf(group, short string, kind message.Type) *cobra.Command {
	return ofOwner(&cobra.Command{
		Use: "list [ADDRESS]", Short: short, Args: cobra.MaximumNArgs(1),
		Example: "  aleph " + group + " list",
		RunE: a.within(func(ctx context.Context, args []string) error {
			address, err := a.address(addressOf(args))
			if err != nil {
				return err
			}
			filter := client.Filter{Types: []message.Type{kind}, Owners: []string{address}}
			type view struct {
				ItemHash message.Hash `json:"item_hash"`
				Name     string       `json:"name"`
				Owner    string       `json:"owner"`
				Time     string       `json:"time"`
			}
			views := func(yield func(view, error) bool) {
				for m, err := range a.client().Messages(ctx, filter) {
					var content struct {
						Address  string          `json:"address"`
						Metadata json.RawMessage `json:"metadata"`
					}
					var v view
					if err == nil {
						if err = json.Unmarshal(m.Content, &content); err != nil {
							err = fmt.Errorf("%s %s: %w", group, m.ItemHash, err)
						} else {
							v = view{m.ItemHash, nameOf(content.Metadata), content.Address, message.TimeFromSeconds(m.Time).RFC3339()}
						}
					}
					if !yield(v, err) || err != nil {
						return
					}
				}
			}
			return printEach(a, views,
				column[view]{"HASH", 13, func(v view) string { return string(v.ItemHash) }},
				column[view]{"NAME", 28, func(v view) string { return v.Name }},
				column[view]{"CREATED", 19, func(v view) string { return momentText(v.Time) }})
		}),
	})
}

func (a *app) programDelete() *cobra.Command {
	var keepCode bool
	c := &cobra.Command{
		Use: "delete HASH", Aliases: []string{"remove"}, Short: "Stop a program and forget it", Args: cobra.ExactArgs(1),
		Long:    "Forget a program and then its code. The code stays with --keep-code, or when another program uses it.",
		Example: "  aleph program delete " + exampleProgram + " --yes",
		RunE: a.within(func(ctx context.Context, args []string) error {
			hash, err := a.hash(ctx, args[0])
			if err != nil {
				return err
			}
			account, err := a.signer()
			if err != nil {
				return err
			}
			return a.delete(ctx, account, hash, keepCode)
		}),
	}
	c.Flags().BoolVar(&keepCode, "keep-code", false, "keep the stored code")
	return c
}

func (a *app) delete(ctx context.Context, account client.Account, hash message.Hash, keepCode bool) error {
	api := a.client()
	_, content, err := programOf(ctx, api, hash)
	if err != nil {
		return err
	}
	if err := a.confirm(fmt.Sprintf("Forget program %s for ever?", hash)); err != nil {
		return err
	}
	type view struct {
		ItemHash  message.Hash   `json:"item_hash"`
		Status    message.Status `json:"status"`
		Forgotten []message.Hash `json:"forgotten"`
	}
	v := view{ItemHash: hash, Status: message.StatusForgotten, Forgotten: []message.Hash{hash}}
	if err := a.forget(ctx, api, account, deletedByOwner, hash); err != nil {
		return fmt.Errorf("forget program %s: %w", hash, err)
	}
	if !keepCode && content.Code.Ref != "" {
		err := a.forget(ctx, api, account, deletedByOwner, content.Code.Ref)
		var used *client.RejectedError
		switch {
		case err == nil:
			v.Forgotten = append(v.Forgotten, content.Code.Ref)
		case errors.As(err, &used) && (used.Code == message.ErrForgetNotAllowed || used.Code == message.ErrPermissionDenied):
			a.say("The code %s stays: it is used elsewhere, or is not yours", content.Code.Ref)
		default:
			return fmt.Errorf("program %s is forgotten, its code is not: %w", hash, err)
		}
	}
	return print(a, v, func(w io.Writer, v view) {
		for _, h := range v.Forgotten {
			fmt.Fprintf(w, "forgotten\t%s\n", h)
		}
	})
}

// programOf reads a program that is there.
func programOf(ctx context.Context, api *client.Client, hash message.Hash) (*client.StoredMessage, *message.Program, error) {
	info, err := api.GetMessage(ctx, hash)
	if err != nil {
		return nil, nil, err
	}
	if info.Message == nil || info.Message.Type != message.TypeProgram {
		return nil, nil, notOf("program", hash, info)
	}
	content, err := message.ParseContent(message.TypeProgram, info.Message.Content)
	if err != nil {
		return nil, nil, fmt.Errorf("program %s: %w", hash, err)
	}
	return info.Message, content.(*message.Program), nil
}

// programView is a program and where it runs.
type programView struct {
	ItemHash   message.Hash        `json:"item_hash"`
	Name       string              `json:"name"`
	Owner      string              `json:"owner"`
	Time       string              `json:"time"`
	Code       message.Hash        `json:"code"`
	Runtime    message.Hash        `json:"runtime"`
	Entrypoint string              `json:"entrypoint"`
	VCPUs      int                 `json:"vcpus"`
	Memory     int                 `json:"memory_mib"`
	Persistent bool                `json:"persistent"`
	Payment    message.PaymentType `json:"payment"`
	CCN        string              `json:"ccn"`
	CRN        string              `json:"crn"`
	URL        string              `json:"url"`
}

func (a *app) programShow() *cobra.Command {
	return &cobra.Command{
		Use: "show HASH", Aliases: []string{"get"}, Short: "Show a program and where it runs", Args: cobra.ExactArgs(1),
		Example: "  aleph program show " + exampleProgram,
		RunE: a.within(func(ctx context.Context, args []string) error {
			hash, err := a.hash(ctx, args[0])
			if err != nil {
				return err
			}
			api := a.client()
			m, p, err := programOf(ctx, api, hash)
			if err != nil {
				return err
			}
			v := &programView{
				ItemHash: hash, Name: nameOf(p.Metadata), Owner: p.Address, Time: message.TimeFromSeconds(m.Time).RFC3339(),
				Code: p.Code.Ref, Runtime: p.Runtime.Ref, Entrypoint: p.Code.Entrypoint, VCPUs: p.Resources.VCPUs, Memory: p.Resources.MemoryMiB,
				Persistent: p.Persistent(), Payment: p.PaymentType(),
			}
			switch place, err := api.Allocation(ctx, hash); {
			case err == nil:
				v.CRN, v.CCN, v.URL = nodeName(&place.Node), nodeName(place.Core), client.ProgramURL(place.Node.URL, hash)
			case !errors.Is(err, client.ErrNotFound):
				return err
			}
			return print(a, v, func(w io.Writer, v *programView) {
				fmt.Fprintf(w, "program\t%s\nname\t%s\nowner\t%s\ncreated\t%s\n", v.ItemHash, a.clean(v.Name), v.Owner, momentText(v.Time))
				fmt.Fprintf(w, "code\t%s\nruntime\t%s\nentrypoint\t%s\n", v.Code, v.Runtime, a.clean(v.Entrypoint))
				fmt.Fprintf(w, "shape\t%d vCPU, %d MiB\npersistent\t%s\npayment\t%s\n", v.VCPUs, v.Memory, yesNo(v.Persistent), v.Payment)
				if v.URL == "" {
					fmt.Fprintln(w, "runs\tnowhere yet")
					return
				}
				fmt.Fprintf(w, "ccn\t%s\ncrn\t%s\nurl\t%s\n", v.CCN, v.CRN, v.URL)
			})
		}),
	}
}

// programPersist makes the commands that change when a program runs. The network has no such change: a new program takes the
// place of the old one.
func (a *app) programPersist(use, short string, persistent bool) *cobra.Command {
	var keep bool
	c := &cobra.Command{
		Use: use + " HASH", Short: short, Args: cobra.ExactArgs(1),
		Long:    short + ". A new program with the same code takes its place; its hash is another one.",
		Example: "  aleph program " + use + " " + exampleProgram + " --yes",
		RunE: a.within(func(ctx context.Context, args []string) error {
			hash, err := a.hash(ctx, args[0])
			if err != nil {
				return err
			}
			account, err := a.signer()
			if err != nil {
				return err
			}
			api := a.client()
			_, p, err := programOf(ctx, api, hash)
			if err != nil {
				return err
			}
			if p.Persistent() == persistent {
				return fmt.Errorf("program %s is so already", hash)
			}
			if err := a.confirm(fmt.Sprintf("Replace program %s by a new one?", hash)); err != nil {
				return err
			}
			p.On.Persistent, p.Time, p.Replaces = &persistent, 0, nil
			fresh, err := a.settle(ctx, api, account, p)
			if err != nil {
				return err
			}
			if !keep {
				if err := a.forget(ctx, api, account, "replaced by "+string(fresh), hash); err != nil {
					return fmt.Errorf("program %s is there, the old one is not forgotten: %w", fresh, err)
				}
			}
			type view struct {
				ItemHash   message.Hash `json:"item_hash"`
				Replaces   message.Hash `json:"replaces"`
				Persistent bool         `json:"persistent"`
			}
			return print(a, view{fresh, hash, persistent}, func(w io.Writer, v view) {
				fmt.Fprintf(w, "program\t%s\nreplaces\t%s\npersistent\t%s\n", v.ItemHash, v.Replaces, yesNo(v.Persistent))
			})
		}),
	}
	c.Flags().BoolVar(&keep, "keep", false, "keep the old one as well")
	return c
}
