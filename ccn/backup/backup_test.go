package backup_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/aleph-im/aleph-go/ccn/backup"
	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/store"
)

// fill gives the node in dir files that its database refers to. The database stays open until the test ends.
func fill(t *testing.T, dir string, texts ...string) {
	t.Helper()
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(dir, "aleph.db"))
	if err != nil {
		t.Fatal(err)
	}
	disk, err := files.OpenDisk(filepath.Join(dir, "files"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range texts {
		h, size, err := disk.Put(t.Context(), strings.NewReader(text), 0)
		if err != nil {
			t.Fatal(err)
		}
		err = db.Write(t.Context(), func(tx *store.Tx) error {
			_, err := tx.PutFile(&store.FileRow{Hash: h, Size: size, Type: store.FileTypeFile})
			return errors.Join(err, tx.InsertPin(&store.PinRow{File: h, Type: store.PinGrace, Created: 1}), tx.Set("last", text))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "p2p.key"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(disk.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
}

func last(t *testing.T, dir string) (v string) {
	t.Helper()
	db, err := store.OpenReader(t.Context(), "sqlite:"+filepath.Join(dir, "aleph.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Read(t.Context(), func(r *store.Reader) (err error) {
		v, err = r.Get("last")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func run(t *testing.T, dir, to string) *backup.Manifest {
	t.Helper()
	m, err := backup.Run(t.Context(), backup.Config{DataDir: dir, Dir: to})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestRestoredNodeIsTheOneThatRan(t *testing.T) {
	dir, to, again := t.TempDir(), filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "data")
	fill(t, dir, "one", "two") // the database stays open
	if err := os.CopyFS(filepath.Join(dir, "journal"), fstest.MapFS{"000000000001.journal": {Data: []byte("answered")}}); err != nil {
		t.Fatal(err)
	}
	if m := run(t, dir, to); len(m.Files) != 2 || m.Key == nil {
		t.Fatalf("got %+v", m)
	}
	if _, err := backup.Restore(t.Context(), to, again, nil); err != nil {
		t.Fatal(err)
	}
	if got := last(t, again); got != "two" {
		t.Errorf("got %q", got)
	}
	disk, err := files.OpenDisk(filepath.Join(again, "files"))
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	n := 0
	if err := disk.Walk(t.Context(), func(files.Info) error { n++; return nil }); err != nil || n != 2 {
		t.Errorf("%d files, %v", n, err)
	}
	if raw, err := os.ReadFile(filepath.Join(again, "journal", "000000000001.journal")); err != nil || string(raw) != "answered" {
		t.Errorf("journal: %q, %v", raw, err)
	}
	if info, err := os.Stat(filepath.Join(again, "p2p.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key: %v, %v", info, err)
	}
}

func TestSecondBackupCopiesOnlyWhatIsNew(t *testing.T) {
	dir, to := t.TempDir(), t.TempDir()
	fill(t, dir, "one")
	first := run(t, dir, to)
	path := find(t, to, string(first.Files[0]))
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, dir, "two")
	if m := run(t, dir, to); len(m.Files) != 2 {
		t.Errorf("got %+v", m)
	}
	after, err := os.Stat(path)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the first file was written again: %v", err)
	}
	if got := last(t, to); got != "two" {
		t.Errorf("the backup has %q", got)
	}
}

func TestFolderThatIsNotEmptyIsRefused(t *testing.T) {
	dir, to := t.TempDir(), t.TempDir()
	fill(t, dir, "one")
	run(t, dir, to)
	if _, err := backup.Restore(t.Context(), to, dir, nil); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("got %v", err)
	}
	if got := last(t, dir); got != "one" {
		t.Errorf("the node has %q", got)
	}
}

func TestRestoreThatWasCutShortIsToldFromAWholeOne(t *testing.T) {
	dir, to := t.TempDir(), t.TempDir()
	fill(t, dir, "one", "two", "three")
	run(t, dir, to)
	for after := range int64(3) {
		again := filepath.Join(t.TempDir(), "data")
		ctx, cancel := context.WithCancel(t.Context())
		_, err := backup.Restore(ctx, to, again, func(done, _ int64) {
			if done > after {
				cancel()
			}
		})
		cancel()
		if err == nil {
			t.Fatalf("after %d files: no error", after)
		}
		if err := backup.Unfinished(again); !errors.Is(err, backup.ErrUnfinished) {
			t.Errorf("after %d files: %v", after, err)
		}
		if _, err := backup.Restore(t.Context(), to, again, nil); !errors.Is(err, backup.ErrUnfinished) {
			t.Errorf("restored on top of a half: %v", err)
		}
	}
}

func TestDamageInABackupIsFound(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T, dir string, m *backup.Manifest)
		want   string
	}{
		{"byte of a file", func(t *testing.T, dir string, m *backup.Manifest) {
			overwrite(t, find(t, dir, string(m.Files[0])), "onf")
		}, "do not match"},
		{"file gone", func(t *testing.T, dir string, m *backup.Manifest) {
			remove(t, find(t, dir, string(m.Files[0])))
		}, "not found"},
		{"database", func(t *testing.T, dir string, _ *backup.Manifest) {
			raw, err := os.ReadFile(filepath.Join(dir, "aleph.db"))
			if err != nil {
				t.Fatal(err)
			}
			raw[len(raw)/2] ^= 1
			overwrite(t, filepath.Join(dir, "aleph.db"), string(raw))
		}, "damaged"},
		{"key", func(t *testing.T, dir string, _ *backup.Manifest) {
			overwrite(t, filepath.Join(dir, "p2p.key"), "public")
		}, "damaged"},
		{"no manifest", func(t *testing.T, dir string, _ *backup.Manifest) { remove(t, filepath.Join(dir, "manifest.json")) }, "no backup"},
		{"bad manifest", func(t *testing.T, dir string, _ *backup.Manifest) {
			overwrite(t, filepath.Join(dir, "manifest.json"), "{")
		}, "manifest.json"},
		{"path as hash", func(t *testing.T, dir string, m *backup.Manifest) {
			m.Files[0] = "../../../etc/passwd"
			raw, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			overwrite(t, filepath.Join(dir, "manifest.json"), string(raw))
		}, "not found"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, to := t.TempDir(), t.TempDir()
			fill(t, dir, "one")
			tt.damage(t, to, run(t, dir, to))
			again := filepath.Join(t.TempDir(), "data")
			if _, err := backup.Restore(t.Context(), to, again, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestBackupThatWasCutShortGoesOn(t *testing.T) {
	dir, to := t.TempDir(), t.TempDir()
	fill(t, dir, "one")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := backup.Run(ctx, backup.Config{DataDir: dir, Dir: to}); err == nil {
		t.Fatal("no error")
	}
	overwrite(t, filepath.Join(to, "aleph.db.new"), "half")
	if _, err := backup.Restore(t.Context(), to, filepath.Join(t.TempDir(), "data"), nil); err == nil {
		t.Error("half a backup was restored")
	}
	run(t, dir, to)
	if _, err := backup.Restore(t.Context(), to, filepath.Join(t.TempDir(), "data"), nil); err != nil {
		t.Error(err)
	}
}

func TestMissingFileIsToldAndTheRestIsCopied(t *testing.T) {
	dir, to := t.TempDir(), t.TempDir()
	fill(t, dir, "one", "two")
	m := run(t, dir, t.TempDir())
	remove(t, find(t, dir, string(m.Files[0])))
	if m := run(t, dir, to); len(m.Files) != 1 || len(m.Missing) != 1 {
		t.Errorf("got %+v", m)
	}
}

func find(t *testing.T, dir, name string) (found string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if filepath.Base(path) == name {
			found = path
		}
		return err
	})
	if err != nil || found == "" {
		t.Fatalf("no file %s: %v", name, err)
	}
	return found
}

func overwrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
