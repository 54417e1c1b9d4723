package intake

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
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
	events, cancel := r.Subscribe(4*maxFetches, nil)
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

// Nobody pays for the files of what is refused: they go when their time is over, unless something else keeps them.
func TestFilesOfRefusedMessagesGoAfterAWhile(t *testing.T) {
	r := start(t, onSQLite(t.TempDir()))
	put := func(text string) message.Hash {
		t.Helper()
		h, _, err := r.files.Put(t.Context(), strings.NewReader(text), 0)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	refused, kept := put("of a refused message"), put("kept by another message")
	err := r.store.Write(t.Context(), func(tx *store.Tx) error {
		return tx.InsertPin(&store.PinRow{File: kept, Type: store.PinMessage, Owner: "0xA", Message: message.HashBytes([]byte("m")), Created: 1})
	})
	if err != nil {
		t.Fatal(err)
	}
	for n, file := range []message.Hash{refused, kept} {
		_, raw := envelope(message.TypeStore, fields{"address": "0xA", "time": n, "item_type": "storage", "item_hash": file, "ref": "denied"}, "good")
		if out := r.submit(raw); out.Status != message.StatusRejected {
			t.Fatalf("got %+v", out)
		}
	}
	// Bytes that are no content are files all the same.
	nonsense := put("no content")
	raw, err := json.Marshal(fields{
		"sender": "0xA", "chain": "ETH", "type": message.TypePost, "item_type": "storage", "item_hash": nonsense, "signature": "good", "time": 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	if out := r.submit(raw); out.Status != message.StatusRejected {
		t.Fatalf("got %+v", out)
	}
	over := message.TimeFrom(time.Now()) + message.Time((params.Devnet().FileGracePeriod+60)*1_000_000)
	var due []message.Hash
	err = r.store.Read(t.Context(), func(rd *store.Reader) (err error) {
		due, err = rd.FilesDue(over, 10)
		return err
	})
	want := []message.Hash{refused, nonsense}
	slices.Sort(want)
	if err != nil || !slices.Equal(due, want) {
		t.Errorf("files that go: %v, want %v (%v)", due, want, err)
	}
}
