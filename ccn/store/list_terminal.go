package store

import (
	"database/sql"
	"encoding/json"

	"github.com/aleph-im/aleph-go/message"
)

// TerminalFilter chooses messages that are no more. Dates bound when they ended; empty lists do not filter.
type TerminalFilter struct {
	Hashes, Senders, Owners, Chains, Types, Channels []string
	PaymentTypes                                     []string // what has none counts as hold
	Start, End                                       message.Time
	Descending                                       bool
	Limit                                            int // 0: no limit
	Offset                                           int64
}

// TerminalRow is what remains of a message; of a removed one every member but the hash may be absent.
type TerminalRow struct {
	Hash                                     message.Hash
	Type, Chain, Sender, Signature, ItemType *string
	Channel, Owner, PaymentType              *string
	Time, EndedAt                            *message.Time
	Size                                     *int64
	ForgottenBy                              json.RawMessage // list of hashes; nil when removed
}

func (f *TerminalFilter) where(ended string) *where {
	w := &where{}
	w.in("item_hash", f.Hashes)
	w.in("sender", f.Senders)
	w.in("owner", f.Owners)
	w.in("chain", f.Chains)
	w.in("type", f.Types)
	w.in("channel", f.Channels)
	w.in("COALESCE(NULLIF(payment_type, ''), 'hold')", f.PaymentTypes)
	if f.Start != 0 {
		w.add(ended+" >= ?", int64(f.Start))
	}
	if f.End != 0 {
		w.add(ended+" < ?", int64(f.End))
	}
	return w
}

// terminal names the table of a status, the column of its time and that of who ended the message.
func terminal(s message.Status) (table, ended, by string) {
	if s == message.StatusForgotten {
		return "forgotten_messages", "forgotten_at", "forgotten_by"
	}
	return "removed_messages", "removed_at", "NULL"
}

// ListTerminal lists forgotten or removed messages by when they ended.
func (r *Reader) ListTerminal(s message.Status, f TerminalFilter) ([]TerminalRow, error) {
	table, ended, by := terminal(s)
	w := f.where(ended)
	order := " ASC"
	if f.Descending {
		order = " DESC"
	}
	query := "SELECT item_hash, type, chain, sender, signature, item_type, time, channel, owner, payment_type, size, " + ended + ", " + by +
		" FROM " + table + w.String() + " ORDER BY " + ended + order + ", item_hash ASC"
	rows, err := r.rows(query+w.limit(f.Limit, f.Offset), w.args...)
	list, err := collectFor(r, rows, err, func(rows *sql.Rows, t *TerminalRow) error {
		return rows.Scan(&t.Hash, &t.Type, &t.Chain, &t.Sender, &t.Signature, &t.ItemType, &t.Time, &t.Channel, &t.Owner, &t.PaymentType,
			&t.Size, &t.EndedAt, (*[]byte)(&t.ForgottenBy))
	}, func(t *TerminalRow) int { return len(t.ForgottenBy) })
	return list, wrap(err, "list %s messages", s)
}

// CountTerminal counts what ListTerminal would list without its limit.
func (r *Reader) CountTerminal(s message.Status, f TerminalFilter) (n int64, err error) {
	table, ended, _ := terminal(s)
	w := f.where(ended)
	_, err = found(r.row("SELECT COUNT(*) FROM "+table+w.String(), w.args...), &n)
	return n, wrap(err, "count %s messages", s)
}
