package intake

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// TestRetriesEndWithTheLastRefusal runs on a fake clock: the pauses sum up to some minutes.
func TestRetriesEndWithTheLastRefusal(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, onSQLite(dir))
		events, cancel := r.Subscribe(100, nil)
		defer cancel()
		began := time.Now()
		h, raw := post(1, fields{"ref": string(message.HashBytes([]byte("nothing"))), "type": "amend"})
		if out := r.submit(raw); out.Status != message.StatusPending {
			t.Fatalf("got %+v", out)
		}
		for e := range events {
			if e.Hash == h && e.Status == message.StatusRejected {
				if e.Err.Code != message.ErrAmendTargetNotFound {
					t.Fatalf("got %v", e.Err)
				}
				break
			}
		}
		if pauses := time.Since(began); pauses > 1100*time.Second {
			t.Fatalf("gave up after %s", pauses)
		}
		if n := r.Stats().Pending; n != uint64(r.cfg.Params.MaxRetries) {
			t.Fatalf("%d attempts", n)
		}
		r.wantStatus(h, message.StatusRejected)
		r.stop()
	})
}

// TestAllThatWasRefusedComesBackWithItsCause refuses more messages than one commit lets come back, and stops the node after the first
// of them.
func TestAllThatWasRefusedComesBackWithItsCause(t *testing.T) {
	each(t, func(t *testing.T, at place) {
		const refused = 250
		cause, causeText := post(0, nil)
		early := map[message.Hash]bool{}
		r := start(t, at)
		for i := range refused {
			h, raw := post(1+i, fields{"type": "early", "ref": string(cause)})
			if out := r.submit(raw); out.Status != message.StatusRejected {
				t.Fatalf("got %+v", out)
			}
			early[h] = true
		}
		r.submit(causeText)
		r.stop()
		r = start(t, at)
		events, cancel := r.Subscribe(2*refused, nil)
		defer cancel()
		err := r.store.Read(t.Context(), func(rd *store.Reader) error {
			return rd.EachMessage(func(m *store.MessageRow) error {
				delete(early, m.Message.ItemHash)
				return nil
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		for deadline := time.After(60 * time.Second); len(early) > 0; {
			select {
			case e := <-events:
				if e.Status == message.StatusProcessed {
					delete(early, e.Hash)
				}
			case <-deadline:
				t.Fatalf("%d of %d did not come back", len(early), refused)
			}
		}
	})
}
