package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// openRegular opens a file that has an end and can be read twice. A pipe or a device is refused before it is opened, which may
// wait for ever.
func openRegular(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file, but %s", path, formOf(info.Mode()))
	}
	return os.Open(path)
}

func formOf(mode os.FileMode) string {
	switch {
	case mode.IsDir():
		return "a folder"
	case mode&os.ModeNamedPipe != 0:
		return "a pipe"
	case mode&os.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}

// readRegular reads a file of at most that many bytes that has an end.
func readRegular(path string, most int64) ([]byte, error) {
	file, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, most+1))
	if err == nil && int64(len(raw)) > most {
		err = fmt.Errorf("%s has more than %d MiB", path, most>>20)
	}
	return raw, err
}

// openForUpload opens a file that can be read twice. What comes through a pipe is kept in a file that done removes.
func (a *app) openForUpload(path string) (file *os.File, done func() error, err error) {
	if path != "-" {
		file, err := openRegular(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil, nil, usageError{err}
		} else if err != nil {
			return nil, nil, usageError{fmt.Errorf("%w; what has no name or no end is sent with: aleph file upload -", err)}
		}
		return file, file.Close, nil
	}
	return temporary(func(w io.Writer) error {
		most := a.params.MaxIPFSFile // nodes take no more, and what has no end would fill the disk
		n, err := io.Copy(w, io.LimitReader(a.stdin(), most+1))
		if err == nil && n > most {
			err = usageError{fmt.Errorf("standard input has more than %d MiB, which is all that a node takes", most>>20)}
		}
		return err
	})
}

// temporary returns a file with what write wrote, at its beginning; done removes it.
func temporary(write func(io.Writer) error) (file *os.File, done func() error, err error) {
	if file, err = os.CreateTemp("", "aleph-*"); err != nil {
		return nil, nil, err
	}
	done = func() error { return errors.Join(file.Close(), os.Remove(file.Name())) }
	if err = write(file); err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, nil, errors.Join(err, done())
	}
	return file, done, nil
}

// unlessInterrupted waits for a read, or for the user to end the tool: then what it reads is not to be looked at. A read of a terminal
// cannot be broken off; after Ctrl-C it ends with the process.
func (a *app) unlessInterrupted(read func() error) error {
	done := make(chan error, 1)
	go func() { done <- read() }()
	select {
	case <-a.interrupted:
		return errInterrupted
	case err := <-done:
		return err
	}
}

// stdin is standard input, which Ctrl-C ends with errInterrupted.
func (a *app) stdin() io.Reader { return readFunc(a.readInput) }

type readFunc func(p []byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func (a *app) readInput(p []byte) (n int, err error) {
	own := make([]byte, len(p)) // of the read, which may outlive this call
	var read int
	err = a.unlessInterrupted(func() (err error) {
		read, err = a.in.Read(own)
		return err
	})
	if err == errInterrupted {
		return 0, err
	}
	return copy(p, own[:read]), err
}
