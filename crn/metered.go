package crn

import (
	"context"
	"slices"
	"time"

	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/crn/meter"
	"github.com/aleph-im/aleph-go/message"
)

// workloads are the node's programs and instances as crn/meter sees them.
type workloads struct {
	programs  *execution.Pool
	instances *instance.Pool // nil where instances cannot run
}

// List implements meter.Workloads.
func (w workloads) List() []meter.Workload {
	type defined struct {
		meter.Workload
		at time.Time
	}
	var all []defined
	for _, i := range w.programs.List() {
		all = append(all, defined{program(i), i.Times.Defined})
	}
	if w.instances != nil {
		for _, i := range w.instances.List() {
			m := meter.Workload{Hash: i.Hash, Owner: i.Owner, Payment: i.Payment, Chain: i.Chain, Confidential: i.Confidential}
			switch {
			case i.Running:
				m.Started = i.Times.Started
			case i.Awaiting: // what it waits with nobody else can have
				m.Started = i.Times.Prepared
			}
			all = append(all, defined{m, i.Times.Defined})
		}
	}
	slices.SortStableFunc(all, func(a, b defined) int { return a.at.Compare(b.at) })
	list := make([]meter.Workload, 0, len(all))
	for _, d := range all {
		list = append(list, d.Workload)
	}
	return list
}

func program(i execution.Info) meter.Workload {
	w := meter.Workload{Hash: i.Hash, OnCall: !i.Persistent}
	if i.Program != nil {
		w.Owner, w.Payment = i.Program.Address, i.Program.PaymentType()
		if i.Program.Payment != nil && i.Program.Payment.Chain != nil {
			w.Chain = *i.Program.Payment.Chain
		}
	}
	if i.Running {
		w.Started = i.Times.Started
	}
	return w
}

// End implements meter.Workloads. A program that was stopped leaves nothing that the next start would find but its volumes; an
// instance keeps its disks too, and its ports unless it is to be forgotten.
func (w workloads) End(ctx context.Context, hash message.Hash, forget bool) error {
	if w.instances == nil || !w.instances.Has(hash) {
		_, err := w.programs.Stop(ctx, hash)
		return err
	}
	if forget {
		return w.instances.Dismiss(ctx, hash)
	}
	_, err := w.instances.Stop(ctx, hash)
	return err
}
