package intake

import (
	"slices"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/ccn/state"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

func TestPositionTellsWhatWasAppliedBeforeFromWhatComes(t *testing.T) {
	each(t, func(t *testing.T, at place) {
		r := start(t, at)
		submit := func(n int) message.Hash {
			h, raw := post(n, nil)
			if out, err := r.Submit(t.Context(), raw, OriginAPI); err != nil || out.Status != message.StatusProcessed {
				t.Fatal(out, err)
			}
			return h
		}
		events, cancel := r.Subscribe(16, nil)
		defer cancel()
		before := map[message.Hash]bool{submit(1): true, submit(2): true}
		last, err := r.Position(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		after := map[message.Hash]bool{submit(3): true, submit(4): true}
		deadline := time.After(time.Minute)
		for len(before)+len(after) > 0 {
			select {
			case e := <-events:
				if e.Position <= last {
					if !before[e.Hash] {
						t.Errorf("%s at %d was applied before %d", e.Hash, e.Position, last)
					}
					delete(before, e.Hash)
				} else {
					if !after[e.Hash] {
						t.Errorf("%s at %d was applied after %d", e.Hash, e.Position, last)
					}
					delete(after, e.Hash)
				}
			case <-deadline:
				t.Fatalf("no event of %v and %v", before, after)
			}
		}
	})
}

func TestEventSaysWhatItsMessagePutAnEndTo(t *testing.T) {
	want := []message.Type{message.TypePost, message.TypeProgram}
	r := start(t, onSQLite(t.TempDir()), func(c *Config) {
		c.State = applier(func(*store.Tx, *state.Item) (*state.Effect, error) {
			return &state.Effect{Status: message.StatusProcessed, Ended: want}, nil
		})
	})
	events, cancel := r.Subscribe(1, nil)
	defer cancel()
	_, raw := post(1, nil)
	r.submit(raw)
	if e := <-events; !slices.Equal(e.Ended, want) {
		t.Errorf("the event says that it ended %v, want %v", e.Ended, want)
	}
}

func TestSubscribersGetTheEventsThatTheyWantAndHearOfThoseTheyLost(t *testing.T) {
	var h hub
	wanted := func(e *Event) bool { return e.Status == message.StatusProcessed }
	events, cancel := h.subscribe(1, wanted)
	defer cancel()
	h.publish(Event{Hash: "refused", Status: message.StatusRejected})
	h.publish(Event{Hash: "first", Status: message.StatusProcessed})
	h.publish(Event{Hash: "lost", Status: message.StatusProcessed})
	if e := <-events; e.Hash != "first" || e.Missed != 0 || e.Position != 2 {
		t.Errorf("got %+v, want the first that is wanted", e)
	}
	h.publish(Event{Hash: "next", Status: message.StatusRejected})
	if e := <-events; e.Hash != "next" || e.Missed != 1 {
		t.Errorf("got %+v, want what comes next, with one missed", e)
	}
}
