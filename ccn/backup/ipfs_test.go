package backup_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/ccn/backup"
	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/files/ipfs"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// openIPFS opens the IPFS of the node in dir until the test ends.
func openIPFS(t *testing.T, dir string) *ipfs.Node {
	t.Helper()
	blocks, err := files.OpenDisk(filepath.Join(dir, "ipfs", "blocks"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := ipfs.New(ipfs.Config{Dir: filepath.Join(dir, "ipfs"), Blocks: blocks})
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

// pinIPFS puts a file of several blocks into the node's IPFS, as its database then says.
func pinIPFS(t *testing.T, dir string) message.Hash {
	t.Helper()
	n := openIPFS(t, dir)
	h, size, err := n.Put(t.Context(), strings.NewReader(strings.Repeat("ipfs ", 200_000)), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Keep(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(dir, "aleph.db"))
	if err != nil {
		t.Fatal(err)
	}
	err = db.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.PutFile(&store.FileRow{Hash: h, Size: size, Type: store.FileTypeFile})
		return errors.Join(err, tx.InsertPin(&store.PinRow{File: h, Type: store.PinGrace, Created: 1}))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestIPFSIsRestored(t *testing.T) {
	dir, to, again := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "data")
	fill(t, dir, "one")
	h := pinIPFS(t, dir)
	if m := run(t, dir, to); len(m.Pins) != 1 || len(m.Blocks) < 4 || len(m.Missing) != 0 {
		t.Fatalf("%d pins, %d blocks, missing %v", len(m.Pins), len(m.Blocks), m.Missing)
	}
	if _, err := backup.Restore(t.Context(), to, again, nil); err != nil {
		t.Fatal(err)
	}
	n := openIPFS(t, again)
	if err := n.Verify(t.Context(), h); err != nil {
		t.Error(err)
	}
	if _, err := n.Keep(t.Context(), h); err != nil {
		t.Error(err)
	}
}

func TestDamagedIPFSIsNotRestored(t *testing.T) {
	for _, folder := range []string{"pins", "blocks"} {
		t.Run(folder, func(t *testing.T) {
			dir, to := t.TempDir(), t.TempDir()
			fill(t, dir, "one")
			h := pinIPFS(t, dir)
			m := run(t, dir, to)
			name := string(h)
			if folder == "blocks" {
				name = string(m.Blocks[0])
			}
			overwrite(t, find(t, filepath.Join(to, "ipfs", folder), name), "file 1\n")
			again := filepath.Join(t.TempDir(), "data")
			if _, err := backup.Restore(t.Context(), to, again, nil); err == nil {
				t.Error("it was restored")
			}
			if err := backup.Unfinished(again); !errors.Is(err, backup.ErrUnfinished) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestFilesInABucketAreLeftThere(t *testing.T) {
	dir, to := t.TempDir(), t.TempDir()
	fill(t, dir, "one")
	if err := os.RemoveAll(filepath.Join(dir, "files")); err != nil {
		t.Fatal(err)
	}
	m, err := backup.Run(t.Context(), backup.Config{DataDir: dir, Dir: to, FilesElsewhere: true})
	if err != nil || len(m.Files)+len(m.Missing) != 0 {
		t.Errorf("got %+v, %v", m, err)
	}
}
