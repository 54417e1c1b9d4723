package schedule

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/registry"
)

// ReplicasKey is the aggregate key under which the owner of instances publishes which are to be replicated (decision 0029): an object
// from the hash of an instance to [Replicas], or to null for one that is not, or not any more.
const ReplicasKey = "instance-replicas"

// Replicas is how an instance is to be replicated.
type Replicas struct {
	Every int64 `json:"every"` // seconds between two generations; at least what the network's parameters say
}

// asked returns which of the instances that are at home on own compute nodes are to be replicated, and how often, in seconds.
func (s *Scheduler) asked(r *store.Reader, v *view, workloads []Workload) (map[message.Hash]int64, error) {
	own := make(map[string]bool)
	for _, node := range s.own(v) {
		own[node.Hash] = true
	}
	asked := make(map[message.Hash]int64)
	said := make(map[string]map[message.Hash]*Replicas) // by owner
	for _, w := range workloads {
		if w.Type != message.TypeInstance || !own[v.homes[w.Hash]] {
			continue
		}
		wishes, known := said[w.Owner]
		if !known {
			if _, err := word(r, w.Owner, ReplicasKey, &wishes); err != nil {
				return nil, err
			}
			said[w.Owner] = wishes
		}
		if wish := wishes[w.Hash]; wish != nil {
			asked[w.Hash] = max(wish.Every, s.cfg.Params.Schedule.ReplicaEvery)
		}
	}
	return asked, nil
}

// replicasAtOnce bounds the instances whose replicas are seen to side by side.
const replicasAtOnce = 8

// replicate sees to the replicas of instances that are at home on own compute nodes, unless it is doing so.
func (s *Scheduler) replicate(ctx context.Context, wg *sync.WaitGroup, done chan<- struct{}) {
	if s.replicating || time.Since(s.replicated) < time.Duration(s.cfg.Params.Schedule.ProbeInterval)*time.Second {
		return
	}
	v := s.current()
	nodes := make(map[string]registry.ResourceNode)
	for _, node := range s.own(v) {
		nodes[node.Hash] = node
	}
	var list []message.Hash
	for hash, home := range v.homes {
		if _, own := nodes[home]; own && (v.asked[hash] > 0 || v.replicas[hash] != "") {
			list = append(list, hash)
		}
	}
	if len(list) == 0 {
		return
	}
	s.replicating, s.replicated = true, time.Now()
	wg.Go(func() {
		var group errgroup.Group
		group.SetLimit(replicasAtOnce)
		for _, hash := range list {
			group.Go(func() error {
				if err := s.keepReplica(ctx, v, hash, nodes[v.homes[hash]]); err != nil && ctx.Err() == nil {
					s.cfg.Logger.Warn("replica of an instance not seen to, tried again soon", "hash", hash, "error", err)
				}
				return nil
			})
		}
		_ = group.Wait()
		select {
		case done <- struct{}{}:
		case <-ctx.Done():
		}
	})
}

// keepReplica takes the next step for one instance. Like a move it keeps little: what was done shows on the nodes and in the homes that
// are published.
func (s *Scheduler) keepReplica(ctx context.Context, v *view, hash message.Hash, home registry.ResourceNode) error {
	secret, err := s.replicaSecret(ctx, hash)
	if err != nil {
		return err
	}
	holder := v.compute(v.replicas[hash])
	every := v.asked[hash]
	switch p, planned := v.plan[hash]; {
	case v.down[home.Hash] && holder != nil:
		return s.revive(ctx, v, hash, home, *holder, secret)
	case v.down[home.Hash]:
		return nil // it waits for its node
	case holder != nil && s.revives(v, hash, home.Hash):
		return s.settleRevival(ctx, v, hash, home, *holder, secret)
	case planned && p.Compute.Hash != home.Hash: // it moves, and goes on until it is its turn
		if holder == nil || every == 0 {
			return nil
		}
		status, err := s.goOn(ctx, hash, home, *holder, secret, every)
		if status == http.StatusNotFound {
			return nil // it has left
		}
		return err
	case every == 0:
		return s.endReplica(ctx, v, hash, home, holder, secret)
	}
	if holder != nil {
		s.setReviving(hash, "") // if it was from another home, before
		// Whatever became of the holder, the instance has not been told to come back there.
		if _, err := s.goOn(ctx, hash, home, *holder, secret, every); err != nil {
			return err
		}
	}
	chosen, err := s.chooseHolder(ctx, v, hash, home, holder, secret)
	switch {
	case errors.Is(err, errNoHolder) && v.replicas[hash] != "":
		s.cfg.Logger.Warn("instance goes on without a replica", "hash", hash, "error", err)
		return s.endReplica(ctx, v, hash, home, nil, secret)
	case errors.Is(err, errNoHolder):
		s.cfg.Logger.Debug("instance has no replica", "hash", hash, "error", err)
		return nil
	case err != nil || chosen == nil || holder != nil && chosen.Hash == holder.Hash:
		return err
	}
	// It is the other node that would run it, from its replica, that is written down before the home is told of it.
	if err := s.publishHome(ctx, hash, Home{Node: home.Hash, Replica: chosen.Hash}); err != nil {
		return err
	}
	s.cfg.Logger.Info("instance is replicated", "hash", hash, "home", home.Address, "holder", chosen.Address)
	_, err = s.goOn(ctx, hash, home, *chosen, secret, every)
	return err
}

// goOn tells a home that an instance may go on there for a lease, and where its replica is to be.
func (s *Scheduler) goOn(ctx context.Context, hash message.Hash, home, holder registry.ResourceNode, secret []byte, every int64) (status int, err error) {
	order := map[string]any{
		"holder": holder.Address, "token": replicaToken(secret, home.Hash, holder.Hash), "secret": secret,
		"every": every, "lease": s.cfg.Params.Schedule.ReplicaLease,
	}
	status, err = s.order(ctx, http.MethodPost, home.Address, "/control/machine/"+string(hash)+"/replica", order, nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastTold[hash] = time.Now() // whatever came back: it may have been heard
	return status, err
}

// publishHome publishes where an instance is.
func (s *Scheduler) publishHome(ctx context.Context, hash message.Hash, home Home) error {
	home.Since = now()
	if err := s.cfg.Publish(ctx, HomesKey, map[message.Hash]Home{hash: home}); err != nil {
		return fmt.Errorf("publish where an instance and its replica are: %w", err)
	}
	return nil
}

const (
	// holdTimeout bounds an order to hold a replica, or to drop one before.
	holdTimeout = 5 * time.Second
	// holdersAtOnce bounds the nodes that are asked to hold a replica before the home gets its next word.
	holdersAtOnce = 4
)

// hold has a node hold the replica.
func (s *Scheduler) hold(ctx context.Context, hash message.Hash, home, holder registry.ResourceNode, secret []byte) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, holdTimeout)
	defer cancel()
	order := map[string]any{"token": replicaToken(secret, home.Hash, holder.Hash), "lease": s.cfg.Params.Schedule.ReplicaLease}
	return s.order(ctx, http.MethodPost, holder.Address, replicaPath(hash)+"/hold", order, nil)
}

// holdAnew is hold for a node that is not known to hold the replica. What it held before is older than the disks are now, and is not to
// be come back from.
func (s *Scheduler) holdAnew(ctx context.Context, hash message.Hash, home, holder registry.ResourceNode, secret []byte) error {
	limited, cancel := context.WithTimeout(ctx, holdTimeout)
	defer cancel()
	if _, err := s.order(limited, http.MethodPost, holder.Address, replicaPath(hash)+"/drop", struct{}{}, nil); err != nil {
		return err
	}
	_, err := s.hold(ctx, hash, home, holder, secret)
	return err
}

// chooseHolder has a node hold the replica: the one that does, or, when that is gone, drains or has no room, the next by rendezvous
// hashing. It is nil when the instance has come back at its holder, which is then published, or when there are more nodes to ask the next time. The
// error may be errNoHolder.
func (s *Scheduler) chooseHolder(ctx context.Context, v *view, hash message.Hash, home registry.ResourceNode, holder *registry.ResourceNode, secret []byte) (*registry.ResourceNode, error) {
	last := errors.New("there is no other compute node")
	var draining *registry.ResourceNode // that goes on when no other node can
	if holder != nil && !v.down[holder.Hash] {
		status, err := s.hold(ctx, hash, home, *holder, secret)
		switch {
		case err == nil && !v.draining[holder.Hash]:
			return holder, nil
		case err == nil:
			draining = holder
		case status == http.StatusGone:
			return nil, s.comeBack(ctx, v, hash, home, *holder, secret)
		case status != http.StatusInsufficientStorage:
			return nil, err // as long as it does not count as gone
		default:
			last = err
		}
	}
	var candidates []registry.ResourceNode
	for _, n := range v.nodes.ResourceNodes {
		if n.Parent != nil && n.Address != "" && !v.down[n.Hash] && !v.draining[n.Hash] && n.Hash != home.Hash && (holder == nil || n.Hash != holder.Hash) {
			candidates = append(candidates, n)
		}
	}
	slices.SortFunc(candidates, func(a, b registry.ResourceNode) int {
		return cmp.Or(bytes.Compare(draw(hash, a), draw(hash, b)), cmp.Compare(a.Hash, b.Hash))
	})
	s.mu.Lock()
	first := min(s.passed[hash], len(candidates))
	s.mu.Unlock()
	next := min(first+holdersAtOnce, len(candidates))
	for _, n := range candidates[first:next] {
		if last = s.holdAnew(ctx, hash, home, n, secret); last == nil {
			s.pass(hash, 0)
			return &n, nil
		}
	}
	if next < len(candidates) {
		s.pass(hash, next)
		return nil, nil
	}
	s.pass(hash, 0)
	if draining != nil {
		return draining, nil
	}
	return nil, fmt.Errorf("%w: %w", errNoHolder, last)
}

// pass has the first n nodes by rendezvous hashing not be asked the next time.
func (s *Scheduler) pass(hash message.Hash, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passed[hash] = n
}

// errNoHolder: all nodes that could hold the replica are gone, or have no room.
var errNoHolder = errors.New("no node holds the replica")

// draw orders the nodes that could hold an instance's replica.
func draw(hash message.Hash, n registry.ResourceNode) []byte {
	sum := sha256.Sum256([]byte(string(hash) + "\x00" + n.Hash))
	return sum[:]
}

func replicaPath(hash message.Hash) string { return "/control/replica/" + string(hash) }

// revive has an instance come back from its replica, when its home can run it no more: neither this node nor, as that one makes sure
// of, the holder has told it to go on for a whole lease.
func (s *Scheduler) revive(ctx context.Context, v *view, hash message.Hash, home, holder registry.ResourceNode, secret []byte) error {
	s.mu.Lock()
	told, known := s.lastTold[hash]
	if !known {
		s.lastTold[hash] = time.Now() // this node was started just now
	}
	s.mu.Unlock()
	if !known || time.Since(told) < time.Duration(s.cfg.Params.Schedule.ReplicaLease)*time.Second || v.down[holder.Hash] {
		return nil
	}
	return s.comeBack(ctx, v, hash, home, holder, secret)
}

// comeBack has the holder run an instance from its replica and publishes that it is at home there. It is published before that it may
// be: from then on the old home gets no word. A holder that took the replica may have been killed before it wrote down what key opens
// it: it is at home there only once the holder has said yes.
func (s *Scheduler) comeBack(ctx context.Context, v *view, hash message.Hash, home, holder registry.ResourceNode, secret []byte) error {
	if !s.revives(v, hash, home.Hash) {
		s.setReviving(hash, home.Hash)
		if err := s.publishHome(ctx, hash, Home{Node: home.Hash, Replica: holder.Hash, Reviving: true}); err != nil {
			s.setReviving(hash, "")
			return err
		}
	}
	status, err := s.order(ctx, http.MethodPost, holder.Address, replicaPath(hash)+"/revive", map[string]any{"secret": secret}, nil)
	if status == http.StatusTooEarly {
		return nil
	}
	if err != nil {
		return err
	}
	if err := s.publishHome(ctx, hash, Home{Node: holder.Hash}); err != nil {
		return err
	}
	s.cfg.Logger.Warn("instance comes back from its replica", "hash", hash, "crn", holder.Address)
	return nil
}

// revives reports whether an instance was, or may have been, told to come back from its replica.
func (s *Scheduler) revives(v *view, hash message.Hash, home string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return v.comesBack(hash) || s.reviving[hash] == home
}

// setReviving keeps from which home an instance comes back, before the view shows it; "" for none.
func (s *Scheduler) setReviving(hash message.Hash, home string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reviving[hash] = home
}

// settleRevival finds out, when the home of such an instance is back, whether the holder took the replica. If not it cannot any more
// for a lease, and the instance goes on at home. Until the holder answers the home gets no word.
func (s *Scheduler) settleRevival(ctx context.Context, v *view, hash message.Hash, home, holder registry.ResourceNode, secret []byte) error {
	if v.down[holder.Hash] {
		return nil
	}
	status, err := s.hold(ctx, hash, home, holder, secret)
	if status == http.StatusGone {
		return s.comeBack(ctx, v, hash, home, holder, secret)
	}
	if err != nil {
		return err
	}
	if err := s.publishHome(ctx, hash, Home{Node: home.Hash, Replica: holder.Hash}); err != nil {
		return err
	}
	s.setReviving(hash, "")
	return nil
}

// endReplica has an instance replicated no more: its owner wants it so, or holder is nil and nobody holds the replica. When the home
// needs no word any more to go on, nothing must be left to come back from. Where it has come back already, it is at home.
func (s *Scheduler) endReplica(ctx context.Context, v *view, hash message.Hash, home registry.ResourceNode, holder *registry.ResourceNode, secret []byte) error {
	if holder != nil && !v.down[holder.Hash] {
		status, err := s.order(ctx, http.MethodPost, holder.Address, replicaPath(hash)+"/drop", struct{}{}, nil)
		if status == http.StatusGone {
			return s.comeBack(ctx, v, hash, home, *holder, secret)
		}
		if err != nil {
			return err
		}
	}
	status, err := s.order(ctx, http.MethodPost, home.Address, "/control/machine/"+string(hash)+"/replica", struct{}{}, nil)
	if err != nil && status != http.StatusNotFound {
		return err
	}
	return s.publishHome(ctx, hash, Home{Node: home.Hash})
}

// compute returns a registered compute node, or nil.
func (v *view) compute(hash string) *registry.ResourceNode {
	for i := range v.nodes.ResourceNodes {
		if n := &v.nodes.ResourceNodes[i]; n.Hash == hash && n.Address != "" {
			return n
		}
	}
	return nil
}

// replicaSecret is what the key of an instance's replica is made of. It follows from the operator's key, whose signatures are the same
// each time (RFC 6979), so that nothing has to be kept: who may say where instances run can open their replicas, and nobody else.
func (s *Scheduler) replicaSecret(ctx context.Context, hash message.Hash) ([]byte, error) {
	signature, err := s.cfg.Signer.Sign(ctx, []byte("aleph-go: key of the replica of instance "+string(hash)))
	if err != nil {
		return nil, fmt.Errorf("derive the key of a replica: %w", err)
	}
	return derive([]byte(signature), "replica")
}

// replicaToken is what a home shows to a holder.
func replicaToken(secret []byte, home, holder string) string {
	raw, err := derive(secret, "token "+home+" "+holder)
	if err != nil {
		panic(err) // only for lengths that there are not
	}
	return hex.EncodeToString(raw)
}

func derive(secret []byte, use string) ([]byte, error) {
	return hkdf.Key(sha256.New, secret, nil, "aleph-go "+use, 32)
}
