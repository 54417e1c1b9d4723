package ipfs

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/ipfs/go-cid"

	"github.com/aleph-im/aleph-go/ccn/files"
)

// reader reads a file block by block. It holds one leaf and the links of the blocks above it.
type reader struct {
	n      *Node
	ctx    context.Context
	root   cid.Cid
	size   int64
	offset int64

	above  []level // from the root down
	leaf   []byte  // what is left of the leaf at offset
	closed bool
}

// level is an inner block: its links that come after the one that was followed.
type level struct{ links []link }

func (n *Node) reader(ctx context.Context, root cid.Cid, size int64) *reader {
	return &reader{n: n, ctx: ctx, root: root, size: size}
}

func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := r.fill(); err != nil {
		return 0, err
	}
	n := copy(p, r.leaf)
	r.leaf = r.leaf[n:]
	r.offset += int64(n)
	return n, nil
}

// WriteTo spares the copy of each leaf.
func (r *reader) WriteTo(w io.Writer) (total int64, err error) {
	for {
		if err := r.fill(); errors.Is(err, io.EOF) {
			return total, nil
		} else if err != nil {
			return total, err
		}
		n, err := w.Write(r.leaf)
		total += int64(n)
		r.offset += int64(n)
		r.leaf = r.leaf[n:]
		if err != nil {
			return total, err
		}
	}
}

// fill makes sure that the leaf at the offset is there.
func (r *reader) fill() error {
	switch {
	case r.closed:
		return errors.New("read of a closed file")
	case len(r.leaf) > 0:
		return nil
	case r.offset >= r.size:
		return io.EOF
	}
	for len(r.above) > 0 {
		top := &r.above[len(r.above)-1]
		if len(top.links) == 0 {
			r.above = r.above[:len(r.above)-1]
			continue
		}
		l := top.links[0]
		top.links = top.links[1:]
		if l.size == 0 {
			continue
		}
		return r.descend(l.cid, l.size, 0)
	}
	return r.descend(r.root, uint64(r.size), uint64(r.offset))
}

// descend goes down to the leaf that holds the byte at offset below c, whose file has size bytes.
func (r *reader) descend(c cid.Cid, size, offset uint64) error {
	for {
		if len(r.above) > maxDepth {
			return fmt.Errorf("block %s: %w: too deep", c, ErrMalformed)
		}
		raw, err := r.n.read(r.ctx, c)
		if err != nil {
			return err
		}
		b, err := decode(c, raw)
		if err != nil {
			return err
		}
		if b.kind != kindFile || b.size != size || offset >= size {
			return fmt.Errorf("block %s: %w: a part of the file is not what its size says", c, ErrMalformed)
		}
		if len(b.links) == 0 {
			r.leaf = b.data[offset:]
			return nil
		}
		i := 0
		for ; offset >= b.links[i].size; i++ { // ends, as the sizes add up to more than offset
			offset -= b.links[i].size
		}
		r.above = append(r.above, level{b.links[i+1:]})
		c, size = b.links[i].cid, b.links[i].size
	}
}

func (r *reader) Seek(offset int64, whence int) (int64, error) {
	offset, err := files.SeekFrom(r.offset, r.size, offset, whence)
	if err != nil {
		return 0, err
	}
	if offset != r.offset {
		r.offset, r.above, r.leaf = offset, nil, nil
	}
	return offset, nil
}

func (r *reader) Close() error {
	r.closed, r.above, r.leaf = true, nil, nil
	return nil
}
