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
	return group("file", "Store and fetch files", "  aleph file upload notes.txt",
		a.fileUpload(), a.fileDownload(), a.filePin(), a.fileList(), a.fileInfo(), a.fileForget())
}

type fileView struct {
	Path     string         `json:"path"`
	FileHash message.Hash   `json:"file_hash"`
	ItemHash message.Hash   `json:"item_hash,omitempty"`
	Size     int64          `json:"size"`
	Status   message.Status `json:"status,omitempty"`
	URL      string         `json:"url,omitempty"`
}

func (f *fileView) write(w io.Writer) {
	fmt.Fprintf(w, "file\t%s\nsize\t%s\nhash\t%s\n", f.Path, bytesText(f.Size), f.FileHash)
	if f.ItemHash != "" {
		fmt.Fprintf(w, "message\t%s\nstatus\t%s\nurl\t%s\n", f.ItemHash, f.Status, f.URL)
	}
}

// storeFlags are the flags of commands that store something.
type storeFlags struct{ payment, ref string }

func (f *storeFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.payment, "payment", "hold", "hold or credit")
	c.Flags().StringVar(&f.ref, "ref", "", "an earlier STORE message that this replaces, or a name of yours for the file")
}

// payment is how something is paid for.
func payment(kind string) (*message.Payment, error) {
	switch t := message.PaymentType(kind); t {
	case message.PaymentHold, message.PaymentCredit:
		return &message.Payment{Chain: new(string(message.ChainETH)), Type: t}, nil
	}
	return nil, usageError{fmt.Errorf("--payment %s: want hold or credit", kind)}
}

func (a *app) fileUpload() *cobra.Command {
	var flags storeFlags
	var dryRun, onIPFS bool
	c := &cobra.Command{
		Use: "upload PATH...", Short: "Store files and folders on the network", Args: cobra.MinimumNArgs(1),
		Long: `Store files and folders on the network, each with a STORE message that keeps it. - is standard input.

A file is named by its sha256, or with --ipfs by its CID. A folder is packed here and has a CID, which is printed before it is
sent. When an upload of 8 MiB or more breaks off, the same command goes on where it was, within a day. What is not paid for is refused before it is sent. With --dry-run nothing is sent: hash and size are printed.`,
		Example: "  aleph file upload notes.txt photo.jpg\n  aleph file upload photos\n  tar c photos | aleph file upload -\n" +
			"  aleph file upload notes.txt --ref notes\n  aleph file upload photos --dry-run",
		RunE: a.within(func(ctx context.Context, args []string) error {
			paid, err := payment(flags.payment)
			if err != nil {
				return err
			}
			o := client.UploadOptions{Ref: flags.ref, Payment: paid}
			if onIPFS {
				o.Engine = message.ItemIPFS
			}
			files := []*fileView{}
			for _, path := range args {
				f, err := a.uploadPath(ctx, path, o, dryRun)
				if err != nil {
					return errors.Join(failedOn(path, err), a.printFiles(files))
				}
				files = append(files, f)
			}
			return a.printFiles(files)
		}),
	}
	flags.add(c)
	c.Flags().BoolVar(&dryRun, "dry-run", false, "send nothing; print what would be")
	c.Flags().BoolVar(&onIPFS, "ipfs", false, "keep files on IPFS, where they are named by a CID")
	return c
}

// failedOn says which of several files an error is about, unless it does so itself.
func failedOn(path string, err error) error {
	switch {
	case errors.As(err, new(usageError)):
		return err
	case path == "-":
		path = "standard input"
	}
	return fmt.Errorf("%s: %w", path, err)
}

// printFiles tells what was stored, also when a later file failed.
func (a *app) printFiles(files []*fileView) error {
	if len(files) == 0 {
		return nil
	}
	return print(a, files, func(w io.Writer, files []*fileView) {
		for i, f := range files {
			if i > 0 {
				fmt.Fprintln(w)
			}
			f.write(w)
		}
	})
}

func (a *app) uploadPath(ctx context.Context, path string, o client.UploadOptions, dryRun bool) (*fileView, error) {
	if info, err := os.Stat(path); path != "-" && err == nil && info.IsDir() {
		return a.uploadFolder(ctx, path, o, dryRun)
	}
	file, done, err := a.openForUpload(path)
	if err != nil {
		return nil, err
	}
	if dryRun {
		f, err := hashed(path, file, o.Engine)
		return f, errors.Join(err, done())
	}
	account, err := a.signer()
	if err != nil {
		return nil, errors.Join(err, done())
	}
	api := a.client()
	up, err := a.upload(ctx, api, account, file, filepath.Base(path), o)
	if err := errors.Join(err, done()); err != nil {
		return nil, err
	}
	return &fileView{path, up.FileHash, up.MessageHash, up.Size, up.Status, fileURL(api, up.FileHash)}, nil
}

// hashed is a file that is not sent.
func hashed(path string, file *os.File, engine message.ItemType) (*fileView, error) {
	hash, err := client.HashFile(file)
	if engine == message.ItemIPFS {
		hash, err = client.HashIPFSFile(file)
	}
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	return &fileView{Path: path, FileHash: hash, Size: info.Size()}, nil
}

func (a *app) uploadFolder(ctx context.Context, path string, o client.UploadOptions, dryRun bool) (*fileView, error) {
	folder, err := client.HashFolder(ctx, os.DirFS(path))
	if err != nil {
		return nil, err
	}
	if limit := a.params.MaxCAR; folder.Size > limit {
		return nil, fmt.Errorf("the folder has %d MiB; a node takes at most %d MiB", folder.Size>>20, limit>>20)
	}
	if dryRun {
		return &fileView{Path: path, FileHash: folder.Hash, Size: folder.Size}, nil
	}
	a.say("%s is %s, %s", path, folder.Hash, bytesText(folder.Size))
	account, err := a.signer()
	if err != nil {
		return nil, err
	}
	api := a.client()
	o.Engine = message.ItemIPFS
	if err := a.canStore(ctx, api, account, folder.Size, o); err != nil {
		return nil, err
	}
	up, err := a.uploading(ctx, api, filepath.Base(path), o, func(o client.UploadOptions) (*client.Uploaded, error) {
		return api.UploadFolder(ctx, account, folder, o)
	})
	if err != nil {
		return nil, err
	}
	return &fileView{path, up.FileHash, up.MessageHash, up.Size, up.Status, fileURL(api, up.FileHash)}, nil
}

func fileURL(api *client.Client, hash message.Hash) string {
	return api.BaseURL() + "/api/v0/storage/raw/" + string(hash)
}

// upload checks that the account can pay, sends the file and waits until the node keeps it.
func (a *app) upload(ctx context.Context, api *client.Client, account client.Account, file *os.File, name string, o client.UploadOptions) (*client.Uploaded, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if err := a.fits(info.Size(), o.Engine); err != nil {
		return nil, err
	}
	if err := a.canStore(ctx, api, account, info.Size(), o); err != nil {
		return nil, err
	}
	return a.uploading(ctx, api, name, o, func(o client.UploadOptions) (*client.Uploaded, error) {
		return api.UploadFile(ctx, account, file, o)
	})
}

// fits checks that nodes take a file of this size.
func (a *app) fits(size int64, engine message.ItemType) error {
	switch limit := a.params.MaxIPFSFile; {
	case size > limit:
		return fmt.Errorf("the file has %d MiB; a node takes at most %d MiB", size>>20, limit>>20)
	case engine != message.ItemIPFS && size > a.params.MaxFile:
		return fmt.Errorf("the file has %d MiB; a node takes at most %d MiB by its sha256, and %d MiB by its CID: add --ipfs", size>>20, a.params.MaxFile>>20, limit>>20)
	}
	return nil
}

// canStore checks that the account can pay for a file before a byte of it is sent.
func (a *app) canStore(ctx context.Context, api *client.Client, account client.Account, size int64, o client.UploadOptions) error {
	held := o.Payment == nil || o.Payment.Type == message.PaymentHold
	if held && o.Engine != message.ItemIPFS && size <= a.params.MaxUnauthenticated {
		return nil // these are free
	}
	store := &message.Store{FileType: message.ItemStorage, FileHash: message.HashBytes(nil), Payment: o.Payment}
	cost, err := estimate(ctx, api, account.Address(), account.Chain(), store, func(content map[string]any) {
		content["estimated_size_mib"] = float64(size) / (1 << 20)
	})
	if a.notEstimated(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return a.canPay(ctx, api, account, cost)
}

// uploading shows how something is sent and waits until the node keeps it.
func (a *app) uploading(ctx context.Context, api *client.Client, name string, o client.UploadOptions, send func(client.UploadOptions) (*client.Uploaded, error)) (*client.Uploaded, error) {
	p := a.progressOf(name)
	o.Channel, o.Address, o.Sync, o.Progress, o.Resumed = a.channel, a.owner, a.wait, p.moved, p.resumed
	o.Whole = func() { a.say("The node takes files in one piece only: if this upload breaks off, it begins anew") }
	up, err := send(o)
	p.end()
	if err != nil {
		return nil, err
	}
	if up.Status == message.StatusPending && a.wait {
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

func (a *app) filePin() *cobra.Command {
	var flags storeFlags
	c := &cobra.Command{
		Use: "pin CID", Short: "Have the network keep a file that is on IPFS, or is stored already", Args: cobra.ExactArgs(1),
		Example: "  aleph file pin " + exampleCID + "\n  aleph file pin " + exampleFile + " --ref notes",
		RunE: a.within(func(ctx context.Context, args []string) error {
			hash, err := hashArgument(args[0])
			if err != nil {
				return err
			}
			paid, err := payment(flags.payment)
			if err != nil {
				return err
			}
			return a.submit(ctx, &message.Store{FileType: hash.Kind(), FileHash: hash, Ref: flags.ref, Payment: paid})
		}),
	}
	flags.add(c)
	return c
}

func (a *app) fileList() *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use: "list [ADDRESS]", Short: "List the files that an address keeps, newest first", Args: cobra.MaximumNArgs(1),
		Example: "  aleph file list\n  aleph file list " + exampleAddress + " --limit 0 -o jsonl",
		RunE: a.within(func(ctx context.Context, args []string) error {
			owner, err := a.address(addressOf(args))
			if err != nil {
				return err
			}
			return printEach(a, first(a.client().Files(ctx, owner), limit),
				column[*client.OwnedFile]{"CREATED", 19, func(f *client.OwnedFile) string { return timeText(f.Created) }},
				column[*client.OwnedFile]{"SIZE", 10, func(f *client.OwnedFile) string { return bytesText(f.Size) }},
				column[*client.OwnedFile]{"TYPE", 4, func(f *client.OwnedFile) string { return f.Type }},
				column[*client.OwnedFile]{"FILE", 13, func(f *client.OwnedFile) string { return string(f.FileHash) }},
				column[*client.OwnedFile]{"MESSAGE", 13, func(f *client.OwnedFile) string { return string(f.MessageHash) }})
		}),
	}
	whole(c.Flags(), &limit, "limit", 0, 100, "at most this many; 0 for all")
	return ofOwner(c)
}

func (a *app) fileForget() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "forget HASH...", Aliases: []string{"delete", "remove"}, Short: "Keep files no more", Args: cobra.MinimumNArgs(1),
		Long:    "Keep files no more, named by their own hash or by that of their STORE message. Every STORE message of the account for a file is forgotten.",
		Example: "  aleph file forget " + exampleFile + " --yes",
		RunE: a.within(func(ctx context.Context, args []string) error {
			owner, err := a.address("")
			if err != nil {
				return err
			}
			api := a.client()
			var stores []message.Hash
			for _, text := range args {
				hash, err := a.hash(ctx, text)
				if err != nil {
					return err
				}
				found, err := storesOf(ctx, api, owner, hash)
				if err != nil {
					return err
				}
				stores = append(stores, found...)
			}
			if err := a.confirm(fmt.Sprintf("Forget %s for ever?", countOf(len(stores), "STORE message"))); err != nil {
				return err
			}
			return a.submit(ctx, forgetting(reason, stores))
		}),
	}
	c.Flags().StringVar(&reason, "reason", deletedByOwner, "why; everybody can read it")
	return c
}

// storesOf returns hash itself when it is a STORE message, and otherwise those of owner that keep the file hash.
func storesOf(ctx context.Context, api *client.Client, owner string, hash message.Hash) ([]message.Hash, error) {
	filter := client.Filter{Types: []message.Type{message.TypeStore}, Owners: []string{owner}, ContentFiles: []message.Hash{hash}}
	var stores []message.Hash
	for m, err := range api.Messages(ctx, filter) {
		if err != nil {
			return nil, err
		}
		stores = append(stores, m.ItemHash)
	}
	if len(stores) > 0 {
		return stores, nil
	}
	info, err := api.GetMessage(ctx, hash)
	if err != nil {
		return nil, fmt.Errorf("%s is neither a file that %s keeps nor a message: %w", hash, owner, err)
	}
	if info.Message == nil || info.Message.Type != message.TypeStore {
		return nil, usageError{fmt.Errorf("%s keeps no file (status %s)", hash, info.Status)}
	}
	return []message.Hash{hash}, nil
}

func (a *app) fileInfo() *cobra.Command {
	var owner string
	c := &cobra.Command{
		Use: "info HASH|REF", Aliases: []string{"show", "get"}, Short: "Tell what is known of a file", Args: cobra.ExactArgs(1),
		Long:    "Tell what is known of a file, by its own hash, by that of its STORE message, or by the name it was given with --ref.",
		Example: "  aleph file info " + exampleFile + "\n  aleph file info notes",
		RunE: a.within(func(ctx context.Context, args []string) error {
			api := a.client()
			f, err := a.findFile(ctx, api, args[0], owner)
			if err != nil {
				return err
			}
			return print(a, f, func(w io.Writer, f *fileView) {
				fmt.Fprintf(w, "hash\t%s\nsize\t%s\n", f.FileHash, bytesText(f.Size))
				if f.ItemHash != "" {
					fmt.Fprintf(w, "message\t%s\n", f.ItemHash)
				}
				fmt.Fprintf(w, "url\t%s\n", f.URL)
			})
		}),
	}
	c.Flags().StringVar(&owner, "owner", "", "`address` that gave the name; default the account in use")
	return c
}

// findFile finds a file by whatever names it: its hash, its STORE message, or a name that owner gave it.
func (a *app) findFile(ctx context.Context, api *client.Client, text, owner string) (*fileView, error) {
	hash, err := message.ParseHash(text)
	if err != nil {
		address, err := a.address(owner)
		if err != nil {
			return nil, err
		}
		named, err := api.FileByRef(ctx, address, text)
		if err != nil {
			return nil, err
		}
		return &fileView{Path: text, FileHash: named.FileHash, Size: named.Size, URL: fileURL(api, named.FileHash)}, nil
	}
	f := &fileView{Path: text, FileHash: hash}
	if kept, err := api.StoredFile(ctx, hash); err == nil {
		f.FileHash, f.Size, f.ItemHash = kept.FileHash, kept.Size, hash
	} else if !errors.Is(err, client.ErrNotFound) {
		return nil, err
	} else {
		info, err := api.FileMetadata(ctx, hash)
		if err != nil {
			return nil, err
		}
		f.Size = info.Size
	}
	f.URL = fileURL(api, f.FileHash)
	return f, nil
}
