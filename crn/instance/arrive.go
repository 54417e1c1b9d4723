package instance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/message"
)

// Arrival is an instance that another node has ready.
type Arrival struct {
	Source  string // base URL of that node
	Token   string
	Files   []MovedFile
	Parent  message.Hash
	Stopped bool  // it was not running, and is not to
	Live    *Live // nil when it cannot come with its memory
}

// Arriving is how far such an instance is.
type Arriving struct {
	Begun   time.Time
	Here    bool  // it is an instance of this node
	Fetched int64 // bytes since this node started
	Total   int64
	Failure error // of the last try
}

// errCalledOff: the other node keeps the instance, or another one has it.
var errCalledOff = errors.New("the move was called off")

// Arrive has an instance come here with its disks, on the scheduler's word; it runs when all are here. The error is os.ErrExist when
// it is here already. It reports whether this is news.
func (p *Pool) Arrive(ctx context.Context, hash message.Hash, a Arrival) (begun bool, err error) {
	m, err := p.cfg.Network.Instance(ctx, hash)
	if err != nil {
		return false, err
	}
	if err := p.movable(m); err != nil {
		return false, fmt.Errorf("instance %s: %w", hash, err)
	}
	if err := a.check(m); err != nil {
		return false, fmt.Errorf("instance %s: %w", hash, err)
	}
	r := define(hash, m)
	r.Wanted, r.Parent = wantedArriving, a.Parent
	r.Move = &move{Token: a.Token, Files: a.Files, Parent: a.Parent, Stopped: a.Stopped, Begun: time.Now(), Source: a.Source, Claim: secret()}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !a.Stopped {
		r.Move.Cold = p.errands[hash].why()
	}
	x := p.instances[hash]
	if x == nil {
		_, err := p.add(r)
		return err == nil, err
	}
	switch {
	case x.rec.Restore != nil:
		return false, fmt.Errorf("instance %s: %w", hash, ErrBusy)
	case x.here():
		return false, fmt.Errorf("instance %s is here: %w", hash, os.ErrExist)
	case x.awaitsWord():
		return false, nil // it may have been given to this node already
	case x.rec.Wanted == wantedArriving && x.rec.Move.Token == a.Token && x.rec.Move.Source == a.Source:
		if reflect.DeepEqual(x.rec.Move.Files, a.Files) {
			return false, nil
		}
		r.Move.Claim = x.rec.Move.Claim // it may have been heard
	case x.rec.Wanted == wantedLeaving || x.rec.Wanted == wantedErased:
		return false, fmt.Errorf("instance %s has not left yet: %w", hash, ErrMoving)
	}
	// What there is of an earlier stay is compared with what is to come.
	if err := p.admit(&r); err != nil {
		return false, err
	}
	before := x.rec
	x.rec.Parent, x.rec.Planned, x.rec.Hardware = a.Parent, false, r.Hardware
	if err := x.wantMove(wantedArriving, r.Move); err != nil {
		x.rec = before
		return false, err
	}
	x.asked()
	return true, nil
}

// Expect reports whether an instance that is elsewhere could come here now: it is one that this node offers, and fits beside those
// there are. Nothing is set aside for it.
func (p *Pool) Expect(ctx context.Context, hash message.Hash) error {
	m, err := p.cfg.Network.Instance(ctx, hash)
	if err != nil {
		return err
	}
	if err := p.movable(m); err != nil {
		return fmt.Errorf("instance %s: %w", hash, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.instances[hash]
	if x != nil && (x.rec.Wanted == wantedLeaving || x.rec.Wanted == wantedErased) {
		return fmt.Errorf("instance %s has not left yet: %w", hash, ErrMoving)
	}
	r := define(hash, m)
	return p.admit(&r)
}

// check refuses files that the instance cannot have.
func (a Arrival) check(m *message.Instance) error {
	allowed := movedNames(m)
	if a.Live != nil {
		maps.Copy(allowed, liveNames(m))
		if err := a.Live.Kept.check(); err != nil {
			return err
		}
	}
	for _, f := range a.Files {
		limit, ok := allowed[f.Name]
		delete(allowed, f.Name) // once
		if !ok || f.Size < 0 || f.Size > limit || message.Hash(f.SHA256).Kind() != message.ItemStorage || len(f.Extents) > 2*maxExtents {
			return fmt.Errorf("%w: disk %q of %d bytes is not one of its own", ErrUnsupported, f.Name, f.Size)
		}
		if f.Name == parentFile && f.SHA256 != string(a.Parent) {
			return fmt.Errorf("%w: the image under its root disk is not the one that is named", ErrUnsupported)
		}
		at := int64(0)
		for _, e := range f.Extents {
			if e[0] < at || e[1] <= 0 || e[1] > f.Size-e[0] {
				return fmt.Errorf("%w: disk %s has parts beyond its end or out of order", ErrUnsupported, f.Name)
			}
			at = e[0] + e[1]
		}
	}
	_, noRoot := allowed[rootFile]
	if _, noParent := allowed[parentFile]; noRoot != noParent {
		return fmt.Errorf("%w: a root disk travels with the image under it", ErrUnsupported)
	}
	return nil
}

// Arrived says how far an instance is that was told to come here. A copy that has a replica did not: its replica ends when an instance
// leaves, and this may be what is left of one that came back elsewhere meanwhile.
func (p *Pool) Arrived(hash message.Hash) (Arriving, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.instances[hash]
	switch {
	case x != nil && x.here() && x.rec.Replica == nil:
		return Arriving{Begun: x.rec.Defined, Here: true}, nil
	case x != nil && x.rec.Wanted == wantedArriving:
		a := Arriving{Begun: x.rec.Move.Begun, Fetched: x.fetched.Load(), Failure: x.failure}
		for _, f := range x.rec.Move.Files {
			for _, e := range f.Extents {
				a.Total += e[1]
			}
		}
		return a, nil
	}
	return Arriving{}, fmt.Errorf("instance %s: %w", hash, ErrUnknown)
}

// fetch brings the disks of an instance that arrives here.
func (x *instance) fetch() {
	p := x.pool
	p.mu.Lock()
	m := *x.rec.Move
	ctx, cancel := context.WithCancel(p.life)
	defer cancel()
	x.abort = cancel
	p.mu.Unlock()
	x.fetched.Store(0)
	err := p.bring(ctx, x, &m)
	defer func() { x.arrived(&m) }() // once it is written down that the instance is here
	p.mu.Lock()
	defer p.mu.Unlock()
	x.abort = nil
	if ctx.Err() != nil || x.rec.Wanted != wantedArriving {
		return
	}
	switch {
	case err == nil:
		w := wantedRunning
		if m.Stopped {
			w = wantedStopped
		}
		if err = x.want(w); err == nil {
			if m.Secret != nil {
				p.dropReplica(x.hash)
			}
			if err := p.removeAhead(x.hash); err != nil {
				p.cfg.Log.Error("what was fetched ahead is not removed", "hash", x.hash, "error", err)
			}
			p.cfg.Log.Info("instance is here", "hash", x.hash, "from", m.Source)
			return
		}
	case errors.Is(err, errCold) || m.Live && errors.Is(err, errCalledOff):
		x.giveUpMemory(&m, err)
		return
	case errors.Is(err, errCalledOff):
		p.cfg.Log.Warn("instance does not come", "hash", x.hash, "from", m.Source, "error", err)
		x.record(wantedErased)
		return
	}
	x.failure = err
	x.patience()
	p.cfg.Log.Warn("instance is not here yet", "hash", x.hash, "from", m.Source, "error", err, "again", time.Until(x.retry).Round(time.Second))
}

// giveUpSource has an instance that is on its way here run with what has come: a scheduler allocates it before it is here only when
// the node that had it is registered no more. pool.mu is held.
func (x *instance) giveUpSource() error {
	changed := *x.rec.Move
	changed.Lost = true
	return x.wantMove(wantedArriving, &changed)
}

// bring fetches what is missing and has the instance handed over. It can be done again after a crash at any point.
func (p *Pool) bring(ctx context.Context, x *instance, m *move) error {
	if m.Secret != nil {
		return p.restoreReplica(ctx, x.hash, m)
	}
	if m.Lost && m.Live && m.Here {
		return nil
	}
	if m.Lost {
		for _, f := range m.Files {
			if !same(ctx, p.movedPath(x.hash, m.Parent, f.Name), f) {
				p.cfg.Log.Warn("instance begins anew, its disks are lost", "hash", x.hash, "from", m.Source)
				return os.RemoveAll(p.disks(x.hash))
			}
		}
		return nil
	}
	if err := os.MkdirAll(filepath.Join(p.disks(x.hash), dataDir), 0o700); err != nil {
		return err
	}
	if m.Live {
		return p.receiveLive(ctx, x, m)
	}
	p.endErrand(x.hash)
	for _, f := range m.Files {
		path := p.movedPath(x.hash, m.Parent, f.Name)
		if err := x.fetchFile(ctx, f, path, m); err != nil {
			return fmt.Errorf("disk %s: %w", f.Name, err)
		}
		if f.Name == rootFile {
			if err := checkOverlay(path, m.Parent); err != nil {
				return fmt.Errorf("%w: %w", errCalledOff, err)
			}
		}
	}
	return p.askForIt(ctx, x.hash, m)
}

// askForIt has an instance handed over that is here whole. From the other node's yes on the disks are ours. Should we be killed before
// that is written down, it says yes again.
func (p *Pool) askForIt(ctx context.Context, hash message.Hash, m *move) error {
	order, err := json.Marshal(map[string]string{"token": m.Token, "claim": m.Claim})
	if err != nil {
		return err
	}
	response, err := p.ask(ctx, http.MethodPost, migrationPath(m.Source, hash)+"handover", bytes.NewReader(order), nil)
	if err != nil {
		return fmt.Errorf("have it handed over: %w", err)
	}
	return response.Body.Close()
}

// fetchFile brings one file: whole, checked and on the disk, or as far as it came.
func (x *instance) fetchFile(ctx context.Context, f MovedFile, path string, m *move) error {
	if same(ctx, path, f) {
		return nil
	}
	part, ahead := filepath.Join(x.pool.disks(x.hash), f.Name+".part"), false
	if path := x.pool.aheadPath(x.hash, f.Name); exists(path) {
		part, ahead = path, true
	}
	out, err := os.OpenFile(part, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	info, err := out.Stat()
	if err != nil {
		return err
	}
	have, lacking := info.Size(), f.Extents // written in order, so that all before this is here
	if ahead {
		have = 0
		if lacking, err = x.pool.differing(ctx, f, out, movedURL(m.Source, x.hash, "pieces", f.Name, m.Token)); err != nil {
			return err
		}
	}
	for _, e := range lacking {
		begin, end := max(e[0], have), e[0]+e[1]
		if begin >= end {
			continue
		}
		if err := x.pool.fetchRange(ctx, &x.fetched, out, movedURL(m.Source, x.hash, "disk", f.Name, m.Token), begin, end); err != nil {
			return err
		}
	}
	if f.Name != rootFile && f.Name != parentFile {
		// Volumes have their blocks reserved.
		if err := unix.Fallocate(int(out.Fd()), 0, 0, f.Size); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			return err
		}
	}
	if err := out.Truncate(f.Size); err != nil {
		return err
	}
	if got, err := sum(ctx, out); err != nil || got != f.SHA256 {
		if err == nil {
			err = errors.Join(errors.New("what came does not hash to what was announced, it is fetched again"), os.Remove(part))
		}
		return err
	}
	if err := out.Sync(); err != nil {
		return err
	}
	if err := os.Rename(part, path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// same reports whether a file is here as it is to be.
func same(ctx context.Context, path string, want MovedFile) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() != want.Size {
		return false
	}
	got, err := sum(ctx, f)
	return err == nil && got == want.SHA256
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// fetchRange brings a part of a file, and counts its bytes in fetched.
func (p *Pool) fetchRange(ctx context.Context, fetched *atomic.Int64, out *os.File, source string, begin, end int64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := time.AfterFunc(stallLimit, func() { cancel(fmt.Errorf("no bytes came for %s", stallLimit)) })
	defer stalled.Stop()
	response, err := p.ask(ctx, http.MethodGet, source, nil, http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", begin, end-1)}})
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusPartialContent {
		return fmt.Errorf("the other node answers %s to a part of the file", response.Status)
	}
	buffer := make([]byte, 256<<10)
	for begin < end {
		n, err := response.Body.Read(buffer[:min(int64(len(buffer)), end-begin)])
		if n > 0 {
			stalled.Reset(stallLimit)
			if _, err := out.WriteAt(buffer[:n], begin); err != nil {
				return err
			}
			begin += int64(n)
			fetched.Add(int64(n))
		}
		if err != nil && begin < end {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return fmt.Errorf("the transfer broke off: %w", err)
		}
	}
	return nil
}

// syncFolder makes a rename in it last through a loss of power.
func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
