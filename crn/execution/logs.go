package execution

import (
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
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
	var err error
	x.logs, err = logfile.OpenLog(h.logPath(x.hash), logLimit)
	return err
}

func (h logHook) stop(_ context.Context, x *Execution) {
	if x.logs == nil {
		return
	}
	if err := x.logs.Close(); err != nil {
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

// Follow follows the output of a program. The error is os.ErrNotExist when it does not run.
func (p *Pool) Follow(hash message.Hash) (*logfile.Follower, error) {
	p.mu.Lock()
	var log *logfile.Log
	if x := p.executions[hash]; x != nil && x.info().Running {
		log = x.logs
	}
	p.mu.Unlock()
	if log == nil {
		return nil, fmt.Errorf("follow program %s: %w", hash, os.ErrNotExist)
	}
	return log.Follow()
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
