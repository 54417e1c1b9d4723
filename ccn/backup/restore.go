package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// ErrUnfinished says that a restore into the folder was cut short.
var ErrUnfinished = errors.New("a restore into this folder was not finished: empty the folder and restore again")

// Unfinished returns an ErrUnfinished when dir holds half a backup. A node must not start on it.
func Unfinished(dir string) error {
	for _, mark := range []string{markName, markName + freshSuffix} { // the second is there when the first was being made
		_, err := os.Stat(filepath.Join(dir, mark))
		switch {
		case err == nil:
			return fmt.Errorf("data folder %s: %w", dir, ErrUnfinished)
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("data folder: %w", err)
		}
	}
	return nil
}

// Restore fills dataDir, which must be empty or absent, from the backup in dir, and checks every byte on the way. A folder
// that it did not finish is marked, so that no node starts on it. progress is called with the number of files; nil: not.
func Restore(ctx context.Context, dir, dataDir string, progress func(done, total int64)) (*Manifest, error) {
	m, err := restore(ctx, dir, dataDir, progress)
	if err != nil {
		return nil, fmt.Errorf("restore %s: %w", dir, err)
	}
	return m, nil
}

func restore(ctx context.Context, dir, dataDir string, progress func(done, total int64)) (*Manifest, error) {
	m, err := readManifest(dir)
	if err != nil {
		return nil, err
	}
	if err := Unfinished(dataDir); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dataDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if len(entries) > 0 {
		return nil, fmt.Errorf("data folder %s is not empty: choose another with --data-dir", dataDir)
	}
	if err := os.MkdirAll(dataDir, 0o755); err != nil {
		return nil, err
	}
	mark := filepath.Join(dataDir, markName)
	if err := writeWhole(mark, []byte("from "+dir+"\n"), 0o644); err != nil {
		return nil, err
	}
	total := int64(len(m.Files) + len(m.Blocks))
	var done int64
	step := func() {
		if done++; progress != nil {
			progress(done, total)
		}
	}
	if err := restoreStore(ctx, filepath.Join(dir, filesName), filepath.Join(dataDir, filesName), m.Files, step); err != nil {
		return nil, err
	}
	if err := restoreIPFS(ctx, filepath.Join(dir, ipfsName), filepath.Join(dataDir, ipfsName), m, step); err != nil {
		return nil, err
	}
	if err := restoreJournal(ctx, filepath.Join(dir, journalName), filepath.Join(dataDir, journalName), m); err != nil {
		return nil, err
	}
	if m.Key != nil {
		if err := copyChecked(ctx, filepath.Join(dir, keyName), filepath.Join(dataDir, keyName), *m.Key, 0o600); err != nil {
			return nil, err
		}
	}
	database := filepath.Join(dataDir, databaseName)
	if err := copyChecked(ctx, filepath.Join(dir, databaseName), database, m.Database, 0o644); err != nil {
		return nil, err
	}
	if err := verifyDatabase(ctx, database); err != nil {
		return nil, err
	}
	if err := os.Remove(mark); err != nil {
		return nil, err
	}
	return m, syncDir(dataDir)
}

func readManifest(dir string) (*Manifest, error) {
	raw, err := os.ReadFile(filepath.Join(dir, manifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no %s: this is no backup, or one that was cut short; run the backup again", manifestName)
	} else if err != nil {
		return nil, err
	}
	m := &Manifest{}
	if err := json.Unmarshal(raw, m); err != nil {
		return nil, fmt.Errorf("read %s: %w", manifestName, err)
	}
	if m.Schema > store.SchemaVersion() {
		return nil, fmt.Errorf("the backup has schema version %d, this program knows up to %d: use the release that made it", m.Schema, store.SchemaVersion())
	}
	return m, nil
}

// restoreStore copies files from a store of the backup to one of the node.
func restoreStore(ctx context.Context, dir, dataDir string, hashes []message.Hash, step func()) error {
	from, err := files.OpenDisk(dir)
	if err != nil {
		return err
	}
	to, err := files.OpenDisk(dataDir)
	if err != nil {
		return errors.Join(err, from.Close())
	}
	for _, h := range hashes {
		if err = copyFile(ctx, from, to, h); err != nil {
			err = fmt.Errorf("file %s of the backup: %w", h, err)
			break
		}
		step()
	}
	return errors.Join(err, to.Close(), from.Close())
}

// copyChecked copies a file durably and fails when it is not what want says.
func copyChecked(ctx context.Context, from, to string, want Sum, mode fs.FileMode) error {
	if err := copyPlain(ctx, from, to, mode); err != nil {
		return err
	}
	got, err := syncedSum(to)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("%s of the backup has the sha256 %s and %d bytes, its manifest says %s and %d: the backup is damaged, use another",
			filepath.Base(from), got.SHA256, got.Bytes, want.SHA256, want.Bytes)
	}
	return nil
}

func verifyDatabase(ctx context.Context, path string) error {
	db, err := store.Open(ctx, "sqlite:"+path) // brings an older schema up to date
	if err != nil {
		return err
	}
	err = db.Read(ctx, func(r *store.Reader) error {
		broken, err := r.Integrity()
		if len(broken) > 0 {
			return fmt.Errorf("the database of the backup is damaged, use another backup: %s", broken[0])
		}
		return err
	})
	return errors.Join(err, db.Close())
}
