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

// TestSameMessagesMakeTheSameRows expects the rows of a node that heard a story in order of nodes that heard it otherwise.
func TestSameMessagesMakeTheSameRows(t *testing.T) {
	inFile, onServer := storetest.Open(t, "sqlite:"+filepath.Join(t.TempDir(), "node.db"))(), storetest.Open(t, postgrestest.DSN(t))()
	check(t, 2000, func(t *rapid.T) {
		told := draw(t)
		want := rows(t, inFile, told, told.ordered)
		for name, db := range map[string]*store.Store{"SQLite": inFile, "PostgreSQL": onServer} {
			if got := rows(t, db, told, told.batches...); got != want {
				t.Fatalf("on %s:\n%s\n%s", name, difference(want, got), told)
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
