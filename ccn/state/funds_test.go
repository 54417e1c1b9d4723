package state

import (
	"testing"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
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

// What needs a newer message asks for funds after that one. If it came first, it would be refused for want of what it pushed out,
// and both would come back, without end.
func TestNobodyTakesTheFundsOfWhatHeNeeds(t *testing.T) {
	for name, test := range map[string]struct {
		balance       int // for one of the two
		needed, older *Item
	}{
		"a program that is replaced": {250, item("p", program(alice, 6, "code", "")), item("q", program(alice, 2, "code", "p"))},
		"code":                       {205, item("p", file(alice, 6, "large", "")), item("q", program(alice, 2, "p", ""))},
		"a first version":            {15, item("p", file(alice, 6, "large", "")), item("q", file(alice, 2, "large", string(hash("p"))))},
	} {
		t.Run(name, func(t *testing.T) {
			for _, enough := range []bool{false, true} {
				w := newWorld(t, params.Devnet())
				w.have(1<<10, "small")
				w.have(30<<20, "large")
				amount := test.balance
				if enough {
					amount *= 3
				}
				w.must(item("code", file("0xvendor", 1, "small", "")), balance("b", 1, amount), test.needed)
				if enough {
					w.must(test.older)
				} else {
					w.refuses(message.ErrBalanceInsufficient, test.older)
				}
				if status := w.status("p"); status != message.StatusProcessed {
					t.Errorf("what it needs is %s", status)
				}
			}
		})
	}
}
