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
old code until they end.`,
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
			up, err := a.replaceCode(ctx, api, args[1], p.Code.Entrypoint, string(p.Code.EffectiveInterface()), p.Code.Ref, p.Payment)
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

// replaceCode packs what is at path and stores it in the place of the code that old names.
func (a *app) replaceCode(ctx context.Context, api *client.Client, path, entrypoint, kind string, old message.Hash, paid *message.Payment) (*client.Uploaded, error) {
	c, err := readCode(path, entrypoint, kind)
	if err != nil {
		return nil, err
	}
	if entrypoint == code.StartScript && c.Entrypoint != entrypoint { // what it starts was found anew
		return nil, usageError{fmt.Errorf("the program starts with %s, and %s with %s: deploy a new one", entrypoint, path, c.Entrypoint)}
	}
	account, err := a.signer()
	if err != nil {
		return nil, err
	}
	archive, done, err := temporary(c.Pack)
	if err != nil {
		return nil, err
	}
	up, err := a.storeCode(ctx, api, account, archive, paid, old)
	return up, errors.Join(err, done())
}

// watchPause is the time between two looks at the files of a program.
const watchPause = 500 * time.Millisecond

// redeploy replaces the code of a program whenever its files have changed, until ctx ends. A failure is told, and the next change
// tries again.
func (a *app) redeploy(ctx context.Context, path string, f deployFlags, old message.Hash) error {
	api := a.client()
	paid, err := payment(f.payment)
	if err != nil {
		return err
	}
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
		up, err := a.replaceCode(ctx, api, path, f.entrypoint, f.kind, old, paid)
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
