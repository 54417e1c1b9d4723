package instance

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/aleph-im/aleph-go/crn/logfile"
	"github.com/aleph-im/aleph-go/guest/wire"
	"github.com/aleph-im/aleph-go/message"
)

// logLimit bounds what is kept of a serial console, in bytes.
const logLimit = 4 << 20

func (p *Pool) logPath(id string) string { return filepath.Join(p.cfg.Dir, logDir, id+".log") }

// openConsole opens the log of an instance; the machine writes its serial console there.
func (p *Pool) openConsole(id string) (io.WriteCloser, error) {
	log, err := logfile.OpenLog(p.logPath(id), logLimit)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if x := p.instances[message.Hash(id)]; x != nil {
		x.console = log
	}
	return &console{log: log}, nil
}

// note adds a line of the node's own to the log of an instance, for its owner.
func (p *Pool) note(hash message.Hash, text string) {
	line := wire.LogLine{Time: time.Now(), Stream: "stderr", Text: "node: " + text}
	p.mu.Lock()
	defer p.mu.Unlock()
	if x := p.instances[hash]; x != nil && x.machine != nil {
		x.console.Add(line)
		return
	}
	log, err := logfile.OpenLog(p.logPath(string(hash)), logLimit)
	if err == nil {
		log.Add(line)
		err = log.Close()
	}
	if err != nil {
		p.cfg.Log.Warn("its log lacks a line", "hash", hash, "error", err)
	}
}

// console turns the bytes of a serial console into lines with their time.
type console struct {
	log *logfile.Log

	mu   sync.Mutex
	line []byte
}

// Write implements io.Writer. A full disk costs lines, and shows when the console is closed.
func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(b)
	for {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			break
		}
		c.line = append(c.line, b[:i]...)
		b = b[i+1:]
		c.flush()
	}
	for c.line = append(c.line, b...); len(c.line) > wire.MaxLine; {
		c.flush()
	}
	return n, nil
}

// flush writes the line that is complete, or as much of it as a line may have.
func (c *console) flush() {
	for {
		part := c.line[:min(len(c.line), wire.MaxLine)]
		c.log.Add(wire.LogLine{Time: time.Now(), Stream: "stdout", Text: string(bytes.TrimRight(part, "\r"))})
		if c.line = c.line[len(part):]; len(c.line) == 0 {
			return
		}
	}
}

// Close writes what is left of the last line.
func (c *console) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.line) > 0 {
		c.flush()
	}
	return c.log.Close()
}

// Follow follows an instance's serial console. The error is os.ErrNotExist when it does not run.
func (p *Pool) Follow(hash message.Hash) (*logfile.Follower, error) {
	p.mu.Lock()
	var log *logfile.Log
	if x := p.instances[hash]; x != nil && x.machine != nil {
		log = x.console
	}
	p.mu.Unlock()
	if log == nil {
		return nil, fmt.Errorf("follow instance %s: %w", hash, os.ErrNotExist)
	}
	return log.Follow()
}

// Logs yields what is kept of an instance's serial console, oldest first, also after it was stopped. The error is os.ErrNotExist
// when this node never ran it.
func (p *Pool) Logs(hash message.Hash) (iter.Seq[wire.LogLine], io.Closer, error) {
	path := p.logPath(string(hash))
	if _, err := os.Stat(path); err != nil {
		return nil, nil, fmt.Errorf("logs of instance %s: %w", hash, err)
	}
	file, err := logfile.Read(path)
	if err != nil {
		return nil, nil, fmt.Errorf("logs of instance %s: %w", hash, err)
	}
	return logfile.Lines(file), file, nil
}
