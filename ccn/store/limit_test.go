package store

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
)

// SQLite looks at the values that a query is given, and has been seen to sort a million rows for a page of one.
func TestPagesOfAnySizeAreReadInTheOrderOfAnIndex(t *testing.T) {
	s, err := Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "node.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = s.Read(t.Context(), func(r *Reader) error {
		for _, limit := range []int{1, 2, 20, 200} {
			w := &where{}
			query := "EXPLAIN QUERY PLAN SELECT " + messageColumns + " FROM messages m ORDER BY m.time DESC, m.item_hash" + w.limit(limit, 0)
			rows, err := r.rows(query, w.args...)
			steps, err := collect(rows, err, func(rows *sql.Rows, step *string) error {
				var id, parent, unused int
				return rows.Scan(&id, &parent, &unused, step)
			})
			if err != nil {
				return err
			}
			if plan := strings.Join(steps, "; "); !strings.Contains(plan, "messages_time") {
				t.Errorf("a page of %d: %s", limit, plan)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
