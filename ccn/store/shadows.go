package store

import (
	"database/sql"
	"encoding/json"
	"errors"

	"github.com/aleph-im/aleph-go/message"
)

// shadow is a member that an element has and a newer one of its key as well, from which the document has it.
type shadow struct {
	name string
	time float64
	hash message.Hash
}

var intoShadows = intoTable("aggregate_shadows", "owner, key, member, content_time, item_hash", " ON CONFLICT DO NOTHING")

// memberID stands for the name of a member, which has no bound, in 160 bits.
func memberID(name string) string { return string(message.HashBytes([]byte(name)))[:40] }

func (tx *Tx) insertShadows(owner, key string, list []shadow) error {
	rows := make([]any, 0, len(list)*intoShadows.columns)
	for _, s := range list {
		rows = append(rows, owner, key, memberID(s.name), s.time, string(s.hash))
	}
	_, err := tx.bulk(intoShadows, rows)
	return err
}

func (tx *Tx) deleteShadow(e *Element, name string) error {
	return tx.exec(`DELETE FROM aggregate_shadows WHERE owner = ? AND key = ? AND member = ? AND content_time = ? AND item_hash = ?`,
		e.Owner, e.Key, memberID(name), e.ContentTime, string(e.Hash))
}

// RestoreMembers gives the document of a key back what it lost with elements: each of the members from the newest element
// that is left with it.
func (tx *Tx) RestoreMembers(owner, key string, names []string) error {
	var order []message.Hash
	from := map[message.Hash][]string{}
	for _, name := range names {
		var h message.Hash
		ok, err := found(tx.row(`SELECT item_hash FROM aggregate_shadows WHERE owner = ? AND key = ? AND member = ?
			ORDER BY content_time DESC, item_hash DESC LIMIT 1`, owner, key, memberID(name)), &h)
		if err != nil {
			return wrap(err, "look for older members of aggregate %s of %s", key, owner)
		}
		if !ok {
			continue
		}
		if from[h] == nil {
			order = append(order, h)
		}
		from[h] = append(from[h], name)
	}
	for _, h := range order {
		if err := tx.restore(h, from[h]); err != nil {
			return wrap(err, "restore members of element %s in aggregate %s of %s", h, key, owner)
		}
	}
	return nil
}

var errDamaged = errors.New("it has none: the database is damaged, restore a backup or begin anew")

func (tx *Tx) restore(h message.Hash, names []string) error {
	e, err := tx.Element(h)
	if err != nil {
		return err
	}
	if e == nil {
		return errDamaged
	}
	all, err := membersOf(e)
	if err != nil {
		return err
	}
	restored := map[string]json.RawMessage{}
	for _, name := range names {
		value, ok := all[name]
		if !ok {
			return errDamaged
		}
		restored[name] = value
		if err := tx.deleteShadow(e, name); err != nil {
			return err
		}
	}
	return tx.mergeMembers(e, restored)
}

func membersOf(e *Element) (members map[string]json.RawMessage, err error) {
	err = json.Unmarshal(e.Content, &members)
	return members, wrap(err, "read element %s", e.Hash)
}

// findShadows fills the table of shadows from the elements and the documents.
func findShadows(tx *Tx, done func(percent int)) error {
	var all, n int
	if err := tx.row(`SELECT COUNT(*) FROM aggregates`).Scan(&all); err != nil {
		return wrap(err, "count aggregates")
	}
	const page = 256
	query, after := `SELECT owner, key FROM aggregates ORDER BY owner, key LIMIT ?`, []any{page}
	for {
		rows, err := tx.rows(query, after...)
		list, err := collect(rows, err, func(rows *sql.Rows, a *AggregateRow) error { return rows.Scan(&a.Owner, &a.Key) })
		if err != nil {
			return wrap(err, "list aggregates")
		}
		for i := range list {
			if err := tx.findShadowsOf(list[i].Owner, list[i].Key); err != nil {
				return wrap(err, "find members of aggregate %s of %s that newer ones hide", list[i].Key, list[i].Owner)
			}
		}
		if n += len(list); len(list) < page {
			return nil
		}
		done(100 * n / all)
		last := &list[page-1]
		query, after = `SELECT owner, key FROM aggregates WHERE (owner, key) > (?, ?) ORDER BY owner, key LIMIT ?`, []any{last.Owner, last.Key, page}
	}
}

func (tx *Tx) findShadowsOf(owner, key string) error {
	var several bool
	err := tx.row(`SELECT EXISTS (SELECT 1 FROM aggregate_elements WHERE owner = ? AND key = ? LIMIT 1 OFFSET 1)`, owner, key).Scan(&several)
	if err != nil || !several {
		return err
	}
	sources, err := tx.sources(owner, key)
	if err != nil {
		return err
	}
	return tx.Elements(owner, key, func(e *Element) (bool, error) {
		members, err := membersOf(e)
		if err != nil {
			return false, err
		}
		var list []shadow
		for name := range members {
			if sources[name] != e.Hash {
				list = append(list, shadow{name, e.ContentTime, e.Hash})
			}
		}
		return true, tx.insertShadows(owner, key, list)
	})
}

// sources returns which element each member of a document comes from.
func (r *Reader) sources(owner, key string) (map[string]message.Hash, error) {
	type texts struct{ members, sources string }
	rows, err := r.rows(`SELECT members, sources FROM aggregate_pieces WHERE owner = ? AND key = ?`, owner, key)
	pieces, err := collect(rows, err, func(rows *sql.Rows, p *texts) error { return rows.Scan(&p.members, &p.sources) })
	if err != nil {
		return nil, err
	}
	sources := map[string]message.Hash{}
	for _, p := range pieces {
		list, err := readMembers(p.members, p.sources)
		if err != nil {
			return nil, err
		}
		for i := range list {
			sources[list[i].name] = list[i].hash
		}
	}
	return sources, nil
}
