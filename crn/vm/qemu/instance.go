package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn/vm"
)

// Instances runs machines that outlive the node: each is a process in a session of its own, with sockets in its folder that the
// next node connects to. They boot from their own disk and, unlike machines of programs, may have a network card.
type Instances struct {
	driver *Driver
	dir    string
}

// InstanceSpec describes such a machine.
type InstanceSpec struct {
	ID        string // names the machine; [a-z0-9-], at most 100 bytes
	VCPUs     int
	MemoryMiB int
	Root      string // path of a qcow2 image that the machine boots from
	Seed      string // path of the image that cloud-init reads
	Drives    []vm.Drive
	Tap       string // interface of the host that its network card is connected to; empty for no network card
	MAC       string // of that card
	Console   io.WriteCloser
}

// Instances returns the driver of machines that outlive the node. They are kept in dir.
func (d *Driver) Instances(dir string) (*Instances, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("prepare the folder for machines: %w", err)
	}
	return &Instances{d, dir}, nil
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
func (i *Instances) Start(ctx context.Context, spec InstanceSpec) (_ *Instance, err error) {
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
	dir := filepath.Join(i.dir, spec.ID)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("start machine %s: %w", spec.ID, err)
	}
	m, err := i.launch(ctx, dir, args, spec.Console)
	if err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("start machine %s: %w", spec.ID, err)
	}
	return m, nil
}

func (i *Instances) launch(ctx context.Context, dir string, args []string, console io.WriteCloser) (*Instance, error) {
	binary, err := i.driver.find()
	if err != nil {
		return nil, err
	}
	stderr, err := os.OpenFile(filepath.Join(dir, stderrFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	cmd := exec.Command(binary, args...)
	cmd.Dir, cmd.Stderr = dir, stderr
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	// A session of its own: no signal that is meant for the node reaches it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		if errors.Is(err, unix.ENOMEM) {
			return nil, fmt.Errorf("the host has no memory for QEMU: %w", err)
		}
		return nil, err
	}
	if err := writeRecord(dir, cmd.Process.Pid); err != nil {
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		_ = cmd.Wait()
		return nil, err
	}
	m, err := attach(ctx, dir, cmd, console)
	if err != nil {
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		_ = cmd.Wait()
		return nil, fmt.Errorf("%w%s", err, said(dir))
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
	var errs []error
	for _, entry := range entries {
		id, dir := entry.Name(), filepath.Join(i.dir, entry.Name())
		m, err := i.adopt(ctx, dir, func() (io.WriteCloser, error) { return console(id) })
		if err == nil {
			adopted[id] = m
			continue
		}
		if err := endRecorded(ctx, dir); err != nil {
			errs = append(errs, fmt.Errorf("end machine %s left behind by an earlier process: %w", id, err))
			continue // its folder stays, so that the next start tries again
		}
		errs = append(errs, os.RemoveAll(dir))
	}
	return adopted, errors.Join(errs...)
}

func (i *Instances) adopt(ctx context.Context, dir string, console func() (io.WriteCloser, error)) (*Instance, error) {
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
	m, err := attach(ctx, dir, nil, log)
	if err != nil {
		log.Close()
		return nil, err
	}
	return m, nil
}

// instanceArguments is QEMU's command line (spec/crn.md §4.3). Paths of sockets are relative to the machine's folder, in which
// QEMU works: absolute ones may be longer than sockets allow.
func instanceArguments(spec InstanceSpec, accelerator string) ([]string, error) {
	if spec.VCPUs < 1 || spec.MemoryMiB < 1 {
		return nil, fmt.Errorf("a machine needs processors and memory, got %d and %d MiB", spec.VCPUs, spec.MemoryMiB)
	}
	cpu := "max"
	if accelerator == "kvm" {
		cpu = "host"
	}
	args := []string{
		"-machine", "pc,usb=off,hpet=off", "-accel", accelerator, "-cpu", cpu,
		"-smp", strconv.Itoa(spec.VCPUs), "-m", strconv.Itoa(spec.MemoryMiB) + "M",
		"-nodefaults", "-no-user-config", "-display", "none",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		// A guest that turned itself off stays visible, so that also the next node can tell it from one that crashed.
		"-action", "shutdown=pause",
		"-boot", "order=c,reboot-timeout=1",
		"-chardev", "socket,id=serial,path=" + serialSocket + ",server=on,wait=off", "-serial", "chardev:serial",
		"-chardev", "socket,id=control,path=" + controlSocket + ",server=on,wait=off", "-mon", "chardev=control,mode=control",
		"-device", "virtio-serial-pci", "-chardev", "socket,id=agent,path=" + agentSocket + ",server=on,wait=off",
		"-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
		"-device", "virtio-rng-pci",
	}
	if accelerator == "kvm" {
		// What the guest frees goes back to the host. Emulated, each page given back costs more than it is worth.
		args = append(args, "-device", "virtio-balloon-pci,free-page-reporting=on")
	}
	drives := append([]vm.Drive{{Path: spec.Root}, {Path: spec.Seed, ReadOnly: true}}, spec.Drives...)
	for i, drive := range drives {
		if drive.Path == "" {
			return nil, fmt.Errorf("drive %d has no path", i)
		}
		format, mode := "raw", "off"
		if i == 0 {
			format = "qcow2"
		}
		if drive.ReadOnly {
			mode = "on"
		}
		args = append(args,
			"-drive", fmt.Sprintf("if=none,id=drive%d,format=%s,read-only=%s,file=%s", i, format, mode, strings.ReplaceAll(drive.Path, ",", ",,")),
			"-device", fmt.Sprintf("virtio-blk-pci,drive=drive%d", i))
	}
	if spec.Tap != "" {
		args = append(args, "-netdev", "tap,id=net0,ifname="+spec.Tap+",script=no,downscript=no",
			"-device", "virtio-net-pci,netdev=net0,rombar=0,mac="+spec.MAC)
	} else {
		args = append(args, "-nic", "none")
	}
	return args, nil
}

// Instance is one running machine that outlives the node.
type Instance struct {
	dir     string
	record  record
	cmd     *exec.Cmd // nil when adopted
	process *os.File  // a descriptor of the process, readable when it has ended
	control *monitor
	serial  net.Conn
	console io.WriteCloser

	off       atomic.Bool // the guest turned itself off
	detaching atomic.Bool
	work      sync.WaitGroup
	done      chan struct{} // closed when the process has ended
}

// attachLimit bounds the wait for QEMU's sockets. Under emulation on a busy host it takes some tenths of a second.
const attachLimit = 15 * time.Second

// attach connects to a machine that runs in dir.
func attach(ctx context.Context, dir string, cmd *exec.Cmd, console io.WriteCloser) (_ *Instance, err error) {
	ctx, cancel := context.WithTimeout(ctx, attachLimit)
	defer cancel()
	m := &Instance{dir: dir, cmd: cmd, console: console, done: make(chan struct{})}
	if m.record, err = readRecord(dir); err != nil {
		return nil, err
	}
	// Not blocking, so that waiting for it can be given up.
	fd, err := unix.PidfdOpen(m.record.PID, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", m.record.PID, err)
	}
	m.process = os.NewFile(uintptr(fd), "process")
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	if m.serial, err = m.dial(ctx, serialSocket); err != nil {
		return nil, err
	}
	conn, err := m.dial(ctx, controlSocket)
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
	return m, nil
}

// dial connects to a socket in the machine's folder, waiting until QEMU has made it.
func (m *Instance) dial(ctx context.Context, name string) (net.Conn, error) {
	// Through a descriptor of the folder: paths of sockets have at most 107 bytes.
	dir, err := os.Open(m.dir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	path := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := net.Dial("unix", path)
		if err == nil {
			return conn, nil
		}
		if !m.record.alive() {
			return nil, errors.New("QEMU ended at once")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("connect to QEMU: %w", err)
		}
	}
}

// event handles what QEMU reports of the guest.
func (m *Instance) event(control *monitor, name string, data json.RawMessage) {
	var reason struct{ Reason string }
	if name == "SHUTDOWN" && json.Unmarshal(data, &reason) == nil && reason.Reason == "guest-shutdown" {
		m.turnedOff(control)
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
	if m.cmd != nil {
		_ = m.cmd.Wait()
	}
	close(m.done)
}

func (m *Instance) close() {
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
	return errors.Join(m.console.Close(), os.RemoveAll(m.dir))
}

// Detach leaves the machine running without this node.
func (m *Instance) Detach() error {
	m.detaching.Store(true)
	m.close()
	m.work.Wait()
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
