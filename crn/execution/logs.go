package execution

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aleph-im/aleph-go/crn/logfile"
	"github.com/aleph-im/aleph-go/guest/wire"
	"github.com/aleph-im/aleph-go/message"
)

// logLimit bounds what is kept of a program's output, in bytes.
const logLimit = 4 << 20

// logHook opens the file that the program's output goes to. It stays when the machine ends: that is when it is read.
type logHook struct{ *Pool }

func (h logHook) start(_ context.Context, x *Execution) error {
	file, err := logfile.Open(h.logPath(x.hash), logLimit)
	if err != nil {
		return err
	}
	x.logs = &programLog{file: file, followers: map[*Follower]bool{}}
	return nil
}

func (h logHook) stop(_ context.Context, x *Execution) {
	if x.logs == nil {
		return
	}
	if err := x.logs.close(); err != nil {
		h.cfg.Log.Warn("program's output was lost", "hash", x.hash, "error", err)
	}
}

func (p *Pool) logPath(hash message.Hash) string {
	return filepath.Join(p.cfg.Dir, logDir, string(hash)+".log")
}

// logAge is how long the output of a program is kept after its last line.
const logAge = 30 * 24 * time.Hour

func dropOldLogs(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look for old logs: %w", err)
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && time.Since(info.ModTime()) > logAge {
			if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil {
				return fmt.Errorf("remove an old log: %w", err)
			}
		}
	}
	return nil
}

// programLog writes lines as JSON. The first failure is kept, and writing goes on: a disk may have room again.
type programLog struct {
	mu        sync.Mutex
	file      *logfile.File
	err       error
	followers map[*Follower]bool // nil once closed
}

func (l *programLog) add(line wire.LogLine) {
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
			f.lost.Add(1) // who reads too slowly must not hold up the program
		}
	}
}

func (l *programLog) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for f := range l.followers {
		close(f.lines)
	}
	l.followers = nil
	return errors.Join(l.err, l.file.Close())
}

// Logs yields what is kept of the output of a program, oldest first, also after its machine has ended. The error is
// os.ErrNotExist when this node never ran it.
func (p *Pool) Logs(hash message.Hash) (iter.Seq[wire.LogLine], io.Closer, error) {
	if _, err := os.Stat(p.logPath(hash)); err != nil {
		return nil, nil, fmt.Errorf("logs of program %s: %w", hash, err)
	}
	file, err := logfile.Read(p.logPath(hash))
	if err != nil {
		return nil, nil, fmt.Errorf("logs of program %s: %w", hash, err)
	}
	return logfile.Lines(file), file, nil
}

// followed is how many lines wait for a reader at most.
const followed = 256

// Follower reads the output of a running program: what is kept of it, then what it goes on to print. No line is missing between
// the two.
type Follower struct {
	Past iter.Seq[wire.LogLine]
	Live <-chan wire.LogLine // closed when the machine has ended

	lines chan wire.LogLine
	lost  atomic.Int64
	log   *programLog
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

// Follow follows the output of a program. The error is os.ErrNotExist when it does not run.
func (p *Pool) Follow(hash message.Hash) (*Follower, error) {
	p.mu.Lock()
	var log *programLog
	if x := p.executions[hash]; x != nil && x.info().Running {
		log = x.logs
	}
	p.mu.Unlock()
	if log == nil {
		return nil, fmt.Errorf("follow program %s: %w", hash, os.ErrNotExist)
	}
	log.mu.Lock()
	defer log.mu.Unlock()
	if log.followers == nil {
		return nil, fmt.Errorf("follow program %s: %w", hash, os.ErrNotExist)
	}
	file, err := logfile.Read(p.logPath(hash))
	if err != nil {
		return nil, fmt.Errorf("follow program %s: %w", hash, err)
	}
	lines := make(chan wire.LogLine, followed)
	f := &Follower{Past: logfile.Lines(file), Live: lines, lines: lines, log: log, file: file}
	log.followers[f] = true
	return f, nil
}

// Owner returns the address that a program belongs to.
func (p *Pool) Owner(ctx context.Context, hash message.Hash) (string, error) {
	p.mu.Lock()
	x := p.executions[hash]
	if x != nil && !x.times.Started.IsZero() {
		defer p.mu.Unlock()
		return x.program.Address, nil
	}
	p.mu.Unlock()
	program, err := p.cfg.Network.Program(ctx, hash)
	if err != nil {
		return "", err
	}
	return program.Address, nil
}
