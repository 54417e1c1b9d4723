package instance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn/replica"
	"github.com/aleph-im/aleph-go/message"
)

// Hold has a replica of another node's instance kept here, on the scheduler's word. The error is replica.ErrTaken when the instance
// is this node's, or is coming back here.
func (p *Pool) Hold(ctx context.Context, hash message.Hash, token string, lease time.Duration) error {
	if err := p.anothers(hash); err != nil {
		return err
	}
	m, err := p.cfg.Network.Instance(ctx, hash)
	if err != nil {
		return err
	}
	if err := p.offered(m); err != nil {
		return fmt.Errorf("instance %s: %w", hash, err)
	}
	limit := 2 * replicaBytes(m) // a generation replaces another, and both are here for a while
	if !p.held.Has(hash) {
		if err := p.DiskRoom(limit); err != nil {
			return fmt.Errorf("replica of %s: %w: %w", hash, replica.ErrNoRoom, err)
		}
	}
	return p.held.Hold(hash, replica.Terms{Token: token, Lease: lease, Limit: limit})
}

// Drop has the replica of another node's instance removed, on the scheduler's word. The error is that of Hold.
func (p *Pool) Drop(hash message.Hash) error {
	if err := p.anothers(hash); err != nil {
		return err
	}
	return p.held.Drop(hash)
}

// anothers makes sure that an instance is not this node's, and not coming back here.
func (p *Pool) anothers(hash message.Hash) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if x := p.instances[hash]; x != nil && (x.here() || x.reviving()) {
		return fmt.Errorf("instance %s: %w", hash, replica.ErrTaken)
	}
	return nil
}

// replicaBytes is what the replica of an instance takes at most.
func replicaBytes(m *message.Instance) (bytes int64) {
	for name, size := range movedNames(m) {
		if strings.HasPrefix(name, dataPrefix) {
			bytes += replica.Sealed(size)
		}
	}
	return bytes
}

// Replicas are those that this node holds.
func (p *Pool) Replicas() *replica.Store { return p.held }

// expireEvery is how often replicas are looked for that nobody asks for any more.
const expireEvery = time.Hour

// expireReplicas removes those, until the pool ends.
func (p *Pool) expireReplicas() {
	tick := time.NewTicker(expireEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-p.life.Done():
			return
		}
		if err := p.held.Expire(); err != nil {
			p.cfg.Log.Warn("replicas not removed that nobody asks for", "error", err)
		}
	}
}

// Revive has an instance come back from its replica here, on the scheduler's word: the node that had it is dead. secret is that of
// the replica's key. The error is replica.ErrEarly as long as that node may still run it, and replica.ErrUnknown when there is no
// replica. It can be called again; Arrived says how far it is.
func (p *Pool) Revive(ctx context.Context, hash message.Hash, secret []byte) error {
	m, err := p.cfg.Network.Instance(ctx, hash)
	if err != nil {
		return err
	}
	if _, err := replica.NewKey(secret); err != nil {
		return err
	}
	r := define(hash, m)
	r.Wanted, r.Move = wantedArriving, &move{Secret: secret, Begun: time.Now()}
	p.mu.Lock()
	_, here, err := p.revivable(&r)
	p.mu.Unlock()
	if here || err != nil {
		return err
	}
	// From here on the node that had it is told by nobody that it may go on, and the instance begins here from nothing else.
	if _, err := p.held.Take(hash); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	x, here, err := p.revivable(&r)
	if here || err != nil {
		return err
	}
	if x == nil {
		_, err = p.add(r)
		return err
	}
	before := x.rec
	x.rec.Planned, x.rec.Line, x.rec.Hardware = false, r.Line, r.Hardware
	if err := x.wantMove(wantedArriving, r.Move); err != nil {
		x.rec = before
		return err
	}
	x.asked()
	return nil
}

// revivable checks that an instance can come back here. It returns what is here of it from earlier, and whether it has come back already.
// p.mu is held.
func (p *Pool) revivable(r *record) (x *instance, here bool, err error) {
	x = p.instances[r.Hash]
	switch {
	case x == nil:
	case x.here() || x.reviving():
		return x, true, nil
	case x.rec.Wanted != wantedReleased:
		return nil, false, fmt.Errorf("instance %s: %w", r.Hash, ErrMoving)
	}
	return x, false, p.admit(r)
}

// errNotRevived: this node was killed when it had taken the replica, before it wrote the instance down. It waits for the scheduler to
// say once more that it comes back here, and from what key: otherwise it would begin anew.
var errNotRevived = fmt.Errorf("it comes back from its replica when its scheduler says so again: %w", ErrMoving)

// reviving reports whether the instance comes back from a replica.
func (x *instance) reviving() bool { return x.rec.Wanted == wantedArriving && x.rec.Move.Secret != nil }

// restoreReplica writes the disks of an instance that comes back. Killed at any point, it begins again: up to its end the instance is
// not one that runs here, and the replica stays.
func (p *Pool) restoreReplica(ctx context.Context, hash message.Hash, move *move) error {
	instance, err := p.cfg.Network.Instance(ctx, hash)
	if err != nil {
		return err
	}
	key, err := replica.NewKey(move.Secret)
	if err != nil {
		return err
	}
	generation, err := p.held.Take(hash)
	if err != nil {
		return err
	}
	m, err := key.Manifest(hash, generation)
	if err != nil {
		return err
	}
	allowed := movedNames(instance)
	dir := filepath.Join(p.disks(hash), dataDir)
	// What there is of an earlier stay is older.
	if err := errors.Join(os.RemoveAll(p.disks(hash)), os.MkdirAll(dir, 0o700)); err != nil {
		return err
	}
	for _, disk := range m.Disks {
		if limit, ok := allowed[disk.Name]; !ok || !strings.HasPrefix(disk.Name, dataPrefix) || disk.Size > limit {
			return fmt.Errorf("disk %q of %d bytes is not one of its own", disk.Name, disk.Size)
		}
		if err := p.restoreDisk(ctx, hash, key, disk); err != nil {
			return fmt.Errorf("disk %s: %w", disk.Name, err)
		}
	}
	move.Stopped = m.Stopped
	p.cfg.Log.Info("instance comes back from its replica", "hash", hash, "taken", m.Taken, "generation", m.Number)
	return syncFolder(dir)
}

// dropReplica removes that of an instance which is this node's own.
func (p *Pool) dropReplica(hash message.Hash) {
	if err := p.held.Finish(hash); err != nil {
		p.cfg.Log.Warn("replica not removed", "hash", hash, "error", err)
	}
}

func (p *Pool) restoreDisk(ctx context.Context, hash message.Hash, key *replica.Key, disk replica.Disk) error {
	f, err := os.OpenFile(p.movedPath(hash, "", disk.Name), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	read := func(id replica.ID) ([]byte, error) { return p.held.Chunk(hash, id) }
	if err := replica.Restore(ctx, key, disk, f, read); err != nil {
		return err
	}
	// Volumes have their blocks reserved.
	if err := unix.Fallocate(int(f.Fd()), 0, 0, disk.Size); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	return f.Sync()
}
