package instance

import (
	"context"
	"sync"
	"time"
)

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

// next decides it. It is a pure function of what is and what is to be. pool.mu is held.
func (x *instance) next(now time.Time) step {
	if x.machine != nil {
		select {
		case <-x.machine.Done():
			return stepCollect
		default:
		}
		switch restore := x.rec.Restore; {
		case x.awaitsWord():
			if now.Before(x.retry) {
				return stepNone
			}
			return stepFetch
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
	case x.awaits():
		return stepNone
	}
	return stepStart
}

// due reports whether there is something to do, once it is time to try again. There is no machine. pool.mu is held.
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
	if x.late {
		p.catchUp(x.hash, x.machine)
	}
	for p.life.Err() == nil {
		p.mu.Lock()
		now := time.Now()
		do, generation := x.next(now), x.generation
		machine, failure := x.machine, x.failure
		var pause <-chan time.Time
		if do == stepNone {
			fenced := x.fenced(now)
			if x.awaits() {
				failure = nil // what became of an earlier start
			}
			if fenced && x.runs() {
				failure = ErrFenced
			}
			x.settle(generation, failure)
			var then time.Time // when there may be something to do by itself
			if (x.rec.Restore != nil || (machine == nil || x.awaitsWord()) && x.due()) && now.Before(x.retry) {
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
	x.callOff()
	if p.cfg.EndWithin > 0 {
		x.endWithNode()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if x.machine != nil {
		if err := x.machine.Detach(); err != nil {
			p.cfg.Log.Warn("instance left badly", "hash", x.hash, "error", err)
		}
	}
	x.settle(x.generation, ErrStopped)
}
