// Package folder is what the stores on a disk share: folders for unfinished files that end with their process, and folders
// that are locked against other processes and other goroutines.
package folder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Temp is a folder of one process for files that are not finished.
type Temp struct {
	Path string
	lock *os.File // the open folder, locked as long as the process lives
}

// OpenTemp makes a folder below dir and removes those of processes that ended, with all else that is in dir. The lock on a
// folder tells whether its process lives; the lock on dir keeps two processes from looking at the same time.
func OpenTemp(dir string) (*Temp, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	t := &Temp{}
	err := Locked(dir, syscall.LOCK_EX, func(parent *os.File) error {
		names, err := parent.Readdirnames(-1)
		if err != nil {
			return err
		}
		for _, name := range names {
			left := filepath.Join(dir, name)
			err := Locked(left, syscall.LOCK_EX|syscall.LOCK_NB, func(*os.File) error { return os.RemoveAll(left) })
			if err != nil && !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("clean interrupted uploads: %w", err)
			}
		}
		if t.Path, err = os.MkdirTemp(dir, "process-"); err != nil {
			return err
		}
		if t.lock, err = os.Open(t.Path); err != nil {
			return err
		}
		return flock(t.lock, syscall.LOCK_EX)
	})
	return t, err
}

// Close removes the folder and what is in it.
func (t *Temp) Close() error {
	return errors.Join(os.RemoveAll(t.Path), t.lock.Close())
}

// Locked calls f with the folder at path, which stays locked until f returns. How is syscall.LOCK_SH or syscall.LOCK_EX,
// with syscall.LOCK_NB to get syscall.EWOULDBLOCK instead of waiting.
func Locked(path string, how int, f func(*os.File) error) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := flock(dir, how); err != nil {
		return &fs.PathError{Op: "lock", Path: path, Err: err}
	}
	return f(dir)
}

func flock(f *os.File, how int) error {
	for {
		if err := syscall.Flock(int(f.Fd()), how); err != syscall.EINTR {
			return err
		}
	}
}

// Sync makes the entries of the folder at path durable.
func Sync(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
