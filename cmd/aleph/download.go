package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

func (a *app) fileDownload() *cobra.Command {
	var to, owner string
	c := &cobra.Command{
		Use: "download HASH|REF", Short: "Fetch a file and verify it", Args: cobra.ExactArgs(1),
		Long: `Fetch a file by its own hash, by that of its STORE message, or by the name it was given with --ref. Its bytes are
verified; a file that is wrong is not kept. To standard output its bytes go as they come: an error at the end says that they are
wrong.`,
		Example: "  aleph file download " + exampleFile + " --to notes.txt\n  aleph file download notes --to - | wc -c",
		RunE: a.within(func(ctx context.Context, args []string) error {
			api := a.client()
			f, err := a.findFile(ctx, api, args[0], owner)
			if err != nil {
				return err
			}
			if to == "-" {
				_, err := api.DownloadFile(ctx, f.FileHash, a.out)
				return err
			}
			if to == "" {
				to = string(f.FileHash)
			}
			size, err := a.download(ctx, api, f.FileHash, f.Size, to)
			if err != nil {
				return err
			}
			type view struct {
				Path     string       `json:"path"`
				FileHash message.Hash `json:"file_hash"`
				Size     int64        `json:"size"`
			}
			return print(a, view{to, f.FileHash, size}, func(w io.Writer, v view) { fmt.Fprintf(w, "%s\t%s\n", v.Path, bytesText(v.Size)) })
		}),
	}
	c.Flags().StringVar(&to, "to", "", "`file` to write, - for standard output; default a file named by its hash")
	c.Flags().StringVar(&owner, "owner", "", "`address` that gave the name; default the account in use")
	return c
}

// download puts a file in its place once it is whole and verified.
func (a *app) download(ctx context.Context, api *client.Client, hash message.Hash, total int64, to string) (size int64, err error) {
	file, err := os.CreateTemp(filepath.Dir(to), ".aleph-*")
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", to, err)
	}
	p := a.progressOf(filepath.Base(to))
	size, err = api.DownloadFile(ctx, hash, &counted{w: file, moved: func(n int64) { p.moved(n, total) }})
	p.end()
	return size, place(file, to, 0o644, err)
}

// place closes a file that is written and gives it its name; after a failure it is gone.
func place(file *os.File, path string, mode os.FileMode, failed error) error {
	err := errors.Join(failed, file.Chmod(mode), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}
