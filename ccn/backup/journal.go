package backup

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/intake/journal"
)

// copyJournal copies what the node answered and the database may not have yet. It comes before the snapshot: what leaves
// the journal meanwhile is in the database by then.
func copyJournal(ctx context.Context, cfg Config, m *Manifest) error {
	from, to := filepath.Join(cfg.DataDir, journalName), filepath.Join(cfg.Dir, journalName+freshSuffix)
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	m.Journal = make(map[string]Sum, len(entries))
	for _, e := range entries {
		if e.Name() == journal.Spare {
			continue
		}
		err := copyPlain(ctx, filepath.Join(from, e.Name()), filepath.Join(to, e.Name()), 0o644)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the database has all of it
		} else if err != nil {
			return err
		}
		if m.Journal[e.Name()], err = syncedSum(filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return syncDir(to)
}

// copyPlain copies a file to where none is.
func copyPlain(ctx context.Context, from, to string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, files.Bounded(ctx, in, 0))
	return errors.Join(err, out.Close())
}

func restoreJournal(ctx context.Context, dir, dataDir string, m *Manifest) error {
	if len(m.Journal) == 0 {
		return nil
	}
	if err := os.MkdirAll(dataDir, 0o755); err != nil {
		return err
	}
	for name, want := range m.Journal {
		if name != filepath.Base(name) {
			return errors.New("the manifest names a file of the journal outside of it: the backup is damaged, use another")
		}
		if err := copyChecked(ctx, filepath.Join(dir, name), filepath.Join(dataDir, name), want, 0o644); err != nil {
			return err
		}
	}
	return syncDir(dataDir)
}
