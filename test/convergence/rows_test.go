package convergence

import (
	"errors"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/ccn/store/storetest"
)

// TestSameMessagesMakeTheSameRows expects of nodes that heard a story otherwise the rows of one that heard it in order, and
// has them in SQLite.
func TestSameMessagesMakeTheSameRows(t *testing.T) {
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		t.Parallel()
		db, inOrder := open(), storetest.Open(t, "sqlite:"+filepath.Join(t.TempDir(), "in order.db"))()
		check(t, 2000, func(t *rapid.T, told *telling) {
			want, got := rows(t, inOrder, told, told.ordered), rows(t, db, told, told.batches...)
			if got != want {
				t.Fatalf("%s\n%s", difference(want, got), told)
			}
		})
	})
}

var errUndo = errors.New("undone on purpose")

// rows returns what batches of news add up to on an empty node, of which it leaves no trace.
func rows(t *rapid.T, db *store.Store, told *telling, batches ...[]news) (text string) {
	err := db.Write(t.Context(), func(tx *store.Tx) (err error) {
		n := at(t, tx, told)
		for _, batch := range batches {
			n.hearAll(batch)
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
