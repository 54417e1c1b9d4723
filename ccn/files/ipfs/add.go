package ipfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"golang.org/x/sync/errgroup"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/internal/unixfs"
	"github.com/aleph-im/aleph-go/message"
)

// layouts are those of either version of CID.
var layouts = [2]unixfs.Layout{unixfs.V0, unixfs.V1}

// Add stores a file in the layout of Kubo's defaults, pins it, and returns its CID and its size in bytes. Version is that of
// the CID: with 1, leaves are raw, so that a file of one chunk gets a CID which is no item hash of the network. More than
// limit bytes is files.ErrTooLarge; a limit of 0 or less means none.
func (n *Node) Add(ctx context.Context, r io.Reader, limit int64, version int) (message.Hash, int64, error) {
	c, size, err := n.add(ctx, r, limit, version)
	if err != nil {
		return "", 0, err
	}
	if err := n.pins.put(c, pin{size: size}); err != nil {
		return "", 0, fmt.Errorf("pin %s: %w", c, err)
	}
	return message.Hash(c.String()), size, nil
}

// add is Add without the pin.
func (n *Node) add(ctx context.Context, r io.Reader, limit int64, version int) (cid.Cid, int64, error) {
	w := n.writer(ctx)
	counted := &counter{r: files.Bounded(ctx, r, limit)}
	root, err := unixfs.File(w, counted, layouts[version])
	if err := errors.Join(err, w.wait()); err != nil {
		return cid.Undef, 0, fmt.Errorf("add file: %w", err)
	}
	return root.Cid(), counted.n, nil
}

// AddFolder stores a folder with all that is in it, pins it, and returns its CID and the size in bytes of all its blocks.
// Large folders are sharded as Kubo does by default. Symbolic links are refused.
func (n *Node) AddFolder(ctx context.Context, fsys fs.FS, version int) (message.Hash, int64, error) {
	w := n.writer(ctx)
	root, err := unixfs.Folder(w.ctx, w, fsys, ".", layouts[version])
	if err := errors.Join(err, w.wait()); err != nil {
		return "", 0, fmt.Errorf("add folder: %w", err)
	}
	info, err := n.Keep(ctx, message.Hash(root.Cid().String()))
	return info.Hash, info.Size, err
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// writers is how many blocks of one file are written at once: a disk commits them together.
const writers = 16

// writer stores blocks in the background while further ones are made. It is the ipld.DAGService of one Add.
type writer struct {
	n     *Node
	ctx   context.Context
	group *errgroup.Group
}

func (n *Node) writer(ctx context.Context) *writer {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	return &writer{n: n, ctx: ctx, group: group}
}

// wait returns when all blocks are durable.
func (w *writer) wait() error { return w.group.Wait() }

// Add stores a block soon. One that is there already is kept.
func (w *writer) Add(_ context.Context, node ipld.Node) error {
	if err := w.ctx.Err(); err != nil {
		return context.Cause(w.ctx)
	}
	c, raw := node.Cid(), node.RawData() // here, as a node encodes itself when it is first asked to
	w.group.Go(func() error { return w.n.write(w.ctx, c, raw) })
	return nil
}

// write stores a block whose bytes were checked or made here.
func (n *Node) write(ctx context.Context, c cid.Cid, raw []byte) error {
	name := blockName(c)
	if info, err := n.blocks.Keep(ctx, name); err == nil && info.Size == int64(len(raw)) {
		return nil
	}
	if _, err := n.blocks.PutExpecting(ctx, name, bytes.NewReader(raw), maxBlock); err != nil {
		return fmt.Errorf("store block %s: %w", c, err)
	}
	return nil
}

func (w *writer) AddMany(ctx context.Context, nodes []ipld.Node) error {
	for _, node := range nodes {
		if err := w.Add(ctx, node); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) Get(ctx context.Context, c cid.Cid) (ipld.Node, error) {
	return nil, ipld.ErrNotFound{Cid: c}
}

func (w *writer) GetMany(ctx context.Context, cids []cid.Cid) <-chan *ipld.NodeOption {
	return many(ctx, w, cids)
}

func (w *writer) Remove(context.Context, cid.Cid) error       { return nil }
func (w *writer) RemoveMany(context.Context, []cid.Cid) error { return nil }

// many answers GetMany by Get.
func many(ctx context.Context, g ipld.NodeGetter, cids []cid.Cid) <-chan *ipld.NodeOption {
	out := make(chan *ipld.NodeOption, len(cids))
	for _, c := range cids {
		node, err := g.Get(ctx, c)
		out <- &ipld.NodeOption{Node: node, Err: err}
	}
	close(out)
	return out
}
