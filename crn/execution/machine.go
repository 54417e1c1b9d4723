package execution

import (
	"context"
	"fmt"
	"time"

	"github.com/aleph-im/aleph-go/crn/vm"
	"github.com/aleph-im/aleph-go/guest/wire"
)

// machineHook starts the virtual machine: a copy of one that was kept, or one that boots.
type machineHook struct{ *Pool }

func (h machineHook) start(ctx context.Context, x *Execution) error {
	x.snapshot = h.snapshotPath(ctx, x)
	if h.restore(ctx, x) {
		return nil
	}
	return h.boot(ctx, x)
}

func (h machineHook) boot(ctx context.Context, x *Execution) (err error) {
	x.machine, err = h.driver(x).Start(ctx, h.spec(x))
	if err != nil && x.snapshot != "" {
		// To be copied a machine needs more, as disk space, than to run.
		h.cfg.Log.Warn("program will not be copied", "hash", x.hash, "error", err)
		x.snapshot = ""
		x.machine, err = h.driver(x).Start(ctx, h.spec(x))
	}
	return err
}

func (p *Pool) spec(x *Execution) vm.Spec {
	return vm.Spec{
		ID:    fmt.Sprintf("%.64s-%d", x.hash, time.Now().UnixNano()),
		VCPUs: x.program.Resources.VCPUs, MemoryMiB: x.program.Resources.MemoryMiB,
		Kernel: p.cfg.Kernel, Initrd: p.cfg.Initrd, Channel: wire.PortName, Card: true,
		Drives:   append([]vm.Drive{{Path: x.runtime.Path, ReadOnly: true}}, x.drives...),
		Copyable: x.snapshot != "",
	}
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
