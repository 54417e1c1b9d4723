package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature"
)

// These commands make a message in steps that can run on different machines: one without the key, one without the network.

func (a *app) messageBuild() *cobra.Command {
	var sender, chain string
	c := &cobra.Command{
		Use: "build TYPE CONTENT", Short: "Make a message that is still to be signed", Args: cobra.ExactArgs(2),
		Long: `Print the envelope of a message without its signature. It needs no network and, with --sender, no key.

CONTENT is the whole content as JSON, or @FILE, or - for standard input; address and time are added where they are absent.`,
		Example: "  aleph message build POST '{\"type\": \"note\", \"content\": {\"text\": \"hello\"}}' --sender " + exampleAddress + " > unsigned.json",
		RunE: a.within(func(_ context.Context, args []string) error {
			kind := message.Type(strings.ToUpper(args[0]))
			raw, err := a.inputJSON(args[1])
			if err != nil {
				return err
			}
			from := message.Chain(strings.ToUpper(chain))
			if sender == "" {
				account, err := a.signer()
				if err != nil {
					return err
				}
				sender, from = account.Address(), account.Chain()
			}
			m, err := a.build(kind, raw, sender, from, time.Now())
			if err != nil {
				return usageError{err}
			}
			return a.printEnvelope(m)
		}),
	}
	c.Flags().StringVar(&sender, "sender", "", "`address` that will sign; default that of the account in use")
	c.Flags().StringVar(&chain, "chain", "ETH", "chain of --sender")
	return c
}

func (a *app) build(kind message.Type, raw json.RawMessage, sender string, chain message.Chain, now time.Time) (*message.Message, error) {
	var content map[string]any
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber() // numbers stay as they were written
	if err := d.Decode(&content); err != nil {
		return nil, fmt.Errorf("the content must be an object: %w", err)
	}
	if _, ok := content["address"]; !ok {
		content["address"] = sender
		if a.owner != "" {
			content["address"] = a.owner
		}
	}
	if _, ok := content["time"]; !ok {
		content["time"] = float64(now.UnixMilli()) / 1000
	}
	m, tooLong, err := message.Build(sender, chain, kind, content, &a.channel, now)
	if err != nil {
		return nil, err
	}
	if tooLong != nil {
		return nil, fmt.Errorf("the content has %d bytes; less than %d travel inside a message. Upload it as a file and refer to that", len(tooLong), message.InlineLimit)
	}
	return m, nil
}

// printEnvelope prints a message as the next step reads it; for people as well.
func (a *app) printEnvelope(m *message.Message) error {
	return print(a, json.RawMessage(m.AppendJSON(nil)), func(w io.Writer, raw json.RawMessage) { fmt.Fprintf(w, "%s\n", raw) })
}

// envelope reads a message from a file, or from standard input.
func (a *app) envelope(name string) (*message.Message, error) {
	if name != "-" {
		name = "@" + name
	}
	raw, err := a.input(name)
	if err != nil {
		return nil, err
	}
	var shape struct {
		Message json.RawMessage `json:"message"` // of what `message get` prints
	}
	if json.Unmarshal(raw, &shape) == nil && len(shape.Message) > 0 {
		raw = shape.Message
	}
	m, _, err := message.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	return m, nil
}

func fileOr(args []string) string {
	if len(args) == 0 {
		return "-"
	}
	return args[0]
}

func (a *app) messageSign() *cobra.Command {
	return &cobra.Command{
		Use: "sign [FILE]", Short: "Sign a message that was built", Args: cobra.MaximumNArgs(1),
		Long:    "Read a message from a file or from standard input and print it with its signature. It needs no network.",
		Example: "  aleph message sign unsigned.json > signed.json",
		RunE: a.within(func(ctx context.Context, args []string) error {
			m, err := a.envelope(fileOr(args))
			if err != nil {
				return err
			}
			account, err := a.signer()
			if err != nil {
				return err
			}
			if err := signature.Sign(ctx, account, m); err != nil {
				return keyError{err}
			}
			return a.printEnvelope(m)
		}),
	}
}

func (a *app) messageVerify() *cobra.Command {
	return &cobra.Command{
		Use: "verify [FILE]", Short: "Check that a message is what its sender signed", Args: cobra.MaximumNArgs(1),
		Long:    "Read a message from a file or from standard input and check the hash of its content and its signature. It needs no network.",
		Example: "  aleph message verify signed.json\n  aleph message get " + examplePost + " | aleph message verify",
		RunE: a.within(func(_ context.Context, args []string) error {
			m, err := a.envelope(fileOr(args))
			if err != nil {
				return err
			}
			if err := signature.Default().Verify(m); err != nil {
				return keyError{fmt.Errorf("message %s: %w", m.ItemHash, err)}
			}
			type view struct {
				ItemHash message.Hash  `json:"item_hash"`
				Sender   string        `json:"sender"`
				Chain    message.Chain `json:"chain"`
				Valid    bool          `json:"valid"`
				Content  string        `json:"content"` // checked, or elsewhere
			}
			v := view{m.ItemHash, m.Sender, m.Chain, true, "checked"}
			if m.ItemType != message.ItemInline {
				v.Content = "elsewhere"
			}
			return print(a, v, func(w io.Writer, v view) {
				fmt.Fprintf(w, "message\t%s\nsender\t%s\nsignature\tright\ncontent\t%s\n", v.ItemHash, v.Sender, v.Content)
			})
		}),
	}
}

func (a *app) messageBroadcast() *cobra.Command {
	return &cobra.Command{
		Use: "broadcast [FILE]", Short: "Send a message that was signed", Args: cobra.MaximumNArgs(1),
		Long:    "Read a signed message from a file or from standard input and send it. It needs no key.",
		Example: "  aleph message broadcast signed.json",
		RunE: a.within(func(ctx context.Context, args []string) error {
			m, err := a.envelope(fileOr(args))
			if err != nil {
				return err
			}
			if err := signature.Default().Verify(m); err != nil {
				return keyError{fmt.Errorf("message %s: %w", m.ItemHash, err)}
			}
			v, err := a.broadcast(ctx, a.client(), m)
			if err != nil {
				return err
			}
			return print(a, v, writeSent)
		}),
	}
}

func (a *app) broadcast(ctx context.Context, api *client.Client, m *message.Message) (*sent, error) {
	published, err := api.PublishMessage(ctx, m, a.wait)
	if err != nil {
		return nil, err
	}
	v := &sent{ItemHash: m.ItemHash, Type: m.Type, Sender: m.Sender, Owner: m.Sender, Status: published.Status}
	var content struct{ Address string }
	if json.Unmarshal([]byte(m.ItemContent), &content) == nil && content.Address != "" {
		v.Owner = content.Address
	}
	if a.wait && v.Status != message.StatusProcessed {
		v.Status = message.StatusProcessed
		err = waitFor(ctx, api, m.ItemHash)
	}
	return v, err
}
