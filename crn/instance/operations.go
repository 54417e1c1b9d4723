package instance

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// Outcome is what became of a plan of the scheduler.
type Outcome struct {
	Stopped []message.Hash
	Errors  map[message.Hash]error // of those that do not run
}

// startsAtOnce bounds the starts that a plan waits for side by side; each may fetch an image.
const startsAtOnce = 4

// Allocate carries out the scheduler's whole plan of instances for this node: what it leaves out and had sent here is released,
// what is new is started, and what is leaving goes on as it is until another node fetches it. It returns when they run or have failed, or when ctx ends. What an owner stopped stays stopped. It is
// idempotent and cheap when nothing changed.
func (p *Pool) Allocate(ctx context.Context, plan []message.Hash, leaving ...message.Hash) Outcome {
	p.allocating.Lock()
	defer p.allocating.Unlock()
	o := Outcome{Errors: map[message.Hash]error{}}
	o.Stopped = p.release(ctx, slices.Concat(plan, leaving))

	plan = slices.Clone(plan)
	slices.Sort(plan)
	var waiting sync.WaitGroup
	var mu sync.Mutex // guards o.Errors
	token := make(chan struct{}, startsAtOnce)
	for _, hash := range slices.Compact(plan) {
		waiting.Go(func() {
			token <- struct{}{}
			defer func() { <-token }()
			if err := p.keep(ctx, hash); err != nil {
				mu.Lock()
				defer mu.Unlock()
				o.Errors[hash] = err
			}
		})
	}
	waiting.Wait()
	return o
}

// release sends away what the scheduler had sent here and does not want here any more.
func (p *Pool) release(ctx context.Context, wanted []message.Hash) (stopped []message.Hash) {
	var ending []<-chan error
	p.mu.Lock()
	for hash, x := range p.instances {
		if !x.here() || !x.rec.Planned || x.rec.Hardware != nil && x.rec.Refusal == "" || slices.Contains(wanted, hash) {
			continue
		}
		if err := x.want(wantedReleased); err != nil {
			p.cfg.Log.Error("instance not released", "hash", hash, "error", err)
			continue
		}
		ending = append(ending, x.asked())
		stopped = append(stopped, hash)
	}
	p.mu.Unlock()
	for _, settled := range ending {
		_ = wait(ctx, settled)
	}
	slices.Sort(stopped)
	return stopped
}

// keep makes sure that an instance of the plan is here, and runs unless its owner stopped it.
func (p *Pool) keep(ctx context.Context, hash message.Hash) error {
	return p.ensure(ctx, hash, true, func(x *instance) bool { return !x.here() })
}

// Start starts an instance: one that is stopped, or one that is not here yet, on its owner's word. It returns when it runs.
func (p *Pool) Start(ctx context.Context, hash message.Hash) error {
	return p.ensure(ctx, hash, false, func(x *instance) bool { return x.rec.Wanted != wantedRunning })
}

// ensure has an instance run when it is new or begin says so, and waits until it is settled.
func (p *Pool) ensure(ctx context.Context, hash message.Hash, planned bool, begin func(*instance) bool) error {
	p.mu.Lock()
	x := p.instances[hash]
	p.mu.Unlock()
	if x == nil {
		var err error
		if x, err = p.begin(ctx, hash, planned); err != nil {
			return err
		}
	}
	p.mu.Lock()
	if x.rec.Wanted == wantedErased {
		p.mu.Unlock()
		return fmt.Errorf("instance %s is being erased: %w", hash, ErrStopped)
	}
	settled, err := func() (<-chan error, error) {
		if !x.here() && !x.reviving() && p.held.Taken(hash) {
			return nil, fmt.Errorf("instance %s: %w", hash, errNotRevived)
		}
		if x.rec.Move != nil && !planned {
			return nil, fmt.Errorf("instance %s: %w", hash, ErrMoving)
		}
		switch x.rec.Wanted {
		case wantedArriving:
			if x.reviving() {
				return x.await(), nil
			}
			if err := x.giveUpSource(); err != nil {
				return nil, err
			}
			return x.asked(), nil
		case wantedLeaving:
			if err := p.admit(&x.rec); err != nil {
				return nil, err
			}
			if err := x.stay(); err != nil {
				return nil, err
			}
			x.asked()
		}
		if planned && x.passage != nil {
			x.passage.end() // the plan has it here after all
		}
		if planned && !x.rec.Planned {
			x.rec.Planned = true
			if err := p.records.save(x.rec); err != nil {
				return nil, err
			}
		}
		if !begin(x) {
			return x.await(), nil
		}
		if err := p.admit(&x.rec); err != nil {
			return nil, err
		}
		if err := x.want(wantedRunning); err != nil {
			return nil, err
		}
		return x.asked(), nil
	}()
	p.mu.Unlock()
	if err != nil {
		return err
	}
	return wait(ctx, settled)
}

func wait(ctx context.Context, settled <-chan error) error {
	select {
	case err := <-settled:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// begin records an instance that was not here before, and has it run.
func (p *Pool) begin(ctx context.Context, hash message.Hash, planned bool) (*instance, error) {
	m, err := p.cfg.Network.Instance(ctx, hash)
	if err != nil {
		return nil, err
	}
	no := p.offered(m)
	if no != nil && !planned {
		return nil, fmt.Errorf("instance %s: %w", hash, no) // who asks is who should know
	}
	r := define(hash, m)
	r.Planned, r.Wanted = planned, wantedRunning
	if no != nil {
		r.Refusal = no.Error()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if x := p.instances[hash]; x != nil {
		return x, nil // by another caller meanwhile
	}
	if p.held.Taken(hash) {
		return nil, fmt.Errorf("instance %s: %w", hash, errNotRevived)
	}
	return p.add(r)
}

// define is the record of an instance of this node, but for what it is to be.
func define(hash message.Hash, m *message.Instance) record {
	now := time.Now()
	r := record{
		Hash: hash, Owner: m.Address, VCPUs: m.Resources.VCPUs, MemoryMiB: m.Resources.MemoryMiB, DiskMiB: diskMiB(m),
		Internet: m.Environment.Internet, Payment: m.PaymentType(), Line: secret(), Defined: now, Changed: now, Hardware: hardwareOf(m),
	}
	if m.Payment != nil && m.Payment.Chain != nil {
		r.Chain = *m.Payment.Chain
	}
	return r
}

// add writes a new record down and has it tended to. p.mu is held.
func (p *Pool) add(r record) (_ *instance, err error) {
	if p.life.Err() != nil {
		return nil, ErrStopped
	}
	if r.Refusal == "" {
		if err := p.admit(&r); err != nil {
			return nil, err
		}
	}
	if r.Slot, err = p.freeSlot(nil); err != nil {
		return nil, err
	}
	if err := p.records.save(r); err != nil {
		return nil, err
	}
	x := newInstance(p, r)
	p.instances[r.Hash] = x
	if p.ran {
		p.running.Go(x.run)
	}
	return x, nil
}

// order changes what an instance of this node is to be, and waits until it is.
func (p *Pool) order(ctx context.Context, hash message.Hash, change func(*instance) error) error {
	p.mu.Lock()
	x := p.instances[hash]
	if x == nil || !x.here() {
		p.mu.Unlock()
		return fmt.Errorf("instance %s: %w", hash, ErrUnknown)
	}
	if err := change(x); err != nil {
		p.mu.Unlock()
		return err
	}
	settled := x.asked()
	p.mu.Unlock()
	return wait(ctx, settled)
}

// Stop lets the guest turn itself off, and reports whether there was one. The instance stays stopped, with all that belongs to
// it, until its owner starts it again.
func (p *Pool) Stop(ctx context.Context, hash message.Hash) (running bool, err error) {
	err = p.order(ctx, hash, func(x *instance) error {
		running = x.machine != nil
		return x.want(wantedStopped)
	})
	return running, err
}

// Expire stops an instance after a time, unless it is stopped before. A node that ends forgets it.
func (p *Pool) Expire(hash message.Hash, after time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.instances[hash]
	if x == nil || x.rec.Wanted != wantedRunning {
		return
	}
	x.forgetExpiry()
	var expiry *time.Timer
	expiry = time.AfterFunc(after, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.life.Err() != nil || x.expiry != expiry {
			return
		}
		if err := x.want(wantedStopped); err != nil {
			p.cfg.Log.Error("instance not stopped at its time", "hash", hash, "error", err)
			return
		}
		x.asked()
	})
	x.expiry = expiry
}

// Dismiss sends an instance away that nobody pays for. Its disks are kept for a while, as are those of one that the scheduler
// sent elsewhere.
func (p *Pool) Dismiss(ctx context.Context, hash message.Hash) error {
	return p.order(ctx, hash, func(x *instance) error { return x.want(wantedReleased) })
}

// Reboot ends the machine and starts it again, or starts the instance when it is stopped. It reports whether it was running.
func (p *Pool) Reboot(ctx context.Context, hash message.Hash) (running bool, err error) {
	err = p.order(ctx, hash, func(x *instance) error {
		running = x.machine != nil
		return x.again()
	})
	return running, err
}

// Reinstall begins anew from the parent image, by choice with new persistent volumes. Addresses and host ports stay.
func (p *Pool) Reinstall(ctx context.Context, hash message.Hash, eraseVolumes bool) error {
	return p.order(ctx, hash, func(x *instance) error {
		if x.rec.Restore != nil {
			return fmt.Errorf("instance %s: %w", hash, ErrBusy)
		}
		if err := x.again(); err != nil {
			return err
		}
		x.reinstall, x.eraseData = true, eraseVolumes
		return nil
	})
}

// again has the machine end, if there is one, and start. pool.mu is held.
func (x *instance) again() error {
	if err := x.pool.admit(&x.rec); err != nil {
		return err
	}
	x.ending = x.machine != nil
	return x.want(wantedRunning)
}

// Erase ends an instance and removes all that belongs to it.
func (p *Pool) Erase(ctx context.Context, hash message.Hash) error {
	return p.order(ctx, hash, func(x *instance) error { return x.want(wantedErased) })
}

// Update reads again which ports the owner wants forwarded (spec/crn.md §4.9).
func (p *Pool) Update(ctx context.Context, hash message.Hash) error {
	p.mu.Lock()
	x := p.instances[hash]
	known := x != nil && x.here()
	p.mu.Unlock()
	if !known {
		return fmt.Errorf("instance %s: %w", hash, ErrUnknown)
	}
	if err := p.refreshPorts(ctx, x); err != nil {
		return err
	}
	return p.applyNetwork(ctx)
}

// Recreate sets the taps and rules of all instances anew, with the ports that their owners want now. It returns those that have a
// network card, and why the ports of some stay as they were; the error says that nothing was set.
func (p *Pool) Recreate(ctx context.Context) (done []message.Hash, failed map[message.Hash]error, err error) {
	p.mu.Lock()
	var connected []*instance
	for _, x := range p.instances {
		if x.here() && x.rec.Internet {
			connected = append(connected, x)
		}
	}
	p.mu.Unlock()
	failed = map[message.Hash]error{}
	for _, x := range connected {
		if err := p.refreshPorts(ctx, x); err != nil {
			failed[x.hash] = err
			continue
		}
		done = append(done, x.hash)
	}
	slices.Sort(done)
	return done, failed, p.applyNetwork(ctx)
}
