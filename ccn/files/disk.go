package files

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/aleph-im/aleph-go/message"
)

// Disk is a Store on a folder: a file is at ab/cd/<hash>, where abcd are the first digits of its hash. Uploads grow in
// tmp/ and are renamed when they are complete and synced, so a file that is in its place is whole.
type Disk struct {
	dir string
}

// OpenDisk opens the store in dir, creating the folder when it is absent, and removes what interrupted uploads left.
// One process at a time may have a folder open.
func OpenDisk(dir string) (*Disk, error) {
	d := &Disk{dir: dir}
	if err := os.RemoveAll(d.tmp()); err != nil {
		return nil, fmt.Errorf("clean interrupted uploads: %w", err)
	}
	if err := os.MkdirAll(d.tmp(), 0o755); err != nil {
		return nil, fmt.Errorf("create file store: %w", err)
	}
	return d, nil
}

func (d *Disk) tmp() string { return filepath.Join(d.dir, "tmp") }

// path returns where the file is; ok is false when h cannot be the name of a stored file.
func (d *Disk) path(h message.Hash) (path string, ok bool) {
	// Only a strict hash becomes part of a path: its alphabet has no separator and no dot.
	if h.Kind() != message.ItemStorage {
		return "", false
	}
	return filepath.Join(d.dir, string(h[:2]), string(h[2:4]), string(h)), true
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
	defer func() {
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			err = fmt.Errorf("%w (%w)", ErrFull, err)
		}
	}()
	f, err := os.CreateTemp(d.tmp(), "put-")
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
	sum := sha256.New()
	from := io.Reader(reader{ctx, r})
	if limit > 0 {
		from = io.LimitReader(from, limit+1)
	}
	if size, err = io.Copy(io.MultiWriter(f, sum), from); err != nil {
		return "", 0, fmt.Errorf("receive file: %w", err)
	}
	if limit > 0 && size > limit {
		return "", 0, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
	}
	h := message.Hash(hex.EncodeToString(sum.Sum(nil)))
	if want != "" && h != want {
		return "", 0, fmt.Errorf("%w: they hash to %s", ErrWrongHash, h)
	}
	if err = f.Chmod(0o644); err != nil {
		return "", 0, fmt.Errorf("store file %s: %w", h, err)
	}
	if err = f.Sync(); err != nil {
		return "", 0, fmt.Errorf("sync file %s: %w", h, err)
	}
	if err = f.Close(); err != nil {
		return "", 0, fmt.Errorf("close file %s: %w", h, err)
	}
	if err = d.place(f.Name(), h); err != nil {
		return "", 0, fmt.Errorf("store file %s: %w", h, err)
	}
	return h, size, nil
}

// place moves a complete file to where it belongs, durably.
func (d *Disk) place(from string, h message.Hash) error {
	to, _ := d.path(h)
	inner := filepath.Dir(to)
	outer := filepath.Dir(inner)
	if err := os.MkdirAll(inner, 0o755); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	for _, dir := range []string{inner, outer, d.dir} {
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
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

func (d *Disk) Stat(_ context.Context, h message.Hash) (int64, error) {
	path, ok := d.path(h)
	if !ok {
		return 0, fmt.Errorf("stat %q: %w", h, ErrNotFound)
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("stat %s: %w", h, ErrNotFound)
	} else if err != nil {
		return 0, fmt.Errorf("stat file: %w", err)
	}
	return info.Size(), nil
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

// reader ends a transfer with its context.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
