package unixfs

import (
	"archive/tar"
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/ipfs/go-cid"
	car "github.com/ipld/go-car/v2"
)

// packed is what a test puts into an archive.
type packed struct{ name, text string }

func archive(t testing.TB, entries ...packed) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Size: int64(len(e.text)), Mode: 0o644}
		if strings.HasSuffix(e.name, "/") {
			h = &tar.Header{Typeflag: tar.TypeDir, Name: e.name, Mode: 0o755}
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func holds(t testing.TB, p *Proof, err error, data []byte) (bool, error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if n, err := p.Write(data); n != len(data) || err != nil {
		t.Fatal(n, err)
	}
	return p.Holds()
}

func TestFilesAreProvenInEveryUsualLayout(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 200_000) // more than three chunks of a MiB
	for _, l := range usual {
		text, err := CID(bytes.NewReader(data), l)
		if err != nil {
			t.Fatal(err)
		}
		p, err := ProveFile(text)
		if ok, err := holds(t, p, err, data); !ok || err != nil {
			t.Errorf("%+v: %v", l, err)
		}
		p, err = ProveFile(text)
		if ok, err := holds(t, p, err, data[1:]); ok || err != nil {
			t.Errorf("%+v: other bytes hold, %v", l, err)
		}
	}
	if _, err := ProveFile("Qm"); err == nil {
		t.Error("no CID was taken for one")
	}
}

func TestFoldersAreProvenByTheirArchive(t *testing.T) {
	folder := fstest.MapFS{"a.txt": {Data: []byte("a")}, "sub/b.txt": {Data: []byte("b")}}
	right := []packed{{"r/", ""}, {"r/a.txt", "a"}, {"r/sub/", ""}, {"r/sub/b.txt", "b"}}
	for _, l := range usual {
		root, err := Folder(t.Context(), Sink(forget), folder, ".", l)
		if err != nil {
			t.Fatal(err)
		}
		for name, test := range map[string]struct {
			data    []byte
			ok, bad bool
		}{
			"right":            {archive(t, right...), true, false},
			"another order":    {archive(t, right[0], right[2], right[3], right[1]), true, false},
			"other bytes":      {archive(t, right[0], right[2], right[3], packed{"r/a.txt", "x"}), false, false},
			"a file is absent": {archive(t, right[:3]...), false, false},
			"a file twice":     {archive(t, append(right[:4:4], right[1])...), false, true},
			"no folder":        {archive(t, packed{"a.txt", "a"}), false, true},
			"folder after":     {archive(t, packed{"r/a.txt", "a"}, packed{"r/", ""}), false, true},
			"cut off":          {archive(t, right...)[:700], false, true},
			"no archive":       {[]byte("hello"), false, true},
		} {
			p, err := ProveFolder(root.Cid().String())
			if ok, err := holds(t, p, err, test.data); ok != test.ok || (err != nil) != test.bad {
				t.Errorf("%s: %v, %v", name, ok, err)
			}
		}
	}
}

func TestArchiveHoldsWhatItSays(t *testing.T) {
	folder := fstest.MapFS{"same": {Data: []byte("x")}, "again": {Data: []byte("x")}, "large": {Data: bytes.Repeat([]byte("y"), 1<<20)}}
	a, err := Pack(t.Context(), folder, V1)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := a.WriteTo(t.Context(), &b); err != nil || int64(b.Len()) != a.Size {
		t.Fatalf("%d bytes, want %d: %v", b.Len(), a.Size, err)
	}
	r, err := car.NewBlockReader(&b)
	if err != nil || len(r.Roots) != 1 || r.Roots[0].String() != a.Root {
		t.Fatalf("roots %v, %v", r.Roots, err)
	}
	var blocks []cid.Cid
	for {
		block, err := r.Next()
		if err != nil {
			break
		}
		if slices.Contains(blocks, block.Cid()) {
			t.Errorf("block %s is there twice", block.Cid())
		}
		blocks = append(blocks, block.Cid())
	}
	if !slices.Contains(blocks, r.Roots[0]) {
		t.Error("the root is missing")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Pack(ended, folder, V1); err == nil {
		t.Error("packing goes on after its context")
	}
}
