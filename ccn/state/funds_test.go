package state

import (
	"testing"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/params"
)

// covers asks whether the funds cover a STORE message of a file that is known.
func (w *world) covers(it *Item) (covered bool) {
	w.t.Helper()
	err := w.db.Read(w.t.Context(), func(r *store.Reader) (err error) {
		covered, err = w.state.Covers(r, it)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return covered
}

func TestFundsCoverAFileWhenItsMessageIsAccepted(t *testing.T) {
	w := newWorld(t, params.Devnet())
	w.have(30<<20, "large")
	w.have(1<<20, "small")
	large := item("l", file(alice, 1, "large", ""))
	if w.covers(large) {
		t.Error("nothing covers a large file")
	}
	if !w.covers(item("s", file(alice, 1, "small", ""))) {
		t.Error("a small file needs nothing")
	}
	w.holds(alice, "10")
	if !w.covers(large) {
		t.Error("10 ALEPH do not cover 30 MiB")
	}
	w.must(large)
	if !w.covers(large) {
		t.Error("what is accepted is not covered")
	}
	if w.covers(item("l2", file(alice, 2, "large", ""))) {
		t.Error("the same tokens cover a second file")
	}
}

func TestRepricingComputesCostsAgain(t *testing.T) {
	w := newWorld(t, params.Devnet())
	w.have(30<<20, "large")
	w.holds(alice, "10")
	w.must(item("l", file(alice, 1, "large", "")))
	before := w.dump()
	w.write(func(tx *store.Tx) error { return tx.DeleteCosts(hash("l")) })
	w.write(func(tx *store.Tx) error {
		effect, err := w.state.Reprice(tx, hash("l"))
		if err == nil && len(effect.Undone) > 0 {
			t.Errorf("undone: %v", effect.Undone)
		}
		return err
	})
	if after := w.dump(); after != before {
		t.Errorf("before %s\nafter %s", before, after)
	}
	w.write(func(tx *store.Tx) error { _, err := w.state.Reprice(tx, hash("unknown")); return err })
}
