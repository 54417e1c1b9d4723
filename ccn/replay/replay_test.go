package replay_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/aleph-im/aleph-go/ccn/intake"
	"github.com/aleph-im/aleph-go/ccn/replay"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// taker is a node that counts how often it is given each envelope.
type taker struct {
	db *store.Store

	mu    sync.Mutex
	taken map[string]int
	fail  int // fail after so many; 0: never
}

var errDown = errors.New("node down")

func newTaker(t *testing.T) *taker {
	t.Helper()
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "aleph.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return &taker{db: db, taken: map[string]int{}}
}

func (k *taker) submit(_ context.Context, envelope []byte) (intake.Outcome, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail > 0 && len(k.taken) >= k.fail {
		return intake.Outcome{}, errDown
	}
	k.taken[string(envelope)]++
	out := intake.Outcome{Status: message.StatusProcessed}
	switch {
	case bytes.Contains(envelope, []byte("bad")):
		out.Status = message.StatusRejected
	case bytes.Contains(envelope, []byte("later")):
		out.Status = message.StatusPending
	}
	return out, nil
}

func (k *taker) run(t *testing.T, s replay.Source, change ...func(*replay.Config)) (replay.Counts, error) {
	t.Helper()
	cfg := replay.Config{Source: s, Store: k.db, Submit: k.submit}
	for _, c := range change {
		c(&cfg)
	}
	return replay.Run(t.Context(), cfg)
}

func dump(t *testing.T, text string) *replay.Dump {
	t.Helper()
	d, err := replay.NewDump("test", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func lines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"n\":%d}\n", i)
	}
	return b.String()
}

func TestDumpIsReadInEveryCompression(t *testing.T) {
	text := "{\"n\":1}\n\n  {\"n\":\"bad\"}\r\nno json\n{\"n\":\"later\"}"
	var gz, zs bytes.Buffer
	z := gzip.NewWriter(&gz)
	if _, err := io.WriteString(z, text); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	e, err := zstd.NewWriter(&zs)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(e, text); err != nil || e.Close() != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string]string{"plain": text, "gzip": gz.String(), "zstd": zs.String()} {
		t.Run(name, func(t *testing.T) {
			k := newTaker(t)
			refused := 0
			got, err := k.run(t, dump(t, raw), func(c *replay.Config) { c.Rejected = func(intake.Outcome) { refused++ } })
			want := replay.Counts{Read: 3, Processed: 1, Pending: 1, Rejected: 1, Skipped: 1}
			if err != nil || got != want || refused != 1 {
				t.Errorf("got %+v, %d refused, %v", got, refused, err)
			}
		})
	}
}

func TestReplayGoesOnAfterItWasCutShort(t *testing.T) {
	k := newTaker(t)
	const n = 10_000
	k.fail = 6000 // more than are on their way at once
	if _, err := k.run(t, dump(t, lines(n))); !errors.Is(err, errDown) {
		t.Fatalf("got %v", err)
	}
	k.fail = 0
	before := len(k.taken)
	got, err := k.run(t, dump(t, lines(n)))
	if err != nil || len(k.taken) != n {
		t.Fatalf("%d messages arrived, %v", len(k.taken), err)
	}
	if got.Read == n || got.Read < int64(n-before) {
		t.Errorf("the second run read %d messages after the first took %d", got.Read, before)
	}
	if got, err = k.run(t, dump(t, lines(n))); err != nil || got.Read != 0 {
		t.Errorf("the third run read %d, %v", got.Read, err)
	}
	if got, err = k.run(t, dump(t, lines(n)), func(c *replay.Config) { c.Restart = true }); err != nil || got.Read != n {
		t.Errorf("from the start: read %d, %v", got.Read, err)
	}
}

// serve is the API of a node with n messages; the first answer to each request is an error when flaky.
func serve(t *testing.T, n int, broken func(cursor int) bool) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		size, err := strconv.Atoi(q.Get("pagination"))
		if r.URL.Path != "/api/v0/messages.json" || err != nil {
			http.NotFound(w, r)
			return
		}
		if !q.Has("cursor") {
			fmt.Fprintf(w, `{"messages":[],"pagination_total":%d}`, n)
			return
		}
		from, _ := strconv.Atoi(q.Get("cursor"))
		if broken != nil && broken(from) {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		answer := map[string]any{"next_cursor": nil}
		var list []json.RawMessage
		for i := from; i < min(from+size, n); i++ {
			list = append(list, fmt.Appendf(nil, `{"n":%d}`, i))
		}
		answer["messages"] = list
		if from+size < n {
			answer["next_cursor"] = strconv.Itoa(from + size)
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestMessagesOfANodeAreReplayedOnce(t *testing.T) {
	k := newTaker(t)
	stop := true
	s, err := replay.NewNode(serve(t, 1050, func(from int) bool { return stop && from == 600 }), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.run(t, s); err == nil {
		t.Fatal("no error")
	}
	stop = false
	got, err := k.run(t, s)
	if err != nil || len(k.taken) != 1050 || got.Total != 1050 {
		t.Fatalf("%d messages, %+v, %v", len(k.taken), got, err)
	}
	if got.Read > 850 {
		t.Errorf("the second run began again: %+v", got)
	}
	if got, err := k.run(t, s); err != nil || got.Read != 0 {
		t.Errorf("the third run read %d, %v", got.Read, err)
	}
}

func TestSettleWaitsForWhatMovesOn(t *testing.T) {
	k := newTaker(t)
	write := func(f func(tx *store.Tx) error) {
		t.Helper()
		if err := k.db.Write(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	wait := func(h message.Hash) {
		write(func(tx *store.Tx) error {
			return tx.PutPending(&store.PendingRow{Hash: h, Sender: "s", Signature: "x", Envelope: []byte(`{}`), Origin: "p2p"}, nil)
		})
	}
	wait("stuck")
	if n, err := replay.Settle(t.Context(), k.db, 10*time.Millisecond, nil); err != nil || n != 1 {
		t.Errorf("%d wait, %v", n, err)
	}
	once := sync.OnceFunc(func() {
		write(func(tx *store.Tx) error { return tx.DeletePending("stuck", "s", "x") })
	})
	if n, err := replay.Settle(t.Context(), k.db, time.Minute, func(int64) { once() }); err != nil || n != 0 {
		t.Errorf("%d wait, %v", n, err)
	}
	wait("stuck")
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := replay.Settle(ctx, k.db, time.Minute, func(int64) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAddressOfANodeIsChecked(t *testing.T) {
	for _, address := range []string{"", "node", "ftp://x", "http://"} {
		if _, err := replay.NewNode(address, nil); err == nil {
			t.Errorf("%q was taken", address)
		}
	}
}

// A line that unpacks without end is skipped without being kept, and the next is read.
func TestADumpThatUnpacksWithoutEndIsSkipped(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	const unpacked = 256 << 20
	for range unpacked >> 20 {
		if _, err := z.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := z.Write([]byte("\n{}\n")); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := replay.NewDump("bomb", &bomb)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	b, err := d.Next(t.Context(), "")
	runtime.ReadMemStats(&after)
	if err != nil || b.Skipped != 1 || len(b.Envelopes) != 1 {
		t.Errorf("%d skipped, %d messages, %v", b.Skipped, len(b.Envelopes), err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > unpacked*3/4 {
		t.Errorf("it took %d MiB", took>>20)
	}
}

func FuzzDump(f *testing.F) {
	f.Add([]byte("{}\n{\"a\":1}\nx\n"))
	f.Add([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0})
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0})
	f.Add([]byte("\n\n\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := replay.NewDump("fuzz", bytes.NewReader(raw))
		if err != nil {
			return
		}
		defer d.Close()
		position := ""
		for range 100 {
			b, err := d.Next(t.Context(), position)
			if err != nil {
				return
			}
			for _, envelope := range b.Envelopes {
				if !json.Valid(envelope) {
					t.Fatalf("%q is no JSON", envelope)
				}
			}
			if b.Position == position {
				t.Fatal("the position does not move")
			}
			position = b.Position
		}
	})
}
