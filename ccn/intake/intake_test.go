package intake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/state"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/internal/postgrestest"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

// rules is a small state with the shapes of refusal that intake must handle: a post waits for the message that its ref
// names, a STORE for its file, and texts in the content ask for trouble.
type rules struct{ failures atomic.Int32 }

func (s *rules) Apply(tx *store.Tx, it *state.Item) (*state.Effect, error) {
	m := it.Message
	signature, status, err := tx.Signature(m.ItemHash)
	switch {
	case err != nil:
		return nil, err
	case status != "" && signature != m.Signature:
		return nil, message.Errorf(message.ErrInvalidSignature, "another signature")
	case status == message.StatusForgotten:
		return nil, message.Errorf(message.ErrForgottenDuplicate, "forgotten")
	case status != "":
		return &state.Effect{Status: status, Duplicate: true}, nil
	}
	switch c := it.Content.(type) {
	case *message.Post:
		switch c.PostType {
		case "poison":
			s.failures.Add(1)
			return nil, errors.New("disk on fire")
		case "panic":
			panic("bug")
		case "denied":
			return nil, message.Errorf(message.ErrPermissionDenied, "no")
		}
		if c.Ref != "" {
			_, status, err := tx.Signature(message.Hash(c.Ref))
			if err != nil {
				return nil, err
			}
			if status == "" {
				code := message.ErrAmendTargetNotFound
				if c.PostType == "early" { // refused at once
					code = message.ErrPermissionDenied
				}
				return nil, &message.Error{
					Code: code, WaitsFor: []message.WaitKey{message.WaitMessage(message.Hash(c.Ref))},
				}
			}
		}
	case *message.Store:
		if c.Ref == "denied" {
			return nil, message.Errorf(message.ErrPermissionDenied, "no")
		}
		if _, ok, err := tx.FileSize(c.FileHash); err != nil {
			return nil, err
		} else if !ok {
			return nil, &message.Error{Code: message.ErrFileUnavailable, WaitsFor: []message.WaitKey{message.WaitFile(c.FileHash)}}
		}
	}
	row := &store.MessageRow{
		Message: *m, Content: it.Raw, Size: it.Size, Status: message.StatusProcessed, ReceptionTime: it.ReceptionTime,
		Owner: it.Content.Base().Address, ContentTime: it.Content.Base().Time,
	}
	if err := tx.InsertMessage(row, &store.ContentColumns{}); err != nil {
		return nil, err
	}
	return &state.Effect{Status: message.StatusProcessed, Wakes: []message.WaitKey{message.WaitMessage(m.ItemHash)}}, nil
}

// verify takes every signature that says so.
func verify(m *message.Message) error {
	if !strings.HasPrefix(m.Signature, "good") {
		return &message.Error{Code: message.ErrInvalidSignature}
	}
	return nil
}

type rig struct {
	*Pipeline
	t     testing.TB
	dir   string
	store *store.Store
	files *files.Disk
	rules *rules
	stop  func()

	wantErr bool // from Run
}

// place is where a pipeline keeps what it has; several can be at the same one.
type place struct{ dsn, dir string }

func onSQLite(dir string) place { return place{"sqlite:" + filepath.Join(dir, "aleph.db"), dir} }

// each runs test once an engine.
func each(t *testing.T, test func(t *testing.T, at place)) {
	t.Run("sqlite", func(t *testing.T) { test(t, onSQLite(t.TempDir())) })
	t.Run("postgres", func(t *testing.T) { test(t, place{postgrestest.DSN(t), t.TempDir()}) })
}

// start runs a pipeline until the test ends or stop is called.
func start(t testing.TB, at place, change ...func(*Config)) *rig {
	t.Helper()
	dir := at.dir
	s, err := store.Open(t.Context(), at.dsn)
	if err != nil {
		t.Fatal(err)
	}
	d, err := files.OpenDisk(filepath.Join(dir, "files"))
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, dir: dir, store: s, files: d, rules: &rules{}}
	cfg := Config{Params: params.Devnet(), Store: s, State: r.rules, Files: d, Verify: verify}
	if !s.Shared() {
		cfg.Journal = filepath.Join(dir, "journal")
	}
	for _, c := range change {
		c(&cfg)
	}
	if r.Pipeline, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.Run(ctx); (err != nil) != r.wantErr {
			t.Error(err)
		}
	}()
	// What is applied before it runs it tells nobody of, and other processes may apply at once.
	select {
	case <-r.Started():
	case <-done:
	}
	r.stop = sync.OnceFunc(func() {
		cancel()
		<-done
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

type fields map[string]any

// post makes the envelope of a post that differs by n.
func post(n int, content fields) (message.Hash, []byte) {
	c := fields{"address": "0xA", "time": 1_700_000_000 + n, "type": "note", "content": fields{"n": n}}
	for k, v := range content {
		c[k] = v
	}
	return envelope(message.TypePost, c, "good")
}

func envelope(t message.Type, content fields, signature string) (message.Hash, []byte) {
	text, err := json.Marshal(content)
	if err != nil {
		panic(err)
	}
	h := message.HashBytes(text)
	raw, err := json.Marshal(fields{
		"sender": "0xA", "chain": "ETH", "type": t, "item_type": "inline", "item_content": string(text), "item_hash": h,
		"signature": signature, "time": content["time"], "channel": "TEST",
	})
	if err != nil {
		panic(err)
	}
	return h, raw
}

func (r *rig) submit(raw []byte) Outcome {
	r.t.Helper()
	out, err := r.Submit(r.t.Context(), raw, OriginAPI)
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

func (r *rig) wantStatus(h message.Hash, want message.Status) {
	r.t.Helper()
	var got message.Status
	err := r.store.Read(context.Background(), func(rd *store.Reader) (err error) {
		got, _, err = rd.Status(h)
		return err
	})
	if err != nil || got != want {
		r.t.Fatalf("message %s is %q (%v), want %q", h, got, err, want)
	}
}

// await reads events until h reaches the status.
func await(t *testing.T, events <-chan Event, h message.Hash, want message.Status) Event {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case e := <-events:
			if e.Hash == h && e.Status == want {
				return e
			}
		case <-deadline:
			t.Fatalf("message %s did not become %s", h, want)
		}
	}
}

func TestManySubmittersShareCommits(t *testing.T) {
	each(t, func(t *testing.T, at place) {
		r := start(t, at)
		const submitters, each = 64, 20
		var wg sync.WaitGroup
		for i := range submitters {
			wg.Go(func() {
				for j := range each {
					h, raw := post(i*each+j, nil)
					out, err := r.Submit(t.Context(), raw, OriginAPI)
					if err != nil || out.Status != message.StatusProcessed || out.Hash != h || out.Content == nil {
						t.Errorf("got %+v, %v", out, err)
					}
				}
			})
		}
		wg.Wait()
		stats := r.Stats()
		if stats.Processed != submitters*each || stats.Commits >= stats.Processed {
			t.Fatalf("no groups: %+v", stats)
		}
	})
}

func TestCopiesAreVerifiedAndAppliedOnce(t *testing.T) {
	each(t, func(t *testing.T, at place) {
		var verified atomic.Int32
		r := start(t, at, func(c *Config) {
			c.Verify = func(m *message.Message) error { verified.Add(1); return verify(m) }
		})
		events, cancel := r.Subscribe(100, nil)
		defer cancel()
		h, raw := post(1, nil)
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				if out, err := r.Submit(t.Context(), raw, OriginP2P); err != nil || out.Status != message.StatusProcessed {
					t.Errorf("got %+v, %v", out, err)
				}
			})
		}
		wg.Wait()
		if out := r.submit(raw); !out.Duplicate {
			t.Fatalf("got %+v", out)
		}
		if n := verified.Load(); n != 1 {
			t.Fatalf("%d verifications", n)
		}
		await(t, events, h, message.StatusProcessed)
		if len(events) != 0 {
			t.Fatalf("%d more events", len(events))
		}
	})
}

func TestDependentIsAppliedInEitherOrder(t *testing.T) {
	for _, first := range []string{"dependency", "dependent"} {
		t.Run(first, func(t *testing.T) {
			each(t, func(t *testing.T, at place) {
				r := start(t, at)
				events, cancel := r.Subscribe(100, nil)
				defer cancel()
				target, targetRaw := post(1, nil)
				h, raw := post(2, fields{"ref": string(target), "type": "amend"})
				if first == "dependency" {
					r.submit(targetRaw)
					if out := r.submit(raw); out.Status != message.StatusProcessed {
						t.Fatalf("got %+v", out)
					}
					return
				}
				if out := r.submit(raw); out.Status != message.StatusPending || out.Err.Code != message.ErrAmendTargetNotFound {
					t.Fatalf("got %+v", out)
				}
				r.wantStatus(h, message.StatusPending)
				r.submit(targetRaw)
				await(t, events, h, message.StatusProcessed)
				r.wantStatus(h, message.StatusProcessed)
			})
		})
	}
}

func TestPendingSurvivesRestart(t *testing.T) {
	each(t, func(t *testing.T, at place) {
		target, targetRaw := post(1, nil)
		h, raw := post(2, fields{"ref": string(target), "type": "amend"})
		r := start(t, at)
		r.submit(raw)
		r.stop()
		if _, err := r.Submit(t.Context(), targetRaw, OriginAPI); !errors.Is(err, ErrStopped) {
			t.Fatalf("after the stop: %v", err)
		}
		r = start(t, at)
		r.wantStatus(h, message.StatusPending)
		events, cancel := r.Subscribe(100, nil)
		defer cancel()
		r.submit(targetRaw)
		await(t, events, h, message.StatusProcessed)
	})
}

func TestBadCopyDoesNotKeepTheGoodOneOut(t *testing.T) {
	each(t, func(t *testing.T, at place) {
		r := start(t, at)
		content := fields{"address": "0xA", "time": 5, "type": "note", "content": nil}
		h, bad := envelope(message.TypePost, content, "bad")
		_, good := envelope(message.TypePost, content, "good")
		if out := r.submit(bad); out.Status != message.StatusRejected || out.Err.Code != message.ErrInvalidSignature {
			t.Fatalf("got %+v", out)
		}
		r.wantStatus(h, message.StatusRejected)
		if out := r.submit(good); out.Status != message.StatusProcessed {
			t.Fatalf("got %+v", out)
		}
		if out := r.submit(bad); out.Status != message.StatusRejected {
			t.Fatalf("got %+v", out)
		}
		r.wantStatus(h, message.StatusProcessed)
	})
}

func TestRejectedComesBack(t *testing.T) {
	each(t, func(t *testing.T, at place) {
		var allowed atomic.Bool
		r := start(t, at, func(c *Config) {
			next := c.State
			c.State = applier(func(tx *store.Tx, it *state.Item) (*state.Effect, error) {
				if !allowed.Load() {
					return nil, message.Errorf(message.ErrBalanceInsufficient, "pay")
				}
				return next.Apply(tx, it)
			})
		})
		h, raw := post(1, nil)
		if out := r.submit(raw); out.Status != message.StatusRejected || out.Err.Code != message.ErrBalanceInsufficient {
			t.Fatalf("got %+v", out)
		}
		r.wantStatus(h, message.StatusRejected)
		allowed.Store(true)
		if out := r.submit(raw); out.Status != message.StatusProcessed || out.Duplicate {
			t.Fatalf("got %+v", out)
		}
		r.wantStatus(h, message.StatusProcessed)
	})
}

// A message may put an end to what it needs, and be refused for that. What is known of its refusal stays.
func TestAMessageThatUndoesItselfIsRejected(t *testing.T) {
	each(t, func(t *testing.T, at place) {
		refusal := message.Errorf(message.ErrVMRefNotFound, "it was pushed out")
		r := start(t, at, func(c *Config) {
			c.State = applier(func(tx *store.Tx, it *state.Item) (*state.Effect, error) {
				envelope, err := it.Message.MarshalJSON()
				if err != nil {
					return nil, err
				}
				row := &store.RejectedRow{Hash: it.Message.ItemHash, Sender: it.Message.Sender, Envelope: envelope, ErrorCode: refusal.Code, Verified: true}
				return &state.Effect{Status: message.StatusRejected, Undone: []message.Hash{row.Hash}, Refusal: refusal}, tx.PutRejected(row)
			})
		})
		h, raw := post(1, nil)
		if out := r.submit(raw); out.Status != message.StatusRejected || out.Err != refusal {
			t.Errorf("got %+v", out)
		}
		r.wantStatus(h, message.StatusRejected)
	})
}

type applier func(*store.Tx, *state.Item) (*state.Effect, error)

func (f applier) Apply(tx *store.Tx, it *state.Item) (*state.Effect, error) { return f(tx, it) }

func TestPoisonedMessageBlocksNoOther(t *testing.T) {
	each(t, func(t *testing.T, at place) {
		r := start(t, at)
		var wg sync.WaitGroup
		for i := range 100 {
			kind := "note"
			switch i {
			case 50:
				kind = "poison"
			case 60:
				kind = "panic"
			}
			wg.Go(func() {
				_, raw := post(i, fields{"type": kind})
				out, err := r.Submit(t.Context(), raw, OriginAPI)
				switch {
				case err != nil:
					t.Error(err)
				case kind == "note" && out.Status != message.StatusProcessed:
					t.Errorf("message %d: %+v", i, out)
				case kind != "note" && (out.Status != message.StatusPending || out.Err.Code != message.ErrInternal):
					t.Errorf("%s: %+v", kind, out)
				}
			})
		}
		wg.Wait()
	})
}

func TestBytesThatAreNoMessageAreRefused(t *testing.T) {
	each(t, func(t *testing.T, at place) {
		r := start(t, at)
		h := message.HashBytes([]byte("x"))
		for _, raw := range []string{"", "{", "null", "[]", "\xff", `{"item_hash":5}`, `{"item_hash":"` + string(h) + `"}`, `{"item_hash":"` + string(h) + `","x":"` + "\xff\"}", `{"item_hash":"` + string(h) + `","sender":"a\u0000"}`, strings.Repeat("[", 100_000)} {
			out := r.submit([]byte(raw))
			if out.Status != message.StatusRejected || out.Err == nil || out.Err.Code != message.ErrInvalidFormat {
				t.Fatalf("%.20q: %+v", raw, out)
			}
		}
		r.wantStatus(h, message.StatusRejected)
		if _, err := r.SubmitAny(t.Context(), nil, OriginP2P); err != nil {
			t.Fatal(err)
		}
		_, unsigned := envelope(message.TypePost, fields{"address": "0xA", "time": 5, "type": "note"}, "")
		if out := r.submit(unsigned); out.Status != message.StatusRejected {
			t.Fatalf("unsigned: %+v", out)
		}
	})
}

func TestTextThatCannotBeIndexedIsRefused(t *testing.T) {
	each(t, func(t *testing.T, at place) {
		r := start(t, at)
		for n, want := range map[int]message.Status{store.MaxIndexed: message.StatusProcessed, store.MaxIndexed + 1: message.StatusRejected} {
			_, raw := post(n, fields{"type": strings.Repeat("x", n)})
			if out := r.submit(raw); out.Status != want || want == message.StatusRejected && out.Err.Code != message.ErrInvalidFormat {
				t.Errorf("%d bytes: %+v", n, out)
			}
		}
		_, raw := envelope(message.TypePost, fields{"address": "0xA", "time": 5, "type": "note", "content": nil}, "good"+strings.Repeat("x", maxSigned))
		if out := r.submit(raw); out.Status != message.StatusRejected || out.Err.Code != message.ErrInvalidFormat {
			t.Errorf("a long signature: %+v", out)
		}
	})
}

func TestMissingFilesAreFetched(t *testing.T) {
	each(t, func(t *testing.T, at place) {
		wanted := map[message.Hash]string{}
		add := func(text string) message.Hash {
			h := message.HashBytes([]byte(text))
			wanted[h] = text
			return h
		}
		r := start(t, at, func(c *Config) {
			disk := c.Files
			c.Fetch = func(ctx context.Context, h message.Hash, limit int64) (int64, error) {
				return disk.PutExpecting(ctx, h, strings.NewReader(wanted[h]), limit)
			}
		})
		events, cancel := r.Subscribe(100, nil)
		defer cancel()
		file := add("the file")
		h, raw := envelope(message.TypeStore, fields{"address": "0xA", "time": 5, "item_type": "storage", "item_hash": file}, "good")

		far := add(`{"address":"0xA","time":5,"type":"note","content":{}}`)
		farRaw, err := json.Marshal(fields{
			"sender": "0xA", "chain": "ETH", "type": "POST", "item_type": "storage", "item_hash": far, "signature": "good", "time": 5,
		})
		if err != nil {
			t.Fatal(err)
		}
		for h, raw := range map[message.Hash][]byte{h: raw, far: farRaw} {
			if out := r.submit(raw); out.Status != message.StatusPending {
				t.Fatalf("got %+v", out)
			}
			await(t, events, h, message.StatusProcessed)
		}
	})
}

// A node that would not fetch what another took would never have the message.
func TestFilesAreFetchedThatAnotherNodeTook(t *testing.T) {
	asked := make(chan int64, 10)
	r := start(t, onSQLite(t.TempDir()), func(c *Config) {
		c.Fetch = func(_ context.Context, _ message.Hash, limit int64) (int64, error) {
			asked <- limit
			return 0, files.ErrNotFound
		}
	})
	for kind, of := range map[message.ItemType]struct {
		file message.Hash
		want int64
	}{
		message.ItemStorage: {message.HashBytes([]byte("a file")), r.cfg.Params.MaxFile},
		message.ItemIPFS:    {"QmYULJoNGPDmoRq4WNWTDTUvJGJv1hosox8H6vVd1kCsY8", max(r.cfg.Params.MaxIPFSFile, r.cfg.Params.MaxCAR)},
	} {
		_, raw := envelope(message.TypeStore, fields{"address": "0xA", "time": 5, "item_type": kind, "item_hash": of.file}, "good")
		if out := r.submit(raw); out.Status != message.StatusPending {
			t.Fatalf("%s: got %+v", kind, out)
		}
		if got := <-asked; got != of.want {
			t.Errorf("%s: fetched up to %d bytes, want %d", kind, got, of.want)
		}
	}
}

func TestFileThatArrivesWakesItsMessage(t *testing.T) {
	each(t, func(t *testing.T, at place) {
		r := start(t, at)
		events, cancel := r.Subscribe(100, nil)
		defer cancel()
		file := message.HashBytes([]byte("later"))
		h, raw := envelope(message.TypeStore, fields{"address": "0xA", "time": 5, "item_type": "storage", "item_hash": file}, "good")
		r.submit(raw)
		if _, _, err := r.files.Put(t.Context(), strings.NewReader("later"), 0); err != nil {
			t.Fatal(err)
		}
		if err := r.FileArrived(t.Context(), file); err != nil {
			t.Fatal(err)
		}
		await(t, events, h, message.StatusProcessed)
	})
}

func TestSlowSubscriberLosesEventsAndLearnsIt(t *testing.T) {
	r := start(t, onSQLite(t.TempDir()))
	events, cancel := r.Subscribe(1, nil)
	for i := range 3 {
		_, raw := post(i, nil)
		r.submit(raw)
	}
	if e := <-events; e.Missed != 0 {
		t.Fatalf("the first event: %+v", e)
	}
	_, raw := post(3, nil)
	r.submit(raw)
	if e := <-events; e.Missed != 2 {
		t.Fatalf("missed %d", e.Missed)
	}
	cancel()
	if _, open := <-events; open {
		t.Fatal("the channel is open")
	}
}

func BenchmarkSubmit(b *testing.B) {
	r := start(b, onSQLite(b.TempDir()))
	var n atomic.Int64
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, raw := post(int(n.Add(1)), nil)
			if out, err := r.Submit(context.Background(), raw, OriginAPI); err != nil || out.Status != message.StatusProcessed {
				b.Error(fmt.Sprintf("%+v", out), err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/max(float64(r.Stats().Commits), 1), "messages/commit")
}
