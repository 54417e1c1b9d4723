package qemu

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn/gpu"
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
	Launch    *Launch    // of a confidential machine; nil for all others
	Cards     []gpu.Card // of the host that the machine has for itself, bound to vfio-pci
}

// pinned reports whether all memory of the machine stays where it is in the host's: a processor has encrypted it, or cards reach for it.
func (s InstanceSpec) pinned() bool { return s.Launch != nil || len(s.Cards) > 0 }

// Descriptors that a machine's process inherits.
const (
	serialFD = 3 + iota
	controlFD
	agentFD
	tapFD
)

// rootCache bounds what QEMU keeps of the tables of the root disk. Its own bound is half of what it may have for itself.
const rootCache = "8M"

// addressBits keeps a machine that q35 is made for from using more bits of an address than its secure processor or its cards reach.
const addressBits = ",host-phys-bits-limit=0x28"

// instanceArguments is QEMU's command line (spec/crn.md §4.3, §4.4).
func instanceArguments(spec InstanceSpec, accelerator string) ([]string, error) {
	if spec.VCPUs < 1 || spec.MemoryMiB < 1 {
		return nil, fmt.Errorf("a machine needs processors and memory, got %d and %d MiB", spec.VCPUs, spec.MemoryMiB)
	}
	cpu, accel := processor(accelerator, translationMiB)
	machine := "pc,usb=off,hpet=off"
	if spec.pinned() {
		machine = "q35,usb=off,hpet=off"
		if accelerator == "kvm" {
			cpu += addressBits
		}
	}
	if spec.Launch != nil {
		machine += ",confidential-guest-support=sev0"
	}
	socket := func(id string, fd int) string { return fmt.Sprintf("socket,id=%s,fd=%d,server=on,wait=off", id, fd) }
	args := []string{
		"-machine", machine, "-accel", accel, "-cpu", cpu,
		"-smp", strconv.Itoa(spec.VCPUs), "-m", strconv.Itoa(spec.MemoryMiB) + "M",
		"-nodefaults", "-no-user-config", "-display", "none",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		// A guest that turned itself off stays visible, so that also the next node can tell it from one that crashed.
		"-action", "shutdown=pause",
		"-boot", "order=c,reboot-timeout=1",
		"-chardev", socket("serial", serialFD), "-serial", "chardev:serial",
		"-chardev", socket("control", controlFD), "-mon", "chardev=control,mode=control",
		"-chardev", socket("agent", agentFD), "-device", "virtio-rng-pci",
	}
	if spec.Launch != nil {
		args = append(args, spec.Launch.arguments()...)
	} else {
		// Of a confidential machine, no agent takes orders of the host.
		args = append(args, "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0")
	}
	if accelerator == "kvm" && !spec.pinned() {
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
			"-drive", fmt.Sprintf("if=none,id=drive%d,format=%s,read-only=%s,file=%s", i, format, mode, optionValue(drive.Path)),
			"-device", fmt.Sprintf("virtio-blk-pci,drive=drive%d", i))
	}
	switch card := "virtio-net-pci,netdev=net0,mac=" + spec.MAC; {
	case spec.Tap == "":
		args = append(args, "-nic", "none")
	case spec.Launch != nil: // with its ROM, as owners know these machines from the reference
		args = append(args, "-netdev", fmt.Sprintf("tap,id=net0,fd=%d", tapFD), "-device", card)
	default:
		args = append(args, "-netdev", fmt.Sprintf("tap,id=net0,fd=%d", tapFD), "-device", card+",rombar=0")
	}
	for _, card := range spec.Cards {
		device := "vfio-pci,host=" + card.PCIHost + ",rombar=0"
		if card.DeviceClass == gpu.ClassVGA {
			device += ",x-vga=on"
		}
		args = append(args, "-device", device)
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
		c.devices = []string{i.driver.hostPath("dev/kvm")}
	}
	if l := spec.Launch; l != nil {
		c.reads = append(c.reads, l.Firmware, l.Owner, l.Session)
		c.devices = append(c.devices, l.Processor.Device)
	}
	for n, card := range spec.Cards {
		if n == 0 {
			c.devices = append(c.devices, i.driver.hostPath("dev/vfio/vfio"))
		}
		if group := i.driver.hostPath("dev/vfio/" + card.Group); !slices.Contains(c.devices, group) {
			c.devices = append(c.devices, group)
		}
		c.reads = append(c.reads, i.driver.hostPath(card.Folder()))
	}
	if spec.pinned() {
		c.lockedMiB = c.memoryMiB
	}
	return c, nil
}

// hostPath is a path of the host's kernel: below another root in tests.
func (d *Driver) hostPath(path string) string {
	return filepath.Join(cmp.Or(d.cfg.HostRoot, "/"), path)
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
