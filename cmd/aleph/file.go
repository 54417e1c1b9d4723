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

func (a *app) fileCommand() *cobra.Command {
	return group("file", "Store and fetch files", "  aleph file upload notes.txt", a.fileUpload(), a.fileDownload())
}

type fileView struct {
	Path     string         `json:"path"`
	FileHash message.Hash   `json:"file_hash"`
	ItemHash message.Hash   `json:"item_hash"`
	Size     int64          `json:"size"`
	Status   message.Status `json:"status"`
	URL      string         `json:"url"`
}

func (a *app) fileUpload() *cobra.Command {
	return &cobra.Command{
		Use: "upload FILE...", Short: "Store files on the network", Args: cobra.MinimumNArgs(1),
		Long:    "Store files on the network, each with a STORE message that keeps it. - is standard input.",
		Example: "  aleph file upload notes.txt\n  tar c photos | aleph file upload -",
		RunE: a.within(func(ctx context.Context, args []string) error {
			account, err := a.signer()
			if err != nil {
				return err
			}
			api := a.client()
			files := []fileView{}
			for _, path := range args {
				file, done, err := a.openForUpload(path)
				if err != nil {
					return err
				}
				up, err := a.upload(ctx, api, account, file)
				if err := errors.Join(err, done()); err != nil {
					return fmt.Errorf("upload %s: %w", path, err)
				}
				url := api.BaseURL() + "/api/v0/storage/raw/" + string(up.FileHash)
				files = append(files, fileView{path, up.FileHash, up.MessageHash, up.Size, up.Status, url})
			}
			return print(a, files, func(w io.Writer, files []fileView) {
				for _, f := range files {
					fmt.Fprintf(w, "file\t%s\nhash\t%s\nmessage\t%s\nurl\t%s\n", f.Path, f.FileHash, f.ItemHash, f.URL)
				}
			})
		}),
	}
}

// upload checks that the account can pay, sends the file and waits until the node keeps it.
func (a *app) upload(ctx context.Context, api *client.Client, account client.Account, file *os.File) (*client.Uploaded, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if limit := a.params.MaxFile; info.Size() > limit {
		return nil, fmt.Errorf("the file has %d MiB; a node takes at most %d MiB", info.Size()>>20, limit>>20)
	}
	up, err := api.UploadFile(ctx, account, file, client.UploadOptions{Channel: a.channel, Sync: true})
	if err != nil {
		return nil, err
	}
	if up.Status == message.StatusPending {
		if err := waitFor(ctx, api, up.MessageHash); err != nil {
			return nil, err
		}
		up.Status = message.StatusProcessed
	}
	return up, nil
}

// waitFor waits until a message is processed; the end of the time is not a failure of the network.
func waitFor(ctx context.Context, api *client.Client, hash message.Hash) error {
	_, err := api.WaitFor(ctx, hash)
	if errors.Is(err, context.DeadlineExceeded) {
		return pendingError{fmt.Errorf("%w; look later with: aleph message get %s", err, hash)}
	}
	return err
}

// openForUpload opens a file that can be read twice. What comes through a pipe is kept in a file that done removes.
func (a *app) openForUpload(path string) (file *os.File, done func() error, err error) {
	if path != "-" {
		if file, err = os.Open(path); err != nil {
			return nil, nil, err
		}
		return file, file.Close, nil
	}
	if a.keyFile == "-" {
		return nil, nil, usageError{errors.New("standard input cannot be both the key and the file")}
	}
	return temporary(func(w io.Writer) error {
		_, err := io.Copy(w, a.in)
		return err
	})
}

// temporary returns a file with what write wrote, at its beginning; done removes it.
func temporary(write func(io.Writer) error) (file *os.File, done func() error, err error) {
	if file, err = os.CreateTemp("", "aleph-*"); err != nil {
		return nil, nil, err
	}
	done = func() error { return errors.Join(file.Close(), os.Remove(file.Name())) }
	if err = write(file); err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, nil, errors.Join(err, done())
	}
	return file, done, nil
}

func (a *app) fileDownload() *cobra.Command {
	var to string
	c := &cobra.Command{
		Use: "download HASH", Short: "Fetch a file and verify it", Args: cobra.ExactArgs(1),
		Long:    "Fetch a file by its own hash or by that of its STORE message. Its bytes are verified; a file that is wrong is not kept.",
		Example: "  aleph file download 5ccdd7bccfbc5955e2e40166dd0cdea0b093154fd87bc2bea57e7c768cde2f21 --to notes.txt",
		RunE: a.within(func(ctx context.Context, args []string) error {
			hash, err := hashArgument(args[0])
			if err != nil {
				return err
			}
			api := a.client()
			switch file, err := api.FileOf(ctx, hash); {
			case err == nil:
				hash = file
			case !errors.Is(err, client.ErrNotFound):
				return err
			}
			if to == "-" {
				_, err := api.DownloadFile(ctx, hash, a.out)
				return err
			}
			if to == "" {
				to = string(hash)
			}
			size, err := download(ctx, api, hash, to)
			if err != nil {
				return err
			}
			type view struct {
				Path     string       `json:"path"`
				FileHash message.Hash `json:"file_hash"`
				Size     int64        `json:"size"`
			}
			return print(a, view{to, hash, size}, func(w io.Writer, v view) { fmt.Fprintf(w, "%s\t%d bytes\n", v.Path, v.Size) })
		}),
	}
	c.Flags().StringVar(&to, "to", "", "`file` to write, - for standard output; default a file named by its hash")
	return c
}

// download puts a file in its place once it is whole and verified.
func download(ctx context.Context, api *client.Client, hash message.Hash, to string) (size int64, err error) {
	file, err := os.CreateTemp(filepath.Dir(to), ".aleph-*")
	if err != nil {
		return 0, err
	}
	size, err = api.DownloadFile(ctx, hash, file)
	if err = errors.Join(err, file.Chmod(0o644), file.Close()); err == nil {
		err = os.Rename(file.Name(), to)
	}
	if err != nil {
		return 0, errors.Join(err, os.Remove(file.Name()))
	}
	return size, nil
}
