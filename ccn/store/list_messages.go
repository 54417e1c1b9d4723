package store

import (
	"database/sql"
	"fmt"
	"strings"

	"github.com/aleph-im/aleph-go/message"
)

// MessageFilter chooses applied messages. An empty list does not filter; a zero time or height is no bound.
type MessageFilter struct {
	Types, Senders, Owners, Refs, ContentHashes, ContentKeys, ContentTypes, Chains, Channels, Tags, Hashes, PaymentTypes []string

	Statuses             []string     // processed, removing
	Start, End           message.Time // Start ≤ time < End
	StartBlock, EndBlock int64        // of the first confirmation; only EndBlock leaves out what has none
	Descending           bool
	ByConfirmation       bool         // order by first confirmation: what has none counts as newest
	AfterTime            message.Time // with AfterHash: only what follows that message, ordered by time
	AfterHash            message.Hash
	Limit                int // 0: no limit
	Offset               int64

	signed signed
}

// signed says who signed the messages of the owners that are asked for. The index of owners has only what others signed
// for them; the rest is found by its sender.
type signed int

const (
	byAnybody signed = iota
	byOwner
	byOther
)

// where collects the conditions of a query.
type where struct {
	parts []string
	args  []any
}

func (w *where) add(condition string, args ...any) {
	w.parts = append(w.parts, condition)
	w.args = append(w.args, args...)
}

func (w *where) in(column string, values []string) {
	if len(values) == 0 {
		return
	}
	args := make([]any, len(values))
	for i, v := range values {
		args[i] = v
	}
	w.add(column+" IN (?"+strings.Repeat(",?", len(values)-1)+")", args...)
}

func (w *where) String() string {
	if len(w.parts) == 0 {
		return ""
	}
	return " WHERE " + w.all()
}

func (w *where) all() string { return strings.Join(w.parts, " AND ") }

// union is how many values of an indexed column are looked up one by one, each in the order of its index.
const union = 16

// branches returns the filter as several that exclude each other: an index gives the rows of one value in order, but those
// of several values would all have to be sorted.
func (f MessageFilter) branches() []MessageFilter {
	if len(f.Tags) > 0 || len(f.Hashes) > 0 || f.Limit == 0 || f.ByConfirmation {
		return []MessageFilter{f}
	}
	// The most telling column comes first.
	for _, list := range []*[]string{&f.ContentHashes, &f.Refs, &f.ContentKeys, &f.Senders, &f.Owners, &f.ContentTypes, &f.Channels, &f.Types} {
		values := unique(*list)
		if list == &f.Owners && 0 < len(values) && 2*len(values) <= union {
			var all []MessageFilter
			for i := range values {
				for _, f.signed = range []signed{byOwner, byOther} {
					f.Owners = values[i : i+1]
					all = append(all, f)
				}
			}
			return all
		}
		if len(values) == 1 {
			*list = values
			return []MessageFilter{f}
		}
		if len(values) == 0 || len(values) > union {
			continue
		}
		var all []MessageFilter
		for i := range values {
			*list = values[i : i+1]
			all = append(all, f)
		}
		return all
	}
	return []MessageFilter{f}
}

func unique(values []string) []string {
	var list []string
	seen := make(map[string]bool, len(values))
	for _, v := range values {
		if !seen[v] {
			seen[v] = true
			list = append(list, v)
		}
	}
	return list
}

func (f *MessageFilter) where() *where {
	w := &where{}
	w.in("type", f.Types)
	w.in("sender", f.Senders)
	f.whereOwner(w)
	w.in("content_ref", f.Refs)
	w.in("content_item_hash", f.ContentHashes)
	w.in("content_key", f.ContentKeys)
	w.in("content_type", f.ContentTypes)
	w.in("chain", f.Chains)
	w.in("channel", f.Channels)
	w.in("item_hash", f.Hashes)
	w.in("payment_type", f.PaymentTypes)
	w.in("status", f.Statuses)
	if len(f.Tags) > 0 {
		tags := &where{}
		tags.in("tag", f.Tags)
		w.add("id IN (SELECT message_id FROM message_tags"+tags.String()+")", tags.args...)
	}
	if f.Start != 0 {
		w.add("time >= ?", int64(f.Start))
	}
	if f.End != 0 {
		w.add("time < ?", int64(f.End))
	}
	if f.StartBlock != 0 {
		w.add("(first_confirmed_height IS NULL OR first_confirmed_height >= ?)", f.StartBlock)
	}
	if f.EndBlock != 0 {
		w.add("first_confirmed_height < ?", f.EndBlock)
	}
	return w
}

func (f *MessageFilter) whereOwner(w *where) {
	if len(f.Owners) == 0 {
		return
	}
	own, others := &where{}, &where{}
	own.in("sender", f.Owners)
	own.add("sender = owner")
	others.in("owner", f.Owners)
	others.add("sender <> owner")
	switch f.signed {
	case byOwner:
		w.add(own.all(), own.args...)
	case byOther:
		w.add(others.all(), others.args...)
	default:
		w.add("("+own.all()+" OR "+others.all()+")", append(own.args, others.args...)...)
	}
}

// order returns the clause that sorts; ties go by ascending hash.
func (f *MessageFilter) order() string {
	order := "ASC"
	if f.Descending {
		order = "DESC"
	}
	if f.ByConfirmation {
		return " ORDER BY CASE WHEN first_confirmed_at IS NULL THEN 1 ELSE 0 END " + order + ", first_confirmed_at " + order + ", time " + order + ", item_hash ASC"
	}
	return " ORDER BY time " + order + ", item_hash ASC"
}

const messageColumns = `id, item_hash, type, chain, sender, signature, item_type, item_content, COALESCE(item_content, content) AS shown,
	time, channel, size, status, reception_time, owner, content_time, payment_type, first_confirmed_at`

func scanMessage(rows *sql.Rows, m *MessageRow) error {
	var signature, text *string
	var confirmed *int64
	err := rows.Scan(&m.ID, &m.Message.ItemHash, &m.Message.Type, &m.Message.Chain, &m.Message.Sender, &signature, &m.Message.ItemType, &text,
		&m.Content, &m.Message.Time, &m.Message.Channel, &m.Size, &m.Status, &m.ReceptionTime, &m.Owner, &m.ContentTime, &m.PaymentType, &confirmed)
	m.Message.Signature, m.Message.ItemContent = value(signature), value(text)
	if confirmed != nil {
		m.Confirmations = []Confirmation{} // there are some: see addConfirmations
	}
	return err
}

// ListMessages lists applied messages by time or by first confirmation, between equal ones by hash.
func (r *Reader) ListMessages(f MessageFilter) ([]MessageRow, error) {
	branches := f.branches()
	var parts []string
	all := &where{}
	for _, b := range branches {
		w := b.where()
		if b.AfterHash != "" {
			past := ">"
			if b.Descending {
				past = "<"
			}
			w.add("time "+past+"= ? AND (time "+past+" ? OR item_hash > ?)", int64(b.AfterTime), int64(b.AfterTime), string(b.AfterHash))
		}
		query := "SELECT " + messageColumns + " FROM messages" + w.String() + b.order()
		if len(branches) > 1 {
			query = "SELECT * FROM (" + query + " LIMIT ?) AS branch"
			w.args = append(w.args, int64(f.Limit)+f.Offset)
		}
		parts = append(parts, query)
		all.args = append(all.args, w.args...)
	}
	query := parts[0]
	if len(parts) > 1 {
		query = "SELECT * FROM (" + strings.Join(parts, " UNION ALL ") + ") AS branches" + f.order()
	}
	rows, err := r.rows(query+all.limit(f.Limit, f.Offset), all.args...)
	list, err := collect(rows, err, scanMessage)
	if err != nil {
		return nil, fmt.Errorf("list messages: %w", err)
	}
	return list, r.addConfirmations(list)
}

// addConfirmations reads the confirmations of those rows that have some.
func (r *Reader) addConfirmations(list []MessageRow) error {
	const most = 500 // placeholders of one query
	rowOf := make(map[message.Hash]*MessageRow)
	var hashes []string
	read := func() error {
		if len(hashes) == 0 {
			return nil
		}
		w := &where{}
		w.in("item_hash", hashes)
		rows, err := r.rows("SELECT item_hash, tx_hash, chain, height, time, publisher, signature FROM confirmations"+w.String()+" ORDER BY time, tx_hash", w.args...)
		type confirmed struct {
			hash message.Hash
			Confirmation
		}
		found, err := collect(rows, err, func(rows *sql.Rows, c *confirmed) error {
			return rows.Scan(&c.hash, &c.TxHash, &c.Chain, &c.Height, &c.Time, &c.Publisher, &c.Signature)
		})
		for _, c := range found {
			if row := rowOf[c.hash]; c.Signature == row.Message.Signature {
				row.Confirmations = append(row.Confirmations, c.Confirmation)
			}
		}
		hashes = hashes[:0]
		return wrap(err, "list confirmations")
	}
	for i := range list {
		if list[i].Confirmations == nil {
			continue
		}
		rowOf[list[i].Message.ItemHash] = &list[i]
		if hashes = append(hashes, string(list[i].Message.ItemHash)); len(hashes) == most {
			if err := read(); err != nil {
				return err
			}
		}
	}
	return read()
}

// CountMessages counts what ListMessages would list without its limit. It stops after most rows; 0 counts all.
func (r *Reader) CountMessages(f MessageFilter, most int) (n int64, err error) {
	w := f.where()
	query := "SELECT COUNT(*) FROM messages" + w.String()
	if most > 0 {
		query = "SELECT COUNT(*) FROM (SELECT 1 FROM messages" + w.String() + " LIMIT ?) AS counted"
		w.args = append(w.args, most)
	}
	_, err = found(r.row(query, w.args...), &n)
	return n, wrap(err, "count messages")
}

// MessageHash is one applied message in the order of reception.
type MessageHash struct {
	Hash          message.Hash
	Status        message.Status
	ReceptionTime message.Time
}

// HashFilter chooses applied messages by when this node received them.
type HashFilter struct {
	Status     string       // "" for all
	Start, End message.Time // Start ≤ reception < End; 0 is no bound
	Descending bool
	Limit      int // 0: no limit
	Offset     int64
}

func (f *HashFilter) where() *where {
	w := &where{}
	if f.Status != "" {
		w.add("status = ?", f.Status)
	}
	if f.Start != 0 {
		w.add("reception_time >= ?", int64(f.Start))
	}
	if f.End != 0 {
		w.add("reception_time < ?", int64(f.End))
	}
	return w
}

// ListHashes lists applied messages by reception, between equal times by hash.
func (r *Reader) ListHashes(f HashFilter) ([]MessageHash, error) {
	w := f.where()
	order := "ASC"
	if f.Descending {
		order = "DESC"
	}
	query := "SELECT item_hash, status, reception_time FROM messages" + w.String() + " ORDER BY reception_time " + order + ", item_hash ASC"
	rows, err := r.rows(query+w.limit(f.Limit, f.Offset), w.args...)
	list, err := collect(rows, err, func(rows *sql.Rows, h *MessageHash) error { return rows.Scan(&h.Hash, &h.Status, &h.ReceptionTime) })
	return list, wrap(err, "list hashes")
}

// CountHashes counts what ListHashes would list without its limit.
func (r *Reader) CountHashes(f HashFilter) (n int64, err error) {
	w := f.where()
	_, err = found(r.row("SELECT COUNT(*) FROM messages"+w.String(), w.args...), &n)
	return n, wrap(err, "count hashes")
}

// CountRows counts the rows of one of the schema's tables.
func (r *Reader) CountRows(table string) (int64, error) {
	var n int64
	_, err := found(r.row("SELECT COUNT(*) FROM "+table), &n)
	return n, wrap(err, "count rows of %s", table)
}
