package store

import (
	"database/sql"

	"github.com/aleph-im/aleph-go/message"
)

// Element is one AGGREGATE message.
type Element struct {
	Hash        message.Hash
	Owner, Key  string
	ContentTime float64
	Content     []byte // JSON object
}

// AggregateRow is what the elements of a key add up to.
type AggregateRow struct {
	Owner, Key   string
	Content      []byte       // JSON object
	Created      float64      // content time of the oldest element
	LastUpdated  float64      // content time of the newest element
	LastRevision message.Hash // the newest element
}

// Aggregate returns the document of a key, nil when there is none.
func (r *Reader) Aggregate(owner, key string) (*AggregateRow, error) {
	a := &AggregateRow{Owner: owner, Key: key}
	ok, err := found(r.row(`SELECT content, created, last_updated, last_revision_hash FROM aggregates WHERE owner = ? AND key = ?`, owner, key),
		&a.Content, &a.Created, &a.LastUpdated, &a.LastRevision)
	if err != nil || !ok {
		return nil, wrap(err, "read aggregate %s of %s", key, owner)
	}
	return a, nil
}

// PutAggregate stores the document of a key.
func (tx *Tx) PutAggregate(a *AggregateRow) error {
	return wrap(tx.exec(`INSERT INTO aggregates (owner, key, content, created, last_updated, last_revision_hash) VALUES (?,?,?,?,?,?)
		ON CONFLICT (owner, key) DO UPDATE SET content = excluded.content, created = excluded.created,
		last_updated = excluded.last_updated, last_revision_hash = excluded.last_revision_hash`,
		a.Owner, a.Key, string(a.Content), a.Created, a.LastUpdated, string(a.LastRevision)), "store aggregate %s of %s", a.Key, a.Owner)
}

// DeleteAggregate deletes the document of a key; its elements stay.
func (tx *Tx) DeleteAggregate(owner, key string) error {
	return wrap(tx.exec(`DELETE FROM aggregates WHERE owner = ? AND key = ?`, owner, key), "delete aggregate %s of %s", key, owner)
}

// Element returns one element, nil when there is none.
func (r *Reader) Element(h message.Hash) (*Element, error) {
	e := &Element{Hash: h}
	ok, err := found(r.row(`SELECT owner, key, content_time, content FROM aggregate_elements WHERE item_hash = ?`, string(h)),
		&e.Owner, &e.Key, &e.ContentTime, &e.Content)
	if err != nil || !ok {
		return nil, wrap(err, "read aggregate element %s", h)
	}
	return e, nil
}

// ElementsBefore lists the elements of a key that come before (t, h).
func (r *Reader) ElementsBefore(owner, key string, t float64, h message.Hash) ([]message.Hash, error) {
	list, err := r.hashes(`SELECT item_hash FROM aggregate_elements WHERE owner = ? AND key = ?
		AND (content_time < ? OR content_time = ? AND item_hash < ?) ORDER BY content_time, item_hash`, owner, key, t, t, string(h))
	return list, wrap(err, "list elements of aggregate %s of %s", key, owner)
}

// Elements calls visit with the elements of a key from the newest to the oldest by (content time, hash), until it returns
// false.
func (r *Reader) Elements(owner, key string, visit func(*Element) (more bool, err error)) error {
	rows, err := r.rows(`SELECT item_hash, content_time, content FROM aggregate_elements WHERE owner = ? AND key = ?
		ORDER BY content_time DESC, item_hash DESC`, owner, key)
	if err != nil {
		return wrap(err, "read elements of aggregate %s of %s", key, owner)
	}
	defer rows.Close()
	for rows.Next() {
		e := Element{Owner: owner, Key: key}
		if err := rows.Scan(&e.Hash, &e.ContentTime, (*sql.RawBytes)(&e.Content)); err != nil {
			return wrap(err, "read elements of aggregate %s of %s", key, owner)
		}
		if more, err := visit(&e); err != nil || !more {
			return err
		}
	}
	return wrap(rows.Err(), "read elements of aggregate %s of %s", key, owner)
}

// InsertElement stores one element.
func (tx *Tx) InsertElement(e *Element) error {
	return wrap(tx.exec(`INSERT INTO aggregate_elements (item_hash, owner, key, content_time, content) VALUES (?,?,?,?,?)`,
		string(e.Hash), e.Owner, e.Key, e.ContentTime, string(e.Content)), "store aggregate element %s", e.Hash)
}

// DeleteElement deletes one element.
func (tx *Tx) DeleteElement(h message.Hash) error {
	return wrap(tx.exec(`DELETE FROM aggregate_elements WHERE item_hash = ?`, string(h)), "delete aggregate element %s", h)
}
