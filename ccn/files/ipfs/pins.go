package ipfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/files/internal/folder"
	"github.com/aleph-im/aleph-go/message"
)

// pins is a folder with a small file for each DAG that is kept: what it is and how large. Several processes may share it.
type pins struct {
	dir string
	tmp *folder.Temp
}

// pin is what the file says. A file is as large as its bytes, a folder as all its blocks.
type pin struct {
	dir  bool
	size int64
}

func openPins(dir string) (*pins, error) {
	if err := os.MkdirAll(filepath.Join(dir, "pins"), 0o755); err != nil {
		return nil, err
	}
	if err := folder.Sync(dir); err != nil {
		return nil, err
	}
	tmp, err := folder.OpenTemp(filepath.Join(dir, "tmp"))
	if err != nil {
		return nil, err
	}
	return &pins{dir: filepath.Join(dir, "pins"), tmp: tmp}, nil
}

func (p *pins) close() error { return p.tmp.Close() }

// path is safe for any CID: its text has neither a separator nor a dot.
func (p *pins) path(c cid.Cid) string { return filepath.Join(p.dir, c.String()) }

// put writes a pin, durably.
func (p *pins) put(c cid.Cid, what pin) error {
	kind := "file"
	if what.dir {
		kind = "dir"
	}
	f, err := os.CreateTemp(p.tmp.Path, "pin-")
	if err != nil {
		return files.Full(err)
	}
	_, err = fmt.Fprintf(f, "%s %d\n", kind, what.size)
	if err := files.Full(errors.Join(err, f.Sync(), f.Close())); err != nil {
		os.Remove(f.Name())
		return err
	}
	return files.Full(folder.Locked(p.dir, syscall.LOCK_SH, func(dir *os.File) error {
		if err := os.Rename(f.Name(), p.path(c)); err != nil {
			return err
		}
		return dir.Sync()
	}))
}

// get reads a pin, or returns files.ErrNotFound.
func (p *pins) get(c cid.Cid) (files.Info, error) {
	info, err := p.read(c)
	if errors.Is(err, fs.ErrNotExist) {
		return files.Info{}, fmt.Errorf("pin of %s: %w", c, files.ErrNotFound)
	} else if err != nil {
		return files.Info{}, fmt.Errorf("read pin of %s: %w", c, err)
	}
	return info, nil
}

func (p *pins) read(c cid.Cid) (files.Info, error) {
	stat, err := os.Stat(p.path(c))
	if err != nil {
		return files.Info{}, err
	}
	raw, err := os.ReadFile(p.path(c))
	if err != nil {
		return files.Info{}, err
	}
	info := files.Info{Hash: message.Hash(c.String()), Stored: stat.ModTime()}
	var kind string
	if _, err := fmt.Sscanf(string(raw), "%s %d\n", &kind, &info.Size); err != nil {
		return files.Info{}, err
	}
	info.Dir = kind == "dir"
	return info, nil
}

// keep is get, and the pin counts as made now.
func (p *pins) keep(c cid.Cid) (info files.Info, err error) {
	err = folder.Locked(p.dir, syscall.LOCK_SH, func(*os.File) error {
		now := time.Now()
		if err := os.Chtimes(p.path(c), now, now); err != nil {
			return err
		}
		info, err = p.read(c)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return files.Info{}, fmt.Errorf("pin of %s: %w", c, files.ErrNotFound)
	} else if err != nil {
		return files.Info{}, fmt.Errorf("keep pin of %s: %w", c, err)
	}
	return info, nil
}

func (p *pins) remove(c cid.Cid) error {
	if err := os.Remove(p.path(c)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete pin of %s: %w", c, err)
	}
	return nil
}

func (p *pins) expire(c cid.Cid, before time.Time) (deleted bool, err error) {
	err = folder.Locked(p.dir, syscall.LOCK_EX, func(*os.File) error {
		stat, err := os.Stat(p.path(c))
		if err != nil || !stat.ModTime().Before(before) {
			return err
		}
		deleted = true
		return os.Remove(p.path(c))
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("expire pin of %s: %w", c, err)
	}
	return deleted, nil
}

// walk calls f for each pin.
func (p *pins) walk(ctx context.Context, f func(files.Info) error) error {
	dir, err := os.Open(p.dir)
	if err != nil {
		return fmt.Errorf("list pins: %w", err)
	}
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(1024)
		for _, name := range names {
			c, err := parseCID(message.Hash(name))
			if err != nil {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			info, err := p.get(c)
			if errors.Is(err, files.ErrNotFound) {
				continue
			} else if err != nil {
				return err
			}
			if err := f(info); err != nil {
				return err
			}
		}
		if len(names) == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list pins: %w", err)
		}
	}
}
