// Package schedule decides where workloads run, and sees to it that they do.
//
// The plan is a pure function of messages that every core node holds: the registry of nodes, the programs and instances,
// and what each core node reports of the compute nodes that it linked. So every node computes the same plan and answers
// the same when asked where something runs; nothing central is needed. Each core node sends its part of the plan to its
// own compute nodes, looks at them every few seconds, and publishes when one goes or comes back, which moves the plan
// everywhere. The node (package ccn) wires it and calls Notify when a message changed something.
package schedule

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
	"github.com/aleph-im/aleph-go/registry"
)

// StatusKey is the aggregate key under which the owner of a core node publishes which of its compute nodes are gone: an
// object from the hash of a compute node to [NodeStatus].
const StatusKey = "crn-status"

// NodeStatus is one core node's word on one of its compute nodes.
type NodeStatus struct {
	Up    bool    `json:"up"`
	Since float64 `json:"since"` // Unix seconds
}

// Config is what a Scheduler needs.
type Config struct {
	Params *params.Network
	Store  *store.Store
	// Signer is the operator's key. Without it the node computes the plan and answers questions, and allocates nothing.
	Signer Signer
	// Publish publishes a new revision of an aggregate of the operator. Required when Signer is set.
	Publish func(ctx context.Context, key string, content any) error
	Logger  *slog.Logger
}

// Scheduler keeps the plan and carries out this node's part of it.
type Scheduler struct {
	cfg    Config
	http   *http.Client
	wake   chan struct{}
	mu     sync.RWMutex
	view   *view          // guarded by mu; replaced, never changed
	health map[string]int // of own compute nodes: failed looks in a row; owned by the goroutine of Run
	sent   map[string]*delivery
	// Instances under way with the compute nodes that they leave, and when those may be tried again that could not be moved. Owned by
	// the goroutine of Run.
	journeys map[message.Hash]string
	resting  map[message.Hash]time.Time
	// Whether replicas are being seen to, and when that was begun. Owned by the goroutine of Run.
	replicating bool
	replicated  time.Time
	// Guarded by mu: when homes were told that an instance may go on there; the homes that it comes back from, which the view may not
	// show yet; and how many nodes in their order cannot hold its replica.
	lastTold map[message.Hash]time.Time
	reviving map[message.Hash]string
	passed   map[message.Hash]int
}

// view is one consistent plan with what it was computed from.
type view struct {
	nodes    registry.Aggregate
	down     map[string]bool
	draining map[string]bool
	homes    map[message.Hash]string // of instances: the compute node that has their disks
	// replicas are the compute nodes that hold replicas of instances; asked is how often, in seconds, those of own compute nodes are to
	// be brought up to date.
	replicas map[message.Hash]string
	reviving map[message.Hash]bool // told, or just being told, to come back from them
	asked    map[message.Hash]int64
	plan     map[message.Hash]Placement
	newest   float64 // Unix seconds: content time of the newest message that it depends on

	splitting sync.Once
	parts     map[string]allocation // of the plan, by compute node; made when the first is asked for
}

// delivery is the last allocation sent to one compute node. It is owned by the goroutine of Run but for done.
type delivery struct {
	key     string // the allocation, as JSON
	sent    time.Time
	ok      bool
	pending bool
}

// New returns a Scheduler. It has no plan until Run has started.
func New(cfg Config) (*Scheduler, error) {
	if cfg.Signer != nil && cfg.Publish == nil {
		return nil, fmt.Errorf("scheduler: a signer needs a Publish function for the state of its compute nodes")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Scheduler{
		cfg:    cfg,
		http:   &http.Client{Timeout: allocationTimeout, CheckRedirect: stay},
		wake:   make(chan struct{}, 1),
		view:   &view{},
		health: make(map[string]int),
		sent:   make(map[string]*delivery),

		journeys: make(map[message.Hash]string), resting: make(map[message.Hash]time.Time),
		lastTold: make(map[message.Hash]time.Time), reviving: make(map[message.Hash]string), passed: make(map[message.Hash]int),
	}, nil
}

const (
	allocationTimeout = 5 * time.Minute // a compute node may boot several machines before it answers
	probeTimeout      = 2 * time.Second
	orderTimeout      = 30 * time.Second // of orders that are answered at once

	// Between two computations of the plan. Each reads all workloads, and has the store commit what it applied.
	minRest    = 500 * time.Millisecond
	restFactor = 10 // of what the last one took
)

// Notify says that messages may have changed the plan. It never blocks.
func (s *Scheduler) Notify() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run computes the plan, watches and instructs this node's compute nodes until ctx ends.
func (s *Scheduler) Run(ctx context.Context) error {
	var deliveries sync.WaitGroup
	defer deliveries.Wait()
	done := make(chan deliveryResult)
	arrived := make(chan journeyResult)
	replicated := make(chan struct{})
	ticker := time.NewTicker(time.Duration(s.cfg.Params.Schedule.ProbeInterval) * time.Second)
	defer ticker.Stop()
	rested := time.NewTimer(0)
	defer rested.Stop()
	stale, tired := true, true // the plan may be out of date; it was computed just now
	news := true               // because of a message
	for {
		if stale && !tired {
			begin := time.Now()
			// A commit for the sake of the clock would cost intake more than it is worth: messages tell of themselves.
			read := s.cfg.Store.ReadCommitted
			if news {
				read = s.cfg.Store.Read
			}
			if err := s.refresh(ctx, read); err == nil {
				stale, news = false, false
			} else if ctx.Err() == nil {
				s.cfg.Logger.Error("plan not computed, the last one stays in force", "error", err)
			}
			tired = true
			rested.Reset(max(minRest, restFactor*time.Since(begin)))
		}
		s.deliver(ctx, &deliveries, done)
		s.move(ctx, &deliveries, arrived)
		s.replicate(ctx, &deliveries, replicated)
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
			stale, news = true, true
		case <-rested.C:
			tired = false
		case <-ticker.C:
			s.look(ctx)
			stale = true
		case r := <-done:
			s.delivered(ctx, r)
		case r := <-arrived:
			s.moved(r)
		case <-replicated:
			s.replicating = false
		}
	}
}

// refresh computes the plan from the snapshot of the store that read gives.
func (s *Scheduler) refresh(ctx context.Context, read func(context.Context, func(*store.Reader) error) error) error {
	v := &view{down: make(map[string]bool)}
	var workloads []Workload
	err := read(ctx, func(r *store.Reader) error {
		found, err := registered(r, s.cfg.Params, &v.nodes)
		if err != nil {
			return err
		}
		v.newest = max(v.newest, found)
		for _, core := range v.nodes.Nodes {
			var status map[string]NodeStatus
			updated, err := word(r, core.Owner, StatusKey, &status)
			if err != nil {
				return err
			}
			v.newest = max(v.newest, updated)
			for _, hash := range core.ResourceNodes {
				if st, reported := status[hash]; reported && !st.Up {
					v.down[hash] = true
				}
			}
		}
		all, updated, err := homes(r, v.nodes)
		if err != nil {
			return err
		}
		v.settle(all)
		v.newest = max(v.newest, updated)
		if v.draining, updated, err = draining(r, v.nodes); err != nil {
			return err
		}
		v.newest = max(v.newest, updated)
		rows, err := r.Workloads()
		if err != nil {
			return err
		}
		said := wishes{r, make(map[string]map[message.Hash]any)}
		for _, row := range rows {
			node, updated, err := said.about(row)
			if err != nil {
				return err
			}
			v.newest = max(v.newest, row.ContentTime, updated)
			workloads = append(workloads, Workload{
				Hash: row.Hash, Type: row.Type, Owner: row.Owner, Persistent: row.Persistent, NodeHash: node,
			})
		}
		v.asked, err = s.asked(r, v, workloads)
		return err
	})
	if err != nil {
		return fmt.Errorf("read what the plan depends on: %w", err)
	}
	v.plan = Plan(Inputs{
		Nodes: v.nodes, Down: v.down, Draining: v.draining, Homes: v.homes, Workloads: workloads, RequireActive: s.cfg.Params.Schedule.RequireActive,
	})
	s.mu.Lock()
	s.view = v
	s.mu.Unlock()
	return nil
}

// settle keeps where instances are.
func (v *view) settle(all map[message.Hash]Home) {
	v.homes, v.replicas, v.reviving = make(map[message.Hash]string), make(map[message.Hash]string), make(map[message.Hash]bool)
	for hash, home := range all {
		v.homes[hash] = home.Node
		if home.Replica != "" {
			v.replicas[hash], v.reviving[hash] = home.Replica, home.Reviving
		}
	}
}

// registered reads the registry of nodes into dst and returns its content time.
func registered(r *store.Reader, p *params.Network, dst *registry.Aggregate) (float64, error) {
	return aggregate(r, p.Corechannel.Addresses[0], p.Corechannel.Keys[0], dst)
}

// aggregate decodes an aggregate into dst, which stays as it is when there is none, and returns its content time.
func aggregate(r *store.Reader, owner, key string, dst any) (float64, error) {
	row, err := r.Aggregate(owner, key)
	if err != nil || row == nil {
		return 0, err
	}
	if err := json.Unmarshal(row.Content, dst); err != nil {
		return 0, fmt.Errorf("aggregate %s of %s: %w", key, owner, err)
	}
	return row.LastUpdated, nil
}

// word is aggregate for what anyone may publish: what makes no sense counts as nothing.
func word[T any](r *store.Reader, owner, key string, dst *T) (float64, error) {
	row, err := r.Aggregate(owner, key)
	if err != nil || row == nil {
		return 0, err
	}
	var said T
	if json.Unmarshal(row.Content, &said) == nil {
		*dst = said
	}
	return row.LastUpdated, nil
}

func (s *Scheduler) current() *view {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.view
}

// own returns the compute nodes that this node's operator linked.
func (s *Scheduler) own(v *view) []registry.ResourceNode {
	if s.cfg.Signer == nil {
		return nil
	}
	var own []registry.ResourceNode
	for _, core := range v.nodes.Nodes {
		if core.Owner != s.cfg.Signer.Address() {
			continue
		}
		for _, node := range v.nodes.ResourceNodes {
			if node.Parent != nil && *node.Parent == core.Hash && node.Address != "" {
				own = append(own, node)
			}
		}
	}
	return own
}

// look probes this node's compute nodes and publishes what changed.
func (s *Scheduler) look(ctx context.Context) {
	v := s.current()
	own := s.own(v)
	failed := make([]error, len(own))
	var wg sync.WaitGroup
	for i, node := range own {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, probeTimeout)
			defer cancel()
			failed[i] = probe(ctx, s.http, node.Address)
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return
	}
	changed := make(map[string]NodeStatus)
	now := now()
	for i, node := range own {
		if failed[i] == nil {
			s.health[node.Hash] = 0
			if v.down[node.Hash] {
				changed[node.Hash] = NodeStatus{Up: true, Since: now}
				delete(s.sent, node.Hash) // it comes back knowing nothing
				s.cfg.Logger.Info("compute node is back", "crn", node.Hash, "address", node.Address)
			}
			continue
		}
		s.health[node.Hash]++
		if s.health[node.Hash] == s.cfg.Params.Schedule.ProbeFailures && !v.down[node.Hash] {
			changed[node.Hash] = NodeStatus{Up: false, Since: now}
			s.cfg.Logger.Warn("compute node does not answer, its workloads move", "crn", node.Hash, "address", node.Address, "error", failed[i])
		}
	}
	if len(changed) == 0 {
		return
	}
	if err := s.cfg.Publish(ctx, StatusKey, changed); err != nil {
		s.cfg.Logger.Error("state of compute nodes not published, tried again at the next look", "error", err)
		for hash := range changed {
			s.health[hash] = min(s.health[hash], s.cfg.Params.Schedule.ProbeFailures-1)
		}
	}
}

// deliveryResult is how a delivery ended.
type deliveryResult struct {
	node    registry.ResourceNode
	key     string
	outcome outcome
	err     error
}

// deliver sends each own compute node its part of the plan when that changed, failed, or is due again. One delivery per
// node is under way at a time.
func (s *Scheduler) deliver(ctx context.Context, wg *sync.WaitGroup, done chan<- deliveryResult) {
	v := s.current()
	for _, node := range s.own(v) {
		if v.down[node.Hash] {
			continue
		}
		part := v.part(node.Hash)
		part.Instances = slices.DeleteFunc(slices.Clone(part.Instances), func(hash message.Hash) bool { return v.elsewhere(v.plan[hash]) })
		part.Leaving = v.leaving(node.Hash)
		key, err := json.Marshal(part)
		if err != nil {
			s.cfg.Logger.Error("allocation not encoded", "crn", node.Hash, "error", err)
			continue
		}
		last := s.sent[node.Hash]
		if last == nil {
			last = &delivery{}
			s.sent[node.Hash] = last
		}
		age := time.Since(last.sent)
		due := last.key != string(key) || age >= time.Duration(s.cfg.Params.Schedule.Resend)*time.Second ||
			!last.ok && age >= time.Duration(s.cfg.Params.Schedule.ProbeInterval)*time.Second
		if last.pending || !due {
			continue
		}
		*last = delivery{key: string(key), sent: time.Now(), pending: true}
		wg.Go(func() {
			outcome, err := part.post(ctx, s.http, s.cfg.Signer, node.Address)
			select {
			case done <- deliveryResult{node, string(key), outcome, err}:
			case <-ctx.Done():
			}
		})
	}
}

// part returns the allocation of one compute node, sorted. Its lists are not to be changed.
func (v *view) part(compute string) allocation {
	v.splitting.Do(v.split)
	if a, ok := v.parts[compute]; ok {
		return a
	}
	return newAllocation()
}

// split makes the parts of all compute nodes: anybody may ask for them, however many there are.
func (v *view) split() {
	v.parts = make(map[string]allocation)
	for _, hash := range slices.Sorted(maps.Keys(v.plan)) {
		p := v.plan[hash]
		a, ok := v.parts[p.Compute.Hash]
		if !ok {
			a = newAllocation()
		}
		switch {
		case p.Workload.Type == message.TypeInstance:
			a.Instances = append(a.Instances, hash)
		case p.Workload.Persistent:
			a.PersistentVMs = append(a.PersistentVMs, hash)
		default:
			a.OnDemandVMs = append(a.OnDemandVMs, hash)
		}
		v.parts[p.Compute.Hash] = a
	}
}

// rand64 makes two payloads of the same second differ; compute nodes refuse a payload that they have seen.
func rand64() uint64 { return rand.Uint64() }
