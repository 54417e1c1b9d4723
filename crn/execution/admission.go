package execution

import (
	"context"
	"fmt"
)

// admissionHook gives the machine its part of the node: memory, processors, disk (spec/crn.md §4.11). No more is given than there
// is. Where room is wanting, machines that nobody uses or allocated make place, those idle longest first.
type admissionHook struct{ *Pool }

func (h admissionHook) start(ctx context.Context, x *Execution) error {
	need := h.shareOf(x)
	if err := h.diskHasRoom(need.disk()); err != nil {
		return fmt.Errorf("program %s: %w", x.hash, err)
	}
	for {
		h.mu.Lock()
		refusal := h.fits(need)
		if refusal == nil {
			h.used = h.used.plus(need)
			x.share = need
			x.arrived()
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
		hopeless := h.neverFits(need)
		h.mu.Unlock()
		if victim == nil || hopeless {
			return fmt.Errorf("program %s needs %w: %w", x.hash, refusal, ErrNoRoom)
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
	h.used = h.used.minus(x.share)
	h.volumesMiB += x.share.made()
	x.share = share{}
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
		if x.isStopping() && x.share.memoryMiB > 0 && x.inflight == 0 {
			return x
		}
	}
	return nil
}
