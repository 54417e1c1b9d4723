package upkeep

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/state"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// start is when the files of the tests are put, which their store dates by the machine's clock.
var start = time.Now()

// judge stands in for the state, which has tests of its own.
type judge struct {
	settled []string
	effect  state.Effect
	err     error
}

func (j *judge) SettleAccount(tx *store.Tx, owner string, payment message.PaymentType) (*state.Effect, error) {
	if j.err != nil {
		return nil, j.err
	}
	j.settled = append(j.settled, owner)
	return &j.effect, tx.PutAccount(&store.AccountRow{Owner: owner, PaymentType: payment, Used: "0"})
}

type world struct {
	*testing.T
	db      *store.Store
	disk    *files.Disk
	dir     string // of the files
	judge   *judge
	service *Service
	now     time.Time
}

func newWorld(t *testing.T) *world {
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "node.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	dir := t.TempDir()
	disk, err := files.OpenDisk(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = disk.Close() })
	w := &world{T: t, db: db, disk: disk, dir: dir, judge: &judge{}, now: start}
	w.service, err = New(Config{Store: db, State: w.judge, Files: disk, Now: func() time.Time { return w.now }})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) write(change func(tx *store.Tx) error) {
	w.Helper()
	if err := w.db.Write(w.Context(), change); err != nil {
		w.Fatal(err)
	}
}

// put stores a file that is kept until a time.
func (w *world) put(text string, until time.Time) message.Hash {
	w.Helper()
	h, size, err := w.disk.Put(w.Context(), strings.NewReader(text), 0)
	if err != nil {
		w.Fatal(err)
	}
	w.write(func(tx *store.Tx) error {
		_, err := tx.PutFile(&store.FileRow{Hash: h, Size: size, Type: store.FileTypeFile})
		return errors.Join(err, tx.KeepUntil(h, message.TimeFrom(start), message.TimeFrom(until)))
	})
	return h
}

// path is where a file is on the disk.
func (w *world) path(h message.Hash) string { return filepath.Join(w.dir, string(h[:2]), string(h)) }

// has reports whether a file is in the database and on the disk.
func (w *world) has(h message.Hash) (known, there bool) {
	w.Helper()
	err := w.db.Read(w.Context(), func(r *store.Reader) error {
		f, err := r.File(h)
		known = f != nil
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	_, err = w.disk.Stat(w.Context(), h)
	return known, err == nil
}

func TestFileGoesWhenItsTimeIsOverAndNothingKeepsIt(t *testing.T) {
	w := newWorld(t)
	day := start.Add(24 * time.Hour)
	over, later, pinned := w.put("over", day), w.put("later", day.Add(time.Hour)), w.put("pinned", day)
	w.write(func(tx *store.Tx) error {
		return tx.InsertPin(&store.PinRow{File: pinned, Type: store.PinMessage, Owner: "0x1", Message: message.HashBytes([]byte("m")), Created: 1})
	})
	for _, at := range []time.Time{day.Add(-time.Second), day.Add(time.Second)} {
		w.now = at
		if err := w.service.Collect(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantOver := at.Before(day)
		for h, want := range map[message.Hash]bool{over: wantOver, later: true, pinned: true} {
			if known, there := w.has(h); known != want || there != want {
				t.Errorf("at %s file %s: in the database %t, on the disk %t, want %t", at, h, known, there, want)
			}
		}
	}
}

func TestFileThatSomebodyIsAboutToUseStaysForAnHour(t *testing.T) {
	w := newWorld(t)
	h := w.put("young", start.Add(time.Minute))
	for _, step := range []struct {
		after time.Duration
		want  bool
	}{{2 * time.Minute, true}, {2 * time.Hour, false}} {
		w.now = start.Add(step.after)
		if err := w.service.Collect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if known, there := w.has(h); known != step.want || there != step.want {
			t.Errorf("after %v: in the database %t, on the disk %t, want %t", step.after, known, there, step.want)
		}
	}
}

func TestFilesThatNobodyKnowsGo(t *testing.T) {
	w := newWorld(t)
	put := func(text string) message.Hash {
		h, _, err := w.disk.Put(t.Context(), strings.NewReader(text), 0)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	for _, at := range []time.Time{start.Add(-time.Hour), start} { // when it first looks it finds what may be of another database
		w.now = at
		if err := w.service.Collect(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	before := put("of before")
	if err := os.Chtimes(w.path(before), start.Add(-2*time.Hour), start.Add(-2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	known, unknown := w.put("known", start.Add(100*time.Hour)), put("of a refused upload")
	for _, step := range []struct {
		after time.Duration
		stays bool
	}{{time.Minute, true}, {25 * time.Hour, false}} {
		w.now = start.Add(step.after)
		if err := w.service.Collect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, there := w.has(unknown); there != step.stays {
			t.Errorf("after %v what nobody knows is there: %t", step.after, there)
		}
		for _, h := range []message.Hash{known, before} {
			if _, there := w.has(h); !there {
				t.Errorf("after %v file %s is gone", step.after, h)
			}
		}
	}
}

func TestBlocksAreCollectedWithAMarginOfTime(t *testing.T) {
	w := newWorld(t)
	var before time.Time
	w.service.cfg.Collect = func(_ context.Context, b time.Time) error { before = b; return nil }
	if err := w.service.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := start.Add(-young); !before.Equal(want) {
		t.Errorf("collected what is older than %s, want %s", before, want)
	}
}

func TestAccountsThatAreDueAreSettledAndWakeWhoWaits(t *testing.T) {
	w := newWorld(t)
	soon, late := message.TimeFrom(start.Add(time.Minute)), message.TimeFrom(start.Add(time.Hour))
	key := message.WaitFunds("0xdue")
	pending := &store.PendingRow{
		Hash: message.HashBytes([]byte("waits")), Sender: "0xdue", Signature: "s", Envelope: []byte(`{}`), Origin: "api", NextAttempt: late,
	}
	w.write(func(tx *store.Tx) error {
		return errors.Join(
			tx.PutAccount(&store.AccountRow{Owner: "0xdue", PaymentType: message.PaymentHold, Used: "0", CheckAt: &soon}),
			tx.PutAccount(&store.AccountRow{Owner: "0xlate", PaymentType: message.PaymentHold, Used: "0", CheckAt: &late}),
			tx.PutPending(pending, []message.WaitKey{key}),
		)
	})
	w.now = start.Add(2 * time.Minute)
	w.judge.effect.Wakes = []message.WaitKey{key}
	for range 2 { // once settled, it is not due again
		if err := w.service.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.judge.settled) != 1 || w.judge.settled[0] != "0xdue" {
		t.Errorf("settled %v", w.judge.settled)
	}
	err := w.db.Read(t.Context(), func(r *store.Reader) error {
		next, err := r.NextPending()
		if now := message.TimeFrom(w.now); next != now {
			t.Errorf("who waits is due at %d, want %d", next, now)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAccountThatCannotBeSettledIsNamedAndStaysDue(t *testing.T) {
	w := newWorld(t)
	w.write(func(tx *store.Tx) error {
		return tx.PutAccount(&store.AccountRow{Owner: "0xbroken", PaymentType: message.PaymentHold, Used: "0", CheckAt: new(message.Time)})
	})
	w.judge.err = errors.New("no sum")
	if err := w.service.Settle(t.Context()); err == nil || !strings.Contains(err.Error(), "0xbroken") {
		t.Errorf("error is %v", err)
	}
	w.judge.err = nil
	if err := w.service.Settle(t.Context()); err != nil || len(w.judge.settled) != 1 {
		t.Errorf("settled %v, %v", w.judge.settled, err)
	}
}
