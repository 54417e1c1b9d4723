package execution

import (
	"context"
	"fmt"
)

// admissionHook gives the machine its part of the node's memory. What is given is what the guest gets; it is never more than
// there is. Where room is wanting, machines that nobody uses or allocated make place, those idle longest first.
type admissionHook struct{ *Pool }

func (h admissionHook) start(ctx context.Context, x *Execution) error {
	need := x.program.Resources.MemoryMiB
	for {
		h.mu.Lock()
		if h.usedMiB+need <= h.cfg.MemoryMiB {
			h.usedMiB += need
			x.memoryMiB = need
			h.mu.Unlock()
			return nil
		}
		victim := h.longestIdle()
		if victim != nil {
			victim.requestStop()
		} else {
			// One that is ending already will leave room as well.
			victim = h.leaving()
		}
		free := h.cfg.MemoryMiB - h.usedMiB
		h.mu.Unlock()
		if victim == nil || need > h.cfg.MemoryMiB {
			return fmt.Errorf("program %s needs %d MiB of memory and %d MiB are free: %w", x.hash, need, free, ErrNoRoom)
		}
		select {
		case <-victim.stopped:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (h admissionHook) stop(_ context.Context, x *Execution) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.usedMiB -= x.memoryMiB
	x.memoryMiB = 0
}

// longestIdle returns the started execution without calls whose last one is longest ago. p.mu is held.
func (p *Pool) longestIdle() (idle *Execution) {
	for _, x := range p.executions {
		if x.times.Started.IsZero() || x.isStopping() || x.inflight > 0 || p.kept[x.hash] != nil {
			continue
		}
		if idle == nil || x.lastUse.Before(idle.lastUse) {
			idle = x
		}
	}
	return idle
}

// leaving returns an execution that ends and holds memory. p.mu is held.
func (p *Pool) leaving() *Execution {
	for _, x := range p.executions {
		if x.isStopping() && x.memoryMiB > 0 && x.inflight == 0 {
			return x
		}
	}
	return nil
}
