package crn

import (
	"context"
	"slices"

	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/crn/meter"
	"github.com/aleph-im/aleph-go/message"
)

// programs are the node's programs as crn/meter sees them.
type programs struct{ pool *execution.Pool }

func (p programs) List() []meter.Workload {
	list := p.pool.List()
	slices.SortStableFunc(list, func(a, b execution.Info) int { return a.Times.Defined.Compare(b.Times.Defined) })
	workloads := make([]meter.Workload, 0, len(list))
	for _, i := range list {
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
		workloads = append(workloads, w)
	}
	return workloads
}

// End implements meter.Workloads. A program that was stopped leaves nothing that the next start would find but its volumes.
func (p programs) End(ctx context.Context, hash message.Hash, _ bool) error {
	_, err := p.pool.Stop(ctx, hash)
	return err
}
