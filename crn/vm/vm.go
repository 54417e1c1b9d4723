// Package vm says what the compute node needs of a hypervisor: start a machine with a kernel, some drives and one serial
// channel, look at it, end it, and clean up after a node that was killed. crn/execution calls it; crn/vm/qemu implements it;
// every driver passes crn/vm/vmtest.
package vm

import (
	"context"
	"errors"
	"net"
	"time"
)

// Driver runs machines. Its methods may be called concurrently.
type Driver interface {
	// Fingerprint says what the driver can do on this host. It may boot a machine to find out, and remembers the answer.
	// The error says what is missing and how to get it.
	Fingerprint(ctx context.Context) (Fingerprint, error)

	// Start boots a machine and returns once its process runs; the guest is still booting then. The machine outlives ctx.
	Start(ctx context.Context, spec Spec) (Machine, error)

	// Reap ends every machine that an earlier process left running in the driver's folder, removes what belonged to it, and
	// returns the ids. To be called once, before the first Start.
	Reap(ctx context.Context) ([]string, error)
}

// Snapshotter is what a [Driver] may offer besides: to keep the state of a machine, memory and devices, and to start copies that
// go on from there.
type Snapshotter interface {
	// SnapshotKey is what a snapshot depends on beside the contents of its machine's files: driver, host and the spec without its
	// ID. A snapshot serves only machines of the same key and the same contents.
	SnapshotKey(ctx context.Context, spec Spec) (string, error)

	// Save keeps the state of a machine that was started with Spec.Copyable and has not been asked to stop, and ends the machine:
	// its memory becomes the snapshot's. dir is made, whole or not at all. Whoever is in the guest must be prepared to go on in
	// several copies, and nobody may write to its channel. A machine that could not be saved may have ended as well.
	Save(ctx context.Context, m Machine, dir string) error

	// Restore starts a copy: a machine that goes on where the saved one was stopped. It returns once its process runs. Copies
	// share what they do not change of the memory, and may run at the same time. The error is ErrSnapshot when what is in dir is
	// not what Save left there or was saved by a machine of another kind; such a folder is of no use to anybody.
	Restore(ctx context.Context, spec Spec, dir string) (Machine, error)
}

// ErrSnapshot says that a snapshot cannot be used.
var ErrSnapshot = errors.New("unusable snapshot")

// Fingerprint describes a driver on this host.
type Fingerprint struct {
	Driver      string // "qemu"
	Version     string
	Accelerator string // "kvm", or "tcg" where guests only run emulated, about twenty times slower
	Reason      string // why this accelerator
	Isolation   Isolation
	OverheadMiB int // what each machine takes of the host's memory beyond its guest's
}

// Isolation says how the processes of machines are confined on this host.
type Isolation struct {
	InForce []string // names of measures
	Missing []string // those that are not, each with the reason
}

// Spec describes a machine.
type Spec struct {
	ID        string // names the machine among those of this driver; [a-z0-9-], at most 100 bytes
	VCPUs     int
	MemoryMiB int
	Kernel    string // path of a bzImage
	Initrd    string // path of an initramfs
	Drives    []Drive
	// Channel is the name of the virtio-serial port.
	Channel string
	// Card gives the machine a network card, whose other end is Machine.Card. It leads nowhere else.
	Card bool
	// Copyable prepares the machine for Snapshotter.Save. All of its drives must be read-only: what a copy reads must be what the
	// saved machine had read.
	Copyable bool
}

// Drive is a disk of a machine. In the guest the first is vda, the second vdb and so on.
type Drive struct {
	Path     string // a raw image; any length, the guest sees it padded with zeros to whole sectors
	ReadOnly bool
}

// Machine is one running machine.
type Machine interface {
	// Channel is the host's end of the serial port. It reads EOF when the machine is gone.
	Channel() net.Conn
	// Card is the host's end of the network card: Ethernet frames, each behind its length as a big-endian 32-bit number. It is nil
	// where Spec.Card was not set, and where machines of the driver have none.
	Card() net.Conn
	// Inspect looks at the machine now.
	Inspect() Status
	// Done is closed when the machine has ended and everything of it was removed.
	Done() <-chan struct{}
	// Err says why the machine ended; nil when it turned itself off or was stopped. Valid after Done.
	Err() error
	// Stop turns the machine off as if its power were cut after flushing its disks; at once, when ctx has ended.
	// It returns when the machine is gone. Stopping a machine that has ended does nothing.
	Stop(ctx context.Context) error
}

// Status is what can be seen of a machine from outside.
type Status struct {
	Running bool
	PID     int
	Started time.Time
	RSSKiB  int64 // memory that the machine's process holds on the host
	CPUTime time.Duration
}
