// Package ipfs keeps files and folders named by CIDs: it implements files.Store for them and the calls of the node's API
// that only IPFS has, such as importing CAR archives. CIDs are those of Kubo's defaults.
//
// Blocks are files of another files.Store, named by their sha256, and each is checked when it is read. A DAG that is known to
// be whole has a pin, a small file that says what the DAG is. What no pin reaches is garbage, which Collect deletes.
package ipfs

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/message"
)

var (
	// ErrIncomplete says that blocks of a DAG are missing. It comes with files.ErrNotFound.
	ErrIncomplete = errors.New("blocks of the DAG are missing")
	// ErrMalformed says that a DAG is not one of UnixFS files and folders, or beyond the bounds that this node sets.
	ErrMalformed = errors.New("not a well-formed UnixFS DAG")
	// ErrInvalidCAR says that an archive cannot be read as CARv1 with one root.
	ErrInvalidCAR = errors.New("invalid CAR file")
)

// Config is what a Node needs. Dir and Blocks are required.
type Config struct {
	Dir    string      // of the pins
	Blocks files.Store // of files named by sha256, used for nothing else

	// Exchange gets blocks from other nodes, each in a time that it bounds. Nil: what is not here is missing.
	Exchange Exchange
}

// Exchange gets blocks of others, of at most 2 MiB; what it gives is checked by who asks. A [Node] is one for its own blocks.
type Exchange interface {
	// Block is files.ErrNotFound for what nobody has.
	Block(ctx context.Context, h message.Hash) ([]byte, error)
}

// BlockType is what HTTP calls one block of a DAG.
const BlockType = "application/vnd.ipld.raw"

// Node is the IPFS of one core node.
type Node struct {
	blocks   files.Store
	pins     *pins
	exchange Exchange
}

// New opens the pins.
func New(cfg Config) (*Node, error) {
	p, err := openPins(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open IPFS pins: %w", err)
	}
	return &Node{blocks: cfg.Blocks, pins: p, exchange: cfg.Exchange}, nil
}

// Close ends the use of the pins. The store of blocks is the caller's.
func (n *Node) Close() error { return n.pins.close() }

// parseCID reads the name of a DAG: sha256 only, dag-pb or raw, in the one form that the network writes. Other names are
// not found anywhere.
func parseCID(h message.Hash) (cid.Cid, error) {
	c, err := cid.Decode(string(h))
	if err != nil || c.String() != string(h) || !supported(c) {
		return cid.Undef, fmt.Errorf("%q is no CID that this node keeps: %w", clip(string(h)), files.ErrNotFound)
	}
	return c, nil
}

// IsCID reports whether h names a DAG as this package does.
func IsCID(h message.Hash) bool {
	_, err := parseCID(h)
	return err == nil
}

// supported reports whether blocks with that CID can be kept.
func supported(c cid.Cid) bool {
	p := c.Prefix()
	return (p.Codec == cid.DagProtobuf || p.Codec == cid.Raw) && p.MhType == multihash.SHA2_256 && p.MhLength == 32
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

// blockName is the name of a block in the store of blocks.
func blockName(c cid.Cid) message.Hash {
	h := c.Hash()
	return message.Hash(hex.EncodeToString(h[len(h)-32:]))
}

// Block returns a block that this node has.
func (n *Node) Block(ctx context.Context, h message.Hash) ([]byte, error) {
	c, err := parseCID(h)
	if err != nil {
		return nil, err
	}
	return n.read(ctx, c)
}

// read returns a block that this node has, checked.
func (n *Node) read(ctx context.Context, c cid.Cid) ([]byte, error) {
	if err := ctx.Err(); err != nil { // a folder can be far larger than what it says of itself
		return nil, err
	}
	name := blockName(c)
	f, size, err := n.blocks.Open(ctx, name)
	if errors.Is(err, files.ErrNotFound) {
		return nil, fmt.Errorf("block %s: %w: %w", c, ErrIncomplete, files.ErrNotFound)
	} else if err != nil {
		return nil, fmt.Errorf("read block %s: %w", c, err)
	}
	defer f.Close()
	if size > maxBlock {
		return nil, fmt.Errorf("block %s: %w: larger than %d bytes", c, ErrMalformed, maxBlock)
	}
	raw := make([]byte, size)
	if _, err := io.ReadFull(f, raw); err != nil {
		return nil, fmt.Errorf("read block %s: %w", c, err)
	}
	if message.HashBytes(raw) != name {
		return nil, fmt.Errorf("block %s: %w", c, files.ErrWrongHash)
	}
	return raw, nil
}

// Put adds a file under its CIDv0.
func (n *Node) Put(ctx context.Context, r io.Reader, limit int64) (message.Hash, int64, error) {
	return n.Add(ctx, r, limit, 0)
}

// PutExpecting adds a file and compares its CID. Only files in the layout of Kubo's defaults can be checked that way; all
// others are ErrWrongHash.
func (n *Node) PutExpecting(ctx context.Context, h message.Hash, r io.Reader, limit int64) (int64, error) {
	c, err := parseCID(h)
	if err != nil {
		return 0, fmt.Errorf("store file %q: %w", clip(string(h)), files.ErrUnverifiable)
	}
	got, size, err := n.add(ctx, r, limit, int(c.Version()))
	if err != nil {
		return 0, fmt.Errorf("store file %s: %w", h, err)
	}
	if !got.Equals(c) {
		return 0, fmt.Errorf("store file %s: %w: they give %s", h, files.ErrWrongHash, got)
	}
	return size, n.pins.put(c, pin{size: size})
}

// Open returns a file and its size in bytes. Each block is looked for and checked when it is read.
func (n *Node) Open(ctx context.Context, h message.Hash) (io.ReadSeekCloser, int64, error) {
	info, err := n.Describe(ctx, h)
	if err != nil {
		return nil, 0, err
	}
	if info.Dir {
		return nil, 0, fmt.Errorf("open %s: %w", h, files.ErrFolder)
	}
	c, err := parseCID(h)
	if err != nil {
		return nil, 0, err
	}
	return n.reader(ctx, c, info.Size), info.Size, nil
}

// Describe returns what a file or folder says of itself, at the cost of one block: others may be missing, or contradict it. The size
// of a folder without a pin is 0.
func (n *Node) Describe(ctx context.Context, h message.Hash) (files.Info, error) {
	c, err := parseCID(h)
	if err != nil {
		return files.Info{}, err
	}
	if info, err := n.pins.get(c); !errors.Is(err, files.ErrNotFound) {
		return info, err
	}
	raw, err := n.read(ctx, c)
	if err != nil {
		return files.Info{}, fmt.Errorf("describe %s: %w", h, err)
	}
	b, err := decode(c, raw)
	if err != nil {
		return files.Info{}, err
	}
	return sum{kind: b.kind, size: b.size}.info(h), nil
}

// Stat describes a file or folder that is all there. One without a pin, such as a file inside a pinned folder, is looked through first.
func (n *Node) Stat(ctx context.Context, h message.Hash) (files.Info, error) {
	c, err := parseCID(h)
	if err != nil {
		return files.Info{}, err
	}
	if info, err := n.pins.get(c); !errors.Is(err, files.ErrNotFound) {
		return info, err
	}
	s, err := n.survey(ctx, c, surveying{block: n.read, limit: maxSize})
	if err != nil {
		return files.Info{}, fmt.Errorf("stat %s: %w", h, err)
	}
	return s.info(h), nil
}

// Keep pins a file or folder that is all there.
func (n *Node) Keep(ctx context.Context, h message.Hash) (files.Info, error) {
	c, err := parseCID(h)
	if err != nil {
		return files.Info{}, err
	}
	if info, err := n.pins.keep(c); !errors.Is(err, files.ErrNotFound) {
		return info, err
	}
	if _, err := n.pin(ctx, c, surveying{block: n.read, limit: maxSize}); err != nil {
		return files.Info{}, err
	}
	return n.pins.get(c)
}

// pin makes sure that a DAG is whole and protects it.
func (n *Node) pin(ctx context.Context, c cid.Cid, how surveying) (sum, error) {
	// A block that counts as put now outlives every Collect that began before, and later ones see the pin.
	how.touch = func(ctx context.Context, c cid.Cid) error {
		if _, err := n.blocks.Keep(ctx, blockName(c)); errors.Is(err, files.ErrNotFound) {
			return fmt.Errorf("block %s: %w: %w", c, ErrIncomplete, files.ErrNotFound)
		} else if err != nil {
			return fmt.Errorf("keep block %s: %w", c, err)
		}
		return nil
	}
	s, err := n.survey(ctx, c, how)
	if err != nil {
		return sum{}, fmt.Errorf("pin %s: %w", c, err)
	}
	info := s.info("")
	if err := n.pins.put(c, pin{dir: info.Dir, size: info.Size}); err != nil {
		return sum{}, fmt.Errorf("pin %s: %w", c, err)
	}
	return s, nil
}

// Fetch brings a DAG of at most limit bytes of blocks here through the exchange and pins it.
func (n *Node) Fetch(ctx context.Context, h message.Hash, limit int64) (files.Info, error) {
	info, err := n.Keep(ctx, h)
	if n.exchange == nil || !errors.Is(err, files.ErrNotFound) {
		return info, err
	}
	c, err := parseCID(h)
	if err != nil {
		return files.Info{}, err
	}
	if limit <= 0 {
		limit = maxSize
	}
	block := func(ctx context.Context, c cid.Cid) ([]byte, error) {
		raw, err := n.read(ctx, c)
		if !errors.Is(err, files.ErrNotFound) {
			return raw, err
		}
		if raw, err = n.exchange.Block(ctx, message.Hash(c.String())); err != nil {
			return nil, fmt.Errorf("get block %s: %w: %w", c, err, files.ErrNotFound)
		}
		if _, err := n.blocks.PutExpecting(ctx, blockName(c), bytes.NewReader(raw), maxBlock); err != nil {
			return nil, fmt.Errorf("store block %s: %w", c, err)
		}
		return raw, nil
	}
	if _, err := n.pin(ctx, c, surveying{block: block, limit: limit, all: true}); err != nil {
		return files.Info{}, err
	}
	return n.pins.get(c)
}

// Delete removes the pin. Blocks that no other pin reaches go with the next Collect.
func (n *Node) Delete(_ context.Context, h message.Hash) error {
	c, err := parseCID(h)
	if err != nil {
		return nil
	}
	return n.pins.remove(c)
}

func (n *Node) Expire(_ context.Context, h message.Hash, before time.Time) (bool, error) {
	c, err := parseCID(h)
	if err != nil {
		return false, nil
	}
	return n.pins.expire(c, before)
}

// Verify reads every block of the DAG.
func (n *Node) Verify(ctx context.Context, h message.Hash) error {
	c, err := parseCID(h)
	if err != nil {
		return err
	}
	_, err = n.survey(ctx, c, surveying{block: n.read, limit: maxSize, all: true})
	return err
}

// Walk visits what is pinned.
func (n *Node) Walk(ctx context.Context, f func(files.Info) error) error {
	return n.pins.walk(ctx, f)
}
