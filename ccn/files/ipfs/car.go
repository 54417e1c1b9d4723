package ipfs

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipld/go-ipld-prime/node/basicnode"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/message"
)

const (
	maxHeader  = 8 << 10 // bytes of an archive's header (spec/ccn-api.md §8.2)
	maxCIDSize = 64      // bytes of a CID of the kinds that are kept
)

// ImportCAR stores the blocks of a CARv1 archive of at most limit bytes (none if 0 or less), checks each and that the DAG
// under its one root is whole, pins it, and returns the root and the size in bytes of all the DAG's blocks. Accept, when not
// nil, sees the root before anything is stored; its error ends the import and is returned as it is.
//
// What is no such archive is ErrInvalidCAR, a DAG that lacks blocks ErrIncomplete, one that this node does not keep
// ErrMalformed. After an error, blocks that were stored are garbage for Collect.
func (n *Node) ImportCAR(ctx context.Context, r io.Reader, limit int64, accept func(root message.Hash) error) (message.Hash, int64, error) {
	in := bufio.NewReaderSize(files.Bounded(ctx, r, limit), 64<<10)
	root, err := readHeader(in)
	if err != nil {
		return "", 0, err
	}
	h := message.Hash(root.String())
	if accept != nil {
		if err := accept(h); err != nil {
			return "", 0, err
		}
	}
	if !supported(root) {
		return "", 0, fmt.Errorf("%w: its root %s is neither dag-pb nor raw under sha256", ErrInvalidCAR, root)
	}
	w := n.writer(ctx)
	err = w.blocks(in)
	if err := errors.Join(err, w.wait()); err != nil {
		return "", 0, err
	}
	s, err := n.pin(ctx, root, surveying{block: n.read, limit: maxSize})
	if err != nil {
		return "", 0, err
	}
	return h, int64(s.dag), nil
}

// blocks stores what follows the header.
func (w *writer) blocks(in *bufio.Reader) error {
	for i := 0; ; i++ {
		if i >= maxBlocks {
			return fmt.Errorf("%w: more than %d blocks", ErrMalformed, maxBlocks)
		}
		section, err := readSection(in, maxCIDSize+maxBlock)
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		length, c, err := cid.CidFromBytes(section)
		if err != nil {
			return fmt.Errorf("%w: a block without a CID: %w", ErrInvalidCAR, err)
		}
		if !supported(c) {
			return fmt.Errorf("%w: block %s is neither dag-pb nor raw under sha256", ErrInvalidCAR, c)
		}
		raw := section[length:]
		if len(raw) > maxBlock {
			return fmt.Errorf("%w: block %s has more than %d bytes", ErrInvalidCAR, c, maxBlock)
		}
		if message.HashBytes(raw) != blockName(c) {
			return fmt.Errorf("%w: block %s has other bytes than its CID says", ErrInvalidCAR, c)
		}
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		w.group.Go(func() error { return w.n.write(w.ctx, c, raw) })
	}
}

// readSection reads a length and as many bytes. It is io.EOF at the end of the archive.
func readSection(in *bufio.Reader, limit uint64) ([]byte, error) {
	size, err := binary.ReadUvarint(in)
	if errors.Is(err, io.EOF) {
		return nil, io.EOF
	} else if err != nil {
		return nil, cut(err)
	}
	if size == 0 || size > limit {
		return nil, fmt.Errorf("%w: a section of %d bytes, want 1 to %d", ErrInvalidCAR, size, limit)
	}
	section := make([]byte, size)
	if _, err := io.ReadFull(in, section); err != nil {
		return nil, cut(err)
	}
	return section, nil
}

// cut tells an archive that ends early or is no archive from one that cannot be received.
func cut(err error) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: it ends within a section", ErrInvalidCAR)
	case err.Error() == "binary: varint overflows a 64-bit integer":
		return fmt.Errorf("%w: a length beyond 64 bits", ErrInvalidCAR)
	}
	return fmt.Errorf("receive archive: %w", err)
}

// readHeader reads {"roots": [<cid>], "version": 1} in DAG-CBOR.
func readHeader(in *bufio.Reader) (cid.Cid, error) {
	raw, err := readSection(in, maxHeader)
	if errors.Is(err, io.EOF) {
		return cid.Undef, fmt.Errorf("%w: it is empty", ErrInvalidCAR)
	} else if err != nil {
		return cid.Undef, err
	}
	builder := basicnode.Prototype.Map.NewBuilder()
	if err := dagcbor.Decode(builder, bytes.NewReader(raw)); err != nil {
		return cid.Undef, fmt.Errorf("%w: header: %w", ErrInvalidCAR, err)
	}
	header := builder.Build()
	version, err := member(header, "version", ipld.Node.AsInt)
	if err != nil {
		return cid.Undef, err
	}
	if version != 1 {
		return cid.Undef, fmt.Errorf("%w: only CARv1 is supported, this is version %d", ErrInvalidCAR, version)
	}
	roots, err := member(header, "roots", func(n ipld.Node) (ipld.Node, error) { return n, nil })
	if err != nil {
		return cid.Undef, err
	}
	if roots.Kind() != ipld.Kind_List || roots.Length() != 1 {
		return cid.Undef, fmt.Errorf("%w: want exactly one root", ErrInvalidCAR)
	}
	first, err := roots.LookupByIndex(0)
	if err != nil {
		return cid.Undef, fmt.Errorf("%w: root: %w", ErrInvalidCAR, err)
	}
	l, err := first.AsLink()
	if err != nil {
		return cid.Undef, fmt.Errorf("%w: root: %w", ErrInvalidCAR, err)
	}
	root, ok := l.(cidlink.Link)
	if !ok || !root.Defined() {
		return cid.Undef, fmt.Errorf("%w: its root is no CID", ErrInvalidCAR)
	}
	return root.Cid, nil
}

func member[T any](header ipld.Node, name string, as func(ipld.Node) (T, error)) (T, error) {
	var zero T
	n, err := header.LookupByString(name)
	if err != nil {
		return zero, fmt.Errorf("%w: header without %s", ErrInvalidCAR, name)
	}
	v, err := as(n)
	if err != nil {
		return zero, fmt.Errorf("%w: header's %s: %w", ErrInvalidCAR, name, err)
	}
	return v, nil
}
