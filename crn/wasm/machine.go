package wasm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn/vm"
)

// machine is the process of one program. It implements [vm.Machine].
type machine struct {
	cmd      *exec.Cmd
	started  time.Time
	channel  net.Conn
	stderr   tail
	patience time.Duration
	ended    func() // called once, when the process has ended or was not started

	stopping atomic.Bool
	frozen   atomic.Bool
	done     chan struct{} // closed when the process has ended
	err      error         // set before done is closed
}

// run owns the process. The kernel ends a process with the thread that started it, so this goroutine keeps its thread.
func (m *machine) run(pulse *os.File, begun chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(m.done)
	defer m.ended()
	defer m.channel.Close()
	err := m.cmd.Start()
	m.started = time.Now()
	begun <- err
	if err != nil {
		pulse.Close()
		return
	}
	var watching sync.WaitGroup
	watching.Go(func() { m.feel(pulse) })
	err = m.cmd.Wait()
	pulse.Close()
	watching.Wait()
	switch {
	case m.frozen.Load():
		m.err = fmt.Errorf("the program computed for %s in a way that cannot be interrupted, and was killed", m.patience)
	case err != nil && !m.stopping.Load():
		m.err = fmt.Errorf("the process of the program ended with %w%s", err, m.stderr.said())
	}
}

// feel kills a process whose Go runtime has come to a halt.
func (m *machine) feel(pulse *os.File) {
	beats := make([]byte, 64)
	for {
		_ = pulse.SetReadDeadline(time.Now().Add(m.patience))
		if _, err := pulse.Read(beats); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				m.frozen.Store(true)
				m.kill()
			}
			return
		}
	}
}

func (m *machine) kill() { _ = m.cmd.Process.Kill() }

// Channel implements [vm.Machine].
func (m *machine) Channel() net.Conn { return m.channel }

// Card implements [vm.Machine].
func (m *machine) Card() net.Conn { return nil }

// Done implements [vm.Machine].
func (m *machine) Done() <-chan struct{} { return m.done }

// Err implements [vm.Machine].
func (m *machine) Err() error { <-m.done; return m.err }

// Stop implements [vm.Machine]. There are no disks to flush.
func (m *machine) Stop(context.Context) error {
	m.stopping.Store(true)
	m.kill()
	<-m.done
	return m.err
}

// Inspect implements [vm.Machine].
func (m *machine) Inspect() vm.Status {
	s := vm.Status{PID: m.cmd.Process.Pid, Started: m.started}
	select {
	case <-m.done:
		return s
	default:
	}
	s.Running = true
	s.RSSKiB, s.CPUTime = usage(s.PID)
	return s
}

// usage reads what a process has used, from proc(5). Both are zero for one that is gone.
func usage(pid int) (rssKiB int64, cpu time.Duration) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0
	}
	var state string
	var skipped, user, system, pages int64
	targets := []any{&state}
	for i := 4; i <= 24; i++ {
		switch i {
		case 14:
			targets = append(targets, &user)
		case 15:
			targets = append(targets, &system)
		case 24:
			targets = append(targets, &pages)
		default:
			targets = append(targets, &skipped)
		}
	}
	if _, err := fmt.Sscan(string(raw[bytes.LastIndexByte(raw, ')')+1:]), targets...); err != nil {
		return 0, 0
	}
	const ticks = 100 // USER_HZ is fixed by the kernel's ABI on the machines that we run on
	return pages * int64(os.Getpagesize()) / 1024, time.Duration(user+system) * time.Second / ticks
}

// tail keeps the last bytes that the process printed.
type tail struct {
	mu   sync.Mutex
	data []byte
}

func (t *tail) Write(b []byte) (int, error) {
	const limit = 4 << 10
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, b[max(0, len(b)-limit):]...)
	t.data = t.data[max(0, len(t.data)-limit):]
	return len(b), nil
}

func (t *tail) said() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if text := strings.TrimSpace(string(t.data)); text != "" {
		return ": " + text
	}
	return ""
}

// socketPair returns the host's end of a channel and the one that the process inherits.
func socketPair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make the channel: %w", err)
	}
	host, guest := os.NewFile(uintptr(fds[0]), "channel"), os.NewFile(uintptr(fds[1]), "channel")
	defer host.Close()
	conn, err := net.FileConn(host)
	if err != nil {
		guest.Close()
		return nil, nil, fmt.Errorf("make the channel: %w", err)
	}
	return conn, guest, nil
}
