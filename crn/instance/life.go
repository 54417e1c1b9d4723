package instance

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aleph-im/aleph-go/crn/logfile"
	"github.com/aleph-im/aleph-go/crn/tap"
	"github.com/aleph-im/aleph-go/message"
)

// Times are when an instance entered each state (spec/crn.md §1.2); zero for those that it has not reached.
type Times struct {
	Defined, Preparing, Prepared, Starting, Started, Stopping, Stopped time.Time
}

// instance is one workload. Its goroutine alone starts and ends its machine.
type instance struct {
	pool *Pool
	hash message.Hash
	wake chan struct{} // something was asked for

	// Guarded by pool.mu.
	rec        record
	times      Times
	machine    Machine
	console    *logfile.Log       // of its machine, or of the last one
	ending     bool               // the machine was told to end
	busy       bool               // its disks are copied, or an image to restore is on its way
	reinstall  bool               // begin with a new root disk
	eraseData  bool               // and new persistent volumes
	restored   bool               // it has run from the image that was last restored
	abort      context.CancelFunc // of the start in progress
	failures   int                // starts that failed or machines that crashed, one after the other
	retry      time.Time          // not to be started before
	failure    error              // of the last start
	expiry     *time.Timer        // stops it, unless nil
	generation int                // of what is asked for
	waiting    []waiter

	lease       time.Time          // until when it may run here, if it has a replica
	replicaEnd  context.CancelFunc // ends what is done for its replica, until there are news
	replicaNews chan struct{}      // its replica is another one

	fetched atomic.Int64 // bytes of its disks, while it arrives
}

// waiter waits until what was asked for up to a generation is done, or has failed.
type waiter struct {
	generation int
	settled    chan error
}

func newInstance(p *Pool, r record) *instance {
	x := &instance{pool: p, hash: r.Hash, rec: r, wake: make(chan struct{}, 1), replicaNews: make(chan struct{}, 1), times: Times{Defined: r.Defined}}
	if r.Refusal != "" {
		x.failure = refusal(r.Refusal)
	}
	return x
}

// Of the methods of instance, those up to next need pool.mu to be held; the steps after that take it themselves.

// here reports whether the instance is one of this node.
func (x *instance) here() bool { return x.rec.Wanted == wantedRunning || x.rec.Wanted == wantedStopped }

// runs reports whether it is to run and may.
func (x *instance) runs() bool { return x.rec.Wanted == wantedRunning && x.rec.Refusal == "" }

// memory is what it holds or will hold, QEMU's own need included, in MiB.
func (x *instance) memory() int {
	if x.runs() || x.machine != nil || x.rec.Wanted == wantedArriving {
		return x.rec.MemoryMiB + x.pool.cfg.OverheadMiB
	}
	return 0
}

func (x *instance) addresses() tap.Addresses {
	return tap.AddressesOf(x.pool.cfg.IPv6Pool, x.rec.Slot, x.rec.Hash, tap.KindInstance)
}

func (x *instance) info() Info {
	i := Info{
		Hash: x.rec.Hash, Owner: x.rec.Owner, Payment: x.rec.Payment, Chain: x.rec.Chain, Stopped: x.rec.Wanted == wantedStopped, Addresses: x.addresses(),
		MemoryMiB: x.memory(), Times: x.times,
	}
	if x.rec.Internet {
		i.Ports = append(i.Ports, x.rec.Ports...)
	}
	if x.machine != nil {
		i.Machine = x.machine.Inspect()
		i.Running = i.Machine.Running && x.rec.Wanted == wantedRunning
	} else if x.rec.Wanted == wantedRunning {
		i.Failure = x.failure
	}
	return i
}

// want sets what is to be and writes it down.
func (x *instance) want(w wanted) error { return x.wantMove(w, nil) }

// wantMove is want for what moves.
func (x *instance) wantMove(w wanted, m *move) error {
	changed := x.rec
	changed.Move = m
	if w == wantedReleased || w == wantedLeaving {
		changed.Replica = nil // the disks are another node's now, or will be
	}
	changed.Wanted, changed.Changed, changed.Refusal = w, time.Now(), ""
	// What is just being ended comes to its end first.
	changed.Restart = w == wantedRunning && x.ending
	if w == wantedReleased || w == wantedLeaving {
		changed.Ports = nil
	}
	if err := x.pool.records.save(changed); err != nil {
		return err
	}
	x.setRecord(changed)
	if w != wantedRunning {
		x.forgetExpiry()
	}
	x.failures, x.retry, x.failure = 0, time.Time{}, nil
	return nil
}

func (x *instance) forgetExpiry() {
	if x.expiry != nil {
		x.expiry.Stop()
		x.expiry = nil
	}
}

// asked tells the goroutine that something new was asked for, and returns what to wait on.
func (x *instance) asked() <-chan error {
	x.generation++
	if x.abort != nil {
		x.abort()
	}
	return x.await()
}

func (x *instance) await() <-chan error {
	w := waiter{x.generation, make(chan error, 1)}
	x.waiting = append(x.waiting, w)
	signal(x.wake)
	return w.settled
}

// settle answers those whose wish was tended to.
func (x *instance) settle(generation int, err error) {
	var left []waiter
	for _, w := range x.waiting {
		if w.generation <= generation {
			w.settled <- err
		} else {
			left = append(left, w)
		}
	}
	x.waiting = left
}

// step is what an instance needs next.
type step int

const (
	stepNone step = iota
	stepCollect
	stepStop
	stepFence
	stepErase
	stepNewDisks
	stepStart
	stepList
	stepFetch
	stepSwap
	stepKeep
	stepPutBack
)

// next decides it. It is a pure function of what is and what is to be.
func (x *instance) next(now time.Time) step {
	if x.machine != nil {
		select {
		case <-x.machine.Done():
			return stepCollect
		default:
		}
		switch restore := x.rec.Restore; {
		case x.rec.Wanted != wantedRunning || x.rec.Restart || restore != nil && !restore.Swapped:
			return stepStop
		case x.fenced(now):
			return stepFence
		case restore != nil && !now.Before(x.retry):
			return stepKeep // it runs with it
		}
		return stepNone
	}
	switch restore := x.rec.Restore; {
	case x.rec.Wanted == wantedErased:
		return stepErase
	case restore != nil && now.Before(x.retry):
		return stepNone
	case restore != nil && restore.Kept:
		return stepKeep
	case restore != nil && !x.here():
		return stepPutBack
	case restore != nil && !restore.Swapped:
		return stepSwap
	case x.reinstall:
		return stepNewDisks
	case !x.due() || now.Before(x.retry) || x.fenced(now):
		return stepNone
	case x.rec.Wanted == wantedLeaving:
		return stepList
	case x.rec.Wanted == wantedArriving:
		return stepFetch
	}
	return stepStart
}

// due reports whether there is something to do, once it is time to try again. There is no machine.
func (x *instance) due() bool {
	return x.runs() || x.rec.Wanted == wantedLeaving && !x.rec.Move.Ready || x.rec.Wanted == wantedArriving
}

// run owns the instance until the pool ends or it is erased.
func (x *instance) run() {
	p := x.pool
	replicating, end := context.WithCancel(p.life)
	var beside sync.WaitGroup
	beside.Go(func() { x.replicate(replicating) })
	defer func() { end(); beside.Wait() }()
	for p.life.Err() == nil {
		p.mu.Lock()
		now := time.Now()
		do, generation := x.next(now), x.generation
		machine, failure := x.machine, x.failure
		var pause <-chan time.Time
		if do == stepNone {
			fenced := x.fenced(now)
			if fenced && x.runs() {
				failure = ErrFenced
			}
			x.settle(generation, failure)
			var then time.Time // when there may be something to do by itself
			if (x.rec.Restore != nil || machine == nil && x.due()) && now.Before(x.retry) {
				then = x.retry
			}
			if machine != nil && x.rec.Replica != nil && (then.IsZero() || x.lease.Before(then)) {
				then = x.lease
			}
			if !then.IsZero() {
				pause = time.After(time.Until(then))
			}
		}
		p.mu.Unlock()
		switch do {
		case stepNone:
			var ended <-chan struct{}
			if machine != nil {
				ended = machine.Done()
			}
			select {
			case <-x.wake:
			case <-ended:
			case <-pause:
			case <-p.life.Done():
			}
		case stepCollect:
			x.collect(machine)
		case stepStop:
			x.stop(machine)
		case stepFence:
			x.fence(machine)
		case stepNewDisks:
			x.newDisks()
		case stepStart:
			x.start()
		case stepList:
			x.list()
		case stepFetch:
			x.fetch()
		case stepSwap:
			x.swap()
		case stepKeep:
			x.keepRestored()
		case stepPutBack:
			x.leaveRestoring()
		case stepErase:
			end()
			beside.Wait() // what is on its way to the holder of its replica is not to come there afterwards
			x.erase()
			return
		}
	}
	beside.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if x.machine != nil {
		if err := x.machine.Detach(); err != nil {
			p.cfg.Log.Warn("instance left badly", "hash", x.hash, "error", err)
		}
	}
	x.settle(x.generation, ErrStopped)
}

// start prepares and starts the machine.
func (x *instance) start() {
	p := x.pool
	ctx, cancel := context.WithCancel(p.life)
	defer cancel()
	p.mu.Lock()
	x.abort = cancel
	if x.next(time.Now()) != stepStart {
		cancel() // asked otherwise just now
	}
	x.times = Times{Defined: x.times.Defined, Preparing: time.Now()}
	r := x.rec
	p.mu.Unlock()

	begin := time.Now()
	m, err := p.boot(ctx, x, r)
	p.mu.Lock()
	defer p.mu.Unlock()
	x.abort = nil
	if err == nil {
		x.machine, x.failure = m, nil
		x.times.Started = time.Now()
		p.cfg.Log.Info("instance started", "hash", r.Hash, "took", time.Since(begin).Round(time.Millisecond))
		return
	}
	if ctx.Err() != nil || errors.Is(err, ErrFenced) {
		return // not its fault
	}
	if x.rec.Restore != nil {
		x.takeBack(err)
		return
	}
	x.failure = err
	if errors.Is(err, ErrRefused) && x.refuse(err) == nil {
		p.cfg.Log.Warn("instance refused", "hash", r.Hash, "error", err)
		return
	}
	x.patience()
	p.cfg.Log.Warn("instance did not start", "hash", r.Hash, "error", err, "again", time.Until(x.retry).Round(time.Second))
}

// refuse writes down that it is not to be tried again. pool.mu is held.
func (x *instance) refuse(why error) error {
	changed := x.rec
	changed.Refusal = why.Error()
	if err := x.pool.records.save(changed); err != nil {
		return err
	}
	x.rec = changed
	return nil
}

// patience sets when the next try is due (pool.mu is held): after a second, and twice as long each time, up to a minute.
func (x *instance) patience() {
	x.retry = time.Now().Add(min(time.Second<<min(x.failures, 6), time.Minute))
	x.failures++
}

// press is how often the power button is pressed: a guest that boots does not heed it yet.
const press = 5 * time.Second

// stop lets the guest turn itself off, and cuts its power when that takes too long, or longer than it may run here.
func (x *instance) stop(m Machine) {
	p := x.pool
	p.mu.Lock()
	x.ending, x.times.Stopping = true, time.Now()
	p.mu.Unlock()
	limit := time.NewTimer(p.cfg.StopTimeout)
	defer limit.Stop()
	again := time.NewTicker(press)
	defer again.Stop()
	for {
		m.PressPower()
		p.mu.Lock()
		var fenced <-chan time.Time
		if x.rec.Replica != nil {
			fenced = time.After(time.Until(x.lease))
		}
		p.mu.Unlock()
		select {
		case <-m.Done():
			return
		case <-p.life.Done():
			return // the next node goes on with it
		case <-again.C:
			continue
		case <-fenced:
			if !x.fencedNow() {
				continue // it has got another lease meanwhile
			}
		case <-limit.C:
		}
		x.cut(m)
		return
	}
}

// cut cuts the power. Where that fails, it returns when it may be tried again.
func (x *instance) cut(m Machine) {
	err := m.Kill()
	if err == nil {
		return
	}
	x.pool.cfg.Log.Error("machine does not end", "hash", x.hash, "error", err)
	select {
	case <-m.Done():
	case <-x.pool.life.Done():
	case <-time.After(press):
	}
}

// collect clears up after a machine that has ended.
func (x *instance) collect(m Machine) {
	p := x.pool
	said := m.Said()
	if err := m.Release(); err != nil {
		p.cfg.Log.Error("machine not cleared up", "hash", x.hash, "error", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	x.machine, x.ending = nil, false
	x.times.Stopped = time.Now()
	switch {
	case x.rec.Wanted != wantedRunning:
		p.cfg.Log.Info("instance ended", "hash", x.hash)
	case x.rec.Restart, x.rec.Restore != nil && !x.rec.Restore.Swapped:
		x.record(wantedRunning)
	case m.TurnedOff():
		p.cfg.Log.Info("instance turned itself off", "hash", x.hash)
		x.record(wantedStopped)
	case x.fenced(time.Now()):
	default:
		if time.Since(x.times.Started) > time.Minute {
			x.failures = 0
		}
		x.failure = errors.New("its machine crashed" + said)
		x.patience()
		p.cfg.Log.Warn("machine crashed, it is started again", "hash", x.hash, "said", said)
	}
	if !x.here() {
		p.running.Go(func() { // the rules, too, are to forget it
			if err := p.applyNetwork(p.life); err != nil && p.life.Err() == nil {
				p.cfg.Log.Error("network not cleared up", "error", err)
			}
		})
	}
}

// record is want for what happened by itself: there is nobody to tell of an error. pool.mu is held.
func (x *instance) record(w wanted) {
	if err := x.want(w); err != nil {
		x.pool.cfg.Log.Error("not recorded", "error", err)
		x.failure = err
		x.patience()
	}
}

// newDisks removes what a reinstallation replaces.
func (x *instance) newDisks() {
	p := x.pool
	p.mu.Lock()
	data := x.eraseData
	p.mu.Unlock()
	err := p.removeDisks(x.hash, data)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		x.failure = fmt.Errorf("reinstall: %w", err)
		p.cfg.Log.Error("disks not removed", "hash", x.hash, "error", err)
		x.settle(x.generation, x.failure)
	}
	x.reinstall, x.eraseData = false, false
}

// erase removes everything.
func (x *instance) erase() {
	p := x.pool
	hash := x.hash
	p.mu.Lock()
	replicated := x.rec.Replica
	p.mu.Unlock()
	if replicated != nil {
		// Without this word it is another line's replica, and goes when nobody asks for one any more.
		if err := p.holder(hash, replicated).Reset(p.life); err != nil {
			p.cfg.Log.Warn("replica of an erased instance not removed", "hash", hash, "holder", replicated.Holder, "error", err)
		}
	}
	err := errors.Join(p.removeDisks(hash, true), p.removeAll(hash))
	p.mu.Lock()
	if err == nil {
		err = p.records.remove(hash)
	}
	if err == nil {
		delete(p.instances, hash)
	}
	p.mu.Unlock()
	err = errors.Join(err, p.removeParents(), p.applyNetwork(p.life))
	if err != nil {
		p.cfg.Log.Error("instance not erased", "hash", hash, "error", err)
	} else {
		p.cfg.Log.Info("instance erased", "hash", hash)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	x.settle(x.generation, err)
}

func (x *instance) mark(t *time.Time) {
	x.pool.mu.Lock()
	defer x.pool.mu.Unlock()
	*t = time.Now()
}
