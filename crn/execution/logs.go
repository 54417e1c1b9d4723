package execution

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/crn/kept"
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

// Bounds of what is kept of the output of programs that do not run.
const (
	logAge   = 30 * 24 * time.Hour // after the last line
	logTotal = 1 << 30             // bytes
	maxLogs  = 20_000              // files
	logSweep = time.Minute         // between two looks
)

// openLogs removes what is beyond the bounds.
func (p *Pool) openLogs() (err error) {
	p.logs, err = kept.Open(kept.Config{
		Dir: filepath.Join(p.cfg.Dir, logDir), What: "logs", Bytes: logTotal, Entries: maxLogs, Age: logAge, Remove: p.removeIdleLog,
		Metrics: p.cfg.Metrics, Log: p.cfg.Log,
	})
	return err
}

// removeIdleLog removes a file of logs, unless the program is executed.
func (p *Pool) removeIdleLog(name string) (removed bool, err error) {
	hash, _, _ := strings.Cut(name, ".")
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.executions[message.Hash(hash)] != nil {
		return false, nil
	}
	return true, removeFile(filepath.Join(p.cfg.Dir, logDir, name))
}

// sweepLogs keeps the logs within their bounds until the pool stops.
func (p *Pool) sweepLogs() {
	tick := time.NewTicker(logSweep)
	defer tick.Stop()
	for {
		select {
		case <-p.life.Done():
			return
		case <-tick.C:
		}
		if _, err := p.logs.Clean(""); err != nil {
			p.cfg.Log.Error("logs of programs may grow beyond their bound", "error", err)
		}
	}
}

// removeLog removes all that is kept of what a program printed. p.mu is held, and the program is not executed.
func (p *Pool) removeLog(hash message.Hash) error {
	return errors.Join(removeFile(p.logPath(hash)), removeFile(p.logPath(hash)+".1"))
}

// removeFile removes a file, if it is there.
func removeFile(path string) error {
	if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
		return err
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
