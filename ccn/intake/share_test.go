package intake

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/aleph-im/aleph-go/ccn/state"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/internal/postgrestest"
	"github.com/aleph-im/aleph-go/message"
)

func enqueueOnly(c *Config) { c.EnqueueOnly = true }

// watch collects the hashes of what a pipeline says was applied, until n have come.
func watch(r *rig, n int) func() []message.Hash {
	events, cancel := r.Subscribe(4*n, nil)
	list := make(chan []message.Hash, 1)
	go func() {
		defer cancel()
		var hashes []message.Hash
		deadline := time.After(time.Minute)
		for len(hashes) < n {
			select {
			case e := <-events:
				if e.Status == message.StatusProcessed {
					hashes = append(hashes, e.Hash)
				}
			case <-deadline:
				list <- hashes
				return
			}
		}
		list <- hashes
	}()
	return func() []message.Hash { return <-list }
}

func TestTwoThatEnqueueAndOneThatAppliesShareTheWork(t *testing.T) {
	at := place{postgrestest.DSN(t), t.TempDir()}
	apis := []*rig{start(t, at, enqueueOnly), start(t, at, enqueueOnly)}
	worker := start(t, at)
	const each = 60
	var seen []func() []message.Hash
	for _, r := range append(apis, worker) {
		seen = append(seen, watch(r, 2*each))
	}
	var wg sync.WaitGroup
	for i := range each {
		for j, api := range apis {
			wg.Go(func() {
				h, raw := post(2*i+j, nil)
				out, err := api.Submit(t.Context(), raw, OriginAPI)
				if err != nil || out.Hash != h || out.Status != message.StatusProcessed {
					t.Errorf("got %+v, %v", out, err)
				}
			})
		}
		wg.Go(func() {
			_, raw := post(10_000+i, fields{"type": "denied"})
			out, err := apis[i%2].Submit(t.Context(), raw, OriginAPI)
			if err != nil || out.Status != message.StatusRejected || out.Err == nil || out.Err.Code != message.ErrPermissionDenied {
				t.Errorf("got %+v, %v", out, err)
			}
		})
	}
	wg.Wait()
	var first []message.Hash
	for i, list := range seen {
		hashes := list()
		if i == 0 {
			first = slices.Clone(hashes)
		}
		if len(hashes) != 2*each || !slices.Equal(hashes, first) {
			t.Errorf("process %d saw %d messages, or in another order", i, len(hashes))
		}
		slices.Sort(hashes)
		if n := len(slices.Compact(hashes)); n != 2*each {
			t.Errorf("process %d saw only %d different messages", i, n)
		}
	}
	if n := worker.Stats().Verified; n != 0 {
		t.Errorf("the worker verified %d signatures again", n)
	}
}

func TestEnqueuedThatWaitsIsToldAsPending(t *testing.T) {
	at := place{postgrestest.DSN(t), t.TempDir()}
	api := start(t, at, enqueueOnly)
	start(t, at)
	target, targetRaw := post(1, nil)
	h, raw := post(2, fields{"ref": string(target), "type": "amend"})
	for range 2 { // sent again while it waits
		out := api.submit(raw)
		if out.Status != message.StatusPending || out.Err == nil || out.Err.Code != message.ErrAmendTargetNotFound {
			t.Fatalf("got %+v", out)
		}
	}
	events, cancel := api.Subscribe(100, nil)
	defer cancel()
	api.submit(targetRaw)
	await(t, events, h, message.StatusProcessed)
	if out := api.submit(targetRaw); !out.Duplicate {
		t.Errorf("got %+v", out)
	}
}

func TestEnqueuedIsDurableWithoutAnybodyWhoApplies(t *testing.T) {
	at := place{postgrestest.DSN(t), t.TempDir()}
	api := start(t, at, enqueueOnly)
	h, raw := post(1, nil)
	out, err := api.accept(raw)
	if err != nil || out.Status != message.StatusPending || out.Hash != h {
		t.Fatalf("got %+v, %v", out, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if out, err := api.Submit(ctx, raw, OriginAPI); err != nil || out.Status != message.StatusPending {
		t.Errorf("after the patience of the client: %+v, %v", out, err)
	}
	_, bad := envelope(message.TypePost, fields{"address": "0xA", "time": 5, "type": "note", "content": nil}, "bad")
	if out := api.submit(bad); out.Status != message.StatusRejected || out.Err.Code != message.ErrInvalidSignature {
		t.Errorf("got %+v", out)
	}
	api.stop()
	worker := start(t, at)
	events, cancelEvents := worker.Subscribe(100, nil)
	defer cancelEvents()
	var status message.Status
	read := func() {
		err := worker.store.Read(t.Context(), func(r *store.Reader) (err error) { status, _, err = r.Status(h); return err })
		if err != nil {
			t.Fatal(err)
		}
	}
	if read(); status == message.StatusPending {
		await(t, events, h, message.StatusProcessed)
		read()
	}
	if status != message.StatusProcessed {
		t.Errorf("it is %s", status)
	}
}

// A worker that dies in the middle holds what it took up until its lease is over; then another one has it.
func TestWhatADeadWorkerTookUpIsAppliedByAnother(t *testing.T) {
	at := place{postgrestest.DSN(t), t.TempDir()}
	api := start(t, at, enqueueOnly)
	var hashes []message.Hash
	for i := range 50 {
		h, raw := post(i, nil)
		hashes = append(hashes, h)
		if _, err := api.accept(raw); err != nil {
			t.Fatal(err)
		}
	}
	now := message.TimeFrom(time.Now())
	rows, _, err := api.store.TakeDue(t.Context(), now, lease, 30) // and nothing more is heard of it
	if err != nil || len(rows) != 30 {
		t.Fatalf("took up %d, %v", len(rows), err)
	}
	if again, next, err := api.store.TakeDue(t.Context(), now, lease, 100); err != nil || len(again) != 20 || next <= now {
		t.Fatalf("took up %d, next at %v, %v", len(again), next, err)
	}
	var ahead atomic.Int64
	seen := make(chan message.Hash, 100)
	worker := start(t, at, func(c *Config) {
		ahead.Store(int64(2 * lease))
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		next := c.State
		c.State = applier(func(tx *store.Tx, it *state.Item) (*state.Effect, error) {
			effect, err := next.Apply(tx, it)
			if err == nil && !effect.Duplicate {
				seen <- it.Message.ItemHash
			}
			return effect, err
		})
	})
	for range hashes {
		select {
		case <-seen:
		case <-time.After(20 * time.Second):
			t.Fatal("messages of the dead worker are not applied")
		}
	}
	worker.stop()
	for _, h := range hashes {
		api.wantStatus(h, message.StatusProcessed)
	}
}

// What several processes all apply is applied once and told once, in one order.
func TestProcessesThatAllApplyTellTheSame(t *testing.T) {
	at := place{postgrestest.DSN(t), t.TempDir()}
	nodes := []*rig{start(t, at), start(t, at), start(t, at)}
	const n = 80
	var seen []func() []message.Hash
	for _, r := range nodes {
		seen = append(seen, watch(r, n))
	}
	var wg sync.WaitGroup
	for _, r := range nodes {
		wg.Go(func() {
			for i := range n { // the same messages to all of them
				_, raw := post(i, nil)
				if out, err := r.Submit(t.Context(), raw, OriginP2P); err != nil || out.Status != message.StatusProcessed {
					t.Errorf("got %+v, %v", out, err)
				}
			}
		})
	}
	wg.Wait()
	first := seen[0]()
	for _, list := range seen[1:] {
		if hashes := list(); !slices.Equal(hashes, first) || len(hashes) != n {
			t.Errorf("saw %d and %d messages, or in another order", len(hashes), len(first))
		}
	}
}

// Lost connections, those for notices among them, lose neither messages nor events.
func TestLostConnectionsLoseNothing(t *testing.T) {
	dsn := postgrestest.DSN(t)
	at := place{dsn, t.TempDir()}
	api, worker := start(t, at, enqueueOnly), start(t, at)
	const n = 200
	seen := []func() []message.Hash{watch(api, n), watch(worker, n)}
	admin, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.Background())
	var wg sync.WaitGroup
	for i := range n {
		if i%40 == 20 {
			if _, err := admin.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE datname = current_database() AND pid <> pg_backend_pid()`); err != nil {
				t.Fatal(err)
			}
		}
		wg.Go(func() {
			_, raw := post(i, nil)
			for tries := 0; ; tries++ {
				out, err := api.Submit(t.Context(), raw, OriginAPI)
				if err == nil && out.Status == message.StatusProcessed {
					return
				}
				if tries == 20 {
					t.Error(fmt.Sprintf("%+v", out), err)
					return
				}
			}
		})
	}
	wg.Wait()
	for _, list := range seen {
		if hashes := list(); len(hashes) != n {
			t.Errorf("%d events", len(hashes))
		}
	}
}

// accept submits without waiting for the outcome.
func (r *rig) accept(raw []byte) (Outcome, error) {
	m, content, err := message.Parse(raw)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.SubmitParsed(r.t.Context(), m, content, raw, OriginAPI, false)
}
