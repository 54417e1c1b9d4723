package intake

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// Event tells what a commit did with a message. Copies of what was applied before make no event.
type Event struct {
	Hash     message.Hash
	Status   message.Status   // processed, pending or rejected
	Message  *message.Message // nil when the bytes were no message
	Content  message.Content  // nil while it is elsewhere
	Raw      json.RawMessage  // the content's JSON as it is served; nil with Content
	Size     int64            // as stored with the message
	Received message.Time
	Origin   Origin
	Err      *message.Error // of what is pending or rejected
	Ended    []message.Type // types of messages that it put an end to, as a FORGET does; unknown where processes share a database
	Missed   uint64         // events that this subscriber lost just before, as it was too slow
	Position int64          // of what was applied; see Pipeline.Position
}

// Position returns a number that the events of all that was applied before do not exceed, and those of what is applied later
// do. Who asks for it after subscribing knows which events tell of what could be read already.
func (p *Pipeline) Position(ctx context.Context) (last int64, err error) {
	if !p.shared {
		return p.events.position(), nil
	}
	err = p.cfg.Store.Read(ctx, func(r *store.Reader) (err error) {
		last, err = r.LastMessage()
		return err
	})
	return last, err
}

// Subscribe returns a channel of the events from now on that wanted chooses, all if it is nil. It is asked by who commits, and
// so must be quick. Intake never waits for a subscriber: what finds buffer full is lost, and the next event, which then is
// whatever comes next, says so in Missed. The channel is closed by cancel, and when the pipeline ends.
func (p *Pipeline) Subscribe(buffer int, wanted func(*Event) bool) (<-chan Event, func()) {
	return p.events.subscribe(buffer, wanted)
}

// hub hands events to subscribers.
type hub struct {
	mu     sync.Mutex
	subs   map[*subscriber]struct{} // guarded by mu
	closed bool                     // guarded by mu
	last   int64                    // guarded by mu; position of the last event
}

type subscriber struct {
	c      chan Event
	wanted func(*Event) bool // nil: every event is
	missed uint64            // guarded by hub.mu
}

func (h *hub) subscribe(buffer int, wanted func(*Event) bool) (<-chan Event, func()) {
	s := &subscriber{c: make(chan Event, max(buffer, 1)), wanted: wanted}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		close(s.c)
		return s.c, func() {}
	}
	if h.subs == nil {
		h.subs = make(map[*subscriber]struct{})
	}
	h.subs[s] = struct{}{}
	return s.c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if _, ok := h.subs[s]; ok {
			delete(h.subs, s)
			close(s.c)
		}
	}
}

func (h *hub) publish(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e.Position == 0 { // nobody else applies, so that counting is enough
		h.last++
		e.Position = h.last
	}
	for s := range h.subs {
		if s.wanted != nil && s.missed == 0 && !s.wanted(&e) {
			continue
		}
		e.Missed = s.missed
		select {
		case s.c <- e:
			s.missed = 0
		default:
			s.missed++
		}
	}
}

func (h *hub) position() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for s := range h.subs {
		close(s.c)
	}
	h.subs = nil
}

// Stats counts since the pipeline was built.
type Stats struct {
	Received   uint64 // messages and bytes that were submitted
	Verified   uint64 // signatures that were checked
	Duplicates uint64 // copies of what was on its way or applied
	Processed  uint64 // messages that were applied
	Pending    uint64 // messages that were set to wait, each time they were
	Rejected   uint64 // messages and bytes that were refused
	Commits    uint64 // group commits
	Failures   uint64 // errors that are not the message's fault
	Queued     int    // messages that wait for the next commit, now
}

type counters struct {
	received, verified, duplicates, processed, pending, rejected, commits, failures atomic.Uint64
}

// Stats reports the pipeline's counters.
func (p *Pipeline) Stats() Stats {
	c := &p.stats
	return Stats{
		Received: c.received.Load(), Verified: c.verified.Load(), Duplicates: c.duplicates.Load(),
		Processed: c.processed.Load(), Pending: c.pending.Load(), Rejected: c.rejected.Load(),
		Commits: c.commits.Load(), Failures: c.failures.Load(), Queued: len(p.queue),
	}
}
