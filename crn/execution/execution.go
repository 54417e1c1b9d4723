package execution

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/guest"
	"github.com/aleph-im/aleph-go/crn/logfile"
	"github.com/aleph-im/aleph-go/crn/vm"
	"github.com/aleph-im/aleph-go/guest/wire"
	"github.com/aleph-im/aleph-go/message"
)

// Times are when an execution entered each state (spec/crn.md §1.2); zero for those that it has not reached.
type Times struct {
	Defined, Preparing, Prepared, Starting, Started, Stopping, Stopped time.Time
}

// Info describes an execution at one moment.
type Info struct {
	Hash       message.Hash
	Slot       int // number among the machines of the node; addresses derive from it
	Persistent bool
	Running    bool // it answers calls
	Calls      int  // in progress
	MemoryMiB  int  // of the host, QEMU's own included
	Times      Times
	Machine    vm.Status
	Program    *message.Program // nil before it runs
}

// Execution is one workload from its definition to the end of its machine.
type Execution struct {
	pool *Pool
	hash message.Hash
	slot int

	// Written while starting by one goroutine, read by others only after ready is closed.
	program  *message.Program
	code     corenode.File
	runtime  corenode.File
	drives   []vm.Drive
	volumes  []wire.Volume
	archives []wire.Archive
	machine  vm.Machine
	session  *guest.Session
	snapshot string // where the program is kept to be copied; empty when it is not
	copied   bool   // the machine is a copy
	logs     *logfile.Log
	http     *guest.Transport
	startErr error

	ready   chan struct{} // closed when started, or when starting failed
	drained chan struct{} // closed when stopping and no call is left
	stop    chan struct{} // closed to ask for the end
	stopped chan struct{} // closed when nothing of it is left

	// Guarded by pool.mu.
	times    Times
	inflight int
	lastUse  time.Time
	idle     *time.Timer
	expiry   *time.Timer // the end that its owner set
	share    share
	uses     []Use
	admitted bool // it has its part of the node, or ended without
	outdated bool // it ends, and what is kept is started again at once
}

// hook is one concern in the life of an execution. stop undoes what start did and must cope with whatever became of it since.
type hook interface {
	start(ctx context.Context, x *Execution) error
	stop(ctx context.Context, x *Execution)
}

func newExecution(p *Pool, hash message.Hash, slot int) *Execution {
	return &Execution{
		pool: p, hash: hash, slot: slot, times: Times{Defined: time.Now()},
		ready: make(chan struct{}), drained: make(chan struct{}), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
}

// bootFrom is the first hook that needs a machine; those before it prepare.
func bootFrom(hooks []hook) int {
	for i, h := range hooks {
		if _, ok := h.(machineHook); ok {
			return i
		}
	}
	return len(hooks)
}

// stopGrace bounds the orderly end of a machine.
const stopGrace = 10 * time.Second

// run owns the execution from start to end.
func (x *Execution) run() {
	done, err := x.start()
	x.pool.mu.Lock()
	x.startErr = err
	if err == nil {
		x.times.Started = time.Now()
		if x.outdated {
			x.requestStop()
		} else if x.inflight == 0 {
			x.arm()
		}
	} else {
		x.requestStop() // who asks from now on gets another try, not this error
	}
	x.pool.mu.Unlock()
	close(x.ready)
	if err == nil {
		x.pool.cfg.Log.Info("program started", "hash", x.hash, "copied", x.copied, "took", time.Since(x.times.Defined).Round(time.Millisecond))
		x.live()
	} else {
		// Anyone may ask for hashes that do not exist; that is no event.
		level := slog.LevelWarn
		if errors.Is(err, corenode.ErrNotFound) {
			level = slog.LevelDebug
		}
		x.pool.cfg.Log.Log(context.Background(), level, "program did not start", "hash", x.hash, "error", err)
	}

	x.pool.mu.Lock()
	x.times.Stopping = time.Now()
	x.requestStop()
	x.disarm()
	if x.expiry != nil {
		x.expiry.Stop()
	}
	x.pool.mu.Unlock()
	if err == nil && !x.ended() {
		select {
		case <-x.drained:
		case <-x.session.Done():
		case <-time.After(x.pool.cfg.DrainTimeout):
		case <-x.pool.life.Done():
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	for _, h := range backwards(done) {
		h.stop(ctx, x)
	}
	x.pool.forget(x)
	close(x.stopped)
	if err == nil {
		x.pool.cfg.Log.Info("program ended", "hash", x.hash)
	}
}

// start runs the hooks and returns those that must be undone.
func (x *Execution) start() (done []hook, err error) {
	p := x.pool
	ctx, cancel := context.WithCancel(p.life)
	defer cancel()
	// A stop that is asked for while starting ends the start.
	unhook := make(chan struct{})
	defer close(unhook)
	p.running.Go(func() {
		select {
		case <-x.stop:
			cancel()
		case <-unhook:
		}
	})

	x.mark(&x.times.Preparing)
	boot := bootFrom(p.hooks)
	for i, h := range p.hooks {
		if i == boot {
			x.mark(&x.times.Prepared)
			select {
			case p.boots <- struct{}{}:
				defer func() { <-p.boots }()
			case <-ctx.Done():
				return done, ErrDraining
			}
			x.mark(&x.times.Starting)
			var cancelBoot context.CancelFunc
			ctx, cancelBoot = context.WithTimeout(ctx, p.cfg.InitTimeout)
			defer cancelBoot()
		}
		done = append(done, h)
		if err := h.start(ctx, x); err != nil {
			select {
			case <-x.stop:
				return done, fmt.Errorf("program %s was stopped while it started: %w", x.hash, ErrDraining)
			default:
			}
			return done, err
		}
	}
	return done, nil
}

// live waits for whatever ends the execution.
func (x *Execution) live() {
	select {
	case <-x.stop:
	case <-x.session.Done():
		x.pool.cfg.Log.Warn("program ended by itself", "hash", x.hash, "error", x.Failure())
	case <-x.machine.Done():
		x.pool.cfg.Log.Warn("machine ended by itself", "hash", x.hash, "error", x.machine.Err())
	case <-x.pool.life.Done():
	}
}

// ended reports whether the program or its machine is gone.
func (x *Execution) ended() bool {
	select {
	case <-x.session.Done():
		return true
	case <-x.machine.Done():
		return true
	default:
		return false
	}
}

// isDead reports whether it had started and its program or machine is gone, even before run has noticed. pool.mu is held.
func (x *Execution) isDead() bool { return !x.times.Started.IsZero() && x.ended() }

func (x *Execution) mark(t *time.Time) {
	x.pool.mu.Lock()
	defer x.pool.mu.Unlock()
	*t = time.Now()
}

// Release ends a call that [Pool.Acquire] began.
func (x *Execution) Release() {
	x.pool.mu.Lock()
	defer x.pool.mu.Unlock()
	x.inflight--
	x.lastUse = time.Now()
	if x.inflight > 0 {
		return
	}
	if x.isStopping() {
		close(x.drained)
	} else if !x.times.Started.IsZero() {
		x.arm()
	}
}

// arrived notes that it has its part of the node, or needs none any more. pool.mu is held.
func (x *Execution) arrived() {
	if !x.admitted {
		x.admitted = true
		x.pool.arriving--
	}
}

// arm begins the idle time. pool.mu is held.
func (x *Execution) arm() {
	if x.pool.kept[x.hash] != nil {
		return
	}
	x.disarm()
	var timer *time.Timer
	timer = time.AfterFunc(x.pool.cfg.ReuseTimeout, func() {
		x.pool.mu.Lock()
		defer x.pool.mu.Unlock()
		// A call may have begun, or the program been allocated, between the timer's end and here.
		if x.idle == timer && x.inflight == 0 && x.pool.kept[x.hash] == nil {
			x.requestStop()
		}
	})
	x.idle = timer
}

// disarm ends the idle time. pool.mu is held.
func (x *Execution) disarm() {
	if x.idle != nil {
		x.idle.Stop()
		x.idle = nil
	}
}

// requestStop asks for the end, once the calls in progress are done; no new ones are taken. pool.mu is held.
func (x *Execution) requestStop() {
	if x.isStopping() {
		return
	}
	close(x.stop)
	if x.inflight == 0 {
		close(x.drained)
	}
}

func (x *Execution) isStopping() bool {
	select {
	case <-x.stop:
		return true
	default:
		return false
	}
}

func (x *Execution) info() Info {
	i := Info{
		Hash: x.hash, Slot: x.slot, Persistent: x.pool.kept[x.hash] != nil, Calls: x.inflight, MemoryMiB: x.share.memoryMiB, Times: x.times,
		Running: !x.times.Started.IsZero() && !x.isStopping(),
	}
	if !x.times.Started.IsZero() {
		i.Program = x.program
	}
	if i.Running {
		i.Machine = x.machine.Inspect()
	}
	return i
}

// Hash is the program's message.
func (x *Execution) Hash() message.Hash { return x.hash }

// CodeRef is the STORE message of the code in use, after following later versions.
func (x *Execution) CodeRef() message.Hash { return x.code.Ref }

// AnswerWithin is how long the program may take to begin its answer.
func (x *Execution) AnswerWithin() time.Duration {
	return time.Duration(x.program.Resources.Seconds) * time.Second
}

// Transport carries HTTP requests to the program.
func (x *Execution) Transport() http.RoundTripper { return x.http }

// Failure says why the program cannot answer any more, or nil while it can. Seen from a connection that broke, the reason may
// still be on its way from the guest: it is waited for, a moment.
func (x *Execution) Failure() error {
	x.session.Follow()
	select {
	case <-x.session.Done():
	case <-x.machine.Done():
	case <-time.After(time.Second):
		return nil
	}
	select {
	case <-x.session.Done():
	case <-time.After(time.Second):
	}
	return x.describe(x.session.Err())
}

// describe adds to an end of the program what only the host knows.
func (x *Execution) describe(err error) error {
	var exit *guest.ExitError
	if errors.As(err, &exit) && exit.OOM {
		return fmt.Errorf("%w; it has %d MiB (resources.memory in its message)", err, x.program.Resources.MemoryMiB)
	}
	return err
}

func backwards(hooks []hook) []hook {
	reversed := make([]hook, 0, len(hooks))
	for i := len(hooks) - 1; i >= 0; i-- {
		reversed = append(reversed, hooks[i])
	}
	return reversed
}

func compareHash(a, b message.Hash) int { return strings.Compare(string(a), string(b)) }
