package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

// logsCommand makes the command that shows what a kind of workload printed.
func (a *app) logsCommand(short, example string) *cobra.Command {
	var follow bool
	c := &cobra.Command{
		Use: "logs HASH", Short: short, Args: cobra.ExactArgs(1),
		Example: example + "\n" + example + " -f",
		RunE: func(cmd *cobra.Command, args []string) error {
			if follow {
				ctx, cancel := a.untilTold(cmd)
				defer cancel()
				return errors.Join(a.followLogs(ctx, args[0]), cmd.Context().Err())
			}
			return a.within(func(ctx context.Context, args []string) error { return a.printLogs(ctx, args[0]) })(cmd, args)
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new lines, until Ctrl-C or until it ends")
	return c
}

// printLogs asks the compute node that runs a workload for what it printed.
func (a *app) printLogs(ctx context.Context, text string) error {
	api, account, hash, place, err := a.placed(ctx, text)
	if err != nil {
		return err
	}
	lines, err := api.ProgramLogs(ctx, account, place.Node.URL, hash)
	if err != nil {
		return err
	}
	if len(lines) == 0 {
		a.say("It has printed nothing yet. To wait for its lines: -f")
	}
	return print(a, lines, func(w io.Writer, lines []client.LogLine) {
		for _, l := range lines {
			fmt.Fprintf(w, "%s %s\n", l.Time, a.clean(strings.TrimRight(l.Message, "\n")))
		}
	})
}

// followLogs prints lines as they come.
func (a *app) followLogs(ctx context.Context, text string) error {
	api, account, hash, place, err := a.placed(ctx, text)
	if err != nil {
		return err
	}
	n := 0
	for line, err := range api.FollowLogs(ctx, account, place.Node.URL, hash) {
		if n == 0 && errors.Is(err, client.ErrNotFound) {
			return a.repeatLogs(ctx, api, account, place.Node.URL, hash)
		}
		if err != nil {
			return err
		}
		if a.output != "text" {
			if err := a.item(line, n); err != nil {
				return err
			}
			n++
			continue
		}
		text := a.clean(strings.TrimRight(line.Message, "\r\n"))
		if line.Stream == "system" {
			a.say("%s", text)
			continue
		}
		if _, err := fmt.Fprintln(a.out, text); err != nil {
			return err
		}
	}
	if a.output == "text" {
		return nil
	}
	return a.endItems(n)
}

// logPause is the time between two questions for new lines.
const logPause = time.Second

// repeatLogs asks again and again for the lines of a workload whose compute node does not stream them, and prints those that are new.
func (a *app) repeatLogs(ctx context.Context, api *client.Client, account client.Account, crnURL string, hash message.Hash) error {
	n := 0
	for {
		lines, err := api.ProgramLogs(ctx, account, crnURL, hash)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		for _, l := range lines[min(n, len(lines)):] { // a node that has thrown lines away has fewer
			if a.output == "text" {
				_, err = fmt.Fprintln(a.out, a.clean(strings.TrimRight(l.Message, "\r\n")))
			} else {
				err = a.item(l, n)
			}
			if err != nil {
				return err
			}
			n++
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(logPause):
		}
	}
}

// placed finds a workload that the user operates: who runs it, and with which account.
func (a *app) placed(ctx context.Context, text string) (*client.Client, client.Account, message.Hash, *client.Allocation, error) {
	account, err := a.signer()
	if err != nil {
		return nil, nil, "", nil, err
	}
	hash, err := a.hash(ctx, text)
	if err != nil {
		return nil, nil, "", nil, err
	}
	api := a.client()
	place, err := a.placeOf(ctx, api, hash)
	if errors.Is(err, client.ErrNotFound) {
		err = fmt.Errorf("%s runs nowhere: %w", hash, err)
	}
	return api, account, hash, place, err
}

// placeOf asks where a workload runs. Schedulers leave alone what its owner put on a node, as on mainnet what is paid by streams: then it
// is the node that its message names.
func (a *app) placeOf(ctx context.Context, api *client.Client, hash message.Hash) (*client.Allocation, error) {
	place, err := api.Allocation(ctx, hash)
	if !errors.Is(err, client.ErrNotFound) {
		return place, err
	}
	instance, unread := instanceOf(ctx, api, hash)
	if unread != nil || instance.Requirements == nil || instance.Requirements.Node == nil || instance.Requirements.Node.NodeHash == nil {
		return nil, err
	}
	n, unread := a.namedNode(ctx, string(*instance.Requirements.Node.NodeHash))
	if unread != nil {
		return nil, errors.Join(err, unread)
	}
	return &client.Allocation{Hash: hash, Node: client.AllocatedNode{ID: string(n.Hash), Name: n.Name, URL: n.Address}}, nil
}
