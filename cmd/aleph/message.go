package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

func (a *app) messageCommand() *cobra.Command {
	return group("message", "Look at messages, make them, forget them", "  aleph message list --type POST",
		a.messageGet(), a.messageList(), a.messageWatch(), a.messageForget(),
		a.messageBuild(), a.messageSign(), a.messageVerify(), a.messageBroadcast())
}

func (a *app) messageGet() *cobra.Command {
	return &cobra.Command{
		Use: "get HASH", Aliases: []string{"show"}, Short: "Show one message and what became of it", Args: cobra.ExactArgs(1),
		Example: "  aleph message get " + examplePost,
		RunE: a.within(func(ctx context.Context, args []string) error {
			hash, err := a.hash(ctx, args[0])
			if err != nil {
				return err
			}
			info, err := a.client().GetMessage(ctx, hash)
			if err != nil {
				return err
			}
			if info.Status == message.StatusRejected {
				a.say("Rejected: %s. %s", info.Code, advice(info.Code))
			}
			return print(a, info.Raw, a.writeJSON)
		}),
	}
}

// writeJSON writes JSON for people.
func (a *app) writeJSON(w io.Writer, raw json.RawMessage) {
	var b bytes.Buffer
	if json.Indent(&b, raw, "", "  ") != nil {
		b.Write(raw)
	}
	fmt.Fprintln(w, a.clean(b.String()))
}

// filterFlags are the flags that select messages.
type filterFlags struct {
	types, statuses, senders, owners, channels, chains, refs, tags, kinds, keys, files, hashes []string
	since                                                                                      time.Duration
	from, to                                                                                   string
	oldest                                                                                     bool
}

func (f *filterFlags) add(c *cobra.Command) {
	flags := c.Flags()
	flags.StringSliceVar(&f.types, "type", nil, "message types: POST, AGGREGATE, STORE, PROGRAM, INSTANCE, FORGET")
	flags.StringSliceVar(&f.senders, "sender", nil, "addresses that signed")
	flags.StringSliceVar(&f.owners, "owner", nil, "addresses on whose behalf")
	flags.StringSliceVar(&f.channels, "in-channel", nil, "channels")
	flags.StringSliceVar(&f.chains, "chain", nil, "chains of the senders: ETH, SOL, ...")
	flags.StringSliceVar(&f.refs, "ref", nil, "what the content refers to")
	flags.StringSliceVar(&f.tags, "tag", nil, "tags")
	flags.StringSliceVar(&f.kinds, "post-type", nil, "types of posts")
	flags.StringSliceVar(&f.keys, "key", nil, "keys of aggregates")
	flags.StringSliceVar(&f.files, "file", nil, "hashes of files that STORE messages keep")
	flags.StringSliceVar(&f.hashes, "hash", nil, "hashes of messages")
	flags.DurationVar(&f.since, "since", 0, "only what is younger, such as 24h")
}

// addTimes adds the flags that only a list of what exists has.
func (f *filterFlags) addTimes(c *cobra.Command) {
	c.Flags().StringSliceVar(&f.statuses, "status", nil, "processed, removing, forgotten, rejected, ...; default processed and removing")
	c.Flags().StringVar(&f.from, "from", "", "first `time`, such as 2026-02-03 or 2026-02-03T04:05:06Z")
	c.Flags().StringVar(&f.to, "to", "", "`time` before which")
	c.Flags().BoolVar(&f.oldest, "oldest-first", false, "begin with the oldest")
}

func (a *app) filter(f *filterFlags) (client.Filter, error) {
	filter := client.Filter{
		Channels: f.channels, Refs: f.refs, Tags: f.tags, ContentTypes: f.kinds, ContentKeys: f.keys, OldestFirst: f.oldest,
	}
	var err error
	if filter.Types, err = parseTypes(f.types); err != nil {
		return filter, err
	}
	if filter.Addresses, err = a.resolveAll(f.senders); err == nil {
		filter.Owners, err = a.resolveAll(f.owners)
	}
	if err != nil {
		return filter, err
	}
	for _, s := range f.statuses {
		status := message.Status(strings.ToLower(s))
		if !slices.Contains(statuses, status) {
			return filter, usageError{fmt.Errorf("--status %s: want one of %v", s, statuses)}
		}
		filter.Statuses = append(filter.Statuses, status)
	}
	for _, c := range f.chains {
		filter.Chains = append(filter.Chains, message.Chain(strings.ToUpper(c)))
	}
	for _, list := range []struct {
		texts []string
		to    *[]message.Hash
	}{{f.files, &filter.ContentFiles}, {f.hashes, &filter.Hashes}} {
		for _, text := range list.texts {
			hash, err := hashArgument(text)
			if err != nil {
				return filter, err
			}
			*list.to = append(*list.to, hash)
		}
	}
	if filter.Since, err = parseTime("--from", f.from); err != nil {
		return filter, err
	}
	if filter.Until, err = parseTime("--to", f.to); err != nil {
		return filter, err
	}
	if f.since > 0 {
		filter.Since = time.Now().Add(-f.since)
	}
	return filter, nil
}

// statuses are those that messages in lists can have.
var statuses = []message.Status{message.StatusPending, message.StatusProcessed, message.StatusRejected, message.StatusForgotten, message.StatusRemoving, message.StatusRemoved}

// parseTypes reads types of messages.
func parseTypes(texts []string) (types []message.Type, err error) {
	for _, text := range texts {
		kind := message.Type(strings.ToUpper(text))
		if !slices.Contains(message.Types(), kind) {
			return nil, usageError{fmt.Errorf("--type %s: want one of %v", text, message.Types())}
		}
		types = append(types, kind)
	}
	return types, nil
}

// parseTime reads a day or a moment; "" is the zero time.
func parseTime(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, form := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
		if t, err := time.Parse(form, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usageError{fmt.Errorf("%s %s: want a time such as 2026-02-03 or 2026-02-03T04:05:06Z", flag, text)}
}

func (a *app) messageList() *cobra.Command {
	var flags filterFlags
	var limit int
	var follow bool
	c := &cobra.Command{
		Use: "list", Short: "List messages, newest first", Args: cobra.NoArgs,
		Long: "List messages, newest first. Rows are printed as they come. With --follow it goes on with what is processed from now on.",
		Example: "  aleph message list --type POST --limit 5\n" +
			"  aleph message list --sender " + exampleAddress + " -o jsonl\n" +
			"  aleph message list --owner " + exampleAddress + " --since 24h --limit 0",
		RunE: func(cmd *cobra.Command, args []string) error {
			filter, err := a.filter(&flags)
			if err != nil {
				return err
			}
			if follow {
				return a.watch(cmd, filter, min(limit, maxHistory))
			}
			return a.within(func(ctx context.Context, _ []string) error {
				if filter.PageSize = limit; limit > firstPage {
					filter.PageSize = 0
				}
				return printEach(a, first(a.client().Messages(ctx, filter), limit), messageColumns()...)
			})(cmd, args)
		},
	}
	flags.add(c)
	flags.addTimes(c)
	whole(c.Flags(), &limit, "limit", 0, 20, "at most this many; 0 for all")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new ones, until Ctrl-C")
	return c
}

const (
	firstPage  = 200 // messages in one answer of a node, at most
	maxHistory = 199 // messages that exist with which a watch begins, at most
)

// first are the first members of a list, all of them when limit is 0.
func first[T any](list iter.Seq2[T, error], limit int) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		n := 0
		for v, err := range list {
			if n++; !yield(v, err) || n == limit {
				return
			}
		}
	}
}

// collect reads a list to its end.
func collect[T any](list iter.Seq2[T, error]) ([]T, error) {
	all := []T{}
	for v, err := range list {
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

func messageColumns() []column[*client.StoredMessage] {
	return []column[*client.StoredMessage]{
		{"TIME", 19, func(m *client.StoredMessage) string { return timeText(m.Time) }},
		{"TYPE", 9, func(m *client.StoredMessage) string { return string(m.Type) }},
		{"HASH", 13, func(m *client.StoredMessage) string { return string(m.ItemHash) }},
		{"SENDER", 11, func(m *client.StoredMessage) string { return m.Sender }},
		{"CHANNEL", 20, func(m *client.StoredMessage) string {
			if m.Channel == nil {
				return "-"
			}
			return *m.Channel
		}},
	}
}

// timeText writes Unix seconds as people read them, in UTC.
func timeText(seconds float64) string {
	return message.TimeFromSeconds(seconds).Std().Format(time.DateTime)
}

// momentText writes a time of a machine's format, to the second, for people.
func momentText(moment string) string {
	return strings.ReplaceAll(moment[:min(19, len(moment))], "T", " ")
}

func (a *app) messageWatch() *cobra.Command {
	var flags filterFlags
	var history int
	c := &cobra.Command{
		Use: "watch", Short: "Print messages as they are processed", Args: cobra.NoArgs,
		Long:    "Print messages as the node processes them, until Ctrl-C or --timeout. Broken connections are made again.",
		Example: "  aleph message watch --type POST -o jsonl",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if history < 0 || history > maxHistory {
				return usageError{fmt.Errorf("--history %d: want 0 to %d", history, maxHistory)}
			}
			filter, err := a.filter(&flags)
			if err != nil {
				return err
			}
			return a.watch(cmd, filter, history)
		},
	}
	flags.add(c)
	c.Flags().IntVar(&history, "history", 10, "start with this many that exist, 0 to 199")
	return c
}

// watch prints messages until the user ends it. The end of a --timeout that was asked for is no failure.
func (a *app) watch(cmd *cobra.Command, filter client.Filter, history int) error {
	ctx, cancel := a.untilTold(cmd)
	defer cancel()
	if a.output == "json" { // a list without an end has no brackets
		a.output = "jsonl"
	}
	if err := printEach(a, a.client().Watch(ctx, filter, history), messageColumns()...); err != nil {
		return err
	}
	return cmd.Context().Err()
}

// untilTold is the context of a command that goes on until the user ends it: --timeout counts only when it was said.
func (a *app) untilTold(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	if cmd.Flags().Changed("timeout") {
		return context.WithTimeout(cmd.Context(), a.timeout)
	}
	return context.WithCancel(cmd.Context())
}

func (a *app) messageForget() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "forget HASH...", Aliases: []string{"delete", "remove"}, Short: "Have messages forgotten for ever", Args: cobra.MinimumNArgs(1),
		Long:    "Have messages forgotten: their content, and what hangs on it, goes from every node. This cannot be taken back.",
		Example: "  aleph message forget " + examplePost + " --reason 'published by mistake' --yes",
		RunE: a.within(func(ctx context.Context, args []string) error {
			hashes, err := a.hashes(ctx, args)
			if err != nil {
				return err
			}
			if err := a.confirm(fmt.Sprintf("Forget %s for ever?", countOf(len(hashes), "message"))); err != nil {
				return err
			}
			return a.submit(ctx, forgetting(reason, hashes))
		}),
	}
	c.Flags().StringVar(&reason, "reason", deletedByOwner, "why; everybody can read it")
	return c
}

func countOf(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
