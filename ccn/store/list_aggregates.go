package store

import (
	"database/sql"

	"github.com/aleph-im/aleph-go/message"
)

// AggregateFilter chooses documents.
type AggregateFilter struct {
	Owners, Keys         []string
	ByCreation           bool // sort by the oldest element instead of the newest
	Descending           bool
	AfterTime            float64 // with AfterKey and AfterOwner: only what follows that document
	AfterKey, AfterOwner string
	Limit                int // 0: no limit
	Offset               int64
}

func (f *AggregateFilter) where() *where {
	w := &where{}
	w.in("owner", f.Owners)
	w.in("key", f.Keys)
	return w
}

// ListAggregates lists documents by time; ties go by key and owner.
func (r *Reader) ListAggregates(f AggregateFilter) ([]AggregateRow, error) {
	w := f.where()
	column, order, past := "last_updated", "ASC", ">"
	if f.ByCreation {
		column = "created"
	}
	if f.Descending {
		order, past = "DESC", "<"
	}
	if f.AfterOwner != "" || f.AfterKey != "" {
		// The time in a cursor is rounded; that of the document itself is exact.
		row, err := r.Aggregate(f.AfterOwner, f.AfterKey)
		if err != nil {
			return nil, err
		}
		if row != nil {
			exact := row.LastUpdated
			if f.ByCreation {
				exact = row.Created
			}
			if message.TimeFromSeconds(exact) == message.TimeFromSeconds(f.AfterTime) {
				f.AfterTime = exact
			}
		}
		w.add(column+" "+past+"= ? AND ("+column+" "+past+" ? OR key > ? OR key = ? AND owner > ?)", f.AfterTime, f.AfterTime, f.AfterKey, f.AfterKey, f.AfterOwner)
	}
	// Contents are long: they are put together once it is known which ones the page shows.
	page := "SELECT owner, key FROM aggregates" + w.String() + " ORDER BY " + column + " " + order + ", key ASC, owner ASC"
	page += w.limit(f.Limit, f.Offset)
	rows, err := r.rows("SELECT a.owner, a.key, "+document+", a.created, a.last_updated, a.last_revision_hash FROM ("+page+`) AS page CROSS JOIN aggregates a
		WHERE a.owner = page.owner AND a.key = page.key ORDER BY a.`+column+" "+order+", a.key ASC, a.owner ASC", w.args...)
	list, err := collectFor(r, rows, err, func(rows *sql.Rows, a *AggregateRow) error {
		return rows.Scan(&a.Owner, &a.Key, &a.Content, &a.Created, &a.LastUpdated, &a.LastRevision)
	}, aggregateText)
	return list, wrap(err, "list aggregates")
}

// CountAggregates counts what ListAggregates would list without its limit.
func (r *Reader) CountAggregates(f AggregateFilter) (n int64, err error) {
	w := f.where()
	_, err = found(r.row("SELECT COUNT(*) FROM aggregates"+w.String(), w.args...), &n)
	return n, wrap(err, "count aggregates")
}

// Aggregates lists the documents of an owner by key; all of them when keys is nil.
func (r *Reader) Aggregates(owner string, keys []string) ([]AggregateRow, error) {
	w := &where{}
	w.add("owner = ?", owner)
	w.in("key", keys)
	rows, err := r.rows("SELECT owner, key, "+document+", created, last_updated, last_revision_hash FROM aggregates a"+w.String()+" ORDER BY key", w.args...)
	list, err := collectFor(r, rows, err, func(rows *sql.Rows, a *AggregateRow) error {
		return rows.Scan(&a.Owner, &a.Key, &a.Content, &a.Created, &a.LastUpdated, &a.LastRevision)
	}, aggregateText)
	return list, wrap(err, "list aggregates of %s", owner)
}
