package execution

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/aleph-im/aleph-go/message"
)

// Plan is what a scheduler wants of this node (spec/crn.md §2.6.1). It is the whole of it: what it leaves out is to end.
type Plan struct {
	Persistent []message.Hash // kept running
	Instances  []message.Hash
	Leaving    []message.Hash // instances that go on here until another node fetches them
	// OnDemand are programs that callers are sent here for: fetched and booted once, when they appear in the plan. After that
	// they end when idle and start when called, like any other.
	OnDemand []message.Hash
}

// Outcome is what became of a plan.
type Outcome struct {
	Successful, Failing, Stopped []message.Hash
	Errors                       map[message.Hash]error // one for each of Failing
}

// Allocate carries out a plan. It returns when the persistent programs run or have failed; programs on demand boot in the
// background. It is idempotent and cheap when nothing changed. Only one plan is carried out at a time.
func (p *Pool) Allocate(ctx context.Context, plan Plan) Outcome {
	p.allocating.Lock()
	defer p.allocating.Unlock()
	if p.cfg.Planned != nil {
		p.cfg.Planned(plan)
	}
	o := Outcome{Errors: map[message.Hash]error{}}
	for _, hash := range plan.Instances {
		o.Errors[hash] = fmt.Errorf("instances are %w", ErrUnsupported)
	}
	o.Stopped = p.release(ctx, plan.Persistent)
	p.bootAhead(plan.OnDemand)

	var waiting sync.WaitGroup
	var mu sync.Mutex // guards o.Errors
	for _, hash := range unique(plan.Persistent) {
		waiting.Go(func() {
			if err := p.keep(ctx, hash); err != nil {
				mu.Lock()
				defer mu.Unlock()
				o.Errors[hash] = err
			}
		})
	}
	waiting.Wait()
	for _, hash := range unique(slices.Concat(plan.Persistent, plan.Instances)) {
		if o.Errors[hash] != nil {
			o.Failing = append(o.Failing, hash)
		} else {
			o.Successful = append(o.Successful, hash)
		}
	}
	return o
}

// release ends what was kept and is not wanted any more, and waits for it.
func (p *Pool) release(ctx context.Context, wanted []message.Hash) (stopped []message.Hash) {
	var ending []*Execution
	p.mu.Lock()
	for hash := range p.kept {
		if slices.Contains(wanted, hash) {
			continue
		}
		delete(p.kept, hash)
		if x := p.executions[hash]; x != nil {
			x.requestStop()
			ending = append(ending, x)
		}
		stopped = append(stopped, hash)
	}
	p.mu.Unlock()
	for _, x := range ending {
		select {
		case <-x.stopped:
		case <-ctx.Done():
		}
	}
	slices.SortFunc(stopped, compareHash)
	return stopped
}

// keep makes sure that a program runs and goes on running.
func (p *Pool) keep(ctx context.Context, hash message.Hash) error {
	p.mu.Lock()
	if p.draining {
		p.mu.Unlock()
		return ErrDraining
	}
	if p.kept[hash] == nil {
		p.kept[hash] = &keeper{}
	}
	if x := p.executions[hash]; x != nil {
		x.disarm()
	}
	p.mu.Unlock()
	x, err := p.Acquire(ctx, hash)
	if err != nil {
		return err
	}
	x.Release()
	return nil
}

// bootAhead starts what is new in the list.
func (p *Pool) bootAhead(wanted []message.Hash) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for hash := range p.ahead {
		if !slices.Contains(wanted, hash) {
			delete(p.ahead, hash)
		}
	}
	for _, hash := range wanted {
		if p.draining || p.ahead[hash] {
			continue
		}
		p.ahead[hash] = true
		_, _ = p.claim(hash) // refused only while draining
	}
}

func unique(list []message.Hash) []message.Hash {
	list = slices.Clone(list)
	slices.SortFunc(list, compareHash)
	return slices.Compact(list)
}
