package instance

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/aleph-im/aleph-go/crn/vm"
	"github.com/aleph-im/aleph-go/crn/vm/qemu"
)

// Machine is a running machine; [qemu.Instance] in a node.
type Machine interface {
	Done() <-chan struct{}
	TurnedOff() bool
	Said() string
	PressPower()
	Kill() error
	Release() error
	Detach() error
	Inspect() vm.Status
	// Form names what its guest sees of QEMU and of the host; "" where that is not known.
	Form() string
	SendMemory(ctx context.Context, w io.Writer, limit int64) error
	ReceiveMemory(ctx context.Context, r io.Reader) error
	Continue(ctx context.Context) (stood bool, err error)
	CatchUp(ctx context.Context) (behind time.Duration, err error)
	Copy(ctx context.Context, disks []qemu.DiskCopy, freeze bool) error
	CopyChanges(ctx context.Context, disks []qemu.DiskCopy, all bool) error
	Measurement(ctx context.Context) (*qemu.Measurement, error)
	InjectSecret(ctx context.Context, header, secret string) (json.RawMessage, error)
}

// Driver runs machines; [QEMU] in a node.
type Driver interface {
	Start(ctx context.Context, spec qemu.InstanceSpec) (Machine, error)
	// Receive starts a machine that is to receive its memory.
	Receive(ctx context.Context, spec qemu.InstanceSpec) (Machine, error)
	// Form is that which a machine would have here.
	Form(ctx context.Context, spec qemu.InstanceSpec) (string, error)
	Adopt(ctx context.Context, console func(id string) (io.WriteCloser, error)) (map[string]Machine, error)
}

// QEMU is the driver of a node.
type QEMU struct{ *qemu.Instances }

// Start implements [Driver].
func (q QEMU) Start(ctx context.Context, spec qemu.InstanceSpec) (Machine, error) {
	m, err := q.Instances.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Receive implements [Driver].
func (q QEMU) Receive(ctx context.Context, spec qemu.InstanceSpec) (Machine, error) {
	m, err := q.Instances.Receive(ctx, spec)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Adopt implements [Driver].
func (q QEMU) Adopt(ctx context.Context, console func(string) (io.WriteCloser, error)) (map[string]Machine, error) {
	adopted, err := q.Instances.Adopt(ctx, console)
	machines := map[string]Machine{}
	for id, m := range adopted {
		machines[id] = m
	}
	return machines, err
}
