package main

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

func (a *app) instanceBackup() *cobra.Command {
	return group("backup", "Copy the disks of an instance, and bring them back", "  aleph instance backup create "+exampleInstance,
		a.backupCreate(), a.backupList(), a.backupDownload(), a.backupRestore(), a.backupDelete())
}

// backupView is a backup of an instance.
type backupView struct {
	ItemHash message.Hash `json:"item_hash"`
	client.Backup
}

func writeBackup(w io.Writer, v backupView) {
	fmt.Fprintf(w, "backup\t%s\nsize\t%s\nholds\t%s\nchecksum\t%s\nkept until\t%s\nlink\t%s\n",
		v.ID, bytesText(v.Size), strings.Join(v.Volumes, ", "), v.Checksum, v.Expires, v.URL)
}

// computeNode is where an instance is, and who asks.
type computeNode struct {
	api     *client.Client
	account client.Account
	url     string
	hash    message.Hash
}

// onBackups makes a command about the backups of one instance.
func (a *app) onBackups(use, short, example string, args cobra.PositionalArgs, do func(ctx context.Context, n computeNode, args []string) error) *cobra.Command {
	name, _, _ := strings.Cut(use, " ")
	return &cobra.Command{
		Use: use, Short: short, Args: args, Example: "  aleph instance backup " + name + " " + exampleInstance + example,
		RunE: a.within(func(ctx context.Context, args []string) error {
			api, account, hash, place, err := a.placed(ctx, args[0])
			if err != nil {
				return err
			}
			return do(ctx, computeNode{api, account, place.Node.URL, hash}, args[1:])
		}),
	}
}

// backup is the backup that there is.
func (n computeNode) backup(ctx context.Context) (*client.Backup, error) {
	b, err := n.api.GetBackup(ctx, n.account, n.url, n.hash)
	if errors.Is(err, client.ErrInProgress) {
		return nil, pendingError{err}
	}
	return b, err
}

func (a *app) backupCreate() *cobra.Command {
	var o client.BackupOptions
	c := a.onBackups("create HASH", "Copy the disks of an instance while it runs", " --include-volumes", cobra.ExactArgs(1),
		func(ctx context.Context, n computeNode, _ []string) error {
			b, err := n.api.StartBackup(ctx, n.account, n.url, n.hash, o)
			switch {
			case err == nil:
				a.say("There is a backup already. For another, delete it: aleph instance backup delete %s", n.hash)
			case errors.Is(err, client.ErrInProgress) && a.wait:
				a.say("Copying the disks of %s", n.hash)
				b, err = n.api.AwaitBackup(ctx, n.account, n.url, n.hash)
			}
			if errors.Is(err, client.ErrInProgress) {
				return pendingError{fmt.Errorf("%w; look again with: aleph instance backup list %s", err, n.hash)}
			}
			if err != nil {
				return err
			}
			return print(a, backupView{n.hash, *b}, writeBackup)
		})
	c.Long = `Copy the disks of an instance while it runs, all as they are at one moment. Its compute node keeps the copy for a day: download it.
Where a guest agent runs in the instance, its filesystems are made whole for that moment; elsewhere the copy is what a loss of
power would leave.`
	c.Flags().BoolVar(&o.Volumes, "include-volumes", false, "copy persistent volumes, too, and not the root disk alone")
	c.Flags().BoolVar(&o.SkipFreeze, "skip-fsfreeze", false, "leave the guest agent alone")
	return c
}

func (a *app) backupList() *cobra.Command {
	c := a.onBackups("list HASH", "Show the backup of an instance", "", cobra.ExactArgs(1),
		func(ctx context.Context, n computeNode, _ []string) error {
			b, err := n.backup(ctx)
			if err != nil {
				return err
			}
			return print(a, backupView{n.hash, *b}, writeBackup)
		})
	c.Aliases = []string{"info"}
	return c
}

func (a *app) backupDownload() *cobra.Command {
	var to string
	c := a.onBackups("download HASH", "Fetch the backup of an instance and verify it", " --to backup.tar", cobra.ExactArgs(1),
		func(ctx context.Context, n computeNode, _ []string) error {
			b, err := n.backup(ctx)
			if err != nil {
				return err
			}
			path := cmp.Or(to, b.ID+".tar")
			if filepath.Base(b.ID) != b.ID {
				return fmt.Errorf("the compute node calls its backup %q, which is no name of a file", b.ID)
			}
			file, err := os.CreateTemp(filepath.Dir(path), ".aleph-*")
			if err != nil {
				return err
			}
			p := a.progressOf(filepath.Base(path))
			err = n.api.DownloadBackup(ctx, n.url, b, &counted{w: file, moved: func(done int64) { p.moved(done, b.Size) }})
			p.end()
			if err := place(file, path, 0o600, err); err != nil {
				return err
			}
			type view struct {
				backupView
				Path string `json:"path"`
			}
			return print(a, view{backupView{n.hash, *b}, path}, func(w io.Writer, v view) { fmt.Fprintf(w, "%s\t%s\n", v.Path, bytesText(v.Size)) })
		})
	c.Flags().StringVar(&to, "to", "", "`file` to write; default one named as the backup is")
	return c
}

func (a *app) backupRestore() *cobra.Command {
	var file, ref string
	c := a.onBackups("restore HASH", "Replace the root disk of an instance", " --file backup.tar --yes", cobra.ExactArgs(1),
		func(ctx context.Context, n computeNode, _ []string) error {
			if (file == "") == (ref == "") {
				return usageError{errors.New("name the new disk with --file or with --volume-ref")}
			}
			var volume message.Hash
			var image *rootImage
			var err error
			if ref != "" {
				volume, err = a.hash(ctx, ref)
			} else {
				image, err = openImage(file)
			}
			if err != nil {
				return err
			}
			if image != nil {
				defer image.Close()
			}
			if err := a.confirm(fmt.Sprintf("Lose what is on the root disk of instance %s now?", n.hash)); err != nil {
				return err
			}
			if image == nil {
				err = n.api.RestoreFile(ctx, n.account, n.url, n.hash, volume)
			} else {
				p := a.progressOf(filepath.Base(file))
				sent := io.TeeReader(image, &counted{w: io.Discard, moved: func(done int64) { p.moved(done, image.size) }})
				err = n.api.RestoreImage(ctx, n.account, n.url, n.hash, sent, image.size)
				p.end()
			}
			if err != nil {
				return err
			}
			type view struct {
				ItemHash message.Hash `json:"item_hash"`
				Restored bool         `json:"restored"`
			}
			return print(a, view{n.hash, true}, func(w io.Writer, v view) { fmt.Fprintf(w, "restored\t%s\n", v.ItemHash) })
		})
	c.Long = `Replace the root disk of an instance, and start it: by that of a backup, by a qcow2 image, or by an image that is stored on the
network. Volumes stay as they are. When the instance does not start with the new disk, it keeps the old one.`
	c.Flags().StringVar(&file, "file", "", "`file` of a backup or of a qcow2 image")
	c.Flags().StringVar(&ref, "volume-ref", "", "`hash` of the STORE message of an image")
	return c
}

// rootImage is the image of a root disk, in a file of its own or in a backup.
type rootImage struct {
	io.Reader
	io.Closer
	size int64 // bytes
}

const rootMember = "rootfs.qcow2"

func openImage(path string) (_ *rootImage, err error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, usageError{fmt.Errorf("--file: %w", err)}
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	var magic [4]byte
	if _, err := io.ReadFull(f, magic[:]); err == nil && string(magic[:]) == "QFI\xfb" {
		_, err := f.Seek(0, io.SeekStart)
		return &rootImage{f, f, info.Size()}, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	for members := tar.NewReader(f); ; {
		header, err := members.Next()
		if err != nil {
			return nil, usageError{fmt.Errorf("--file: %s is neither a qcow2 image nor a backup that has one of a root disk", path)}
		}
		if header.Name == rootMember {
			return &rootImage{members, f, header.Size}, nil
		}
	}
}

func (a *app) backupDelete() *cobra.Command {
	return a.onBackups("delete HASH [ID]", "Remove the backup of an instance from its compute node", " --yes", cobra.RangeArgs(1, 2),
		func(ctx context.Context, n computeNode, args []string) error {
			id := strings.Join(args, "")
			if id == "" {
				b, err := n.backup(ctx)
				if err != nil {
					return err
				}
				id = b.ID
			}
			if err := a.confirm(fmt.Sprintf("Delete backup %s for ever?", id)); err != nil {
				return err
			}
			if err := n.api.DeleteBackup(ctx, n.account, n.url, n.hash, id); err != nil {
				return err
			}
			type view struct {
				ItemHash message.Hash `json:"item_hash"`
				ID       string       `json:"backup_id"`
			}
			return print(a, view{n.hash, id}, func(w io.Writer, v view) { fmt.Fprintf(w, "deleted\t%s\n", v.ID) })
		})
}
