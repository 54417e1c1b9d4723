package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

func (a *app) messageCommand() *cobra.Command {
	return group("message", "Look at messages", "  aleph message list --type POST", a.messageGet(), a.messageList(), a.messageWatch())
}

func (a *app) messageGet() *cobra.Command {
	return &cobra.Command{
		Use: "get HASH", Short: "Show one message and what became of it", Args: cobra.ExactArgs(1),
		Example: "  aleph message get 2953f0b5beb79fc0ed1bc455346fdcb530611605e16c636778a0d673d7184af1",
		RunE: a.within(func(ctx context.Context, args []string) error {
			hash, err := hashArgument(args[0])
			if err != nil {
				return err
			}
			info, err := a.client().GetMessage(ctx, hash)
			if err != nil {
				return err
			}
			return print(a, info.Raw, func(w io.Writer, raw json.RawMessage) {
				var b bytes.Buffer
				if json.Indent(&b, raw, "", "  ") != nil {
					b.Write(raw)
				}
				fmt.Fprintf(w, "%s\n", b.Bytes())
			})
		}),
	}
}

func hashArgument(text string) (message.Hash, error) {
	hash, err := message.ParseHash(text)
	if err != nil {
		return "", usageError{err}
	}
	return hash, nil
}

// filterFlags are the flags that select messages.
type filterFlags struct {
	types, senders, owners, channels, refs, tags, kinds, keys []string
	since                                                     time.Duration
}

func (f *filterFlags) add(c *cobra.Command) {
	flags := c.Flags()
	flags.StringSliceVar(&f.types, "type", nil, "message types: POST, AGGREGATE, STORE, PROGRAM, INSTANCE, FORGET")
	flags.StringSliceVar(&f.senders, "sender", nil, "addresses that signed")
	flags.StringSliceVar(&f.owners, "owner", nil, "addresses on whose behalf")
	flags.StringSliceVar(&f.channels, "in-channel", nil, "channels")
	flags.StringSliceVar(&f.refs, "ref", nil, "what the content refers to")
	flags.StringSliceVar(&f.tags, "tag", nil, "tags")
	flags.StringSliceVar(&f.kinds, "post-type", nil, "types of posts")
	flags.StringSliceVar(&f.keys, "key", nil, "keys of aggregates")
	flags.DurationVar(&f.since, "since", 0, "only what is younger")
}

func (f *filterFlags) filter() client.Filter {
	filter := client.Filter{
		Addresses: f.senders, Owners: f.owners, Channels: f.channels, Refs: f.refs, Tags: f.tags, ContentTypes: f.kinds, ContentKeys: f.keys,
	}
	for _, t := range f.types {
		filter.Types = append(filter.Types, message.Type(strings.ToUpper(t)))
	}
	if f.since > 0 {
		filter.Since = time.Now().Add(-f.since)
	}
	return filter
}

func (a *app) messageList() *cobra.Command {
	var flags filterFlags
	var limit int
	c := &cobra.Command{
		Use: "list", Short: "List messages, newest first", Args: cobra.NoArgs,
		Example: "  aleph message list --type POST --limit 5\n  aleph message list --sender 0xa0Ee7A142d267C1f36714E4a8F75612F20a79720 -o jsonl",
		RunE: a.within(func(ctx context.Context, _ []string) error {
			filter := flags.filter()
			filter.PageSize = limit
			list, err := collect(a.client(), ctx, filter, limit)
			if err != nil {
				return err
			}
			return print(a, list, func(w io.Writer, list []*client.StoredMessage) {
				for _, m := range list {
					writeLine(w, m)
				}
			})
		}),
	}
	flags.add(c)
	c.Flags().IntVar(&limit, "limit", 20, "at most this many; 0 for all")
	return c
}

// collect reads the first messages that match, at most limit unless that is 0.
func collect(api *client.Client, ctx context.Context, f client.Filter, limit int) ([]*client.StoredMessage, error) {
	list := []*client.StoredMessage{}
	for m, err := range api.Messages(ctx, f) {
		if err != nil {
			return nil, err
		}
		if list = append(list, m); len(list) == limit {
			break
		}
	}
	return list, nil
}

func writeLine(w io.Writer, m *client.StoredMessage) {
	channel := "-"
	if m.Channel != nil {
		channel = *m.Channel
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", message.TimeFromSeconds(m.Time).Std().Format(time.DateTime), m.Type, m.ItemHash, m.Sender, channel)
}

func (a *app) messageWatch() *cobra.Command {
	var flags filterFlags
	var history int
	c := &cobra.Command{
		Use: "watch", Short: "Print messages as they are processed", Args: cobra.NoArgs,
		Long:    "Print messages as the node processes them, until Ctrl-C or --timeout. Broken connections are made again.",
		Example: "  aleph message watch --type POST -o jsonl",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if cmd.Flags().Changed("timeout") {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, a.timeout)
				defer cancel()
			}
			if history < 0 || history > 199 {
				return usageError{fmt.Errorf("--history %d: want 0 to 199", history)}
			}
			for m, err := range a.client().Watch(ctx, flags.filter(), history) {
				if err != nil {
					return err
				}
				if err := print(a, m, func(w io.Writer, m *client.StoredMessage) { writeLine(w, m) }); err != nil {
					return err
				}
			}
			return cmd.Context().Err()
		},
	}
	flags.add(c)
	c.Flags().IntVar(&history, "history", 10, "start with this many that exist, 0 to 199")
	return c
}
