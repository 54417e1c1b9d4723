package ipfs

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/files/filestest"
	"github.com/aleph-im/aleph-go/internal/vectors"
	"github.com/aleph-im/aleph-go/message"
)

func open(t testing.TB) *Node {
	t.Helper()
	dir := t.TempDir()
	blocks, err := files.OpenDisk(filepath.Join(dir, "blocks"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := New(Config{Dir: dir, Blocks: blocks})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(n.Close(), blocks.Close()); err != nil {
			t.Error(err)
		}
	})
	return n
}

func TestNodeIsAStore(t *testing.T) {
	namer := open(t)
	filestest.Run(t, func(t *testing.T) files.Store { return open(t) }, func(t testing.TB, b []byte) message.Hash {
		h, _, err := namer.Add(t.Context(), bytes.NewReader(b), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return h
	})
}

// repeated gives unit again and again, size bytes in all.
type repeated struct {
	unit []byte
	at   int
	left int64
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n := 0
	for n < len(p) && r.left > 0 {
		c := copy(p[n:min(int64(len(p)), int64(n)+r.left)], r.unit[r.at:])
		r.at = (r.at + c) % len(r.unit)
		r.left -= int64(c)
		n += c
	}
	return n, nil
}

func TestCIDsOfFilesAreThoseOfKubo(t *testing.T) {
	var v struct {
		Files []struct {
			Description string `json:"description"`
			Unit        string `json:"unit_hex"`
			Size        int64  `json:"size"`
			V0          string `json:"cid_v0"`
			V1          string `json:"cid_v1_raw_leaves"`
		} `json:"files"`
	}
	vectors.Load(t, "hashes.json", &v)
	if len(v.Files) == 0 {
		t.Fatal("no vectors")
	}
	n := open(t)
	for _, f := range v.Files {
		unit, err := hex.DecodeString(f.Unit)
		if err != nil {
			t.Fatal(err)
		}
		for version, want := range []string{f.V0, f.V1} {
			h, size, err := n.Add(t.Context(), &repeated{unit: unit, left: f.Size}, 0, version)
			if err != nil || string(h) != want || size != f.Size {
				t.Errorf("%s, version %d: %s of %d bytes, %v; want %s", f.Description, version, h, size, err, want)
			}
		}
	}
}

// trees are the folders that the vectors describe in words.
func trees() map[string]fstest.MapFS {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	many := func(count int, name func(int) string) fstest.MapFS {
		m := fstest.MapFS{}
		for i := range count {
			m[name(i)] = file("x")
		}
		return m
	}
	eight := func(i int) string { return fmt.Sprintf("%08d", i) }
	flat := fstest.MapFS{}
	for c := 'a'; c <= 'j'; c++ {
		flat[string(c)+".txt"] = file(string(c))
	}
	return map[string]fstest.MapFS{
		"single-file":     {"hello.txt": file("hello\n")},
		"multi-chunk":     {"big.bin": file(strings.Repeat("x", 1<<20))},
		"flat-10":         flat,
		"nested":          {"top.txt": file("top\n"), "sub/inner.txt": file("inner\n"), "sub/deeper/leaf.txt": file("leaf\n")},
		"hamt-short":      many(6000, eight),
		"hamt-long":       many(920, func(i int) string { return fmt.Sprintf("%04d", i) + strings.Repeat("z", 246) }),
		"empty-dir":       {},
		"empty-file":      {"empty": file("")},
		"utf8-names":      {"café.txt": file("a\n"), "日本.txt": file("b\n"), "🚀.txt": file("c\n")},
		"threshold-below": many(5957, eight),
		"threshold-above": many(5958, eight),
	}
}

func TestCIDsOfFoldersAreThoseOfKubo(t *testing.T) {
	var v struct {
		Folders []struct {
			ID      string `json:"id"`
			Version int    `json:"cid_version"`
			CID     string `json:"cid"`
		} `json:"folders"`
	}
	vectors.Load(t, "hashes.json", &v)
	if len(v.Folders) == 0 {
		t.Fatal("no vectors")
	}
	n := open(t)
	all := trees()
	for _, f := range v.Folders {
		tree, ok := all[f.ID]
		if !ok {
			t.Errorf("%s: not known to this test", f.ID)
			continue
		}
		h, size, err := n.AddFolder(t.Context(), tree, f.Version)
		if err != nil || string(h) != f.CID {
			t.Errorf("%s, version %d: %s, %v; want %s", f.ID, f.Version, h, err, f.CID)
			continue
		}
		if info, err := n.Stat(t.Context(), h); err != nil || !info.Dir || info.Size != size {
			t.Errorf("%s: stat %+v, %v", f.ID, info, err)
		}
		if _, _, err := n.Open(t.Context(), h); !errors.Is(err, files.ErrFolder) {
			t.Errorf("%s: open: %v", f.ID, err)
		}
	}
}

func TestCollectKeepsWhatPinsReachAndWhatIsYoung(t *testing.T) {
	n := open(t)
	ctx := t.Context()
	random := make([]byte, 1_000_000)
	rand.NewChaCha8([32]byte{1}).Read(random)
	kept, _, err := n.Put(ctx, bytes.NewReader(random), 0)
	if err != nil {
		t.Fatal(err)
	}
	// The second file shares all chunks but the last with the first.
	gone, _, err := n.Put(ctx, bytes.NewReader(append(random[:999_000:999_000], "other end"...)), 0)
	if err != nil {
		t.Fatal(err)
	}
	if deleted, err := n.Expire(ctx, gone, time.Now().Add(time.Hour)); err != nil || !deleted {
		t.Fatal(deleted, err)
	}
	if blocks, _, err := n.Collect(ctx, time.Now().Add(-time.Hour)); err != nil || blocks != 0 {
		t.Fatalf("young blocks: %d, %v", blocks, err)
	}
	if _, err := n.Stat(ctx, gone); err != nil {
		t.Fatalf("unpinned, not collected: %v", err)
	}
	if blocks, size, err := n.Collect(ctx, time.Now().Add(time.Hour)); err != nil || blocks != 2 || size == 0 {
		t.Fatalf("%d blocks of %d bytes, %v; want the last chunk and the root", blocks, size, err)
	}
	if err := n.Verify(ctx, kept); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Keep(ctx, gone); !errors.Is(err, files.ErrNotFound) {
		t.Fatalf("got %v", err)
	}
}
