package convergence

import (
	"errors"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/ccn/store/storetest"
	"github.com/aleph-im/aleph-go/internal/postgrestest"
)

// TestSameMessagesMakeTheSameRows expects of nodes that heard a story otherwise, on either engine, the rows of one that heard it
// in order, and has them in SQLite.
func TestSameMessagesMakeTheSameRows(t *testing.T) {
	t.Parallel()
	inFile := func(name string) string { return "sqlite:" + filepath.Join(t.TempDir(), name) }
	inOrder := storetest.Open(t, inFile("in order.db"))()
	shuffled := map[string]*store.Store{
		"SQLite": storetest.Open(t, inFile("shuffled.db"))(), "PostgreSQL": storetest.Open(t, postgrestest.DSN(t))(),
	}
	check(t, 2000, func(t *rapid.T, told *telling) {
		want := rows(t, inOrder, told, told.ordered)
		for engine, db := range shuffled {
			if got := rows(t, db, told, told.batches...); got != want {
				t.Fatalf("on %s:\n%s\n%s", engine, difference(want, got), told)
			}
		}
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
