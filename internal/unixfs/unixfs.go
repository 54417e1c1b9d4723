// Package unixfs makes the blocks of files and folders as Kubo does, and so their CIDs. The node's IPFS stores what it makes;
// the SDK names files before it sends them, packs folders and proves what it downloads.
package unixfs

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"

	chunk "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	uio "github.com/ipfs/boxo/ipld/unixfs/io"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// Layout is how a file is cut into blocks, which decides its CID.
type Layout struct {
	Version   int   // of the CID, 0 or 1
	RawLeaves bool  // leaves are the bytes themselves
	Chunk     int64 // bytes of a leaf
	Width     int   // links of an inner block
}

// V0 and V1 are the layouts that Kubo makes by default with either version of CID (spec/messages.md §2.1).
var (
	V0 = Layout{Version: 0, Chunk: 256 << 10, Width: 174}
	V1 = Layout{Version: 1, RawLeaves: true, Chunk: 256 << 10, Width: 174}
)

// usual lists the layouts in which files are found: the defaults, the two with the other kind of leaves, and that of the profile
// which newer tools use.
var usual = []Layout{
	V0, V1,
	{Version: 0, RawLeaves: true, Chunk: 256 << 10, Width: 174},
	{Version: 1, Chunk: 256 << 10, Width: 174},
	{Version: 1, RawLeaves: true, Chunk: 1 << 20, Width: 1024},
}

// File makes the blocks of a file, gives each to dag, and returns the root.
func File(dag ipld.DAGService, r io.Reader, l Layout) (ipld.Node, error) {
	prefix, err := merkledag.PrefixForCidVersion(l.Version)
	if err != nil {
		return nil, err
	}
	params := helpers.DagBuilderParams{Dagserv: dag, Maxlinks: l.Width, RawLeaves: l.RawLeaves, CidBuilder: prefix}
	builder, err := params.New(chunk.NewSizeSplitter(r, l.Chunk))
	if err != nil {
		return nil, err
	}
	return balanced.Layout(builder)
}

// Folder makes the blocks of a folder of fsys and of all that is in it, gives each to dag, and returns the root. Large folders
// are sharded as Kubo does by default. What is neither file nor folder is refused.
func Folder(ctx context.Context, dag ipld.DAGService, fsys fs.FS, name string, l Layout) (ipld.Node, error) {
	dir, err := newDirectory(dag, l)
	if err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(fsys, name)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		child, err := entry(ctx, dag, fsys, path.Join(name, e.Name()), e, l)
		if err != nil {
			return nil, err
		}
		if err := dir.AddChild(ctx, e.Name(), child); err != nil {
			return nil, err
		}
	}
	return finish(ctx, dag, dir)
}

func entry(ctx context.Context, dag ipld.DAGService, fsys fs.FS, name string, e fs.DirEntry, l Layout) (ipld.Node, error) {
	if e.IsDir() {
		return Folder(ctx, dag, fsys, name, l)
	}
	if !e.Type().IsRegular() {
		return nil, fmt.Errorf("%s is neither file nor folder", name)
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return File(dag, f, l)
}

// newDirectory returns an empty folder whose shards are given to dag.
func newDirectory(dag ipld.DAGService, l Layout) (uio.Directory, error) {
	prefix, err := merkledag.PrefixForCidVersion(l.Version)
	if err != nil {
		return nil, err
	}
	return uio.NewDirectory(&overlay{DAGService: dag, made: make(map[cid.Cid]ipld.Node)}, uio.WithCidBuilder(prefix),
		uio.WithMaxHAMTFanout(256), uio.WithSizeEstimationMode(uio.SizeEstimationLinks))
}

func finish(ctx context.Context, dag ipld.DAGService, dir uio.Directory) (ipld.Node, error) {
	root, err := dir.GetNode()
	if err != nil {
		return nil, err
	}
	return root, dag.Add(ctx, root)
}

// overlay remembers the shards of the folder that is being made, which its builder asks for again.
type overlay struct {
	ipld.DAGService
	made map[cid.Cid]ipld.Node
}

func (o *overlay) Add(ctx context.Context, node ipld.Node) error {
	o.made[node.Cid()] = node
	return o.DAGService.Add(ctx, node)
}

func (o *overlay) AddMany(ctx context.Context, nodes []ipld.Node) error {
	for _, node := range nodes {
		if err := o.Add(ctx, node); err != nil {
			return err
		}
	}
	return nil
}

func (o *overlay) Get(ctx context.Context, c cid.Cid) (ipld.Node, error) {
	if node, ok := o.made[c]; ok {
		return node, nil
	}
	return o.DAGService.Get(ctx, c)
}

func (o *overlay) GetMany(ctx context.Context, cids []cid.Cid) <-chan *ipld.NodeOption {
	out := make(chan *ipld.NodeOption, len(cids))
	for _, c := range cids {
		node, err := o.Get(ctx, c)
		out <- &ipld.NodeOption{Node: node, Err: err}
	}
	close(out)
	return out
}

// Sink is a DAGService that hands each new block to a function, in the order in which they are made, and keeps none.
type Sink func(c cid.Cid, raw []byte) error

// Add implements ipld.DAGService.
func (s Sink) Add(_ context.Context, node ipld.Node) error { return s(node.Cid(), node.RawData()) }

// AddMany implements ipld.DAGService.
func (s Sink) AddMany(ctx context.Context, nodes []ipld.Node) error {
	for _, node := range nodes {
		if err := s.Add(ctx, node); err != nil {
			return err
		}
	}
	return nil
}

// Get implements ipld.DAGService: it has nothing.
func (s Sink) Get(_ context.Context, c cid.Cid) (ipld.Node, error) {
	return nil, ipld.ErrNotFound{Cid: c}
}

// GetMany implements ipld.DAGService.
func (s Sink) GetMany(_ context.Context, cids []cid.Cid) <-chan *ipld.NodeOption {
	out := make(chan *ipld.NodeOption, len(cids))
	for _, c := range cids {
		out <- &ipld.NodeOption{Err: ipld.ErrNotFound{Cid: c}}
	}
	close(out)
	return out
}

// Remove implements ipld.DAGService.
func (s Sink) Remove(context.Context, cid.Cid) error { return nil }

// RemoveMany implements ipld.DAGService.
func (s Sink) RemoveMany(context.Context, []cid.Cid) error { return nil }

// forget is the sink of who wants the CID alone.
func forget(cid.Cid, []byte) error { return nil }

// CID returns the CID of a file.
func CID(r io.Reader, l Layout) (string, error) {
	root, err := File(Sink(forget), r, l)
	if err != nil {
		return "", err
	}
	return root.Cid().String(), nil
}
