// Package qemu runs machines with QEMU: under KVM where a guest really starts under it, emulated elsewhere. It implements
// [vm.Driver].
//
// Each machine is one process in its own process group with one folder below Config.Dir. The serial channel and QEMU's control
// socket are socket pairs that the process inherits: there are no paths to guess, to protect or to leave behind, and a guest
// whose node was killed sees its channel close.
package qemu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn/logfile"
	"github.com/aleph-im/aleph-go/crn/vm"
	"github.com/aleph-im/aleph-go/guest/wire"
)

// Config of the driver.
type Config struct {
	Dir    string // holds a folder a machine, and what was found out about this host
	Binary string // QEMU's program; "qemu-system-x86_64" from PATH when empty
	// Kernel and Initrd are what KVM is tried with. The guest must print BootMark on its console.
	Kernel, Initrd string
	BootMark       string
	// Accelerator is "kvm" or "tcg" to use that without trying; empty to find out.
	Accelerator string
	// ConsoleLimit bounds the console log of one machine, in bytes; 1 MiB when 0.
	ConsoleLimit int64
	// Users are the ids of users that machines run as where the node is root, one each, as "first-last"; [DefaultUsers] when empty.
	Users string
	// RequireIsolation makes Fingerprint fail where a machine cannot be confined in every way. It is done as far as the host
	// allows when false.
	RequireIsolation bool
	// DiskRate bounds what each machine reads and writes of its disks.
	DiskRate Rate
	// HostRoot is the folder below which /dev and /sys are looked for where hardware is given to machines; "/" when empty.
	HostRoot string
}

// Driver is QEMU on this host.
type Driver struct {
	cfg      Config
	users    userRange
	groups   *groups // nil where machines cannot have control groups, for the reason in noGroups
	noGroups error

	mu    sync.Mutex // held while probing, so that one probe runs
	print *vm.Fingerprint
	jail  *jail // set while probing, before the first machine
}

// consoleFile is the guest kernel's console, within a machine's folder.
const consoleFile = "console.log"

// ErrMissing is returned where QEMU is not installed.
var ErrMissing = errors.New("QEMU is not installed: run 'make setup', or install it with 'apt-get install qemu-system-x86' (Debian, Ubuntu)")

// New returns the driver. QEMU itself is looked for at the first use.
func New(cfg Config) (*Driver, error) {
	if cfg.Binary == "" {
		cfg.Binary = "qemu-system-x86_64"
	}
	if cfg.ConsoleLimit == 0 {
		cfg.ConsoleLimit = 1 << 20
	}
	if cfg.Users == "" {
		cfg.Users = DefaultUsers
	}
	switch cfg.Accelerator {
	case "", "kvm", "tcg":
	default:
		return nil, fmt.Errorf("accelerator %q is neither kvm nor tcg", cfg.Accelerator)
	}
	users, err := parseUsers(cfg.Users)
	if err != nil {
		return nil, err
	}
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(cfg.Dir, "run"), 0o700); err != nil {
		return nil, fmt.Errorf("prepare the folder for machines: %w", err)
	}
	d := &Driver{cfg: cfg, users: users}
	d.groups, d.noGroups = openGroups(cfg.Dir)
	return d, nil
}

var idPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,99}$`)

// Start implements [vm.Driver].
func (d *Driver) Start(ctx context.Context, spec vm.Spec) (vm.Machine, error) {
	print, err := d.Fingerprint(ctx)
	if err != nil {
		return nil, err
	}
	var key string
	if spec.Copyable {
		key, err = d.SnapshotKey(ctx, spec)
	}
	var m *machine
	if err == nil {
		m, err = d.launch(spec, print.Accelerator, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("start machine %s: %w", spec.ID, err)
	}
	m.key = key
	return m, nil
}

func (d *Driver) runDir(id string) string { return filepath.Join(d.cfg.Dir, "run", id) }

// launch makes the folder and starts the process, with the state of a saved machine unless that is nil.
func (d *Driver) launch(spec vm.Spec, accelerator string, saved *snapshot) (_ *machine, err error) {
	if !idPattern.MatchString(spec.ID) {
		return nil, fmt.Errorf("%q is no machine id", spec.ID)
	}
	binary, err := d.find()
	if err != nil {
		return nil, err
	}
	dir := d.runDir(spec.ID)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	m := &machine{id: spec.ID, dir: dir, done: make(chan struct{}), exited: make(chan struct{})}
	defer func() {
		if err != nil {
			m.closeAll()
			os.RemoveAll(dir)
		}
	}()
	if m.console, err = logfile.Open(filepath.Join(dir, consoleFile), d.cfg.ConsoleLimit); err != nil {
		return nil, err
	}
	channel, err := socketPair("channel")
	if err != nil {
		return nil, err
	}
	defer channel.guest.Close()
	m.channel = channel.host
	control, err := socketPair("control")
	if err != nil {
		return nil, err
	}
	defer control.guest.Close()
	m.control = control.host

	files := []*os.File{channel.guest, control.guest} // 3 and 4
	if spec.Card {
		card, err := socketPair("card")
		if err != nil {
			return nil, err
		}
		defer card.guest.Close()
		m.card = card.host
		files = append(files, card.guest) // cardFile
	}

	args, err := arguments(spec, accelerator)
	if err != nil {
		return nil, err
	}
	args = d.cfg.DiskRate.bound(args)
	c := confined{
		id: spec.ID, binary: binary, dir: dir,
		files:  files,
		stdout: m.console, stderr: &m.stderr, memoryMiB: spec.MemoryMiB + overheadMiB(accelerator), vcpus: spec.VCPUs,
	}
	if spec.Kernel != "" {
		c.reads = []string{spec.Kernel, spec.Initrd}
	}
	switch {
	case saved != nil:
		args = append(args, saved.arguments(spec)...)
		c.files = append(c.files, saved.state) // stateDescriptor
		// QEMU opens the memory for writing although it maps it privately. Who wrote to it would change its time, which only
		// its owner could set back: the snapshot would be refused from then on.
		c.writes, c.fileBytes = append(c.writes, saved.memory), saved.MemorySize
	case spec.Copyable:
		if m.memory, err = reserveMemory(dir, spec); err != nil {
			return nil, err
		}
		args = append(args, memoryArguments(spec, m.memory, true)...)
		c.writes, c.fileBytes = append(c.writes, m.memory), int64(spec.MemoryMiB)<<20
	}
	c.args = args
	for _, drive := range spec.Drives {
		if drive.ReadOnly {
			c.reads = append(c.reads, drive.Path)
			continue
		}
		info, err := os.Stat(drive.Path)
		if err != nil {
			return nil, err
		}
		c.writes, c.fileBytes = append(c.writes, drive.Path), max(c.fileBytes, info.Size()) // none becomes longer than the longest
	}
	if accelerator == "kvm" {
		c.devices = []string{"/dev/kvm"}
	}
	if m.cell, err = d.jail.start(c); err != nil {
		return nil, err
	}
	m.started = time.Now()
	// What is written here finds the process again after this one was killed.
	if err := writeRecord(dir, m.cell.Process.Pid, ""); err != nil {
		_ = unix.Kill(-m.cell.Process.Pid, unix.SIGKILL)
		_ = m.cell.Wait()
		return nil, errors.Join(err, m.cell.release())
	}
	go m.wait()
	return m, nil
}

// cardFile is the descriptor at which a machine with a network card has its frames.
const cardFile = 5

const (
	// qemuMiB is what QEMU takes for itself beside the guest's memory.
	qemuMiB = 64
	// translationMiB bounds what it keeps of translated code where it emulates. Its own bound is a gigabyte.
	translationMiB = 128
	// leastTranslationMiB is the bound for the smallest functions. What a Python program runs up to its first answer just fits: with less,
	// part of it is translated twice; with more, an idle one holds more of the host's memory.
	leastTranslationMiB = 18
)

// overheadMiB is what a machine takes of the host's memory beyond its guest's.
func overheadMiB(accelerator string) int {
	if accelerator == "kvm" {
		return qemuMiB
	}
	return qemuMiB + translationMiB
}

// translation bounds what a function's machine keeps of translated code, in MiB. What is given more memory runs more code, as a rule.
func translation(memoryMiB int) int {
	return min(max(leastTranslationMiB, memoryMiB/8), translationMiB)
}

// processor returns QEMU's options for the processor and for what runs it, which keeps so much of translated code.
func processor(accelerator string, translationMiB int) (cpu, accel string) {
	if accelerator == "kvm" {
		return "host", "kvm"
	}
	return "max", fmt.Sprintf("tcg,tb-size=%d", translationMiB)
}

// tickOnly has the timers of an emulated guest go with the kernel's tick, of 4 ms. Each that is set in between wakes a thread of QEMU,
// which the processor's thread then waits for: at a server in Go that was half of all that QEMU woke up for.
const tickOnly = " highres=off"

// arguments is QEMU's command line. The machine has nothing but what a program needs: no BIOS extras, no display, no network beyond the node's.
func arguments(spec vm.Spec, accelerator string) ([]string, error) {
	if spec.VCPUs < 1 || spec.MemoryMiB < 1 {
		return nil, fmt.Errorf("a machine needs processors and memory, got %d and %d MiB", spec.VCPUs, spec.MemoryMiB)
	}
	cpu, accel := processor(accelerator, translation(spec.MemoryMiB))
	args := []string{
		"-machine", "pc,usb=off,graphics=off,hpet=off", "-accel", accel, "-cpu", cpu,
		"-smp", strconv.Itoa(spec.VCPUs), "-m", strconv.Itoa(spec.MemoryMiB) + "M",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-chardev", "socket,id=control,fd=4", "-mon", "chardev=control,mode=control",
	}
	if spec.Kernel != "" {
		// What is left out was measured to slow the boot down, and a guest with one process has no use for it.
		line := "console=ttyS0 quiet panic=-1 reboot=t tsc=reliable no_timer_check mitigations=off cryptomgr.notests random.trust_cpu=on" +
			" transparent_hugepage=madvise" // a page that one copy fills is shared with no other, and it would be of 2 MiB
		if accelerator == "tcg" {
			line += tickOnly
		}
		args = append(args, "-kernel", spec.Kernel, "-initrd", spec.Initrd, "-append", line)
	}
	if spec.Card {
		// Firmware that boots from a network is left out: it would be read, and asked, at each boot.
		args = append(args, "-netdev", fmt.Sprintf("socket,id=card,fd=%d", cardFile), "-device", "virtio-net-pci,netdev=card,romfile=,mac="+wire.CardAddress)
	}
	if spec.Channel != "" {
		args = append(args, "-device", "virtio-serial-pci,max_ports=2", "-chardev", "socket,id=channel,fd=3",
			"-device", "virtserialport,chardev=channel,name="+spec.Channel)
	}
	for i, drive := range spec.Drives {
		if drive.Path == "" {
			return nil, fmt.Errorf("drive %d has no path", i)
		}
		mode := "off"
		if drive.ReadOnly {
			mode = "on"
		}
		args = append(args,
			"-drive", fmt.Sprintf("if=none,id=drive%d,format=raw,read-only=%s,file=%s", i, mode, strings.ReplaceAll(drive.Path, ",", ",,")),
			"-device", fmt.Sprintf("virtio-blk-pci,drive=drive%d", i))
	}
	return args, nil
}

// ends are the two ends of a socket pair.
type ends struct {
	host  net.Conn
	guest *os.File
}

func socketPair(name string) (*ends, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make the %s socket: %w", name, err)
	}
	host := os.NewFile(uintptr(fds[0]), name)
	defer host.Close()
	guest := os.NewFile(uintptr(fds[1]), name)
	conn, err := net.FileConn(host)
	if err != nil {
		guest.Close()
		return nil, fmt.Errorf("make the %s socket: %w", name, err)
	}
	return &ends{conn, guest}, nil
}

// find returns QEMU's path.
func (d *Driver) find() (string, error) {
	path, err := exec.LookPath(d.cfg.Binary)
	if err != nil {
		return "", fmt.Errorf("%w (looked for %s)", ErrMissing, d.cfg.Binary)
	}
	return path, nil
}
