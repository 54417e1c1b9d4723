package intake

import (
	"context"
	"fmt"
	"testing"

	"github.com/aleph-im/aleph-go/message"
)

// Messages whose files do not come keep nobody waiting who lacks none.
func TestSlowFetchesDelayNoOtherMessage(t *testing.T) {
	begun := make(chan struct{}, 2*maxFetches)
	r := start(t, onSQLite(t.TempDir()), func(c *Config) {
		c.Fetch = func(ctx context.Context, _ message.Hash, _ int64) (int64, error) {
			begun <- struct{}{}
			<-ctx.Done()
			return 0, ctx.Err()
		}
	})
	events, cancel := r.Subscribe(4 * maxFetches)
	defer cancel()
	for n := range 2 * maxFetches {
		file := message.HashBytes(fmt.Appendf(nil, "file %d", n))
		_, raw := envelope(message.TypeStore, fields{"address": "0xA", "time": n, "item_type": "storage", "item_hash": file}, "good")
		r.submit(raw)
	}
	for range maxFetches {
		<-begun
	}
	cause, causeText := post(1, nil)
	h, raw := post(2, fields{"type": "amend", "ref": string(cause)})
	if out := r.submit(raw); out.Status != message.StatusPending {
		t.Fatalf("got %+v", out)
	}
	r.submit(causeText)
	await(t, events, h, message.StatusProcessed)
}
