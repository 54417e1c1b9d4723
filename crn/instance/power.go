package instance

import (
	"context"
	"errors"
	"time"
)

// start prepares and starts the machine; that of a confidential instance only with its owner's session.
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
	r, s := x.rec, x.session
	p.mu.Unlock()

	begin := time.Now()
	m, err := p.boot(ctx, x, r, s)
	p.mu.Lock()
	defer p.mu.Unlock()
	x.abort = nil
	if err == nil && m == nil {
		x.prepared = ctx.Err() == nil
		if x.failures > 0 { // to get ready; why a machine ended is still of interest
			x.failures, x.failure = 0, nil
		}
		return
	}
	if err == nil {
		x.machine, x.failure = m, nil
		x.times.Started = time.Now()
		p.cfg.Log.Info("instance started", "hash", r.Hash, "took", time.Since(begin).Round(time.Millisecond))
		return
	}
	if ctx.Err() != nil || errors.Is(err, ErrFenced) {
		return // not its fault
	}
	x.session = nil
	if x.rec.Restore != nil {
		x.takeBack(err)
		return
	}
	x.failure = err
	if s != nil {
		x.settle(x.generation, err) // it waits for another session
		p.cfg.Log.Warn("confidential instance did not start", "hash", r.Hash, "error", err)
		return
	}
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
	x.callOff()
	p.mu.Lock()
	x.ending, x.times.Stopping = true, time.Now()
	still := x.still
	p.mu.Unlock()
	if still {
		x.cut(m)
		return
	}
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

// endWithNode ends the machine, if there is one, as the node stops. What is to run is started by the next node.
func (x *instance) endWithNode() {
	p := x.pool
	p.mu.Lock()
	m, still := x.machine, x.still
	if m == nil {
		p.mu.Unlock()
		return
	}
	x.ending, x.times.Stopping = true, time.Now()
	var err error
	if x.rec.Wanted == wantedRunning {
		// Written down first: a node that is killed now leaves a machine that is to begin again, not one that its guest turned off.
		err = x.want(wantedRunning)
	}
	p.mu.Unlock()
	if err != nil {
		p.cfg.Log.Error("instance goes on without the node", "hash", x.hash, "error", err)
		return
	}
	limit := time.NewTimer(p.cfg.EndWithin)
	defer limit.Stop()
	again := time.NewTicker(press)
	defer again.Stop()
	for late := still; !late; {
		m.PressPower()
		select {
		case <-m.Done():
			p.cfg.Log.Info("instance ends with the node", "hash", x.hash)
			x.collect(m)
			return
		case <-again.C:
		case <-limit.C:
			late = true
		}
	}
	p.cfg.Log.Warn("instance ends with the node, its power is cut", "hash", x.hash)
	if err := m.Kill(); err != nil {
		p.cfg.Log.Error("machine does not end", "hash", x.hash, "error", err)
		return
	}
	x.collect(m)
}

// collect clears up after a machine that has ended.
func (x *instance) collect(m Machine) {
	p := x.pool
	said := m.Said()
	if err := m.Release(); err != nil {
		p.cfg.Log.Error("machine not cleared up", "hash", x.hash, "error", err)
	}
	p.mu.Lock()
	r := x.rec
	p.mu.Unlock()
	if err := p.giveCardsBack(r); err != nil {
		p.cfg.Log.Error("graphics cards not given back", "hash", x.hash, "error", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	x.machine, x.ending, x.still, x.session = nil, false, false, nil
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
	case x.rec.confidential():
		x.failure = errors.New("its machine ended, and only its owner can start it again" + said)
		p.cfg.Log.Warn("confidential instance ended, it waits for its owner", "hash", x.hash, "said", said)
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

func (x *instance) mark(t *time.Time) {
	x.pool.mu.Lock()
	defer x.pool.mu.Unlock()
	*t = time.Now()
}
