package qemu

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn/logfile"
	"github.com/aleph-im/aleph-go/crn/vm"
)

// machine implements [vm.Machine].
type machine struct {
	id, dir string
	cell    *cell
	started time.Time
	console *logfile.File
	stderr  tail
	channel net.Conn
	card    net.Conn // nil without one
	control net.Conn // QMP, QEMU's control protocol
	memory  string   // file of the guest's memory, when the machine may be saved
	key     string   // see Driver.SnapshotKey, likewise

	stopping atomic.Bool
	stopOnce sync.Once
	exited   chan struct{} // closed when the process has ended
	done     chan struct{} // closed when also its folder is gone
	err      error         // set before done is closed
}

func (m *machine) Channel() net.Conn     { return m.channel }
func (m *machine) Card() net.Conn        { return m.card }
func (m *machine) Done() <-chan struct{} { return m.done }
func (m *machine) Err() error            { <-m.done; return m.err }

// wait owns the end of the machine.
func (m *machine) wait() {
	err := m.cell.Wait()
	close(m.exited)
	var exit *exec.ExitError
	switch {
	case m.stopping.Load() || err == nil:
	case errors.As(err, &exit) && exit.Sys().(interface{ Signaled() bool }).Signaled():
		m.err = fmt.Errorf("QEMU was killed (%s)%s", exit.ProcessState, m.said())
	default:
		m.err = fmt.Errorf("QEMU ended with %w%s", err, m.said())
	}
	m.closeAll()
	if err := errors.Join(m.cell.release(), os.RemoveAll(m.dir)); err != nil {
		m.err = errors.Join(m.err, fmt.Errorf("clean up after machine %s: %w", m.id, err))
	}
	close(m.done)
}

func (m *machine) said() string {
	if text := strings.TrimSpace(m.stderr.String()); text != "" {
		return ": " + text
	}
	return ""
}

func (m *machine) closeAll() {
	for _, c := range []net.Conn{m.channel, m.card, m.control} {
		if c != nil {
			c.Close()
		}
	}
	if m.console != nil {
		m.console.Close()
	}
}

// Stop implements [vm.Machine].
func (m *machine) Stop(ctx context.Context) error {
	m.stopping.Store(true)
	m.stopOnce.Do(func() {
		// QEMU's answers are of no interest: it ends, or it is killed below. Its greeting stays unread for the same reason.
		_ = m.control.SetWriteDeadline(time.Now().Add(time.Second))
		for _, command := range []string{"qmp_capabilities", "quit"} {
			line, _ := json.Marshal(map[string]string{"execute": command})
			if _, err := m.control.Write(append(line, '\n')); err != nil {
				break
			}
		}
	})
	select {
	case <-m.exited:
	case <-ctx.Done():
		_ = unix.Kill(-m.cell.Process.Pid, unix.SIGKILL)
	}
	<-m.done
	return m.err
}

// Inspect implements [vm.Machine].
func (m *machine) Inspect() vm.Status {
	s := vm.Status{PID: m.cell.Process.Pid, Started: m.started}
	select {
	case <-m.exited:
		return s
	default:
	}
	s.Running = true
	if p, err := readProc(s.PID); err == nil {
		s.RSSKiB, s.CPUTime = p.rssKiB, p.cpu
	}
	return s
}

// tail keeps the last bytes that QEMU printed.
type tail struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.data.Len() > 8<<10 {
		t.data.Next(t.data.Len() - 4<<10)
	}
	t.data.Write(b[max(0, len(b)-4<<10):])
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.data.String()
}
