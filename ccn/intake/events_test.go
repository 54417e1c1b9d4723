package intake

import (
	"testing"
	"time"

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
		events, cancel := r.Subscribe(16)
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
