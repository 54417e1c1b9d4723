package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn/vm"
)

// Instances runs machines that outlive the node: each is a process with sockets in its folder that the next node connects to. They
// boot from their own disk and, unlike machines of programs, may have a network card. They are confined as those are; their
// sockets and their tap are opened by the node and inherited.
type Instances struct {
	driver *Driver
	dir    string
	groups *groups // of these machines alone: those of programs end with their node
}

// Instances returns the driver of machines that outlive the node. They are kept in dir.
func (d *Driver) Instances(dir string) (*Instances, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("prepare the folder for machines: %w", err)
	}
	groups, _ := openGroups(dir) // where there are none, the driver's jail says so
	return &Instances{d, dir, groups}, nil
}

// Names in a machine's folder.
const (
	controlSocket = "control.sock"
	serialSocket  = "serial.sock"
	agentSocket   = "agent.sock"
	stderrFile    = "stderr"
)

// Start starts a machine. It returns once QEMU runs it; the guest is still booting then. The console goes to spec.Console, which
// the machine closes.
func (i *Instances) Start(ctx context.Context, spec InstanceSpec) (*Instance, error) {
	return i.start(ctx, spec)
}

func (i *Instances) start(ctx context.Context, spec InstanceSpec, more ...string) (_ *Instance, err error) {
	print, err := i.driver.Fingerprint(ctx)
	if err != nil {
		return nil, err
	}
	if !idPattern.MatchString(spec.ID) {
		return nil, fmt.Errorf("start machine: %q is no machine id", spec.ID)
	}
	args, err := instanceArguments(spec, print.Accelerator)
	if err != nil {
		return nil, fmt.Errorf("start machine %s: %w", spec.ID, err)
	}
	form, err := i.Form(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("start machine %s: %w", spec.ID, err)
	}
	dir := filepath.Join(i.dir, spec.ID)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("start machine %s: %w", spec.ID, err)
	}
	m, err := i.launch(ctx, dir, spec, append(i.driver.cfg.DiskRate.bound(args), more...), print, form)
	if err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("start machine %s: %w", spec.ID, err)
	}
	return m, nil
}

func (i *Instances) launch(ctx context.Context, dir string, spec InstanceSpec, args []string, print vm.Fingerprint, form string) (*Instance, error) {
	c, err := i.confine(dir, spec, print)
	if err != nil {
		return nil, err
	}
	c.args = args
	tooLittle := mayLock(c.lockedMiB)
	if tooLittle != nil {
		c.lockedMiB = 0 // QEMU says whether it does
	}
	stderr, err := os.OpenFile(filepath.Join(dir, stderrFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	c.stdout, c.stderr = stderr, stderr
	handOver := func() {
		for _, f := range c.files {
			f.Close()
		}
	}
	defer handOver()
	for _, name := range []string{serialSocket, controlSocket, agentSocket} { // serialFD and on
		f, err := listen(dir, name)
		if err != nil {
			return nil, err
		}
		c.files = append(c.files, f)
	}
	if spec.Tap != "" {
		f, err := openTap(spec.Tap)
		if err != nil {
			return nil, err
		}
		c.files = append(c.files, f)
	}
	jail := *i.driver.jail
	jail.groups = i.groups
	cell, err := jail.start(c)
	if err != nil {
		return nil, err
	}
	handOver() // so that a QEMU that ended does not seem to be there
	err = writeRecord(dir, cell.Process.Pid, form)
	var m *Instance
	if err == nil {
		limit := attachLimit
		if spec.pinned() {
			limit += time.Duration(spec.MemoryMiB) * pinTime
		}
		m, err = attach(ctx, dir, cell, spec.Console, limit)
	}
	if err != nil {
		_ = unix.Kill(-cell.Process.Pid, unix.SIGKILL)
		_ = cell.Wait()
		return nil, errors.Join(fmt.Errorf("%w%s", err, said(dir)), tooLittle, cell.release())
	}
	return m, nil
}

// Adopt returns the machines that an earlier node left running, by their id. Whose process is gone is removed; what cannot be
// talked to is ended. console opens the log of an id.
func (i *Instances) Adopt(ctx context.Context, console func(id string) (io.WriteCloser, error)) (map[string]*Instance, error) {
	entries, err := os.ReadDir(i.dir)
	if err != nil {
		return nil, fmt.Errorf("look for machines to adopt: %w", err)
	}
	adopted := map[string]*Instance{}
	known := map[int]bool{}
	var errs []error
	for _, entry := range entries {
		id, dir := entry.Name(), filepath.Join(i.dir, entry.Name())
		m, err := i.adopt(ctx, id, dir, func() (io.WriteCloser, error) { return console(id) })
		if err == nil {
			adopted[id], known[m.record.PID] = m, true
			continue
		}
		if err := endRecorded(ctx, dir); err != nil {
			errs = append(errs, fmt.Errorf("end machine %s left behind by an earlier process: %w", id, err))
			continue // its folder stays, so that the next start tries again
		}
		errs = append(errs, os.RemoveAll(dir))
	}
	if err := endMarked(ctx, i.dir, known); err != nil {
		errs = append(errs, fmt.Errorf("end machines left behind by an earlier process: %w", err))
	}
	if i.groups != nil {
		errs = append(errs, i.groups.clear(func(id string) bool { return adopted[id] != nil }))
	}
	return adopted, errors.Join(errs...)
}

func (i *Instances) adopt(ctx context.Context, id, dir string, console func() (io.WriteCloser, error)) (*Instance, error) {
	r, err := readRecord(dir)
	if err != nil {
		return nil, err
	}
	if !r.alive() {
		return nil, os.ErrProcessDone
	}
	log, err := console()
	if err != nil {
		return nil, err
	}
	m, err := attach(ctx, dir, &cell{group: i.groups.named(id)}, log, attachLimit)
	if err != nil {
		log.Close()
		return nil, err
	}
	// The node before this one may have been killed while it copied disks. What does not end now ends before the next copy.
	_ = m.endLeft(ctx)
	return m, nil
}

// Instance is one running machine that outlives the node.
type Instance struct {
	dir     string
	record  record
	cell    *cell    // without a command when adopted
	process *os.File // a descriptor of the process, readable when it has ended
	control *monitor
	serial  net.Conn
	console io.WriteCloser

	attached  context.Context // ends when this node leaves the machine, or it is released
	leave     context.CancelFunc
	copying   chan struct{} // holds one while disks are copied, or memory is sent
	sending   atomic.Bool   // it is for memory, up to Continue
	freezing  sync.Mutex    // held while the guest's agent is asked to freeze or to thaw, and in between
	off       atomic.Bool   // the guest turned itself off
	detaching atomic.Bool
	work      sync.WaitGroup
	done      chan struct{} // closed when the process has ended
}

// attachLimit bounds the wait for QEMU's first word. Under emulation on a busy host it takes some tenths of a second.
const attachLimit = 15 * time.Second

// pinTime is what a MiB of memory may take that is pinned before QEMU's first word: eight seconds a GiB.
const pinTime = 8 * time.Millisecond

// attach connects to a machine that runs in dir, within a limit.
func attach(ctx context.Context, dir string, cell *cell, console io.WriteCloser, limit time.Duration) (_ *Instance, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	m := &Instance{dir: dir, cell: cell, console: console, copying: make(chan struct{}, 1), done: make(chan struct{})}
	if m.record, err = readRecord(dir); err != nil {
		return nil, err
	}
	// Not blocking, so that waiting for it can be given up.
	fd, err := unix.PidfdOpen(m.record.PID, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", m.record.PID, err)
	}
	m.process = os.NewFile(uintptr(fd), "process")
	m.attached, m.leave = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	if m.serial, err = m.dial(serialSocket); err != nil {
		return nil, err
	}
	conn, err := m.dial(controlSocket)
	if err != nil {
		return nil, err
	}
	if m.control, err = newMonitor(ctx, conn, m.event); err != nil {
		return nil, fmt.Errorf("talk to QEMU: %w", err)
	}
	state, err := m.control.status(ctx)
	if err != nil {
		return nil, fmt.Errorf("talk to QEMU: %w", err)
	}
	if state == "shutdown" {
		m.turnedOff(m.control) // while no node was there
	}
	m.work.Go(m.copyConsole)
	m.work.Go(m.wait)
	m.work.Go(func() {
		tick := time.NewTicker(thawPause)
		defer tick.Stop()
		m.keepThawed(tick.C)
	})
	return m, nil
}

// dial connects to a socket in the machine's folder.
func (m *Instance) dial(name string) (conn net.Conn, err error) {
	err = within(m.dir, name, func(path string) error {
		conn, err = net.Dial("unix", path)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect to QEMU: %w", err)
	}
	return conn, nil
}

// event handles what QEMU reports of the guest.
func (m *Instance) event(control *monitor, name string, data json.RawMessage) {
	var reason struct{ Reason string }
	if name != "SHUTDOWN" || json.Unmarshal(data, &reason) != nil {
		return
	}
	switch reason.Reason {
	case "guest-shutdown":
		m.turnedOff(control)
	case "guest-reset": // of a machine that may not begin again by itself
		control.send("quit")
	}
}

func (m *Instance) turnedOff(control *monitor) {
	m.off.Store(true)
	control.send("quit")
}

func (m *Instance) copyConsole() {
	buffer := make([]byte, 16<<10)
	for {
		n, err := m.serial.Read(buffer)
		if n > 0 {
			// A full disk costs lines of the log, not the machine.
			_, _ = m.console.Write(buffer[:n])
		}
		if err != nil {
			return
		}
	}
}

// wait owns the end of the machine.
func (m *Instance) wait() {
	raw, err := m.process.SyscallConn()
	if err == nil {
		err = raw.Read(func(fd uintptr) bool {
			ended := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(ended, 0)
			return n > 0 || (err != nil && err != unix.EINTR)
		})
	}
	if err != nil || m.detaching.Load() {
		return // closed: the machine goes on without us
	}
	if m.cell.Cmd != nil {
		_ = m.cell.Wait()
	}
	close(m.done)
}

func (m *Instance) close() {
	m.leave()
	m.process.Close()
	if m.serial != nil {
		m.serial.Close()
	}
	if m.control != nil {
		m.control.close()
	}
}

// Done is closed when the machine's process has ended. Then Release must be called.
func (m *Instance) Done() <-chan struct{} { return m.done }

// TurnedOff reports whether the guest turned itself off, also when it was asked to.
func (m *Instance) TurnedOff() bool { return m.off.Load() }

// Said is what QEMU printed of itself, such as why it did not start; valid until Release.
func (m *Instance) Said() string { return said(m.dir) }

func said(dir string) string {
	raw, err := os.ReadFile(filepath.Join(dir, stderrFile))
	if text := strings.TrimSpace(string(raw[max(0, len(raw)-4<<10):])); err == nil && text != "" {
		return ": " + text
	}
	return ""
}

// Release waits for what belonged to a machine that has ended, and removes its folder.
func (m *Instance) Release() error {
	<-m.done
	m.work.Wait() // the console is read to its end
	m.close()
	return errors.Join(m.cell.release(), m.console.Close(), os.RemoveAll(m.dir))
}

// Detach leaves the machine running without this node.
func (m *Instance) Detach() error {
	m.detaching.Store(true)
	m.close()
	m.work.Wait()
	m.cell.leave()
	return m.console.Close()
}

// quitLimit bounds the wait for QEMU to end by itself, once its guest is off or given up.
const quitLimit = 10 * time.Second

// PressPower asks the guest to turn itself off.
func (m *Instance) PressPower() { m.control.send("system_powerdown") }

// Kill cuts the power: QEMU writes what it holds of the disks and ends, or is ended.
func (m *Instance) Kill() error {
	m.control.send("quit")
	limit := time.NewTimer(quitLimit)
	defer limit.Stop()
	select {
	case <-m.done:
		return nil
	case <-limit.C:
	}
	ctx, cancel := context.WithTimeout(context.Background(), quitLimit)
	defer cancel()
	if err := endProcess(ctx, m.record); err != nil {
		return err
	}
	<-m.done
	return nil
}

// Inspect looks at the machine now.
func (m *Instance) Inspect() vm.Status {
	s := vm.Status{PID: m.record.PID}
	if p, err := readProc(s.PID); err == nil && m.record.alive() {
		s.Running, s.RSSKiB, s.CPUTime = true, p.rssKiB, p.cpu
	}
	return s
}

func readRecord(dir string) (r record, err error) {
	raw, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(raw, &r)
}
