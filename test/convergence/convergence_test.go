// Package convergence holds nodes to the third invariant of docs/architecture.md: the same messages in any order, with any
// copies, on either engine, give the same rows and the same answers, byte for byte.
package convergence

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/aleph-im/aleph-go/ccn/state"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/ccn/store/storetest"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

// early is before the end of any grace period, late is after it.
var early, late = time.Unix(10, 0), time.Unix(1_700_000_000, 0)

// histories is how many histories a test tells: as many as ALEPH_HISTORIES says, or usual.
func histories(t *testing.T, usual int) int {
	text := os.Getenv("ALEPH_HISTORIES")
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("ALEPH_HISTORIES=%q is not a number of histories", text)
	}
	return n
}

// check draws n histories, by the hundred as rapid does.
func check(t *testing.T, n int, prop func(*rapid.T)) {
	for range (n + 99) / 100 {
		rapid.Check(t, prop)
	}
}

// telling is a story, told once in the order in which it could have happened, and once as it came to another node.
type telling struct {
	clock   time.Time
	ordered []news
	batches [][]news // in another order and with copies; the node is restarted between them
}

func draw(t *rapid.T) telling {
	story := tell(t)
	said := story.news()
	told := telling{clock: rapid.SampledFrom([]time.Time{early, late}).Draw(t, "clock")}
	for i := range files {
		told.ordered = append(told.ordered, news{file: &files[i]})
	}
	told.ordered = append(told.ordered, said...)
	var shuffled, copies []news
	for _, i := range rapid.Permutation(indices(len(said))).Draw(t, "order") {
		shuffled = append(shuffled, said[i])
	}
	for _, i := range rapid.SliceOfN(rapid.IntRange(0, len(said)-1), 0, 6).Draw(t, "copies") {
		c := said[i]
		if c.item != nil && c.anchor == nil && rapid.Bool().Draw(t, "forged") {
			c = forge(t, c.item)
		}
		copies = append(copies, c)
	}
	split := rapid.IntRange(0, len(said)).Draw(t, "split")
	first := slices.Concat(copies, shuffled[:split])
	// Nobody learns the size of a file that was forgotten before it came.
	end := slices.IndexFunc(first, func(what news) bool { return what.item != nil && what.item.Message.Type == message.TypeForget })
	if end < 0 {
		end = len(first)
	}
	for i := range files {
		first = slices.Insert(first, rapid.IntRange(0, end).Draw(t, "file"), news{file: &files[i]})
	}
	told.batches = [][]news{first, slices.Concat(copies, shuffled[split:], copies)}
	return told
}

func indices(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// on is a node at work in a transaction.
func (told *telling) on(t *rapid.T, tx *store.Tx) *node {
	return &node{
		t: t, tx: tx, known: map[copyKey]news{}, now: message.TimeFrom(told.clock),
		state: state.New(state.Config{Params: params.Devnet(), Now: func() time.Time { return told.clock }}),
	}
}

// pauses reports whether accounts may be looked at between the batches: what turns out to be paid for must not be removed
// by then, as only the end of the grace period is final.
func (told *telling) pauses() bool { return told.clock.Equal(early) }

// TestSameMessagesMakeTheSameRows expects the same rows in the end, whatever the order.
func TestSameMessagesMakeTheSameRows(t *testing.T) {
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		db := open()
		check(t, histories(t, 2000), func(t *rapid.T) {
			told := draw(t)
			want := rows(t, db, &told, told.ordered)
			if got := rows(t, db, &told, told.batches...); got != want {
				t.Fatalf("%s\n%s", difference(want, got), told.String())
			}
		})
	})
}

var errUndo = errors.New("undone on purpose")

// rows returns what batches of news add up to on an empty node, of which it leaves no trace.
func rows(t *rapid.T, db *store.Store, told *telling, batches ...[]news) (text string) {
	err := db.Write(t.Context(), func(tx *store.Tx) (err error) {
		n := told.on(t, tx)
		for i, batch := range batches {
			for _, what := range batch {
				n.hear(what)
			}
			if i == len(batches)-1 || told.pauses() {
				n.settle()
			}
		}
		if text, err = tx.Dump(); err != nil {
			return err
		}
		return errUndo
	})
	if !errors.Is(err, errUndo) {
		t.Fatal(err)
	}
	return text
}

// String writes a story down.
func (told *telling) String() string {
	var b strings.Builder
	write := func(what news) {
		switch {
		case what.file != nil:
			fmt.Fprintf(&b, "%.8s file of %d bytes\n", what.file.Hash, what.file.Size)
		case what.anchor != nil:
			fmt.Fprintf(&b, "%.8s anchored at %d\n", what.item.Message.ItemHash, what.anchor.Height)
		case what.forged:
			fmt.Fprintf(&b, "%.8s forged\n", what.item.Message.ItemHash)
		default:
			m := what.item.Message
			fmt.Fprintf(&b, "%.8s %s %s %s %s\n", m.ItemHash, m.Type, m.Sender, m.ItemType, what.item.Raw)
		}
	}
	for _, what := range told.ordered {
		write(what)
	}
	for _, batch := range told.batches {
		b.WriteString("and then:\n")
		for _, what := range batch {
			write(what)
		}
	}
	return b.String()
}

// difference returns the lines that only one of two dumps has.
func difference(want, got string) string {
	var b strings.Builder
	has := func(text string) map[string]bool {
		lines := map[string]bool{}
		for line := range strings.Lines(text) {
			lines[line] = true
		}
		return lines
	}
	wanted, gotten := has(want), has(got)
	for line := range strings.Lines(want) {
		if !gotten[line] {
			b.WriteString("in order only:  " + line)
		}
	}
	for line := range strings.Lines(got) {
		if !wanted[line] {
			b.WriteString("shuffled only:  " + line)
		}
	}
	return b.String()
}
