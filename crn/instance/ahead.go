package instance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// The disks of an instance that is to move are fetched ahead, while its guest goes on writing to them (decision 0025). What comes is of
// no moment and fits together by chance alone: when the guest is off, each piece of it is compared with the disk, and what differs is
// fetched again (pieces.go). So the guest is off for as long as it takes to read its disks, and not for as long as they travel.

// Offered is what can be fetched of an instance that runs.
type Offered struct {
	Token  string
	Files  []MovedFile // without their hashes
	Parent message.Hash
	Live   *Live // nil when it cannot go with its memory
}

// offer is what a node keeps of it.
type offer struct {
	token string
	names []string
	until time.Time
}

// Offer lets another node fetch the disks of a running instance ahead, on the scheduler's word. What is stopped leaves at once: the
// error is ErrBusy.
func (p *Pool) Offer(hash message.Hash) (Offered, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.instances[hash]
	if x == nil || !x.here() {
		return Offered{}, fmt.Errorf("instance %s: %w", hash, ErrUnknown)
	}
	if x.rec.confidential() {
		return Offered{}, fmt.Errorf("instance %s: %w", hash, ErrConfidential)
	}
	if x.machine == nil || x.rec.Restore != nil || x.rec.Wanted != wantedRunning {
		return Offered{}, fmt.Errorf("instance %s does not run: %w", hash, ErrBusy)
	}
	files, err := p.movedFiles(hash, x.rec.Parent, outline)
	if err != nil {
		return Offered{}, fmt.Errorf("instance %s: %w", hash, err)
	}
	live, err := x.live()
	if err != nil {
		return Offered{}, fmt.Errorf("instance %s: %w", hash, err)
	}
	o := &offer{token: secret(), until: time.Now().Add(offerLasts)}
	offered := slices.Clone(files)
	if live != nil {
		offered = append(offered, live.Files...)
	}
	for _, f := range offered {
		o.names = append(o.names, f.Name)
	}
	x.offer = o
	return Offered{Token: o.token, Files: files, Parent: x.rec.Parent, Live: live}, nil
}

// offers reports whether a file of the instance may be fetched ahead. pool.mu is held.
func (x *instance) offers(name, token string) bool {
	o := x.offer
	return x.here() && o != nil && o.token == token && time.Now().Before(o.until) && slices.Contains(o.names, name)
}

// Ahead is how far the disks of an instance are that are fetched ahead.
type Ahead struct {
	Done    bool  // nothing is fetched any more, neither disks nor memory
	Fetched int64 // bytes
	Total   int64
	Failure error // why it was given up
	Cold    error // why it does not come with its memory, once that is known
}

// errand is what is fetched ahead.
type errand struct {
	arrival Arrival // its files are also those of a move with the memory
	message *message.Instance
	bytes   int64 // that its instance may have of the disk
	fetched atomic.Int64
	end     context.CancelFunc
	ended   chan struct{}

	// Guarded by pool.mu.
	done    bool
	failure error
	cold    error
}

const (
	// errandsAtOnce bounds the instances whose disks are fetched ahead.
	errandsAtOnce = 4
	// offerLasts is how long the disks of an instance may be fetched ahead.
	offerLasts = 24 * time.Hour
	// keepAhead is how long what was fetched ahead waits for its instance.
	keepAhead = time.Hour
	// aheadSuffix is that of files that were fetched ahead.
	aheadSuffix = ".ahead"
)

// FetchAhead begins to fetch the disks of an instance that runs elsewhere, on the scheduler's word; files need no hashes. The error is
// os.ErrExist when that was begun before, and that of [Pool.Expect] when the instance cannot come.
func (p *Pool) FetchAhead(ctx context.Context, hash message.Hash, a Arrival) error {
	m, err := p.cfg.Network.Instance(ctx, hash)
	if err != nil {
		return err
	}
	if err := p.movable(m); err != nil {
		return fmt.Errorf("instance %s: %w", hash, err)
	}
	a.Files = slices.Clone(a.Files)
	if a.Live != nil {
		a.Files = append(a.Files, a.Live.Files...)
	}
	for i := range a.Files { // what is checked later, when they are final
		a.Files[i].SHA256 = string(a.Parent)
	}
	if err := a.check(m); err != nil {
		return fmt.Errorf("instance %s: %w", hash, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if x := p.instances[hash]; x != nil && x.rec.Wanted != wantedReleased {
		return fmt.Errorf("instance %s is here, or comes or leaves: %w", hash, ErrMoving)
	}
	if p.errands[hash] != nil {
		return fmt.Errorf("instance %s is fetched ahead: %w", hash, os.ErrExist)
	}
	if len(p.errands) >= errandsAtOnce {
		return fmt.Errorf("the disks of %d instances are fetched ahead: %w", len(p.errands), ErrNoRoom)
	}
	r := define(hash, m)
	if err := p.admit(&r); err != nil {
		return err
	}
	if p.life.Err() != nil {
		return ErrStopped
	}
	life, end := context.WithCancel(p.life)
	e := &errand{arrival: a, message: m, bytes: r.DiskMiB << 20, end: end, ended: make(chan struct{})}
	p.errands[hash] = e
	p.running.Go(func() {
		defer close(e.ended)
		p.runErrand(life, hash, e)
	})
	return nil
}

// Ahead says how far it is. The error is ErrUnknown when nothing is fetched ahead.
func (p *Pool) Ahead(hash message.Hash) (Ahead, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.errands[hash]
	if e == nil {
		return Ahead{}, fmt.Errorf("instance %s: %w", hash, ErrUnknown)
	}
	// Who asks has the instance stopped when nothing is fetched any more, and now its memory may be.
	x := p.instances[hash]
	comes := x != nil && x.rec.Wanted == wantedArriving && x.rec.Move.Live
	a := Ahead{Done: e.done && !comes, Fetched: e.fetched.Load(), Failure: e.failure, Cold: e.cold}
	for _, f := range e.arrival.Files {
		for _, part := range f.Extents {
			a.Total += part[1]
		}
	}
	return a, nil
}

// runErrand fetches, and keeps what has come until its instance does, or for a while.
func (p *Pool) runErrand(ctx context.Context, hash message.Hash, e *errand) {
	err := p.fetchAhead(ctx, hash, e)
	if ctx.Err() == nil {
		if err != nil {
			p.cfg.Log.Warn("disks not fetched ahead", "hash", hash, "from", e.arrival.Source, "error", err)
			p.mu.Lock()
			e.done, e.failure = true, err
			p.mu.Unlock()
		} else {
			p.beginLive(ctx, hash, e)
		}
	}
	wait := time.NewTimer(keepAhead)
	defer wait.Stop()
	select {
	case <-ctx.Done(): // its instance comes, or the next node removes it
		return
	case <-wait.C:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.errands, hash)
	if err := p.removeAhead(hash); err != nil {
		p.cfg.Log.Error("what was fetched ahead is not removed", "hash", hash, "error", err)
	}
}

func (p *Pool) fetchAhead(ctx context.Context, hash message.Hash, e *errand) error {
	if err := os.MkdirAll(p.disks(hash), 0o700); err != nil {
		return err
	}
	a := e.arrival
	for _, f := range a.Files {
		if _, err := os.Stat(p.movedPath(hash, a.Parent, f.Name)); err == nil && f.Name == parentFile {
			continue
		}
		out, err := os.Create(p.aheadPath(hash, f.Name))
		if err != nil {
			return err
		}
		for _, part := range f.Extents {
			if err = p.fetchRange(ctx, &e.fetched, out, movedURL(a.Source, hash, "disk", f.Name, a.Token), part[0], part[0]+part[1]); err != nil {
				break
			}
		}
		if err := errors.Join(err, out.Close()); err != nil {
			return fmt.Errorf("disk %s: %w", f.Name, err)
		}
	}
	return nil
}

// why says what kept an instance from coming with its memory. pool.mu is held.
func (e *errand) why() string {
	switch {
	case e == nil:
		return "its disks were not fetched ahead"
	case e.failure != nil:
		return "its disks did not come ahead: " + e.failure.Error()
	case e.cold != nil:
		return e.cold.Error()
	}
	return "its disks had not come ahead yet"
}

func (p *Pool) aheadPath(hash message.Hash, name string) string {
	return filepath.Join(p.disks(hash), name+aheadSuffix)
}

// endErrand ends what is fetched ahead, for the instance itself comes now.
func (p *Pool) endErrand(hash message.Hash) {
	p.mu.Lock()
	e := p.errands[hash]
	delete(p.errands, hash)
	p.mu.Unlock()
	if e != nil {
		e.end()
		<-e.ended
	}
}

// removeAhead removes what was fetched ahead, and the folder unless it is an instance's.
func (p *Pool) removeAhead(hash message.Hash) error {
	if p.instances[hash] == nil {
		return os.RemoveAll(p.disks(hash))
	}
	left, err := filepath.Glob(p.aheadPath(hash, "*"))
	for _, path := range left {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}
