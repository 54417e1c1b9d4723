package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/aleph-im/aleph-go/ccn/files/internal/folder"
	"github.com/aleph-im/aleph-go/message"
)

// Disk is a Store on a folder for files named by their sha256: a file is at ab/<hash>, where ab are the first digits of its
// hash. Uploads grow in a folder of their process below tmp/ and are renamed when they are complete and synced, so a file
// that is in its place is whole. Several processes may have the folder open.
type Disk struct {
	dir string
	tmp *folder.Temp
}

// OpenDisk opens the store in dir, creating the folder when it is absent, and removes what interrupted uploads left.
func OpenDisk(dir string) (*Disk, error) {
	for i := range 256 {
		if err := os.MkdirAll(filepath.Join(dir, fmt.Sprintf("%02x", i)), 0o755); err != nil {
			return nil, fmt.Errorf("create file store: %w", err)
		}
	}
	if err := folder.Sync(dir); err != nil {
		return nil, fmt.Errorf("create file store: %w", err)
	}
	tmp, err := folder.OpenTemp(filepath.Join(dir, "tmp"))
	if err != nil {
		return nil, fmt.Errorf("open file store: %w", err)
	}
	return &Disk{dir: dir, tmp: tmp}, nil
}

// Close ends the use of the store. Files that are open stay readable.
func (d *Disk) Close() error { return d.tmp.Close() }

// path returns where the file is; ok is false when h cannot be the name of a stored file.
func (d *Disk) path(h message.Hash) (path string, ok bool) {
	// Only a strict hash becomes part of a path: its alphabet has no separator and no dot.
	if h.Kind() != message.ItemStorage {
		return "", false
	}
	return filepath.Join(d.dir, string(h[:2]), string(h)), true
}

func (d *Disk) Put(ctx context.Context, r io.Reader, limit int64) (message.Hash, int64, error) {
	return d.put(ctx, "", r, limit)
}

func (d *Disk) PutExpecting(ctx context.Context, h message.Hash, r io.Reader, limit int64) (int64, error) {
	if _, ok := d.path(h); !ok {
		return 0, fmt.Errorf("store file %s: %w", h, ErrUnverifiable)
	}
	_, size, err := d.put(ctx, h, r, limit)
	if err != nil {
		return 0, fmt.Errorf("store file %s: %w", h, err)
	}
	return size, nil
}

func (d *Disk) put(ctx context.Context, want message.Hash, r io.Reader, limit int64) (_ message.Hash, size int64, err error) {
	defer func() { err = Full(err) }()
	f, err := os.CreateTemp(d.tmp.Path, "put-")
	if err != nil {
		return "", 0, fmt.Errorf("create temporary file: %w", err)
	}
	defer func() {
		if err != nil {
			// The first error is the one to tell; a file that cannot be removed now goes at the next start.
			f.Close()
			os.Remove(f.Name())
		}
	}()
	h, size, err := Receive(ctx, f, r, limit)
	if err != nil {
		return "", 0, err
	}
	if want != "" && h != want {
		return "", 0, fmt.Errorf("%w: they hash to %s", ErrWrongHash, h)
	}
	if err = d.move(ctx, f, h); err != nil {
		return "", 0, err
	}
	return h, size, f.Close()
}

// move makes a file that is whole and has the hash h one of the store.
func (d *Disk) move(_ context.Context, f *os.File, h message.Hash) error {
	if err := f.Chmod(0o644); err != nil {
		return fmt.Errorf("store file %s: %w", h, err)
	}
	now := time.Now()
	if err := os.Chtimes(f.Name(), now, now); err != nil {
		return fmt.Errorf("store file %s: %w", h, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync file %s: %w", h, err)
	}
	if err := d.place(f.Name(), h); err != nil {
		return fmt.Errorf("store file %s: %w", h, err)
	}
	return nil
}

// place moves a complete file to where it belongs, durably.
func (d *Disk) place(from string, h message.Hash) error {
	to, _ := d.path(h)
	return folder.Locked(filepath.Dir(to), syscall.LOCK_SH, func(shard *os.File) error {
		if err := os.Rename(from, to); err != nil {
			return err
		}
		return shard.Sync()
	})
}

func (d *Disk) Open(_ context.Context, h message.Hash) (io.ReadSeekCloser, int64, error) {
	path, ok := d.path(h)
	if !ok {
		return nil, 0, fmt.Errorf("open %q: %w", h, ErrNotFound)
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("open %s: %w", h, ErrNotFound)
	} else if err != nil {
		return nil, 0, fmt.Errorf("open file: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("open file: %w", err)
	}
	return f, info.Size(), nil
}

func (d *Disk) Stat(_ context.Context, h message.Hash) (Info, error) {
	path, ok := d.path(h)
	if !ok {
		return Info{}, fmt.Errorf("stat %q: %w", h, ErrNotFound)
	}
	return stat(path, h)
}

func stat(path string, h message.Hash) (Info, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Info{}, fmt.Errorf("stat %s: %w", h, ErrNotFound)
	} else if err != nil {
		return Info{}, fmt.Errorf("stat file: %w", err)
	}
	return Info{Hash: h, Size: info.Size(), Stored: info.ModTime()}, nil
}

func (d *Disk) Keep(_ context.Context, h message.Hash) (info Info, err error) {
	path, ok := d.path(h)
	if !ok {
		return Info{}, fmt.Errorf("keep %q: %w", h, ErrNotFound)
	}
	err = folder.Locked(filepath.Dir(path), syscall.LOCK_SH, func(shard *os.File) (err error) {
		now := time.Now()
		if err := os.Chtimes(path, now, now); err != nil {
			return err
		}
		if info, err = stat(path, h); err != nil {
			return err
		}
		return shard.Sync() // a Put of another caller may be just before that
	})
	if errors.Is(err, fs.ErrNotExist) {
		return Info{}, fmt.Errorf("keep %s: %w", h, ErrNotFound)
	} else if err != nil {
		return Info{}, fmt.Errorf("keep file: %w", err)
	}
	return info, nil
}

func (d *Disk) Delete(_ context.Context, h message.Hash) error {
	path, ok := d.path(h)
	if !ok {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete file: %w", err)
	}
	return nil
}

func (d *Disk) Expire(_ context.Context, h message.Hash, before time.Time) (deleted bool, err error) {
	path, ok := d.path(h)
	if !ok {
		return false, nil
	}
	err = folder.Locked(filepath.Dir(path), syscall.LOCK_EX, func(*os.File) error {
		info, err := os.Stat(path)
		if err != nil || !info.ModTime().Before(before) {
			return err
		}
		deleted = true
		return os.Remove(path)
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("expire file: %w", err)
	}
	return deleted, nil
}

func (d *Disk) Verify(ctx context.Context, h message.Hash) error { return VerifySHA256(ctx, d, h) }

func (d *Disk) Walk(ctx context.Context, f func(Info) error) error {
	for i := range 256 {
		shard := filepath.Join(d.dir, fmt.Sprintf("%02x", i))
		entries, err := os.ReadDir(shard)
		if err != nil {
			return fmt.Errorf("list files: %w", err)
		}
		for _, e := range entries {
			h := message.Hash(e.Name())
			path, ok := d.path(h)
			if !ok || filepath.Dir(path) != shard {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			info, err := stat(path, h)
			if errors.Is(err, ErrNotFound) {
				continue
			} else if err != nil {
				return err
			}
			if err := f(info); err != nil {
				return err
			}
		}
	}
	return nil
}
