package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

func (a *app) postCommand() *cobra.Command {
	return group("post", "Write and read documents", "  aleph post create note '{\"text\": \"hello\"}'",
		a.postCreate(), a.postAmend(), a.postGet(), a.postList())
}

func (a *app) postCreate() *cobra.Command {
	var ref string
	c := &cobra.Command{
		Use: "create TYPE CONTENT", Short: "Publish a document", Args: cobra.ExactArgs(2),
		Long: "Publish a document. TYPE is a word of yours; CONTENT is JSON, or @FILE, or - for standard input.",
		Example: "  aleph post create note '{\"text\": \"hello\"}'\n" +
			"  echo '{\"text\": \"from a pipe\"}' | aleph post create note -\n" +
			"  aleph post create comment @comment.json --ref " + examplePost,
		RunE: a.within(func(ctx context.Context, args []string) error {
			content, err := a.inputJSON(args[1])
			if err != nil {
				return err
			}
			return a.submit(ctx, &message.Post{PostType: args[0], Content: content, Ref: ref})
		}),
	}
	c.Flags().StringVar(&ref, "ref", "", "what it refers to: a hash, or any text")
	return c
}

func (a *app) postAmend() *cobra.Command {
	return &cobra.Command{
		Use: "amend HASH CONTENT", Short: "Replace the content of a document", Args: cobra.ExactArgs(2),
		Long:    "Replace the content of a post of yours. CONTENT is JSON, or @FILE, or - for standard input. The hash stays.",
		Example: "  aleph post amend " + examplePost + " '{\"text\": \"hello again\"}'",
		RunE: a.within(func(ctx context.Context, args []string) error {
			hash, err := a.hash(ctx, args[0])
			if err != nil {
				return err
			}
			content, err := a.inputJSON(args[1])
			if err != nil {
				return err
			}
			return a.submit(ctx, &message.Post{PostType: message.PostTypeAmend, Content: content, Ref: string(hash)})
		}),
	}
}

func (a *app) postGet() *cobra.Command {
	return &cobra.Command{
		Use: "get HASH", Aliases: []string{"show"}, Short: "Show a document as it is now", Args: cobra.ExactArgs(1),
		Example: "  aleph post get " + examplePost,
		RunE: a.within(func(ctx context.Context, args []string) error {
			hash, err := a.hash(ctx, args[0])
			if err != nil {
				return err
			}
			for post, err := range a.client().Posts(ctx, client.Filter{Hashes: []message.Hash{hash}}) {
				if err != nil {
					return err
				}
				return print(a, post, a.writePost)
			}
			return fmt.Errorf("post %s: %w", hash, client.ErrNotFound)
		}),
	}
}

func (a *app) writePost(w io.Writer, p *client.Post) {
	fmt.Fprintf(w, "post\t%s\ntype\t%s\nowner\t%s\n", p.OriginalItemHash, a.clean(p.OriginalType), p.Address)
	if p.ItemHash != p.OriginalItemHash {
		fmt.Fprintf(w, "amended by\t%s\n", p.ItemHash)
	}
	if p.Ref != nil && *p.Ref != "" && p.ItemHash == p.OriginalItemHash {
		fmt.Fprintf(w, "ref\t%s\n", a.clean(*p.Ref))
	}
	fmt.Fprintf(w, "created\t%s\nchanged\t%s\n\n", p.Created.UTC().Format(time.DateTime), p.LastUpdated.UTC().Format(time.DateTime))
	a.writeJSON(w, p.Content)
}

func (a *app) postList() *cobra.Command {
	var f client.Filter
	var refs, tags, kinds, owners, channels []string
	var limit int
	c := &cobra.Command{
		Use: "list", Short: "List documents as they are now, newest first", Args: cobra.NoArgs,
		Example: "  aleph post list --type note --limit 5\n  aleph post list --owner " + exampleAddress + " -o jsonl",
		RunE: a.within(func(ctx context.Context, _ []string) error {
			var err error
			if f.Addresses, err = a.resolveAll(owners); err != nil {
				return err
			}
			f.Refs, f.Tags, f.ContentTypes, f.Channels = refs, tags, kinds, channels
			if limit <= firstPage {
				f.PageSize = limit
			}
			return printEach(a, first(a.client().Posts(ctx, f), limit),
				column[*client.Post]{"CHANGED", 19, func(p *client.Post) string { return p.LastUpdated.UTC().Format(time.DateTime) }},
				column[*client.Post]{"TYPE", 10, func(p *client.Post) string { return p.OriginalType }},
				column[*client.Post]{"HASH", 13, func(p *client.Post) string { return string(p.OriginalItemHash) }},
				column[*client.Post]{"CONTENT", 32, func(p *client.Post) string { return oneLine(p.Content) }})
		}),
	}
	flags := c.Flags()
	flags.StringSliceVar(&kinds, "type", nil, "types")
	flags.StringSliceVar(&owners, "owner", nil, "addresses whose they are")
	flags.StringSliceVar(&channels, "in-channel", nil, "channels")
	flags.StringSliceVar(&refs, "ref", nil, "what they refer to")
	flags.StringSliceVar(&tags, "tag", nil, "tags")
	whole(flags, &limit, "limit", 0, 20, "at most this many; 0 for all")
	return c
}

// oneLine writes JSON without line feeds.
func oneLine(raw json.RawMessage) string {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return string(raw)
	}
	line, err := json.Marshal(v)
	if err != nil {
		return string(raw)
	}
	return string(line)
}
