package ipfs

import (
	"archive/tar"
	"context"
	"fmt"
	"io"

	"github.com/ipfs/go-cid"

	"github.com/aleph-im/aleph-go/message"
)

// WriteTar writes a folder or file as a tar archive whose one top entry is named by the CID, as Kubo's get does.
func (n *Node) WriteTar(ctx context.Context, h message.Hash, w io.Writer) error {
	if _, err := n.Stat(ctx, h); err != nil {
		return err
	}
	c, err := parseCID(h)
	if err != nil {
		return err
	}
	out := tar.NewWriter(w)
	if err := n.tarEntry(ctx, out, c, string(h), 0); err != nil {
		return fmt.Errorf("archive %s: %w", h, err)
	}
	return out.Close()
}

func (n *Node) tarEntry(ctx context.Context, out *tar.Writer, c cid.Cid, name string, depth int) error {
	raw, err := n.read(ctx, c)
	if err != nil {
		return err
	}
	b, err := decode(c, raw)
	if err != nil {
		return err
	}
	switch b.kind {
	case kindFolder:
		if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o777}); err != nil {
			return err
		}
		return n.tarFolder(ctx, out, c, b, name, depth)
	case kindSymlink:
		return out.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: string(b.data), Mode: 0o777})
	}
	if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(b.size), Mode: 0o644}); err != nil {
		return err
	}
	_, err = n.reader(ctx, c, int64(b.size)).WriteTo(out)
	return err
}

// tarFolder writes what is in a folder or in one shard of it.
func (n *Node) tarFolder(ctx context.Context, out *tar.Writer, c cid.Cid, b *block, name string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("block %s: %w: too deep", c, ErrMalformed)
	}
	for _, l := range b.links {
		if b.shard == 0 || len(l.name) > b.shard {
			if err := n.tarEntry(ctx, out, l.cid, name+"/"+l.name[b.shard:], depth+1); err != nil {
				return err
			}
			continue
		}
		raw, err := n.read(ctx, l.cid)
		if err != nil {
			return err
		}
		shard, err := decode(l.cid, raw)
		if err != nil {
			return err
		}
		if err := n.tarFolder(ctx, out, l.cid, shard, name, depth+1); err != nil {
			return err
		}
	}
	return nil
}
