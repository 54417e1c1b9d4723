package execution

import (
	"context"
	_ "embed"
	"errors"
	"slices"
	"time"

	"github.com/aleph-im/aleph-go/crn/guest"
	"github.com/aleph-im/aleph-go/crn/vm"
	"github.com/aleph-im/aleph-go/message"
)

// A program starts as a copy of itself where it can: when it is ready for the first time its machine is kept, as it is before
// the first call, and goes on in a copy; from then on every start is a copy of that, which takes a small part of the time. What
// cannot be copied boots, and so does a program whose snapshot turns out to be of no use, which is removed.

// snapshotVariable of a program's message says "yes" or "no" to being copied.
const snapshotVariable = "ALEPH_SNAPSHOT"

// reseedScript starts a Python program such that random numbers are made new in each copy. Its arguments are the socket where it
// hears that it is one, the program's file, and the program's own.
//
//go:embed reseed.py
var reseedScript string

// copyable reports whether a program may turn out to be one that goes on in copies. What its machine writes to would have to be
// copied with it.
func (p *Pool) copyable(x *Execution) bool {
	if p.snapshots == nil || isWasm(x.program) || slices.ContainsFunc(x.drives, func(d vm.Drive) bool { return !d.ReadOnly }) {
		return false
	}
	switch x.program.Variables[snapshotVariable] {
	case "yes":
		return true
	case "no":
		return false
	}
	if x.program.Code.EffectiveInterface() == message.InterfaceASGI {
		return true
	}
	// Whether a binary is willing shows when it is ready. Until it ends its memory is in a file then, on the disk: one that stays
	// had better not try.
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.kept[x.hash] == nil
}

// willing reports whether a program that is ready may go on in copies: its message says so, or all of its processes wait to hear
// of it, as Python and Node do by our doing. What others hold, a generator of random numbers that would repeat itself, only their
// author knows.
func (p *Pool) willing(x *Execution) bool {
	return x.program.Variables[snapshotVariable] == "yes" || x.session.Renews()
}

// restoreLimit is how long a copy may take until it can answer. It takes a fraction of a second.
const restoreLimit = 20 * time.Second

// restore starts the program as a copy, when it was kept before, and reports whether it did.
func (p *Pool) restore(ctx context.Context, x *Execution) bool {
	if x.snapshot == "" || !p.snapshots.use(x.snapshot) {
		return false
	}
	within, cancel := context.WithTimeout(ctx, restoreLimit)
	defer cancel()
	err := p.startCopy(within, x)
	if err == nil {
		x.copied = true
		return true
	}
	x.abandon(ctx)
	if ctx.Err() == nil { // else it is the start that was given up
		p.cfg.Log.Warn("snapshot removed, the program boots instead", "hash", x.hash, "error", errors.Join(err, p.snapshots.remove(x.snapshot)))
	}
	return false
}

func (p *Pool) startCopy(ctx context.Context, x *Execution) (err error) {
	if x.machine, err = p.snapshots.driver.Restore(ctx, p.spec(x), x.snapshot); err != nil {
		return err
	}
	s, err := guest.Resume(ctx, x.machine.Channel(), x.logs.Add)
	if err != nil {
		return err
	}
	x.talk(s)
	return nil
}

// goOnAsCopy saves the machine of a program that has just become ready. The machine ends with it, so that the program goes on in a copy
// already now; where that fails it boots once more, and its machine is not kept again.
func (p *Pool) goOnAsCopy(ctx context.Context, x *Execution) error {
	err := x.session.Park(ctx)
	if err == nil {
		err = p.snapshots.save(ctx, x.machine, x.snapshot)
	}
	x.abandon(ctx)
	if err == nil && p.restore(ctx, x) {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil { // else it was restoring that failed, and that was said
		p.cfg.Log.Warn("program cannot be copied, it boots instead", "hash", x.hash, "error", err)
	}
	p.snapshots.refuse(x.snapshot)
	x.snapshot = ""
	if err := (machineHook{p}).boot(ctx, x); err != nil {
		return err
	}
	return (guestHook{p}).configure(ctx, x)
}

// abandon ends a machine that the program does not go on in.
func (x *Execution) abandon(ctx context.Context) {
	if x.machine != nil {
		now, cancel := context.WithCancel(ctx)
		cancel()
		_ = x.machine.Stop(now) // what was wrong with it is known
	}
	if x.session != nil {
		x.session.Close()
	}
	x.machine, x.session = nil, nil
}

// snapshotPath is where the program is kept: a name made of all that a snapshot depends on. The drives are files of the network,
// named by the hashes of their bytes, and so are in the driver's key. It is empty for a program that is not to be copied.
func (p *Pool) snapshotPath(ctx context.Context, x *Execution) string {
	if !p.copyable(x) {
		return ""
	}
	key, err := p.snapshots.driver.SnapshotKey(ctx, p.spec(x))
	if err != nil {
		p.cfg.Log.Warn("program boots: nobody can tell what its snapshot would depend on", "hash", x.hash, "error", err)
		return ""
	}
	return p.snapshots.path(x.hash, key, guestConfig(x, true))
}
