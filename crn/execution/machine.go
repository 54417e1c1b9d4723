package execution

import (
	"context"
	"fmt"
	"time"

	"github.com/aleph-im/aleph-go/crn/vm"
	"github.com/aleph-im/aleph-go/guest/wire"
)

// machineHook boots the virtual machine.
type machineHook struct{ *Pool }

func (h machineHook) start(ctx context.Context, x *Execution) error {
	m, err := h.driver(x).Start(ctx, vm.Spec{
		ID:    fmt.Sprintf("%.64s-%d", x.hash, time.Now().UnixNano()),
		VCPUs: x.program.Resources.VCPUs, MemoryMiB: x.program.Resources.MemoryMiB,
		Kernel: h.cfg.Kernel, Initrd: h.cfg.Initrd, Channel: wire.PortName,
		Drives: append([]vm.Drive{{Path: x.runtime.Path, ReadOnly: true}}, x.drives...),
	})
	if err != nil {
		return err
	}
	x.machine = m
	return nil
}

func (h machineHook) stop(ctx context.Context, x *Execution) {
	if x.machine == nil {
		return
	}
	// The guest has turned the machine off, or would not: there is nothing to wait for.
	if err := x.machine.Stop(ctx); err != nil {
		h.cfg.Log.Warn("machine ended badly", "hash", x.hash, "error", err)
	}
}
