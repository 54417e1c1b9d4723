package qemu

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn/vm"
)

// InstanceSpec describes such a machine.
type InstanceSpec struct {
	ID        string // names the machine; [a-z0-9-], at most 100 bytes
	VCPUs     int
	MemoryMiB int
	Root      string // path of a qcow2 image that the machine boots from
	RootMiB   int64  // its size as the guest sees it
	Backing   string // path of the image that it is based on
	Seed      string // path of the image that cloud-init reads
	Drives    []vm.Drive
	Tap       string // interface of the host that its network card is connected to; empty for no network card
	MAC       string // of that card
	Console   io.WriteCloser
}

// Descriptors that a machine's process inherits.
const (
	serialFD = 3 + iota
	controlFD
	agentFD
	tapFD
)

// rootCache bounds what QEMU keeps of the tables of the root disk. Its own bound is half of what it may have for itself.
const rootCache = "8M"

// instanceArguments is QEMU's command line (spec/crn.md §4.3).
func instanceArguments(spec InstanceSpec, accelerator string) ([]string, error) {
	if spec.VCPUs < 1 || spec.MemoryMiB < 1 {
		return nil, fmt.Errorf("a machine needs processors and memory, got %d and %d MiB", spec.VCPUs, spec.MemoryMiB)
	}
	cpu, accel := processor(accelerator)
	socket := func(id string, fd int) string { return fmt.Sprintf("socket,id=%s,fd=%d,server=on,wait=off", id, fd) }
	args := []string{
		"-machine", "pc,usb=off,hpet=off", "-accel", accel, "-cpu", cpu,
		"-smp", strconv.Itoa(spec.VCPUs), "-m", strconv.Itoa(spec.MemoryMiB) + "M",
		"-nodefaults", "-no-user-config", "-display", "none",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		// A guest that turned itself off stays visible, so that also the next node can tell it from one that crashed.
		"-action", "shutdown=pause",
		"-boot", "order=c,reboot-timeout=1",
		"-chardev", socket("serial", serialFD), "-serial", "chardev:serial",
		"-chardev", socket("control", controlFD), "-mon", "chardev=control,mode=control",
		"-device", "virtio-serial-pci", "-chardev", socket("agent", agentFD),
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
			format = "qcow2,l2-cache-size=" + rootCache
		}
		if drive.ReadOnly {
			mode = "on"
		}
		args = append(args,
			"-drive", fmt.Sprintf("if=none,id=drive%d,format=%s,read-only=%s,file=%s", i, format, mode, strings.ReplaceAll(drive.Path, ",", ",,")),
			"-device", fmt.Sprintf("virtio-blk-pci,drive=drive%d", i))
	}
	if spec.Tap != "" {
		args = append(args, "-netdev", fmt.Sprintf("tap,id=net0,fd=%d", tapFD),
			"-device", "virtio-net-pci,netdev=net0,rombar=0,mac="+spec.MAC)
	} else {
		args = append(args, "-nic", "none")
	}
	return args, nil
}

// confine says what the machine's process may have.
func (i *Instances) confine(dir string, spec InstanceSpec, print vm.Fingerprint) (c confined, err error) {
	c = confined{
		id: spec.ID, dir: dir, reads: []string{spec.Seed}, writes: []string{spec.Root},
		memoryMiB: spec.MemoryMiB + print.OverheadMiB, vcpus: spec.VCPUs, fileBytes: MaxImage(spec.RootMiB << 20),
	}
	if c.binary, err = i.driver.find(); err != nil {
		return c, err
	}
	if spec.Backing != "" {
		c.reads = append(c.reads, spec.Backing)
	}
	for _, drive := range spec.Drives {
		if drive.ReadOnly {
			c.reads = append(c.reads, drive.Path)
			continue
		}
		info, err := os.Stat(drive.Path)
		if err != nil {
			return c, err
		}
		c.writes, c.fileBytes = append(c.writes, drive.Path), max(c.fileBytes, MaxImage(info.Size()))
	}
	if print.Accelerator == "kvm" {
		c.devices = []string{"/dev/kvm"}
	}
	return c, nil
}

// MaxImage is what a qcow2 image of a disk of so many bytes may grow to: its tables take 10 bytes for each 64 KiB, and begin with
// some MiB. Nothing that a machine writes, its disks and copies of them, may become longer than that of its largest disk.
func MaxImage(bytes int64) int64 { return bytes + bytes/4096 + 64<<20 }

// listen makes a socket in the machine's folder. QEMU inherits it and answers there, also when this node is gone.
func listen(dir, name string) (*os.File, error) {
	var l *net.UnixListener
	err := within(dir, name, func(path string) (err error) {
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make the socket %s: %w", name, err)
	}
	defer l.Close()
	l.SetUnlinkOnClose(false)
	return l.File()
}

// within calls do with a short path of a file in a folder: paths of sockets have at most 107 bytes.
func within(folder, name string, do func(path string) error) error {
	dir, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer dir.Close()
	return do(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name))
}

// openTap opens an interface of the host for a machine's network card.
func openTap(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the tap %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open the tap %s: %w", name, err)
	}
	return f, nil
}
