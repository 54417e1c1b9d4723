package state

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

// history draws messages that depend on each other; few times, so that many are equal.
func history(t *rapid.T) (items, forgets []*Item) {
	at := rapid.Map(rapid.IntRange(1, 4), func(n int) float64 { return float64(n) })
	owner := rapid.SampledFrom([]string{alice, bob})
	var names, posts, files []string
	add := func(name string, c message.Content) {
		items = append(items, item(name, c))
		names = append(names, name)
	}
	for i := range rapid.IntRange(2, 14).Draw(t, "messages") {
		name := fmt.Sprint("m", i)
		o, when := owner.Draw(t, "owner"), at.Draw(t, "time")
		switch rapid.SampledFrom([]string{"post", "amend", "aggregate", "file", "version", "named", "balances"}).Draw(t, "kind") {
		case "post":
			posts = append(posts, name)
			add(name, post(o, when, `{"tags":["a"]}`))
		case "amend":
			if len(posts) > 0 {
				add(name, amend(o, when, rapid.SampledFrom(posts).Draw(t, "original")))
			}
		case "aggregate":
			key := rapid.SampledFrom([]string{"a", "bb", "c"}).Draw(t, "member")
			add(name, aggregate(o, when, "k", fmt.Sprintf(`{%q:%d,%q:[%d]}`, key, i, key+"x", i)))
		case "file":
			files = append(files, name)
			add(name, file(o, when, fmt.Sprint("v", i%3), ""))
		case "version":
			if len(files) > 0 {
				first := rapid.SampledFrom(files).Draw(t, "first")
				add(name, file(o, when, fmt.Sprint("v", i%3), string(hash(first))))
			}
		case "named":
			add(name, file(o, when, fmt.Sprint("v", i%3), "site"))
		case "balances":
			c := post(params.DevnetAuthority, when, fmt.Sprintf(`{"chain":"ETH","main_height":%d,"balances":{%q:%d}}`, int(when), o, i))
			c.PostType = "balances-update"
			add(name, c)
		}
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "forgets") {
		if len(names) == 0 {
			break
		}
		target := rapid.SampledFrom(names).Draw(t, "target")
		for _, it := range items {
			if it.Message.ItemHash == hash(target) {
				forgets = append(forgets, item(fmt.Sprint("f", i), forget(it.Content.Base().Address, 9, target)))
			}
		}
	}
	return items, forgets
}

// settle applies messages in order, and those that must wait again and again until none gets further.
func settle(tx *store.Tx, s *State, items []*Item) error {
	for {
		var waiting []*Item
		for _, it := range items {
			_, err := s.Apply(tx, it)
			var refusal *message.Error
			if err != nil && !errors.As(err, &refusal) {
				return err
			}
			if refusal != nil && refusal.Retryable() {
				waiting = append(waiting, it)
			}
		}
		if len(waiting) == 0 || len(waiting) == len(items) {
			return nil
		}
		items = waiting
	}
}

var errUndo = errors.New("undone on purpose")

// outcome returns what messages add up to on an empty node, of which it leaves no trace.
func (w *world) outcome(batches ...[]*Item) (text string) {
	w.t.Helper()
	err := w.db.Write(w.t.Context(), func(tx *store.Tx) error {
		for i := range 3 {
			if _, err := tx.PutFile(&store.FileRow{Hash: hash(fmt.Sprint("v", i)), Size: 10, Type: store.FileTypeFile}); err != nil {
				return err
			}
		}
		for _, items := range batches {
			if err := settle(tx, w.state, items); err != nil {
				return err
			}
		}
		var err error
		if text, err = tx.Dump(); err != nil {
			return err
		}
		return errUndo
	})
	if !errors.Is(err, errUndo) {
		w.t.Fatal(err)
	}
	return text
}

func TestOrderOfArrivalDoesNotMatter(t *testing.T) {
	w := newWorld(t, params.Devnet())
	rapid.Check(t, func(rt *rapid.T) {
		items, _ := history(rt)
		want := w.outcome(items)
		shuffled := rapid.Permutation(items).Draw(rt, "order")
		if got := w.outcome(shuffled); got != want {
			rt.Fatalf("got\n%s\nin another order\n%s", got, want)
		}
		if got := w.outcome(shuffled, items); got != want {
			rt.Fatalf("got\n%s\nafter everything came twice, before\n%s", got, want)
		}
	})
}

// What is forgotten has no part in the rest, in whatever order the FORGETs and their targets came.
func TestForgettingUndoesInAnyOrder(t *testing.T) {
	w := newWorld(t, params.Devnet())
	rapid.Check(t, func(rt *rapid.T) {
		items, forgets := history(rt)
		want := w.outcome(items, forgets)
		order := rapid.Permutation(items).Draw(rt, "order")
		if got := w.outcome(order, forgets); got != want {
			rt.Fatalf("got\n%s\nin another order\n%s", got, want)
		}
	})
}
