package intake

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// TestRetriesEndWithTheLastRefusal runs on a fake clock: the pauses sum up to some minutes.
func TestRetriesEndWithTheLastRefusal(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, onSQLite(dir))
		events, cancel := r.Subscribe(100)
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
