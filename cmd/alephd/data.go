package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/files/ipfs"
	"github.com/aleph-im/aleph-go/ccn/files/s3"
)

// database names the database of the options as store.Open takes it.
func (o *ccnOptions) database() string {
	if o.Store != "" {
		return o.Store
	}
	return "sqlite:" + filepath.Join(o.DataDir, "aleph.db")
}

func (o *ccnOptions) filesDir() string { return cmp.Or(o.FilesDir, o.DataDir) }

// data is the files of a node as the commands besides the node itself open them.
type data struct {
	files.Store
	ipfs  *ipfs.Node
	disks []*files.Disk
}

// openData opens the files of a node that exists.
func (o *ccnOptions) openData(ctx context.Context) (_ *data, err error) {
	if _, err := os.Stat(o.DataDir); err != nil {
		return nil, fmt.Errorf("data folder: %w: name the folder of the node with --data-dir", err)
	}
	d := &data{}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	var stored files.Store
	if o.Files == "" || o.Files == "disk" {
		stored, err = d.disk(filepath.Join(o.filesDir(), "files"))
	} else {
		stored, err = openBucket(ctx, o.Files)
	}
	if err != nil {
		return nil, err
	}
	blocks, err := d.disk(filepath.Join(o.filesDir(), "ipfs", "blocks"))
	if err != nil {
		return nil, err
	}
	if d.ipfs, err = ipfs.New(ipfs.Config{Dir: filepath.Join(o.filesDir(), "ipfs"), Blocks: blocks}); err != nil {
		return nil, err
	}
	d.Store = files.Combine(stored, d.ipfs)
	return d, nil
}

func openBucket(ctx context.Context, address string) (files.Store, error) {
	where, err := s3.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("open file store: %w", err)
	}
	return s3.Open(ctx, where)
}

func (d *data) disk(dir string) (files.Store, error) {
	disk, err := files.OpenDisk(dir)
	if err != nil {
		return nil, err
	}
	d.disks = append(d.disks, disk)
	return disk, nil
}

// Close gives back what openData opened.
func (d *data) Close() error {
	var errs []error
	if d.ipfs != nil {
		errs = append(errs, d.ipfs.Close())
	}
	for _, disk := range d.disks {
		errs = append(errs, disk.Close())
	}
	return errors.Join(errs...)
}
