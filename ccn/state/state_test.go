package state

import (
	"fmt"
	"slices"
	"testing"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

func TestSecondCopyChangesNothing(t *testing.T) {
	w := newWorld(t, params.Devnet())
	it := item("p", post(alice, 1, `{}`))
	w.must(it)
	before := w.dump()
	effect, refusal := w.apply(it)
	if refusal != nil || !effect.Duplicate || w.dump() != before {
		t.Errorf("got %+v, %v", effect, refusal)
	}
	w.refuses(message.ErrInvalidSignature, item("p", post(alice, 1, `{}`), func(m *message.Message) { m.Signature = "forged" }))
}

func TestForgottenMessageDoesNotComeBack(t *testing.T) {
	w := newWorld(t, params.Devnet())
	it := item("p", post(alice, 1, `{}`))
	w.must(it, item("f", forget(alice, 2, "p")))
	w.refuses(message.ErrForgottenDuplicate, it)
}

func TestAmendments(t *testing.T) {
	w := newWorld(t, params.Devnet())
	refusal := w.refuses(message.ErrAmendTargetNotFound, item("a5", amend(alice, 5, "p")))
	if !slices.Equal(refusal.WaitsFor, []message.WaitKey{message.WaitMessage(hash("p"))}) {
		t.Errorf("waits for %v", refusal.WaitsFor)
	}
	w.must(item("p", post(alice, 4, `{}`)), item("a5", amend(alice, 5, "p")), item("a7", amend(alice, 7, "p")), item("a6", amend(alice, 6, "p")))
	if got := w.shown("p"); got != string(hash("a7")) {
		t.Errorf("shows %s, not the newest amendment", got)
	}
	w.must(item("old", amend(alice, 3, "p")))
	w.refuses(message.ErrAmendAmend, item("aa", amend(alice, 9, "a7")))
	w.refuses(message.ErrPermissionDenied, item("b", amend(bob, 9, "p")))
	w.must(item("f1", forget(alice, 8, "a7")))
	if got := w.shown("p"); got != string(hash("a6")) {
		t.Errorf("shows %s, not the newest amendment that remains", got)
	}
	w.must(item("f2", forget(alice, 9, "p")))
	for _, name := range []string{"p", "a5", "a6", "old"} {
		if got := w.shown(name); got != "none" {
			t.Errorf("%s is still there", name)
		}
		w.refuses(message.ErrForgottenDuplicate, item(name, post(alice, 1, `{}`)))
	}
}

func TestAggregateMembersKeepTheirTextAndTheNewestWins(t *testing.T) {
	w := newWorld(t, params.Devnet())
	w.must(
		item("e2", aggregate(alice, 2, "k", `{"c":3,"big":123456789012345678901234567890,"n":null}`)),
		item("e1", aggregate(alice, 1, "k", `{"a":1,"c":2}`)),
		item("e3", aggregate(alice, 3, "k", `{"d":{"x":1.50}}`)),
		item("e2b", aggregate(alice, 2.5, "k", `{"d":0,"e":5}`)),
	)
	want := `{"a":1,"c":3,"d":{"x":1.50},"e":5,"n":null,"big":123456789012345678901234567890} 1 3`
	if got := w.document(alice, "k"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	w.must(item("f", forget(alice, 9, "e3", "e1")))
	if got, want := w.document(alice, "k"), `{"c":3,"d":0,"e":5,"n":null,"big":123456789012345678901234567890} 2 2.5`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	w.must(item("f2", forget(alice, 10, "e2", "e2b")))
	if got := w.document(alice, "k"); got != "" {
		t.Errorf("got %s", got)
	}
}

func TestForgetOfAnAggregateTakesAllItsElements(t *testing.T) {
	w := newWorld(t, params.Devnet())
	key := hash("key")
	w.must(item("e1", aggregate(alice, 1, string(key), `{"a":1}`)), item("e2", aggregate(alice, 2, string(key), `{"a":2}`)))
	f := forget(alice, 3)
	f.Aggregates = []message.Hash{key}
	w.must(item("f", f))
	if got := w.document(alice, string(key)); got != "" {
		t.Errorf("got %s", got)
	}
	unknown := forget(alice, 4)
	unknown.Aggregates = []message.Hash{hash("another key")}
	w.refuses(message.ErrForgetNotFound, item("g", unknown))
	if effect, refusal := w.apply(item("e0", aggregate(alice, 0.5, string(key), `{"b":0}`))); refusal != nil || effect.Status != message.StatusForgotten {
		t.Errorf("an element that came late: %+v, %v", effect, refusal)
	}
	w.must(item("e4", aggregate(alice, 4, string(key), `{"c":4}`)))
	if got := w.document(alice, string(key)); got != `{"c":4} 4 4` {
		t.Errorf("got %s", got)
	}
}

func TestUnmergedOwnerHasNoDocument(t *testing.T) {
	p := params.Devnet()
	p.UnmergedAggregateOwner = alice
	w := newWorld(t, p)
	w.must(item("e1", aggregate(alice, 1, "k", `{"a":1}`)), item("e2", aggregate(alice, 2, "k", `{"a":2}`)), item("f", forget(alice, 3, "e2")))
	if got := w.document(alice, "k"); got != "" {
		t.Errorf("got %s", got)
	}
}

// However many FORGETs take a message, those are named that come first, in whatever order they come.
func TestOfManyForgetsTheFirstAreNamed(t *testing.T) {
	const forgets, named = 150, 100
	var want []message.Hash
	for i := range named {
		want = append(want, hash(fmt.Sprint("f", i)))
	}
	var dumps []string
	for _, step := range []int{1, forgets - 1, 37} { // forwards, backwards, and across
		w := newWorld(t, params.Devnet())
		key := hash("key")
		w.must(item("p", post(alice, 1, `1`)), item("e", aggregate(alice, 1, string(key), `{"a":1}`)))
		for k := range forgets {
			i := (k + 1) * step % forgets
			f := forget(alice, float64(10+i), "p")
			f.Aggregates = []message.Hash{key}
			w.must(item(fmt.Sprint("f", i), f))
		}
		w.must(item("late", amend(alice, 2, "p")), item("late e", aggregate(alice, 2, string(key), `{"a":2}`)))
		for _, name := range []string{"p", "late", "e", "late e"} {
			if by := w.forgottenBy(name); !slices.Equal(by, want) {
				t.Errorf("by %d: %s is forgotten by %d, the first %v", step, name, len(by), by[:1])
			}
		}
		dumps = append(dumps, w.dump())
	}
	if dumps[0] != dumps[1] || dumps[0] != dumps[2] {
		t.Error("the order in which they came shows")
	}
}

func TestForgetRules(t *testing.T) {
	w := newWorld(t, params.Devnet())
	w.must(item("p", post(alice, 1, `{}`)), item("q", post(bob, 1, `{}`)))
	w.refuses(message.ErrForgetNoTarget, item("f", forget(alice, 2)))
	w.refuses(message.ErrForgetNotFound, item("f", forget(alice, 2, "p", "unknown")))
	w.refuses(message.ErrPermissionDenied, item("f", forget(alice, 2, "p", "q")))
	w.refuses(message.ErrPermissionDenied, item("f", forget(alice, 2, "unknown", "q")))
	w.must(item("f", forget(alice, 2, "p", "p")))
	w.refuses(message.ErrForgetForget, item("g", forget(alice, 3, "f")))
	w.must(item("again", forget(alice, 1.5, "p")))
	if got := w.forgottenBy("p"); !slices.Equal(got, []message.Hash{hash("again"), hash("f")}) {
		t.Errorf("forgotten by %v", got)
	}
}
