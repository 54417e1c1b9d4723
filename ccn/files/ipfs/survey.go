package ipfs

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/ipld/unixfs/pb"
	"github.com/ipfs/go-cid"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/message"
)

// Bounds of what a DAG may be. Honest ones stay far below.
const (
	maxBlock   = 2 << 20 // bytes, as everywhere on IPFS
	maxBlocks  = 1 << 19 // different blocks of one DAG
	maxDepth   = 256     // blocks above one another
	maxPending = 1 << 18 // links read and not yet followed
	maxSize    = 1 << 50 // bytes that a DAG may spell out
)

// kind is what one block is.
type kind uint8

const (
	kindFile   kind = iota + 1 // also the inner nodes and leaves of files
	kindFolder                 // also the shards of large folders
	kindSymlink
)

// block is a decoded block.
type block struct {
	kind  kind
	data  []byte // bytes of a file's leaf, target of a link
	size  uint64 // bytes of the file below this block
	links []link
	shard int // length of the prefix of names in a shard of a folder; 0 elsewhere
	width int // how many places a shard of a folder has, a power of two
}

// link leads to a block below.
type link struct {
	cid  cid.Cid
	name string // in folders
	size uint64 // bytes of the file below it; in files
}

// decode reads a block and refuses what is not UnixFS or contradicts itself.
func decode(c cid.Cid, raw []byte) (*block, error) {
	if c.Prefix().Codec == cid.Raw {
		return &block{kind: kindFile, data: raw, size: uint64(len(raw))}, nil
	}
	node, err := merkledag.DecodeProtobuf(raw)
	if err != nil {
		return nil, fmt.Errorf("block %s: %w: %w", c, ErrMalformed, err)
	}
	fs, err := unixfs.FSNodeFromBytes(node.Data())
	if err != nil {
		return nil, fmt.Errorf("block %s: %w: %w", c, ErrMalformed, err)
	}
	b := &block{data: fs.Data()}
	for _, l := range node.Links() {
		if !supported(l.Cid) {
			return nil, fmt.Errorf("block %s: %w: it links to %s, which is neither dag-pb nor raw under sha256", c, ErrMalformed, l.Cid)
		}
		b.links = append(b.links, link{cid: l.Cid, name: l.Name})
	}
	malformed := func(why string) error { return fmt.Errorf("block %s: %w: %s", c, ErrMalformed, why) }
	switch fs.Type() {
	case pb.Data_File, pb.Data_Raw:
		b.kind, b.size = kindFile, uint64(len(b.data))
		if len(b.links) != fs.NumChildren() || len(b.links) > 0 && len(b.data) > 0 {
			return nil, malformed("sizes and parts of the file do not match")
		}
		for i := range b.links {
			b.links[i].size = fs.BlockSize(i)
			if b.size = add(b.size, b.links[i].size); b.size > maxSize {
				return nil, malformed("the file is too large")
			}
		}
		if fs.FileSize() != b.size {
			return nil, malformed("the file's size is not that of its parts")
		}
	case pb.Data_Directory:
		b.kind = kindFolder
	case pb.Data_HAMTShard:
		if fanout := fs.Fanout(); fanout < 8 || fanout > 1024 || fanout&(fanout-1) != 0 {
			return nil, malformed("a shard of a folder has a wrong width")
		}
		b.kind, b.shard, b.width = kindFolder, len(fmt.Sprintf("%X", fs.Fanout()-1)), int(fs.Fanout())
	case pb.Data_Symlink:
		if len(b.links) > 0 {
			return nil, malformed("a symbolic link has parts")
		}
		b.kind = kindSymlink
	default:
		return nil, malformed("unknown type of UnixFS")
	}
	if b.kind == kindFolder {
		for _, l := range b.links {
			if len(l.name) < b.shard || l.name != l.name[:b.shard] && !fileName(l.name[b.shard:]) || b.shard == 0 && !fileName(l.name) {
				return nil, malformed("a name in the folder is not one of a file")
			}
		}
	}
	return b, nil
}

// fileName reports whether an entry of a folder may be called so.
func fileName(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsAny(s, "/\x00")
}

// add is a sum that stays at its largest value instead of turning over.
func add(a, b uint64) uint64 {
	if a > math.MaxUint64-b {
		return math.MaxUint64
	}
	return a + b
}

// surveying says how to look through a DAG.
type surveying struct {
	block func(context.Context, cid.Cid) ([]byte, error)
	touch func(context.Context, cid.Cid) error // called for each block; nil: no
	limit int64                                // bytes of different blocks
	all   bool                                 // also leaves whose size is known and that need not be read
}

// sum is what a survey finds out of a DAG.
type sum struct {
	kind kind
	size uint64 // bytes of the file
	dag  uint64 // bytes of all blocks, each as often as it is linked to
}

func (s sum) info(h message.Hash) files.Info {
	if s.kind == kindFolder {
		return files.Info{Hash: h, Size: int64(s.dag), Dir: true}
	}
	return files.Info{Hash: h, Size: int64(s.size)}
}

// frame is a block whose links are being followed.
type frame struct {
	cid   cid.Cid
	links []link
	next  int
	shard int
	sum   sum
}

// survey looks through all of a DAG: that no block is missing, that sizes in files are true, that nothing is beyond the
// bounds. A DAG cannot have a cycle, as a block cannot hold its own hash.
func (n *Node) survey(ctx context.Context, root cid.Cid, how surveying) (sum, error) {
	known := make(map[string]sum)
	var stack []*frame
	pending, total := 0, int64(0)

	enter := func(c cid.Cid) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(known)+len(stack) >= maxBlocks || len(stack) >= maxDepth {
			return fmt.Errorf("%w: more than %d blocks, or %d above one another", ErrMalformed, maxBlocks, maxDepth)
		}
		if how.touch != nil {
			if err := how.touch(ctx, c); err != nil && (!how.all || !errors.Is(err, files.ErrNotFound)) {
				return err
			}
		}
		if c.Prefix().Codec == cid.Raw && !how.all {
			info, err := n.blocks.Stat(ctx, blockName(c))
			if errors.Is(err, files.ErrNotFound) {
				return fmt.Errorf("block %s: %w: %w", c, ErrIncomplete, files.ErrNotFound)
			} else if err != nil {
				return fmt.Errorf("look for block %s: %w", c, err)
			}
			size := uint64(info.Size)
			total += info.Size
			stack = append(stack, &frame{cid: c, sum: sum{kindFile, size, size}})
		} else {
			raw, err := how.block(ctx, c)
			if err != nil {
				return err
			}
			b, err := decode(c, raw)
			if err != nil {
				return err
			}
			total += int64(len(raw))
			pending += len(b.links)
			stack = append(stack, &frame{cid: c, links: b.links, shard: b.shard, sum: sum{b.kind, b.size, uint64(len(raw))}})
		}
		if total > how.limit {
			return fmt.Errorf("%w: more than %d bytes", files.ErrTooLarge, how.limit)
		}
		if pending > maxPending {
			return fmt.Errorf("%w: too many links", ErrMalformed)
		}
		return nil
	}
	if err := enter(root); err != nil {
		return sum{}, err
	}
	for {
		top := stack[len(stack)-1]
		if top.next == len(top.links) {
			known[top.cid.KeyString()] = top.sum
			pending -= len(top.links)
			if stack = stack[:len(stack)-1]; len(stack) == 0 {
				if top.sum.dag > maxSize {
					return sum{}, fmt.Errorf("%w: its blocks repeat to more than %d bytes", ErrMalformed, uint64(maxSize))
				}
				return top.sum, nil
			}
			continue
		}
		l := top.links[top.next]
		below, ok := known[l.cid.KeyString()]
		if !ok {
			if err := enter(l.cid); err != nil {
				return sum{}, err
			}
			continue
		}
		top.next++
		top.sum.dag = add(top.sum.dag, below.dag)
		switch {
		case top.sum.kind == kindFile && (below.kind != kindFile || below.size != l.size):
			return sum{}, fmt.Errorf("block %s: %w: a part of the file is not what its size says", top.cid, ErrMalformed)
		case top.shard > 0 && len(l.name) == top.shard && below.kind != kindFolder:
			return sum{}, fmt.Errorf("block %s: %w: a shard of the folder is none", top.cid, ErrMalformed)
		}
	}
}
