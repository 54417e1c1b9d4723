package store

import (
	"fmt"
	"strings"

	"github.com/aleph-im/aleph-go/message"
)

// MessageFilter chooses applied messages. An empty list does not filter; a zero time is no bound.
type MessageFilter struct {
	Types, Senders, Owners, Refs, ContentHashes, ContentKeys, ContentTypes, Chains, Channels, Tags, Hashes, PaymentTypes []string
	Start, End                                                                                                           message.Time // Start ≤ time < End
	Descending                                                                                                           bool
	AfterTime                                                                                                            message.Time // with AfterHash: only what follows that message
	AfterHash                                                                                                            message.Hash
	Limit, Offset                                                                                                        int // 0: no limit
}

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
	return " WHERE " + strings.Join(w.parts, " AND ")
}

func (f *MessageFilter) where() *where {
	w := &where{}
	w.in("type", f.Types)
	w.in("sender", f.Senders)
	w.in("owner", f.Owners)
	w.in("content_ref", f.Refs)
	w.in("content_item_hash", f.ContentHashes)
	w.in("content_key", f.ContentKeys)
	w.in("content_type", f.ContentTypes)
	w.in("chain", f.Chains)
	w.in("channel", f.Channels)
	w.in("item_hash", f.Hashes)
	w.in("payment_type", f.PaymentTypes)
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
	return w
}

// ListMessages lists applied messages by time, between equal times by hash.
func (r *Reader) ListMessages(f MessageFilter) ([]MessageRow, error) {
	w := f.where()
	order, past := "ASC", ">"
	if f.Descending {
		order, past = "DESC", "<"
	}
	if f.AfterHash != "" {
		w.add("(time "+past+" ? OR time = ? AND item_hash > ?)", int64(f.AfterTime), int64(f.AfterTime), string(f.AfterHash))
	}
	query := "SELECT item_hash FROM messages" + w.String() + " ORDER BY time " + order + ", item_hash ASC"
	if f.Limit > 0 {
		query += " LIMIT ? OFFSET ?"
		w.args = append(w.args, f.Limit, f.Offset)
	}
	hashes, err := r.hashes(query, w.args...)
	if err != nil {
		return nil, fmt.Errorf("list messages: %w", err)
	}
	list := make([]MessageRow, 0, len(hashes))
	for _, h := range hashes {
		row, err := r.Message(h)
		if err != nil {
			return nil, err
		}
		if row != nil {
			list = append(list, *row)
		}
	}
	return list, nil
}

// CountMessages counts what ListMessages would list without its limit.
func (r *Reader) CountMessages(f MessageFilter) (int, error) {
	w := f.where()
	var n int
	_, err := found(r.row("SELECT COUNT(*) FROM messages"+w.String(), w.args...), &n)
	return n, wrap(err, "count messages")
}

// PostFilter chooses original posts.
type PostFilter struct {
	Owners, Types, Refs, Channels, Hashes, Tags []string
	Descending                                  bool // by the time of what is shown
	Limit, Offset                               int  // 0: no limit
}

// PostListRow is an original post.
type PostListRow struct {
	Hash   message.Hash
	Owner  string
	Type   string
	Ref    string       // "" when absent
	Latest message.Hash // newest amendment; "" when there is none
}

func (f *PostFilter) where() *where {
	w := &where{}
	w.add("amends IS NULL")
	w.in("owner", f.Owners)
	w.in("type", f.Types)
	w.in("ref", f.Refs)
	w.in("channel", f.Channels)
	w.in("item_hash", f.Hashes)
	if len(f.Tags) > 0 {
		tags := &where{}
		tags.in("t.tag", f.Tags)
		w.add("COALESCE(latest_amend, item_hash) IN (SELECT m.item_hash FROM message_tags t JOIN messages m ON m.id = t.message_id"+tags.String()+")", tags.args...)
	}
	return w
}

// ListPosts lists original posts by the content time of what is shown.
func (r *Reader) ListPosts(f PostFilter) ([]PostListRow, error) {
	w := f.where()
	order := "ASC"
	if f.Descending {
		order = "DESC"
	}
	query := "SELECT item_hash, owner, type, COALESCE(ref, ''), COALESCE(latest_amend, '') FROM posts" + w.String() +
		" ORDER BY last_updated " + order + ", item_hash ASC"
	if f.Limit > 0 {
		query += " LIMIT ? OFFSET ?"
		w.args = append(w.args, f.Limit, f.Offset)
	}
	rows, err := r.rows(query, w.args...)
	if err != nil {
		return nil, fmt.Errorf("list posts: %w", err)
	}
	defer rows.Close()
	var list []PostListRow
	for rows.Next() {
		var p PostListRow
		if err := rows.Scan(&p.Hash, &p.Owner, &p.Type, &p.Ref, &p.Latest); err != nil {
			return nil, fmt.Errorf("list posts: %w", err)
		}
		list = append(list, p)
	}
	return list, rows.Err()
}

// CountPosts counts what ListPosts would list without its limit.
func (r *Reader) CountPosts(f PostFilter) (int, error) {
	w := f.where()
	var n int
	_, err := found(r.row("SELECT COUNT(*) FROM posts"+w.String(), w.args...), &n)
	return n, wrap(err, "count posts")
}

// AggregateKeys lists the keys of an owner.
func (r *Reader) AggregateKeys(owner string) ([]string, error) {
	rows, err := r.rows("SELECT key FROM aggregates WHERE owner = ? ORDER BY key", owner)
	if err != nil {
		return nil, fmt.Errorf("list aggregates of %s: %w", owner, err)
	}
	defer rows.Close()
	var keys []string
	for rows.Next() {
		var key string
		if err := rows.Scan(&key); err != nil {
			return nil, fmt.Errorf("list aggregates of %s: %w", owner, err)
		}
		keys = append(keys, key)
	}
	return keys, rows.Err()
}

// CountRows counts the rows of one of the schema's tables.
func (r *Reader) CountRows(table string) (int64, error) {
	var n int64
	_, err := found(r.row("SELECT COUNT(*) FROM "+table), &n)
	return n, wrap(err, "count rows of %s", table)
}
