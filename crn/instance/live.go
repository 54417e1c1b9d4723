package instance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/crn/image"
	"github.com/aleph-im/aleph-go/crn/tap"
	"github.com/aleph-im/aleph-go/message"
)

// An instance goes with its memory where both nodes can (decision 0047). Once its disks have come ahead, the other node starts a
// machine and asks for the memory (receive.go). Here it is sent while the guest runs. Then the guest stands still: the other node
// fetches what differs of the disks and asks for the instance. Whatever breaks before that, the guest goes on here as if nothing had
// been; from the yes on the instance is the other node's, as in any move.

// Live is what it takes to go with the memory.
type Live struct {
	Form  string      `json:"form"`  // of its machine, which that of the other node must have too
	Files []MovedFile `json:"files"` // that its guest sees and that a new start would make anew; without hashes
	Kept  kept        `json:"addresses"`
}

// kept are what addresses of a guest derive from, on the node that gave them to it.
type kept struct {
	Slot int          `json:"slot"`
	Pool netip.Prefix `json:"pool"`
}

func (k kept) addresses(hash message.Hash) tap.Addresses {
	return tap.AddressesOf(k.Pool, k.Slot, hash, tap.KindInstance)
}

// check refuses what no node gives its guests.
func (k kept) check() error {
	if k.Slot < 0 || k.Slot > tap.MaxSlot || !k.Pool.Addr().Is6() || k.Pool.Bits() > 64 || k.Pool.Bits() < 1 || !k.Pool.Addr().IsGlobalUnicast() {
		return fmt.Errorf("%w: no node gives its guests addresses of number %d and %s", ErrUnsupported, k.Slot, k.Pool)
	}
	return nil
}

// scratchPrefix is that of disks that are new at each start, which travel in such a move.
const scratchPrefix = "scratch."

// liveNames are the files that travel in such a move alone, and how long each may be, in bytes.
func liveNames(m *message.Instance) map[string]int64 {
	names := map[string]int64{seedFile: 16 << 20}
	for i, v := range m.Volumes {
		if v.Kind == message.VolumeEphemeral {
			names[volumeFile(v, i)] = v.SizeMiB << 20
		}
	}
	return names
}

// volumeFile names the file of a writable volume that travels.
func volumeFile(v message.Volume, i int) string {
	prefix := dataPrefix
	if v.Kind == message.VolumeEphemeral {
		prefix = scratchPrefix
	}
	return prefix + image.VolumeName(v, i)
}

// live says what it takes for an instance that runs; nil where nothing is known of its machine. pool.mu is held.
func (x *instance) live() (*Live, error) {
	p := x.pool
	l := &Live{Form: x.machine.Form(), Kept: kept{x.rec.Slot, p.cfg.IPv6Pool}}
	if l.Form == "" || x.rec.Hardware != nil {
		return nil, nil
	}
	if x.rec.Kept != nil {
		l.Kept = *x.rec.Kept
	}
	scratch, err := filepath.Glob(p.movedPath(x.hash, "", scratchPrefix+"*"))
	if err != nil {
		return nil, err
	}
	names := []string{seedFile}
	for _, path := range scratch {
		names = append(names, scratchPrefix+strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)))
	}
	for _, name := range names {
		file, err := outline(p.movedPath(x.hash, "", name))
		if err != nil {
			return nil, fmt.Errorf("disk %s: %w", name, err)
		}
		file.Name = name
		l.Files = append(l.Files, file)
	}
	return l, nil
}

// passage is the way of an instance's memory to another node. The goroutine of SendMemory owns it.
type passage struct {
	token   string
	machine Machine
	names   []string           // of files that travel
	end     context.CancelFunc // has the guest go on here, unless it was given away
	over    chan struct{}      // closed when it has ended

	// Guarded by pool.mu.
	still bool // the guest stands still
	given bool // the instance is another node's
}

const (
	// standLimit is how long a guest may stand still.
	standLimit = 15 * time.Minute
	// beat is how often a node says that its guest still stands still.
	beat = 5 * time.Second
	// memoryTimes bounds what may travel of a memory, in times of its size.
	memoryTimes = 8
	// travelBegin is how long the smallest memory may travel, and travelRate how much longer a larger one may, in MiB a second.
	travelBegin = 10 * time.Minute
	travelRate  = 4
)

// travelTime is how long a memory of so many MiB may travel: a guest that changes much of it is slowed down meanwhile.
func travelTime(memoryMiB int) time.Duration {
	return travelBegin + time.Duration(memoryMiB)*time.Second/travelRate
}

// Line leads to the node that the memory of an instance is sent to. A write that lasts beyond the deadline fails.
type Line interface {
	io.Writer
	SetWriteDeadline(t time.Time) error
}

// travels is what may travel of a memory of so many MiB, in bytes.
func (p *Pool) travels(memoryMiB int64) int64 {
	return memoryTimes * (memoryMiB + int64(p.cfg.OverheadMiB)) << 20
}

// SendMemory sends the memory of an instance to the node that has the token of its offer and has asked for it, and keeps the guest
// standing still until the instance is handed over, or that node is gone. At the end of the line is a memoryReader. A token is good for
// one try. An error before the first byte is ErrUnknown, ErrNotRunning or ErrBusy.
func (p *Pool) SendMemory(ctx context.Context, hash message.Hash, token string, to Line) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Who does not read is not to keep the guest from going on.
	defer context.AfterFunc(ctx, func() { _ = to.SetWriteDeadline(time.Unix(1, 0)) })()
	defer context.AfterFunc(p.life, cancel)()
	p.mu.Lock()
	x := p.instances[hash]
	if x == nil || !x.offers(seedFile, token) {
		p.mu.Unlock()
		return fmt.Errorf("instance %s: %w", hash, ErrUnknown)
	}
	machine, err := p.machineOf(hash)
	if err == nil && p.life.Err() != nil {
		err = ErrStopped
	}
	if err == nil {
		err = x.occupy()
	}
	if err != nil {
		p.mu.Unlock()
		return err
	}
	s := &passage{token: token, machine: machine, names: x.offer.names, end: cancel, over: make(chan struct{})}
	x.passage, x.offer = s, nil
	p.running.Add(1)
	memoryMiB := x.rec.MemoryMiB
	p.mu.Unlock()
	defer p.running.Done()

	begin := time.Now()
	out := &memoryWriter{ctx, to}
	limited, stop := context.WithTimeoutCause(ctx, travelTime(memoryMiB), errors.New("its memory travels for too long"))
	err = machine.SendMemory(limited, out, p.travels(int64(memoryMiB)))
	stop()
	stood := time.Now()
	stands := err == nil
	if stands {
		err = p.standStill(ctx, x, machine, out)
	}
	p.mu.Lock()
	x.passage, x.busy = nil, false
	given := s.given
	p.mu.Unlock()
	defer close(s.over)
	if given {
		p.cfg.Log.Info("instance went with its memory", "hash", hash, "sent", stood.Sub(begin).Round(time.Millisecond), "still", time.Since(stood).Round(time.Millisecond))
		return nil
	}
	p.cfg.Log.Warn("instance does not go with its memory, it goes on here", "hash", hash, "error", err)
	if _, err := machine.Continue(context.WithoutCancel(ctx)); err != nil {
		select {
		case <-machine.Done():
		default:
			p.cfg.Log.Error("instance stands still, it is started again", "hash", hash, "error", errors.Join(err, machine.Kill()))
		}
		return err
	}
	if stands {
		p.catchUp(hash, machine)
	}
	return err
}

// catchUp has the clock of a guest set that stood still, and tells its owner. Nothing waits for that.
func (p *Pool) catchUp(hash message.Hash, machine Machine) {
	p.running.Go(func() {
		behind, err := machine.CatchUp(p.life)
		switch {
		case err != nil && p.life.Err() == nil:
			p.note(hash, "its clock stood still with it and is not set from outside: "+err.Error())
		case behind > 0:
			p.note(hash, fmt.Sprintf("its clock had stood still, and was set forward by %s", behind.Round(time.Millisecond)))
		}
	})
}

// standStill keeps the guest as it is for the other node to fetch what differs of its disks.
func (p *Pool) standStill(ctx context.Context, x *instance, machine Machine, out *memoryWriter) error {
	p.mu.Lock()
	s := x.passage
	s.still = true
	parent := x.rec.Parent
	p.mu.Unlock()
	var files []MovedFile
	for _, name := range s.names {
		info, err := os.Stat(p.movedPath(x.hash, parent, name))
		if err != nil {
			return fmt.Errorf("disk %s: %w", name, err)
		}
		files = append(files, MovedFile{Name: name, Size: info.Size()})
	}
	if err := out.finish(files); err != nil {
		return err
	}
	limit := time.NewTimer(standLimit)
	defer limit.Stop()
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := out.beat(); err != nil {
				return err
			}
		case <-machine.Done():
			return errors.New("its machine ended")
		case <-limit.C:
			return fmt.Errorf("the other node did not ask for it within %s", standLimit)
		case <-ctx.Done():
			return errors.New("the other node is gone, or something else was asked for")
		}
	}
}

// stillOffers reports whether a file of an instance that stands still may be fetched. pool.mu is held.
func (x *instance) stillOffers(name, token string) bool {
	s := x.passage
	return s != nil && s.still && s.token == token && slices.Contains(s.names, name)
}

// giveAway hands an instance over whose guest stands still for the node that says claim, and reports whether it did. pool.mu is held.
func (x *instance) giveAway(token, claim string) (given bool, err error) {
	s := x.passage
	if s == nil || !s.still || s.token != token || claim == "" || x.rec.Wanted != wantedRunning || x.rec.Restart || x.fenced(time.Now()) || x.machine != s.machine {
		return false, nil
	}
	select {
	case <-x.machine.Done(): // it is about to start again from its disks
		return false, nil
	default:
	}
	m := &move{Token: token, Parent: x.rec.Parent, Begun: time.Now(), Claim: claim, Ready: true, Live: true}
	if err := x.wantMove(wantedLeaving, m); err != nil {
		return false, err
	}
	s.given, x.still, x.offer = true, true, nil
	s.end()
	x.asked()
	return true, nil
}

// callOff has the guest go on that moves with its memory, unless it has been given away. It returns when that is so.
func (x *instance) callOff() {
	x.pool.mu.Lock()
	s := x.passage
	x.pool.mu.Unlock()
	if s != nil {
		s.end()
		<-s.over
	}
}

// forgetKept has a machine that starts anew know its own addresses.
func (x *instance) forgetKept() {
	x.pool.mu.Lock()
	defer x.pool.mu.Unlock()
	if x.rec.Kept == nil {
		return
	}
	changed := x.rec
	changed.Kept = nil
	if err := x.pool.records.save(changed); err != nil {
		x.pool.cfg.Log.Error("not recorded", "hash", x.hash, "error", err)
	}
	x.rec = changed
}
