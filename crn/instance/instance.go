package instance

import (
	"context"
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

	portsReading sync.Mutex // what is read last of the owner's wishes is what holds

	// Guarded by pool.mu.
	rec        record
	times      Times
	machine    Machine
	console    *logfile.Log       // of its machine, or of the last one
	prepared   bool               // all is ready for a confidential machine but the session of its owner
	session    *session           // for the next start of one
	ending     bool               // the machine was told to end
	busy       bool               // its disks are copied, or an image to restore is on its way
	reinstall  bool               // begin with a new root disk
	eraseData  bool               // and new persistent volumes
	restored   bool               // it has run from the image that was last restored
	offer      *offer             // what may be fetched ahead of a move
	passage    *passage           // of its memory to another node
	still      bool               // its guest stands still for a move, and hears no power button
	late       bool               // its guest stood still when this node adopted it
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
	replicated  time.Time          // as of when the replica is

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

// The methods of instance in this file need pool.mu to be held.

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

// networked reports whether the network is to know it.
func (x *instance) networked() bool {
	return x.here() || x.rec.Wanted == wantedArriving && x.rec.Move.Live
}

// inside are the addresses that its guest knows, unless they are its own.
func (x *instance) inside() *tap.Addresses {
	if x.rec.Kept == nil {
		return nil
	}
	a := x.rec.Kept.addresses(x.hash)
	return &a
}

func (x *instance) info() Info {
	i := Info{
		Hash: x.rec.Hash, Owner: x.rec.Owner, Payment: x.rec.Payment, Chain: x.rec.Chain, Stopped: x.rec.Wanted == wantedStopped, Addresses: x.addresses(),
		MemoryMiB: x.memory(), Times: x.times, Awaiting: x.awaits(), Confidential: x.rec.confidential(),
	}
	if x.rec.Replica != nil {
		i.Holder, i.Replicated = x.rec.Replica.Holder, x.replicated
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
	x.session = nil
	if w != wantedRunning {
		x.forgetExpiry()
		x.prepared = false
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
