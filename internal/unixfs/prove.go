package unixfs

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/ipfs/boxo/ipld/merkledag"
	ft "github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// maxEntries is how many entries of a folder are proven; each takes memory until the folder is whole.
const maxEntries = 1 << 20

// Proof takes the bytes of a file, or a folder as tar archive, and says whether a CID names them. Bytes cut in a way that is not
// usual cannot be proven and are no better than wrong ones.
type Proof struct {
	want  string
	in    []*io.PipeWriter // one for each layout
	done  chan result
	ended bool
}

type result struct {
	cid string
	err error
}

// candidates are the usual layouts that can give a CID.
func candidates(text string) ([]Layout, error) {
	c, err := cid.Decode(text)
	if err != nil {
		return nil, fmt.Errorf("%s is no CID: %w", text, err)
	}
	var list []Layout
	for _, l := range usual {
		if uint64(l.Version) == c.Version() {
			list = append(list, l)
		}
	}
	return list, nil
}

// ProveFile begins a proof that the bytes of a file are those of a CID. It must be closed.
func ProveFile(want string) (*Proof, error) {
	return prove(want, func(r io.Reader, l Layout) (string, error) { return CID(r, l) })
}

// ProveFolder begins a proof that a tar archive, as nodes make it of a folder, is that of a CID. It must be closed.
func ProveFolder(want string) (*Proof, error) { return prove(want, folderCID) }

func prove(want string, of func(io.Reader, Layout) (string, error)) (*Proof, error) {
	layouts, err := candidates(want)
	if err != nil {
		return nil, err
	}
	p := &Proof{want: want, done: make(chan result, len(layouts))}
	for _, l := range layouts {
		r, w := io.Pipe()
		p.in = append(p.in, w)
		go func() {
			text, err := of(r, l)
			if err == nil {
				_, err = io.Copy(io.Discard, r) // what comes after the end of an archive
			}
			r.CloseWithError(errors.Join(err, io.ErrClosedPipe))
			p.done <- result{text, err}
		}()
	}
	return p, nil
}

func (p *Proof) Write(b []byte) (int, error) {
	for _, w := range p.in {
		_, _ = w.Write(b) // a layout that has failed; Holds says why
	}
	return len(b), nil
}

// Holds reports whether the bytes are those of the CID. The error says that they are no archive.
func (p *Proof) Holds() (bool, error) {
	var failures []error
	holds := false
	for _, r := range p.end(nil) {
		holds = holds || r.err == nil && r.cid == p.want
		failures = append(failures, r.err)
	}
	if holds {
		return true, nil
	}
	return false, errors.Join(failures...)
}

// Close ends a proof early. It does nothing after Holds.
func (p *Proof) Close() error {
	p.end(context.Canceled)
	return nil
}

// end waits for all that began.
func (p *Proof) end(why error) []result {
	if p.ended {
		return nil
	}
	p.ended = true
	results := make([]result, len(p.in))
	for _, w := range p.in {
		w.CloseWithError(why)
	}
	for i := range results {
		results[i] = <-p.done
	}
	return results
}

// tree is a folder that is put together from an archive.
type tree struct {
	folders map[string]*tree
	nodes   map[string]ipld.Node
}

func newTree() *tree { return &tree{map[string]*tree{}, map[string]ipld.Node{}} }

// folderCID returns the CID of the folder in a tar archive whose one top entry is the folder.
func folderCID(r io.Reader, l Layout) (string, error) {
	root := newTree()
	in := tar.NewReader(r)
	for count := 0; ; count++ {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
		if count == maxEntries {
			return "", fmt.Errorf("the folder has more than %d entries: it cannot be proven here", maxEntries)
		}
		if err := root.add(in, header, l); err != nil {
			return "", err
		}
	}
	if len(root.folders) != 1 || len(root.nodes) != 0 {
		return "", errors.New("the archive does not hold one folder")
	}
	for _, folder := range root.folders {
		node, err := folder.node(l)
		if err != nil {
			return "", err
		}
		return node.Cid().String(), nil
	}
	panic("unreachable")
}

func (t *tree) add(in io.Reader, header *tar.Header, l Layout) error {
	names := strings.Split(path.Clean(header.Name), "/")
	for _, name := range names[:len(names)-1] {
		next, ok := t.folders[name]
		if !ok {
			return fmt.Errorf("the archive holds %s before its folder", header.Name)
		}
		t = next
	}
	name := names[len(names)-1]
	if t.folders[name] != nil || t.nodes[name] != nil {
		return fmt.Errorf("the archive holds %s twice", header.Name)
	}
	switch header.Typeflag {
	case tar.TypeDir:
		t.folders[name] = newTree()
	case tar.TypeReg:
		node, err := File(Sink(forget), in, l)
		if err != nil {
			return err
		}
		t.nodes[name] = node
	case tar.TypeSymlink:
		data, err := ft.SymlinkData(header.Linkname)
		if err != nil {
			return err
		}
		node := merkledag.NodeWithData(data)
		prefix, err := merkledag.PrefixForCidVersion(l.Version)
		if err != nil {
			return err
		}
		if err := node.SetCidBuilder(prefix); err != nil {
			return err
		}
		t.nodes[name] = node
	default:
		return fmt.Errorf("the archive holds %s, which is neither file, folder nor link", header.Name)
	}
	return nil
}

func (t *tree) node(l Layout) (ipld.Node, error) {
	ctx := context.Background() // nothing waits
	dir, err := newDirectory(Sink(forget), l)
	if err != nil {
		return nil, err
	}
	for name, folder := range t.folders {
		if t.nodes[name], err = folder.node(l); err != nil {
			return nil, err
		}
	}
	for name, node := range t.nodes {
		if err := dir.AddChild(ctx, name, node); err != nil {
			return nil, err
		}
	}
	return finish(ctx, Sink(forget), dir)
}
