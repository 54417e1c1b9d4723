// Package backup copies the data of a core node while it runs, and fills an empty data folder from such a copy. The
// commands alephd ccn backup and alephd ccn restore call it.
//
// A backup is a folder: aleph.db, a consistent snapshot of a SQLite database; files/ with every file that the snapshot
// refers to by its sha256; journal/ with what the node had answered and not committed; ipfs/ with all blocks and pins of the node's IPFS; p2p.key, the identity of the node; and
// manifest.json, which is written last and holds the hash of everything else that has no hash for a name. Files that the
// folder has from an earlier backup are not copied again, so a second backup into it costs what is new.
package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// Names in a data folder and in a backup.
const (
	databaseName = "aleph.db"
	filesName    = "files"
	ipfsName     = "ipfs"
	journalName  = "journal"
	keyName      = "p2p.key"
	manifestName = "manifest.json"
	markName     = "RESTORE-UNFINISHED" // in a data folder that a restore has not finished
	freshSuffix  = ".new"               // of what takes the place of an earlier backup's at the end
)

// Manifest says what a backup holds.
type Manifest struct {
	Made     time.Time      `json:"made"`
	Schema   int            `json:"schema_version"`
	Database Sum            `json:"database"`
	Journal  map[string]Sum `json:"journal,omitempty"`
	Key      *Sum           `json:"p2p_key,omitempty"`
	Files    []message.Hash `json:"files"`
	Blocks   []message.Hash `json:"ipfs_blocks,omitempty"`
	Pins     map[string]Sum `json:"ipfs_pins,omitempty"`
	Missing  []message.Hash `json:"missing_files,omitempty"` // referred to, and not in the node's store either
}

// Sum is the sha256 and the size in bytes of a file.
type Sum struct {
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes"`
}

// Config says what to copy to where.
type Config struct {
	DataDir string // of the node
	Dir     string // of the backup
	// FilesElsewhere says that files named by their sha256 are in a bucket, which is backed up by other means.
	FilesElsewhere bool
	Now            func() time.Time
	// Progress is called with the number of files that were looked at; nil: not.
	Progress func(done int64)
}

// Run makes a backup of the data folder in Dir. When it is cut short, the folder has no manifest, or that of an earlier
// backup whose database is still beside it; running it again goes on.
func Run(ctx context.Context, cfg Config) (*Manifest, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := Unfinished(cfg.DataDir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("create the folder of the backup: %w", err)
	}
	m, err := run(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("back up %s: %w", cfg.DataDir, err)
	}
	return m, nil
}

func run(ctx context.Context, cfg Config) (*Manifest, error) {
	fresh := filepath.Join(cfg.Dir, databaseName+freshSuffix)
	for _, left := range []string{fresh, fresh + "-journal", fresh + "-wal", fresh + "-shm"} { // of a backup that was cut short
		if err := os.Remove(left); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	m := &Manifest{Made: cfg.Now().UTC(), Schema: store.SchemaVersion(), Files: []message.Hash{}}
	if err := copyJournal(ctx, cfg, m); err != nil {
		return nil, err
	}
	source, err := store.OpenReader(ctx, "sqlite:"+filepath.Join(cfg.DataDir, databaseName))
	if err != nil {
		return nil, err
	}
	err = source.Snapshot(ctx, fresh)
	if err := errors.Join(err, source.Close()); err != nil {
		return nil, err
	}
	if err := copyIPFS(ctx, cfg, m); err != nil {
		return nil, err
	}
	if err := copyFiles(ctx, cfg, fresh, m); err != nil {
		return nil, err
	}
	if m.Database, err = syncedSum(fresh); err != nil {
		return nil, err
	}
	key, err := os.ReadFile(filepath.Join(cfg.DataDir, keyName))
	switch {
	case err == nil:
		if err := writeWhole(filepath.Join(cfg.Dir, keyName), key, 0o600); err != nil {
			return nil, err
		}
		m.Key = &Sum{SHA256: sum(key), Bytes: int64(len(key))}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	manifest := filepath.Join(cfg.Dir, manifestName)
	if err := write(manifest+freshSuffix, raw, 0o644); err != nil {
		return nil, err
	}
	// From here on nothing needs room. Between the removal of the old manifest and the new one the folder is no backup, and
	// says so by having none.
	if err := os.Remove(manifest); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := os.Rename(fresh, filepath.Join(cfg.Dir, databaseName)); err != nil {
		return nil, err
	}
	journal := filepath.Join(cfg.Dir, journalName)
	if err := os.RemoveAll(journal); err != nil {
		return nil, err
	}
	if err := os.Rename(journal+freshSuffix, journal); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := os.Rename(manifest+freshSuffix, manifest); err != nil {
		return nil, err
	}
	return m, syncDir(cfg.Dir)
}

// copyFiles copies what the snapshot refers to and the backup lacks.
func copyFiles(ctx context.Context, cfg Config, snapshot string, m *Manifest) error {
	db, err := store.OpenReader(ctx, "sqlite:"+snapshot)
	if err != nil {
		return err
	}
	from, err := files.OpenDisk(filepath.Join(cfg.DataDir, filesName))
	if err != nil {
		return errors.Join(err, db.Close())
	}
	to, err := files.OpenDisk(filepath.Join(cfg.Dir, filesName))
	if err != nil {
		return errors.Join(err, from.Close(), db.Close())
	}
	looked := int64(0)
	err = db.Read(ctx, func(r *store.Reader) error {
		return r.EachPinnedFile(func(h message.Hash, _ *store.FileRow) error {
			if looked++; cfg.Progress != nil && looked%100 == 0 {
				cfg.Progress(looked)
			}
			if h.Kind() == message.ItemIPFS {
				if _, ok := m.Pins[string(h)]; !ok {
					m.Missing = append(m.Missing, h)
				}
				return nil
			}
			if cfg.FilesElsewhere {
				return nil
			}
			err := copyFile(ctx, from, to, h)
			switch {
			case errors.Is(err, files.ErrNotFound):
				m.Missing = append(m.Missing, h)
			case err != nil:
				return err
			default:
				m.Files = append(m.Files, h)
			}
			return nil
		})
	})
	return errors.Join(err, to.Close(), from.Close(), db.Close())
}

// copyFile copies a file from one store to another, which checks that its bytes hash to its name.
func copyFile(ctx context.Context, from, to files.Store, h message.Hash) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := to.Stat(ctx, h); err == nil {
		return nil
	}
	f, _, err := from.Open(ctx, h)
	if err != nil {
		return err
	}
	_, err = to.PutExpecting(ctx, h, f, 0)
	return errors.Join(err, f.Close())
}

// writeWhole writes a file so that it is there whole and durably, or not at all.
func writeWhole(path string, raw []byte, mode fs.FileMode) error {
	if err := write(path+freshSuffix, raw, mode); err != nil {
		return err
	}
	if err := os.Rename(path+freshSuffix, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// write writes a file durably.
func write(path string, raw []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func sum(raw []byte) string {
	s := sha256.Sum256(raw)
	return hex.EncodeToString(s[:])
}

// syncedSum makes a file durable and returns its sum.
func syncedSum(path string) (Sum, error) {
	f, err := os.Open(path)
	if err != nil {
		return Sum{}, err
	}
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err == nil {
		err = f.Sync()
	}
	return Sum{SHA256: hex.EncodeToString(h.Sum(nil)), Bytes: n}, errors.Join(err, f.Close())
}
