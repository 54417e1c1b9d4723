// Package trigger is what starts and ends programs besides calls: it follows the messages that the core node processes. New
// versions of files and forgotten programs end executions (update.go), messages that a program subscribed to and the minutes of
// its schedule are handed to it as events (registry.go, event.go, match.go, schedule.go). crn runs it beside crn/api.
package trigger

import (
	"context"
	"iter"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/message"
)

// Workloads are the programs of the node; [execution.Pool] in a node.
type Workloads interface {
	Renew(outdated func(hash message.Hash, uses []execution.Use) bool) []message.Hash
	Holds(hash message.Hash) bool
	Remove(ctx context.Context, hash message.Hash) error
	Deliver(ctx context.Context, hash message.Hash, e execution.Event) error
}

// Network is where the messages of programs come from; network.Client in a node.
type Network interface {
	Program(ctx context.Context, hash message.Hash) (*message.Program, error)
}

// Config of the triggers of a node.
type Config struct {
	// Follow yields messages from a moment on, those missed included; client.Client.Follow in a node.
	Follow    func(ctx context.Context, since time.Time) iter.Seq2[*client.StoredMessage, error]
	Network   Network
	Workloads Workloads
	// PortsChanged, unless nil, is told of owners who want other ports of their instances forwarded.
	PortsChanged func(owner string)
	// Forgotten, unless nil, is told of programs that were removed because their message is forgotten.
	Forgotten func(hash message.Hash)
	File      string // where registrations and the place in the stream of messages are kept
	Metrics   prometheus.Registerer
	Log       *slog.Logger // discarded when nil
}

// Bounds of what waits and runs.
const (
	maxWaiting      = 256            // events that wait for one program; more are dropped
	maxWaitingBytes = 8 << 20        // of their bodies
	maxDelivered    = 32             // events in programs' hands at the same time
	maxRemovals     = 8              // forgotten programs that are being removed; with more, the next message waits
	longestGap      = 24 * time.Hour // of which missed messages are asked for
)

// Trigger follows messages and the clock.
type Trigger struct {
	cfg       Config
	metrics   *metrics
	delivered chan struct{}  // a token for each event in a program's hands
	workers   sync.WaitGroup // those that hand out events
	removals  errgroup.Group // of forgotten programs
	changed   chan struct{}  // holds a token when the plan changed
	saving    sync.Mutex     // one writer of the file at a time

	// mu guards what follows and the queues of registrations.
	mu       sync.Mutex
	allotted map[message.Hash]bool // what the plan names; true when it was looked at and asks for no events
	programs map[message.Hash]*registration
	since    time.Time // messages of earlier times were seen
	ended    bool      // no more events are taken
}

// New reads what an earlier node registered.
func New(cfg Config) *Trigger {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	t := &Trigger{
		cfg: cfg, metrics: newMetrics(cfg.Metrics), delivered: make(chan struct{}, maxDelivered), changed: make(chan struct{}, 1),
		allotted: map[message.Hash]bool{}, programs: map[message.Hash]*registration{},
	}
	t.removals.SetLimit(maxRemovals)
	t.load()
	return t
}

// Run follows messages and the clock until ctx ends. Events that wait are dropped then; those in programs' hands are waited for,
// as long as the pool lets calls go on.
func (t *Trigger) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	parts.Go(func() { t.register(ctx) })
	parts.Go(func() { t.keepTime(ctx) })
	parts.Go(func() { t.follow(ctx) })
	parts.Wait()
	t.endQueues()
	t.workers.Wait()
	_ = t.removals.Wait()
	return t.save()
}

// follow takes each message to what it concerns.
func (t *Trigger) follow(ctx context.Context) {
	for m, err := range t.cfg.Follow(ctx, t.start()) {
		if err != nil {
			t.cfg.Log.Warn("messages of the core node are not followed; trying again", "error", err)
			continue
		}
		switch m.Type {
		case message.TypeStore:
			t.stored(m)
		case message.TypeAggregate:
			t.aggregated(m)
		case message.TypeForget:
			t.forget(ctx, m)
		case message.TypeProgram:
			t.replaced(ctx, m)
		}
		t.offer(m)
		t.passed(m)
	}
}

// start is from when on messages are of interest.
func (t *Trigger) start() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if t.since.IsZero() || t.since.After(now) {
		t.since = now
	} else if now.Sub(t.since) > longestGap {
		t.since = now.Add(-longestGap)
	}
	return t.since
}

// passed notes that a message was seen. The place is a time of messages: of what was missed, the rest is newer. Signers choose
// that time, and it must not lead into the future.
func (t *Trigger) passed(m *client.StoredMessage) {
	at := time.UnixMicro(int64(math.Round(m.Time * 1e6)))
	if now := time.Now(); at.After(now) {
		at = now
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if at = at.Add(time.Microsecond); at.After(t.since) {
		t.since = at
	}
}

// metrics of triggers.
type metrics struct{ events *prometheus.CounterVec }

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "aleph_crn_events_total", Help: "Events for programs by kind and outcome: done, failed, dropped.",
	}, []string{"kind", "outcome"})}
	if registry != nil {
		registry.MustRegister(m.events)
	}
	return m
}
