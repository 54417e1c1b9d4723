package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

func (a *app) aggregateCommand() *cobra.Command {
	return group("aggregate", "Keep values under keys", "  aleph aggregate set profile '{\"name\": \"bob\"}'",
		a.aggregateGet(), a.aggregateSet(), a.aggregateEdit(), a.aggregateUnset(), a.aggregateList(), a.aggregateForget(), a.aggregateHistory())
}

// securityKey is the aggregate that holds authorizations, which has commands of its own.
const securityKey = "security"

func notSecurity(key string) error {
	if key == securityKey {
		return usageError{errors.New("authorizations are changed with: aleph authorization add, and: aleph authorization revoke")}
	}
	return nil
}

func (a *app) aggregateGet() *cobra.Command {
	var owner string
	c := &cobra.Command{
		Use: "get KEY [MEMBER]", Aliases: []string{"show"}, Short: "Show the value of a key", Args: cobra.RangeArgs(1, 2),
		Example: "  aleph aggregate get profile\n  aleph aggregate get profile name\n  aleph aggregate get profile --owner " + exampleAddress + " -o json",
		RunE: a.within(func(ctx context.Context, args []string) error {
			address, err := a.address(owner)
			if err != nil {
				return err
			}
			value, err := readAggregate(ctx, a.client(), address, args[0])
			if err != nil {
				return err
			}
			if len(args) == 1 {
				return print(a, value, func(w io.Writer, v map[string]json.RawMessage) {
					if raw, err := encode(v, "", false); err == nil {
						a.writeJSON(w, bytes.TrimSpace(raw))
					}
				})
			}
			member, ok := value[args[1]]
			if !ok {
				return absentf("aggregate %s of %s has no member %q; what it has: aleph aggregate get %[1]s --owner %[2]s", args[0], address, args[1])
			}
			return print(a, member, a.writeJSON)
		}),
	}
	c.Flags().StringVar(&owner, "owner", "", "`address` of the owner; default the account in use")
	return c
}

func readAggregate(ctx context.Context, api *client.Client, owner, key string) (map[string]json.RawMessage, error) {
	value := map[string]json.RawMessage{}
	err := api.Aggregate(ctx, owner, key, &value)
	return value, err
}

func (a *app) aggregateSet() *cobra.Command {
	return &cobra.Command{
		Use: "set KEY CONTENT", Short: "Set members of a key", Args: cobra.ExactArgs(2),
		Long:    "Set members of a key; those that are not named stay. CONTENT is a JSON object, or @FILE, or - for standard input.",
		Example: "  aleph aggregate set profile '{\"name\": \"bob\", \"age\": 3}'",
		RunE: a.within(func(ctx context.Context, args []string) error {
			if err := notSecurity(args[0]); err != nil {
				return err
			}
			content, err := a.inputJSON(args[1])
			if err != nil {
				return err
			}
			if content[0] != '{' {
				return usageError{errors.New("the content of an aggregate is an object: '{\"name\": \"value\"}'")}
			}
			return a.submit(ctx, &message.Aggregate{Key: args[0], Content: content})
		}),
	}
}

func (a *app) aggregateUnset() *cobra.Command {
	return &cobra.Command{
		Use: "unset KEY MEMBER...", Short: "Empty members of a key", Args: cobra.MinimumNArgs(2),
		Long:    "Set members of a key to null, by which readers know that they are gone.",
		Example: "  aleph aggregate unset profile age",
		RunE: a.within(func(ctx context.Context, args []string) error {
			if err := notSecurity(args[0]); err != nil {
				return err
			}
			nulls := map[string]json.RawMessage{}
			for _, member := range args[1:] {
				nulls[member] = json.RawMessage("null")
			}
			content, err := json.Marshal(nulls)
			if err != nil {
				return err
			}
			return a.submit(ctx, &message.Aggregate{Key: args[0], Content: content})
		}),
	}
}

func (a *app) aggregateEdit() *cobra.Command {
	return &cobra.Command{
		Use: "edit KEY", Short: "Change the value of a key in an editor", Args: cobra.ExactArgs(1),
		Long:    "Open the value of a key in $VISUAL or $EDITOR. What was changed is shown, and sent when you agree.",
		Example: "  EDITOR='sed -i s/bob/alice/' aleph aggregate edit profile --yes",
		RunE: a.within(func(ctx context.Context, args []string) error {
			if err := notSecurity(args[0]); err != nil {
				return err
			}
			address, err := a.address("")
			if err != nil {
				return err
			}
			before, err := readAggregate(ctx, a.client(), address, args[0])
			if err != nil && !errors.Is(err, client.ErrNotFound) {
				return err
			}
			after, err := a.edit(before)
			if err != nil {
				return err
			}
			patch := difference(before, after)
			if len(patch) == 0 {
				return errors.New("nothing was changed")
			}
			for _, member := range slices.Sorted(maps.Keys(patch)) {
				a.say("%s: %s -> %s", member, valueOr(before[member], "nothing"), patch[member])
			}
			if err := a.confirm("Send this change?"); err != nil {
				return err
			}
			content, err := json.Marshal(patch)
			if err != nil {
				return err
			}
			return a.submit(ctx, &message.Aggregate{Key: args[0], Content: content})
		}),
	}
}

func valueOr(raw json.RawMessage, other string) string {
	if len(raw) == 0 {
		return other
	}
	return oneLine(raw)
}

// edit has the user change a value in their editor.
func (a *app) edit(value map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	editor := a.getenv("VISUAL")
	if editor == "" {
		editor = a.getenv("EDITOR")
	}
	if editor == "" {
		return nil, usageError{errors.New("set EDITOR to the program that you write with, or use: aleph aggregate set")}
	}
	file, done, err := temporary(func(w io.Writer) error {
		raw, err := encode(value, "", true)
		if err == nil {
			_, err = w.Write(raw)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	defer done()
	// As other tools do: the editor may have arguments, so a shell reads it.
	run := exec.Command("sh", "-c", editor+` "$1"`, "sh", file.Name())
	run.Stdin, run.Stdout, run.Stderr = a.in, a.err, a.err
	if err := run.Run(); err != nil {
		return nil, fmt.Errorf("edit with %s: %w", editor, err)
	}
	raw, err := os.ReadFile(file.Name())
	if err != nil {
		return nil, err
	}
	after := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &after); err != nil {
		return nil, usageError{fmt.Errorf("what was written is not a JSON object: %w", err)}
	}
	return after, nil
}

// difference is what must be set to get from one value to another; what is gone becomes null.
func difference(before, after map[string]json.RawMessage) map[string]json.RawMessage {
	patch := map[string]json.RawMessage{}
	for member, value := range after {
		if old, ok := before[member]; !ok || oneLine(old) != oneLine(value) {
			patch[member] = value
		}
	}
	for member, old := range before {
		if _, ok := after[member]; !ok && string(old) != "null" {
			patch[member] = json.RawMessage("null")
		}
	}
	return patch
}

func (a *app) aggregateList() *cobra.Command {
	return ofOwner(&cobra.Command{
		Use: "list [ADDRESS]", Short: "List the keys of an address", Args: cobra.MaximumNArgs(1),
		Example: "  aleph aggregate list\n  aleph aggregate list " + exampleAddress + " -o json",
		RunE: a.within(func(ctx context.Context, args []string) error {
			address, err := a.address(addressOf(args))
			if err != nil {
				return err
			}
			values, info, err := a.client().Aggregates(ctx, address)
			if err != nil {
				return err
			}
			type view struct {
				Key         string          `json:"key"`
				LastUpdated time.Time       `json:"last_updated"`
				Content     json.RawMessage `json:"content"`
			}
			list := []view{}
			for _, key := range slices.Sorted(maps.Keys(values)) {
				list = append(list, view{key, info[key].LastUpdated, values[key]})
			}
			return printTable(a, list,
				column[view]{name: "KEY", cell: func(v view) string { return v.Key }},
				column[view]{name: "CHANGED", cell: func(v view) string { return v.LastUpdated.UTC().Format(time.DateTime) }},
				column[view]{name: "VALUE", cell: func(v view) string { return oneLine(v.Content) }})
		}),
	})
}

// maxForget is how many messages one FORGET may name.
const maxForget = 1000

func (a *app) aggregateForget() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "forget KEY", Aliases: []string{"delete", "remove"}, Short: "Have a key forgotten with all its history", Args: cobra.ExactArgs(1),
		Example: "  aleph aggregate forget profile --yes",
		RunE: a.within(func(ctx context.Context, args []string) error {
			address, err := a.address("")
			if err != nil {
				return err
			}
			api := a.client()
			filter := client.Filter{Types: []message.Type{message.TypeAggregate}, Owners: []string{address}, ContentKeys: args}
			var elements []message.Hash
			for m, err := range api.Messages(ctx, filter) {
				if err != nil {
					return err
				}
				elements = append(elements, m.ItemHash)
			}
			if len(elements) == 0 {
				return absentf("%s has no aggregate %s; those are in: aleph aggregate list %[1]s", address, args[0])
			}
			if err := a.confirm(fmt.Sprintf("Forget key %s with all its history, %s?", args[0], countOf(len(elements), "message"))); err != nil {
				return err
			}
			// A FORGET names its targets one by one: what it calls aggregates are keys that look like hashes (messages §5.4).
			for len(elements) > maxForget {
				account, err := a.signer()
				if err != nil {
					return err
				}
				if err := a.forget(ctx, api, account, reason, elements[:maxForget]...); err != nil {
					return err
				}
				elements = elements[maxForget:]
			}
			return a.submit(ctx, forgetting(reason, elements))
		}),
	}
	c.Flags().StringVar(&reason, "reason", deletedByOwner, "why; everybody can read it")
	return c
}

func (a *app) aggregateHistory() *cobra.Command {
	var owner string
	var limit int
	c := &cobra.Command{
		Use: "history KEY", Short: "List the changes of a key, newest first", Args: cobra.ExactArgs(1),
		Example: "  aleph aggregate history profile",
		RunE: a.within(func(ctx context.Context, args []string) error {
			address, err := a.address(owner)
			if err != nil {
				return err
			}
			type change struct {
				ItemHash message.Hash    `json:"item_hash"`
				Sender   string          `json:"sender"`
				Time     string          `json:"time"`
				Content  json.RawMessage `json:"content"`
			}
			filter := client.Filter{Types: []message.Type{message.TypeAggregate}, Owners: []string{address}, ContentKeys: args}
			changes := func(yield func(change, error) bool) {
				for m, err := range first(a.client().Messages(ctx, filter), limit) {
					if err != nil {
						yield(change{}, err)
						return
					}
					var content struct{ Content json.RawMessage }
					if err := json.Unmarshal(m.Content, &content); err != nil {
						yield(change{}, fmt.Errorf("content of %s: %w", m.ItemHash, err))
						return
					}
					if !yield(change{m.ItemHash, m.Sender, timeText(m.Time), content.Content}, nil) {
						return
					}
				}
			}
			return printEach(a, changes,
				column[change]{"TIME", 19, func(v change) string { return v.Time }},
				column[change]{"HASH", 13, func(v change) string { return string(v.ItemHash) }},
				column[change]{"SET", 44, func(v change) string { return strings.TrimSpace(oneLine(v.Content)) }})
		}),
	}
	c.Flags().StringVar(&owner, "owner", "", "`address` of the owner; default the account in use")
	whole(c.Flags(), &limit, "limit", 0, 20, "at most this many; 0 for all")
	return c
}
