package store

import (
	"database/sql"
	"encoding/json"
	"math"

	"github.com/aleph-im/aleph-go/message"
)

// Element is one AGGREGATE message.
type Element struct {
	ID          int64 // of its message; not read
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

// document is the JSON object of the aggregate a.
const document = `'{' || COALESCE((SELECT string_agg(p.members, ',' ORDER BY p.begins) FROM aggregate_pieces p
	WHERE p.owner = a.owner AND p.key = a.key), '') || '}'`

// Aggregate returns the document of a key, nil when there is none.
func (r *Reader) Aggregate(owner, key string) (*AggregateRow, error) {
	a := &AggregateRow{Owner: owner, Key: key}
	ok, err := found(r.row(`SELECT `+document+`, a.created, a.last_updated, a.last_revision_hash FROM aggregates a WHERE a.owner = ? AND a.key = ?`, owner, key),
		&a.Content, &a.Created, &a.LastUpdated, &a.LastRevision)
	if err != nil || !ok {
		return nil, wrap(err, "read aggregate %s of %s", key, owner)
	}
	return a, nil
}

// MergeElement adds an element to the document of its key. Of every member counts the element that comes last by (content
// time, hash).
func (tx *Tx) MergeElement(e *Element, members map[string]json.RawMessage) error {
	err := tx.exec(`INSERT INTO aggregates AS a (owner, key, created, last_updated, last_revision_hash) VALUES (?,?,?,?,?)
		ON CONFLICT (owner, key) DO UPDATE SET
		created = CASE WHEN excluded.created < a.created THEN excluded.created ELSE a.created END,
		last_revision_hash = CASE WHEN excluded.last_updated > a.last_updated
			OR excluded.last_updated = a.last_updated AND excluded.last_revision_hash > a.last_revision_hash
			THEN excluded.last_revision_hash ELSE a.last_revision_hash END,
		last_updated = CASE WHEN excluded.last_updated > a.last_updated THEN excluded.last_updated ELSE a.last_updated END`,
		e.Owner, e.Key, e.ContentTime, e.ContentTime, string(e.Hash))
	if err == nil {
		err = tx.mergeMembers(e, members)
	}
	return wrap(err, "merge element %s into aggregate %s of %s", e.Hash, e.Key, e.Owner)
}

// UnmergeElement takes those of the members of an element out of the document of its key that come from it. It returns their
// names, under which older elements may have others: see RestoreMembers.
func (tx *Tx) UnmergeElement(e *Element, members map[string]json.RawMessage) (lost []string, err error) {
	lost, err = tx.unmergeMembers(e, members)
	return lost, wrap(err, "take element %s out of aggregate %s of %s", e.Hash, e.Key, e.Owner)
}

// RefreshAggregate makes the dates of a document those of its elements. One without elements is deleted.
func (tx *Tx) RefreshAggregate(owner, key string) error {
	var created, updated float64
	var revision message.Hash
	ok, err := found(tx.row(`SELECT content_time, item_hash, (SELECT MIN(content_time) FROM aggregate_elements WHERE owner = ? AND key = ?)
		FROM aggregate_elements WHERE owner = ? AND key = ? ORDER BY content_time DESC, item_hash DESC LIMIT 1`, owner, key, owner, key),
		&updated, &revision, &created)
	switch {
	case err != nil:
	case ok:
		err = tx.exec(`UPDATE aggregates SET created = ?, last_updated = ?, last_revision_hash = ? WHERE owner = ? AND key = ?`,
			created, updated, string(revision), owner, key)
	default:
		if err = tx.exec(`DELETE FROM aggregates WHERE owner = ? AND key = ?`, owner, key); err == nil {
			err = tx.exec(`DELETE FROM aggregate_pieces WHERE owner = ? AND key = ?`, owner, key)
		}
	}
	return wrap(err, "refresh aggregate %s of %s", key, owner)
}

// Element returns the element of a message that is there, nil when there is none.
func (r *Reader) Element(h message.Hash) (*Element, error) {
	e := &Element{Hash: h}
	ok, err := found(r.row(`SELECT owner, key, content_time, content FROM aggregate_elements WHERE id = `+messageID, hashArgs(h)...),
		&e.Owner, &e.Key, &e.ContentTime, &e.Content)
	if err != nil || !ok {
		return nil, wrap(err, "read aggregate element %s", h)
	}
	return e, nil
}

// ElementsBefore lists the elements of a key that come before (t, h).
func (r *Reader) ElementsBefore(owner, key string, t float64, h message.Hash) ([]message.Hash, error) {
	list, err := r.hashes(`SELECT item_hash FROM aggregate_elements WHERE owner = ? AND key = ?
		AND (content_time, item_hash) < (?, ?) ORDER BY content_time, item_hash`, owner, key, t, string(h))
	return list, wrap(err, "list elements of aggregate %s of %s", key, owner)
}

// OlderElements lists up to limit elements of a key that come before (t, h), from the newest to the oldest.
func (r *Reader) OlderElements(owner, key string, t float64, h message.Hash, limit int) ([]Element, error) {
	rows, err := r.rows(`SELECT item_hash, content_time, content FROM aggregate_elements WHERE owner = ? AND key = ?
		AND (content_time, item_hash) < (?, ?) ORDER BY content_time DESC, item_hash DESC LIMIT ?`, owner, key, t, string(h), limit)
	list, err := collect(rows, err, func(rows *sql.Rows, e *Element) error {
		e.Owner, e.Key = owner, key
		return rows.Scan(&e.Hash, &e.ContentTime, &e.Content)
	})
	return list, wrap(err, "read elements of aggregate %s of %s", key, owner)
}

// Elements calls visit with the elements of a key from the newest to the oldest by (content time, hash), until it returns
// false.
func (r *Reader) Elements(owner, key string, visit func(*Element) (more bool, err error)) error {
	return r.VisitOlderElements(owner, key, math.Inf(1), "", visit)
}

// VisitOlderElements is Elements for those that come before (t, h).
func (r *Reader) VisitOlderElements(owner, key string, t float64, h message.Hash, visit func(*Element) (more bool, err error)) error {
	const few, many = 4, 256
	for limit := few; ; limit = min(2*limit, many) {
		list, err := r.OlderElements(owner, key, t, h, limit)
		if err != nil {
			return err
		}
		for i := range list {
			if more, err := visit(&list[i]); err != nil || !more {
				return err
			}
		}
		if len(list) < limit {
			return nil
		}
		t, h = list[limit-1].ContentTime, list[limit-1].Hash
	}
}

// InsertElement stores the element of a message that was stored before.
func (tx *Tx) InsertElement(e *Element) error {
	return wrap(tx.exec(`INSERT INTO aggregate_elements (id, item_hash, owner, key, content_time, content) VALUES (?,?,?,?,?,?)`,
		e.ID, string(e.Hash), e.Owner, e.Key, e.ContentTime, string(e.Content)), "store aggregate element %s", e.Hash)
}

// DeleteElement deletes the element of a message that is still there.
func (tx *Tx) DeleteElement(h message.Hash) error {
	return wrap(tx.exec(`DELETE FROM aggregate_elements WHERE id = `+messageID, hashArgs(h)...), "delete aggregate element %s", h)
}
