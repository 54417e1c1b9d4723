// Package logfile keeps the last part of an endless output on disk: consoles of machines and output of programs.
// crn/vm/qemu, crn/execution and crn/instance write it; what has lines is a Log, which can be followed.
package logfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// File is a log of bounded size. When half of the bound is full, what was written becomes path.1 and a new file begins, so
// between half of the bound and all of it is always there. Safe for concurrent use.
type File struct {
	path string
	half int64

	mu   sync.Mutex
	file *os.File
	size int64
}

// Open continues or begins the log at path. It never holds more than limit bytes, but for one write that is itself longer.
func Open(path string, limit int64) (*File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open log: %w", err)
	}
	return &File{path: path, half: limit / 2, file: f, size: info.Size()}, nil
}

// Write appends b, whole, to one file.
func (f *File) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return 0, os.ErrClosed
	}
	if f.size > 0 && f.size+int64(len(b)) > f.half {
		if err := f.rotate(); err != nil {
			return 0, err
		}
	}
	n, err := f.file.Write(b)
	f.size += int64(n)
	return n, err
}

func (f *File) rotate() error {
	if err := os.Rename(f.path, f.path+".1"); err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	next, err := os.OpenFile(f.path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	f.file.Close()
	f.file, f.size = next, 0
	return nil
}

// Close ends writing.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}

// Read opens what is kept of the log at path at this moment, oldest first; what is written later is not read. A log that was
// never written is empty.
func Read(path string) (io.ReadCloser, error) {
	var parts []io.Reader
	var all readers
	for _, name := range []string{path + ".1", path} {
		f, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			all.Close()
			return nil, fmt.Errorf("read log: %w", err)
		}
		all.files = append(all.files, f)
		info, err := f.Stat()
		if err != nil {
			all.Close()
			return nil, fmt.Errorf("read log: %w", err)
		}
		parts = append(parts, io.LimitReader(f, info.Size()))
	}
	all.Reader = io.MultiReader(parts...)
	return &all, nil
}

type readers struct {
	io.Reader
	files []*os.File
}

func (r *readers) Close() error {
	var errs []error
	for _, f := range r.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
