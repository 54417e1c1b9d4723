package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/client/code"
	"github.com/aleph-im/aleph-go/message"
)

func (a *app) programUpdate() *cobra.Command {
	return &cobra.Command{
		Use: "update HASH PATH", Short: "Give a program new code", Args: cobra.ExactArgs(2),
		Long: `Store new code in the place of a program's. The hash and the URL of the program stay; machines that run go on with the
old code until they end.

What starts a Node program is found anew. The application of a Python program stays the one that it was deployed with.`,
		Example: "  aleph program update " + exampleProgram + " my-app",
		RunE: a.within(func(ctx context.Context, args []string) error {
			hash, err := a.hash(ctx, args[0])
			if err != nil {
				return err
			}
			api := a.client()
			_, p, err := programOf(ctx, api, hash)
			if err != nil {
				return err
			}
			switch {
			case !p.Code.UseLatest:
				return fmt.Errorf("program %s was made to keep its code: deploy a new one", hash)
			case p.Code.Encoding != message.EncodingZip:
				return fmt.Errorf("the code of program %s is %s, this tool makes %s: deploy a new one", hash, p.Code.Encoding, message.EncodingZip)
			}
			c, err := a.newCode(ctx, api, args[1], p)
			if err != nil {
				return err
			}
			up, err := a.replaceCode(ctx, api, args[1], c, p)
			if err != nil {
				return err
			}
			type view struct {
				ItemHash message.Hash   `json:"item_hash"`
				Code     message.Hash   `json:"code"` // STORE message of the new code
				Replaces message.Hash   `json:"replaces"`
				Status   message.Status `json:"status"`
			}
			return print(a, view{hash, up.MessageHash, p.Code.Ref, up.Status}, func(w io.Writer, v view) {
				fmt.Fprintf(w, "program\t%s\ncode\t%s\nstatus\t%s\n", v.ItemHash, v.Code, v.Status)
			})
		}),
	}
}

// newCode finds what at path is the new code of a program.
func (a *app) newCode(ctx context.Context, api *client.Client, path string, p *message.Program) (*code.Code, error) {
	if p.Code.Entrypoint != code.StartScript {
		return readCode(path, p.Code.Entrypoint, string(p.Code.EffectiveInterface()))
	}
	file, err := api.FileByRef(ctx, p.Address, string(p.Code.Ref))
	if err != nil {
		return nil, fmt.Errorf("find the code that the program has: %w", err)
	}
	archive, done, err := temporary(func(w io.Writer) error {
		_, err := api.DownloadFile(ctx, file.FileHash, w)
		return err
	})
	if err != nil {
		return nil, err
	}
	c, err := code.Again(path, archive, file.Size)
	return c, errors.Join(unpacked(path, err), done())
}

// replaceCode stores code, which is at path, in the place of the code of a program.
func (a *app) replaceCode(ctx context.Context, api *client.Client, path string, c *code.Code, p *message.Program) (*client.Uploaded, error) {
	if c.Entrypoint != p.Code.Entrypoint { // the message of the program says how it starts, and stays
		return nil, usageError{fmt.Errorf("the program starts with %s, and %s with %s: deploy a new one", p.Code.Entrypoint, path, c.Entrypoint)}
	}
	account, err := a.signer()
	if err != nil {
		return nil, err
	}
	archive, done, err := temporary(c.Pack)
	if err != nil {
		return nil, err
	}
	up, err := a.storeCode(ctx, api, account, archive, p.Payment, p.Code.Ref)
	return up, errors.Join(err, done())
}

// watchPause is the time between two looks at the files of a program.
const watchPause = 500 * time.Millisecond

// redeploy replaces the code of a program whenever its files have changed, until ctx ends. A failure is told, and the next change
// tries again.
func (a *app) redeploy(ctx context.Context, path string, f deployFlags, p *message.Program) error {
	api := a.client()
	before, err := lookOf(path)
	if err != nil {
		return err
	}
	a.say("Watching %s; Ctrl-C ends it", path)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchPause):
		}
		now, err := lookOf(path)
		if err != nil || now == before {
			continue // an editor may be at it
		}
		before = now
		var up *client.Uploaded
		c, err := readCode(path, f.entrypoint, f.kind)
		if err == nil {
			up, err = a.replaceCode(ctx, api, path, c, p)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			a.say("The change is not on the network: %v", err)
		default:
			a.say("%s  the change is on the network (%s)", time.Now().Format(time.TimeOnly), a.shorten(string(up.MessageHash)))
		}
	}
}

// lookOf sums up names, sizes and times of what is packed: it is another one when something has changed.
func lookOf(path string) (message.Hash, error) {
	var all []byte
	root, files, err := code.Files(path)
	if err != nil {
		return "", err
	}
	for _, name := range files {
		info, err := os.Stat(filepath.Join(root, name))
		if err != nil {
			return "", err
		}
		all = fmt.Appendf(all, "%q %d %d\n", name, info.Size(), info.ModTime().UnixNano())
	}
	return message.HashBytes(all), nil
}
