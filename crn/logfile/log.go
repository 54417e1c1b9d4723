package logfile

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"sync"
	"sync/atomic"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// Log is a file of lines in JSON that can be followed while it is written. Safe for concurrent use.
type Log struct {
	path string

	mu        sync.Mutex
	file      *File
	err       error
	followers map[*Follower]bool // nil once closed
}

// OpenLog continues or begins the log at path, as Open does.
func OpenLog(path string, limit int64) (*Log, error) {
	file, err := Open(path, limit)
	if err != nil {
		return nil, err
	}
	return &Log{path: path, file: file, followers: map[*Follower]bool{}}, nil
}

// Add appends a line. The first failure is kept for Close, and writing goes on: a disk may have room again.
func (l *Log) Add(line wire.LogLine) {
	raw, err := json.Marshal(line)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		_, err = l.file.Write(append(raw, '\n'))
	}
	if err != nil && l.err == nil {
		l.err = err
	}
	for f := range l.followers {
		select {
		case f.lines <- line:
		default:
			f.lost.Add(1) // who reads too slowly must not hold up who writes
		}
	}
}

// Close ends writing and following.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for f := range l.followers {
		close(f.lines)
	}
	l.followers = nil
	return errors.Join(l.err, l.file.Close())
}

// followed is how many lines wait for a reader at most.
const followed = 256

// Follower reads a log that is being written: what is kept of it, then what is added. No line is missing between the two.
type Follower struct {
	Past iter.Seq[wire.LogLine]
	Live <-chan wire.LogLine // closed with the log

	lines chan wire.LogLine
	lost  atomic.Int64
	log   *Log
	file  io.Closer
}

// Lost returns how many lines were passed over since it was last asked, because they were not read in time.
func (f *Follower) Lost() int { return int(f.lost.Swap(0)) }

// Close ends following.
func (f *Follower) Close() error {
	f.log.mu.Lock()
	defer f.log.mu.Unlock()
	delete(f.log.followers, f)
	return f.file.Close()
}

// Follow follows the log. The error is os.ErrNotExist when it is closed.
func (l *Log) Follow() (*Follower, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.followers == nil {
		return nil, fmt.Errorf("follow a log that has ended: %w", os.ErrNotExist)
	}
	file, err := Read(l.path)
	if err != nil {
		return nil, err
	}
	lines := make(chan wire.LogLine, followed)
	f := &Follower{Past: Lines(file), Live: lines, lines: lines, log: l, file: file}
	l.followers[f] = true
	return f, nil
}

// Lines yields the lines of a log that was read, oldest first.
func Lines(r io.Reader) iter.Seq[wire.LogLine] {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 8*wire.MaxLine)
	return func(yield func(wire.LogLine) bool) {
		for scanner.Scan() {
			var line wire.LogLine
			// A line that a full disk cut short is passed over.
			if json.Unmarshal(scanner.Bytes(), &line) == nil && !yield(line) {
				return
			}
		}
	}
}
