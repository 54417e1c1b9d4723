package instance

import (
	"bytes"
	"encoding/json"
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
	file, err := logfile.Open(p.logPath(id), logLimit)
	if err != nil {
		return nil, err
	}
	return &console{file: file}, nil
}

// console turns the bytes of a serial console into lines with their time.
type console struct {
	file *logfile.File

	mu   sync.Mutex
	line []byte
}

// Write implements io.Writer. It fails when the disk is full; lines after that may find room again.
func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(b)
	var failed error
	for {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			break
		}
		c.line = append(c.line, b[:i]...)
		b = b[i+1:]
		if err := c.flush(); err != nil {
			failed = err
		}
	}
	for c.line = append(c.line, b...); len(c.line) > wire.MaxLine; {
		if err := c.flush(); err != nil {
			failed = err
		}
	}
	return n, failed
}

// flush writes the line that is complete, or as much of it as a line may have.
func (c *console) flush() error {
	for {
		part := c.line[:min(len(c.line), wire.MaxLine)]
		raw, err := json.Marshal(wire.LogLine{Time: time.Now(), Stream: "stdout", Text: string(bytes.TrimRight(part, "\r"))})
		if err == nil {
			_, err = c.file.Write(append(raw, '\n'))
		}
		if c.line = c.line[len(part):]; err != nil || len(c.line) == 0 {
			return err
		}
	}
}

// Close writes what is left of the last line.
func (c *console) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	if len(c.line) > 0 {
		err = c.flush()
	}
	if closeErr := c.file.Close(); err == nil {
		err = closeErr
	}
	return err
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
