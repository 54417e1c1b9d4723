package instance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"sync"
	"time"

	"github.com/aleph-im/aleph-go/crn/image"
	"github.com/aleph-im/aleph-go/crn/replica"
	"github.com/aleph-im/aleph-go/crn/vm/qemu"
	"github.com/aleph-im/aleph-go/message"
)

// An instance can have a replica of its persistent volumes on another node (decision 0029), which it comes back from when this one
// has died (revive.go). It is copied every few minutes. This node runs the instance only for as long as the scheduler or the holder
// of the replica says so again and again: either may have given it up.

// ErrFenced: neither the scheduler nor the holder of the replica has said lately that the instance may run here.
var ErrFenced = errors.New("it may run elsewhere: neither a scheduler nor the holder of its replica says that it is this node's")

// Replication is how a scheduler wants an instance replicated.
type Replication struct {
	Holder string        `json:"holder"` // base URL of the node that holds the replica; empty for no replica
	Token  string        `json:"token"`  // that this node shows to it
	Secret []byte        `json:"secret"` // of the replica's key
	Every  time.Duration `json:"every"`  // between two generations
	Lease  time.Duration `json:"lease"`  // how long the instance may go on after each word of the scheduler or the holder
}

// grace is how long a machine that was adopted may go on before the first word.
const grace = 10 * time.Second

// Replicate has an instance of this node replicated, or not any more. Each call lets it go on for another lease from when the scheduler
// said so: what was long on its way may have been overtaken.
func (p *Pool) Replicate(hash message.Hash, r Replication, said time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.instances[hash]
	if x == nil || !x.here() {
		return fmt.Errorf("instance %s: %w", hash, ErrUnknown)
	}
	changed := x.rec
	changed.Replica = nil
	if r.Holder != "" {
		changed.Replica = &r
	}
	if !reflect.DeepEqual(changed.Replica, x.rec.Replica) {
		if err := p.records.save(changed); err != nil {
			return err
		}
		x.setRecord(changed)
	}
	if now := time.Now(); said.After(now) {
		said = now // its clock is ahead
	}
	x.leaseUntil(said.Add(r.Lease))
	return nil
}

// setRecord has the replica follow the record. pool.mu is held.
func (x *instance) setRecord(r record) {
	news := x.rec.Replica != r.Replica
	x.rec = r
	if news {
		x.replicated = time.Time{}
	}
	if news && x.replicaEnd != nil {
		x.replicaEnd()
		signal(x.replicaNews)
	}
}

// leaseUntil lets the instance go on. pool.mu is held.
func (x *instance) leaseUntil(t time.Time) {
	if t.After(x.lease) {
		x.lease = t
	}
	signal(x.wake)
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// fenced reports whether the instance may not run now, because another node may. pool.mu is held.
func (x *instance) fenced(now time.Time) bool { return x.rec.Replica != nil && !now.Before(x.lease) }

// fencedNow is fenced for those who do not hold pool.mu.
func (x *instance) fencedNow() bool {
	x.pool.mu.Lock()
	defer x.pool.mu.Unlock()
	return x.fenced(time.Now())
}

// fence cuts the power of a machine that may not go on.
func (x *instance) fence(m Machine) {
	x.pool.cfg.Log.Warn("instance is stopped", "hash", x.hash, "reason", ErrFenced)
	x.cut(m)
}

// replicate keeps the replica until ctx ends.
func (x *instance) replicate(ctx context.Context) {
	p := x.pool
	for ctx.Err() == nil {
		p.mu.Lock()
		r, line := x.rec.Replica, x.rec.Line
		now, end := context.WithCancel(ctx)
		x.replicaEnd = end
		p.mu.Unlock()
		if r != nil {
			var both sync.WaitGroup
			remote := p.holder(x.hash, r)
			both.Go(func() { x.renew(now, remote, r.Lease) })
			both.Go(func() { x.copyAll(now, remote, r, line) })
			both.Wait()
		}
		end()
		select {
		case <-x.replicaNews:
		case <-ctx.Done():
		}
	}
}

// holder is where the replica is.
func (p *Pool) holder(hash message.Hash, r *Replication) *replica.Remote {
	return &replica.Remote{HTTP: p.holders, Node: r.Holder, Instance: hash, Token: r.Token}
}

// renew asks the holder of the replica, again and again, whether the instance may go on.
func (x *instance) renew(ctx context.Context, remote *replica.Remote, lease time.Duration) {
	tick := time.NewTicker(lease / 4)
	defer tick.Stop()
	for {
		asked := time.Now() // the holder counts from its answer, which is later
		limited, cancel := context.WithTimeout(ctx, lease/4)
		err := remote.Renew(limited)
		cancel()
		if err == nil {
			x.pool.mu.Lock()
			x.leaseUntil(asked.Add(lease))
			x.pool.mu.Unlock()
		} else if ctx.Err() == nil {
			x.pool.cfg.Log.Debug("the holder of a replica does not let the instance go on", "hash", x.hash, "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// copyAll makes one generation after the other.
func (x *instance) copyAll(ctx context.Context, remote *replica.Remote, r *Replication, line string) {
	log := x.pool.cfg.Log.With("hash", x.hash, "holder", r.Holder)
	key, err := replica.NewKey(r.Secret)
	if err != nil {
		log.Error("instance is not replicated", "error", err)
		return
	}
	var last *copied
	for {
		begin := time.Now()
		next, err := x.copy(ctx, remote, key, line, last)
		pause := r.Every
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			next, pause = nil, min(pause, time.Minute)
			log.Warn("replica not brought up to date, tried again", "error", err)
		case next != last:
			x.pool.mu.Lock()
			if x.rec.Replica == r { // it may have been told of another one meanwhile
				x.replicated = next.taken
			}
			x.pool.mu.Unlock()
			log.Info("replica is up to date", "sent", next.sent, "took", time.Since(begin).Round(time.Millisecond))
		}
		last = next
		wait := time.NewTimer(time.Until(begin.Add(pause)))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return
		}
	}
}

// copied is what the next generation builds on.
type copied struct {
	sender    *replica.Sender
	machine   Machine // nil when it was stopped
	preparing time.Time
	disks     []replica.Disk
	paths     []string
	taken     time.Time
	sent      int64 // bytes
}

// copy makes a generation and has it sent. What is not known from the last one is read whole. It returns last when there is nothing
// new, or the instance may not run here.
func (x *instance) copy(ctx context.Context, remote *replica.Remote, key *replica.Key, line string, last *copied) (*copied, error) {
	p := x.pool
	p.mu.Lock()
	now := &copied{machine: x.machine, preparing: x.times.Preparing}
	stopped, skip := x.rec.Wanted == wantedStopped, !x.here() || x.fenced(time.Now()) || x.machine == nil && x.rec.Wanted == wantedRunning
	p.mu.Unlock()
	if skip || last != nil && now.machine == nil && last.machine == nil && last.preparing.Equal(now.preparing) {
		return last, nil
	}
	var err error
	if now.disks, now.paths, err = p.replicatedDisks(ctx, x.hash); err != nil {
		return nil, err
	}
	all := last == nil || last.machine != now.machine || !reflect.DeepEqual(last.disks, now.disks)
	if last != nil {
		now.sender = last.sender
	} else if now.sender, err = replica.NewSender(ctx, key, remote, x.hash, line); err != nil {
		return nil, err
	}
	now.taken = time.Now()
	draft := now.sender.Draft(now.taken, now.disks, all)
	draft.Stopped = stopped
	if now.machine != nil {
		err = p.copyRunning(ctx, x.hash, now, all, draft)
	} else {
		err = x.copyStopped(ctx, now, draft)
	}
	if err != nil {
		return nil, err
	}
	now.sent, err = draft.Commit(ctx)
	return now, err
}

// replicatedDisks are the persistent volumes of an instance, and their paths.
func (p *Pool) replicatedDisks(ctx context.Context, hash message.Hash) (disks []replica.Disk, paths []string, err error) {
	m, err := p.cfg.Network.Instance(ctx, hash)
	if err != nil {
		return nil, nil, err
	}
	for i, v := range m.Volumes {
		if v.Kind != message.VolumePersistent {
			continue
		}
		name := dataPrefix + image.VolumeName(v, i)
		path := p.movedPath(hash, "", name)
		info, err := os.Stat(path)
		if err != nil {
			return nil, nil, err
		}
		disks, paths = append(disks, replica.Disk{Name: name, Size: info.Size()}), append(paths, path)
	}
	return disks, paths, nil
}

// What QEMU copies is what the holder stores.
var _ [qemu.ChunkSize]byte = [replica.ChunkSize]byte{}

// copyRunning takes the disks of a running machine as they are at one moment.
func (p *Pool) copyRunning(ctx context.Context, hash message.Hash, now *copied, all bool, draft *replica.Draft) error {
	dir := filepath.Join(p.cfg.Dir, copiesDir, string(hash))
	defer os.RemoveAll(dir)
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		return err
	}
	var copies []qemu.DiskCopy
	for i, disk := range now.disks {
		f, err := newCopy(ctx, filepath.Join(dir, strconv.Itoa(i)), disk.Size, qemu.ChunkSize)
		if err != nil {
			return err
		}
		defer f.Close()
		copies = append(copies, qemu.DiskCopy{Disk: now.paths[i], To: f})
	}
	// Beside what instances were promised, as with backups.
	if err := p.DiskRoom(0); err != nil {
		return err
	}
	if len(copies) > 0 {
		if err := now.machine.CopyChanges(ctx, copies, all); err != nil {
			return err
		}
	}
	for i, c := range copies {
		err := qemu.ReadChanges(c.To, now.disks[i].Size, func(n int64, chunk []byte) error { return draft.Set(ctx, i, n, chunk) })
		if err != nil {
			return fmt.Errorf("disk %s: %w", now.disks[i].Name, err)
		}
	}
	return nil
}

// copyStopped reads the disks where no machine writes them.
func (x *instance) copyStopped(ctx context.Context, now *copied, draft *replica.Draft) error {
	for i, path := range now.paths {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		chunk := make([]byte, replica.ChunkSize)
		for n := range replica.Chunks(now.disks[i].Size) {
			read, err := f.ReadAt(chunk, n*replica.ChunkSize)
			if err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			if err := draft.Set(ctx, i, n, chunk[:read]); err != nil {
				return err
			}
		}
	}
	x.pool.mu.Lock()
	defer x.pool.mu.Unlock()
	if x.machine != nil || !x.times.Preparing.Equal(now.preparing) {
		return errors.New("the instance was started meanwhile")
	}
	return nil
}
