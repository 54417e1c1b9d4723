package ccn

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/files/ipfs"
	"github.com/aleph-im/aleph-go/ccn/files/partial"
	"github.com/aleph-im/aleph-go/ccn/files/s3"
)

// openFiles opens the store of files and IPFS, and makes one store of both.
func (n *Node) openFiles(ctx context.Context) error {
	stored, err := n.openStore(ctx)
	if err != nil {
		return err
	}
	blocks, err := n.openDisk(filepath.Join("ipfs", "blocks"))
	if err != nil {
		return err
	}
	n.ipfs, err = ipfs.New(ipfs.Config{
		Dir: filepath.Join(n.filesDir(), "ipfs"), Blocks: blocks, Exchange: ipfs.NewPeers(func() []string { return n.cfg.HTTPPeers }),
	})
	if err != nil {
		return err
	}
	n.closers = append(n.closers, n.ipfs)
	n.files = files.Combine(stored, n.ipfs)
	if n.uploads, err = partial.Open(filepath.Join(n.filesDir(), "uploads"), time.Now, partial.Free); err != nil {
		return err
	}
	n.fetcher = files.NewFetcher(files.FetcherConfig{
		Store: n.files, IPFS: n.ipfs.Fetch, Peers: func() []string { return n.cfg.HTTPPeers },
	})
	return nil
}

// openStore opens the store of files that are named by their sha256, where Config.Files says.
func (n *Node) openStore(ctx context.Context) (files.Store, error) {
	if n.cfg.Files == "" || n.cfg.Files == "disk" {
		return n.openDisk("files")
	}
	where, err := s3.Parse(n.cfg.Files)
	if err != nil {
		return nil, fmt.Errorf("open file store: %w", err)
	}
	return s3.Open(ctx, where)
}

func (n *Node) filesDir() string { return cmp.Or(n.cfg.FilesDir, n.cfg.DataDir) }

func (n *Node) openDisk(name string) (*files.Disk, error) {
	disk, err := files.OpenDisk(filepath.Join(n.filesDir(), name))
	if err != nil {
		return nil, err
	}
	n.closers = append(n.closers, disk)
	return disk, nil
}
