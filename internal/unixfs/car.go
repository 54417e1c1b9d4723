package unixfs

import (
	"context"
	"encoding/binary"
	"io"
	"io/fs"

	"github.com/ipfs/go-cid"
)

// Archive is a folder that is to be written as a CAR, version 1.
type Archive struct {
	Root string // CID
	Size int64  // bytes of the CAR

	fsys   fs.FS
	layout Layout
	root   cid.Cid
}

// Pack reads a folder to its end and returns what its archive will be.
func Pack(ctx context.Context, fsys fs.FS, l Layout) (*Archive, error) {
	a := &Archive{fsys: fsys, layout: l}
	err := a.blocks(ctx, func(c cid.Cid, raw []byte) error {
		a.Size += int64(len(section(c, raw)) + len(raw))
		return nil
	})
	if err != nil {
		return nil, err
	}
	a.Root = a.root.String()
	a.Size += int64(len(header(a.root)))
	return a, nil
}

// WriteTo writes the archive, reading the folder once more. A folder that has changed meanwhile makes another archive, which
// nobody takes for this one.
func (a *Archive) WriteTo(ctx context.Context, w io.Writer) error {
	if _, err := w.Write(header(a.root)); err != nil {
		return err
	}
	copied := &Archive{fsys: a.fsys, layout: a.layout}
	return copied.blocks(ctx, func(c cid.Cid, raw []byte) error {
		if _, err := w.Write(section(c, raw)); err != nil {
			return err
		}
		_, err := w.Write(raw)
		return err
	})
}

// blocks calls each with every block once and sets the root.
func (a *Archive) blocks(ctx context.Context, each func(cid.Cid, []byte) error) error {
	seen := make(map[cid.Cid]struct{})
	root, err := Folder(ctx, Sink(func(c cid.Cid, raw []byte) error {
		if _, ok := seen[c]; ok {
			return nil
		}
		seen[c] = struct{}{}
		if err := ctx.Err(); err != nil {
			return err
		}
		return each(c, raw)
	}), a.fsys, ".", a.layout)
	if err != nil {
		return err
	}
	a.root = root.Cid()
	return nil
}

// header is what a CAR begins with: its length and, in DAG-CBOR, {"roots": [root], "version": 1}.
func header(root cid.Cid) []byte {
	link := root.Bytes()
	b := append([]byte{0xa2, 0x65}, "roots"...)
	b = append(b, 0x81, 0xd8, 0x2a, 0x58, byte(len(link)+1), 0) // one link: tag 42, bytes that begin with a zero
	b = append(b, link...)
	b = append(append(b, 0x67), "version"...)
	b = append(b, 1)
	return append(binary.AppendUvarint(nil, uint64(len(b))), b...)
}

// section is what stands before a block: the length of the CID and the block, and the CID.
func section(c cid.Cid, raw []byte) []byte {
	b := binary.AppendUvarint(nil, uint64(c.ByteLen()+len(raw)))
	return append(b, c.Bytes()...)
}
