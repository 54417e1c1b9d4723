package trigger

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/crn/execution"
)

// offer raises an event for each program with a subscription that holds for the message.
func (t *Trigger) offer(m *client.StoredMessage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var raw []byte
	var decoded map[string]any
	for _, r := range t.programs {
		if len(r.subscriptions) == 0 {
			continue
		}
		if raw == nil {
			var err error
			if raw, err = json.Marshal(m); err != nil || decodeNumbers(raw, &decoded) != nil {
				return
			}
		}
		if slices.ContainsFunc(r.subscriptions, func(s subscription) bool { return s.holds(decoded) }) {
			t.queue(r, execution.Event{Kind: execution.EventMessage, ID: string(m.ItemHash), Body: raw})
		}
	}
}

// tick raises the events that are due in a minute.
func (t *Trigger) tick(minute time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.programs {
		if r.schedule.due(minute) {
			t.queue(r, execution.Event{Kind: execution.EventCron, ID: minute.UTC().Format(time.RFC3339), Body: cronBody(minute, r.scheduleText)})
		}
	}
}

// queue adds an event for a program and sees to it that somebody hands it over. t.mu is held.
func (t *Trigger) queue(r *registration, e execution.Event) {
	if t.ended {
		return
	}
	size := 0
	for _, w := range r.waiting {
		size += len(w.Body)
	}
	if len(r.waiting) == maxWaiting || size+len(e.Body) > maxWaitingBytes {
		t.metrics.events.WithLabelValues(e.Kind, "dropped").Inc()
		t.cfg.Log.Debug("event dropped: too many wait for the program", "hash", r.hash, "kind", e.Kind, "id", e.ID)
		return
	}
	r.waiting = append(r.waiting, e)
	if !r.busy {
		r.busy = true
		t.workers.Go(func() { t.handOver(r) })
	}
}

// handOver delivers what waits for a program, until nothing does.
func (t *Trigger) handOver(r *registration) {
	for {
		t.delivered <- struct{}{}
		e, ok := t.next(r)
		if !ok {
			<-t.delivered
			return
		}
		err := t.cfg.Workloads.Deliver(context.Background(), r.hash, e)
		<-t.delivered
		outcome := "done"
		if err != nil {
			outcome = "failed"
			t.cfg.Log.Warn("event not handled", "hash", r.hash, "kind", e.Kind, "id", e.ID, "error", err)
		}
		t.metrics.events.WithLabelValues(e.Kind, outcome).Inc()
	}
}

// next takes the event that waits longest. Without one, the worker is done.
func (t *Trigger) next(r *registration) (e execution.Event, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(r.waiting) == 0 {
		r.busy = false
		return e, false
	}
	e, r.waiting = r.waiting[0], r.waiting[1:]
	return e, true
}

// endQueues drops what waits and takes no more.
func (t *Trigger) endQueues() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	for _, r := range t.programs {
		r.waiting = nil
	}
}
