package store

import (
	"cmp"
	"database/sql"
	"fmt"
	"slices"
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

	WithoutContent bool // contents that do not travel inside the message, which are long, are left out
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
	if len(values) == 1 {
		w.add(column+" = ?", args...)
		return
	}
	w.add(column+" IN (?"+strings.Repeat(",?", len(values)-1)+")", args...)
}

func (w *where) String() string {
	if len(w.parts) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.parts, " AND ")
}

const messageColumns = `m.id, m.item_hash, m.type, m.chain, m.sender, m.signature, m.item_type, m.item_content, m.content,
	m.time, m.channel, m.size, m.status, m.reception_time, m.owner, m.content_time, m.payment_type, m.first_confirmed_at`

func (f *MessageFilter) columns() string {
	if f.WithoutContent {
		return strings.Replace(messageColumns, "m.content,", "NULL,", 1)
	}
	return messageColumns
}

func scanMessage(rows *sql.Rows, m *MessageRow) error {
	var signature, text *string
	var confirmed *int64
	err := rows.Scan(&m.ID, &m.Message.ItemHash, &m.Message.Type, &m.Message.Chain, &m.Message.Sender, &signature, &m.Message.ItemType, &text,
		&m.Content, &m.Message.Time, &m.Message.Channel, &m.Size, &m.Status, &m.ReceptionTime, &m.Owner, &m.ContentTime, &m.PaymentType, &confirmed)
	m.Message.Signature, m.Message.ItemContent = value(signature), value(text)
	if text != nil {
		m.Content = []byte(*text)
	}
	if confirmed != nil {
		m.Confirmations = []Confirmation{} // there are some: see addConfirmations
	}
	return err
}

// ListMessages lists applied messages by time or by first confirmation, between equal ones by ascending hash.
func (r *Reader) ListMessages(f MessageFilter) ([]MessageRow, error) {
	list, err := r.listMessages(f)
	if err != nil {
		return nil, fmt.Errorf("list messages: %w", err)
	}
	return list, r.addConfirmations(list)
}

func (r *Reader) listMessages(f MessageFilter) ([]MessageRow, error) {
	if n, _, err := r.TallyMessages(f); err != nil || n == 0 || f.Limit > 0 && n <= f.Offset {
		return nil, err
	}
	branches, err := r.messageBranches(f)
	if err != nil {
		return nil, err
	}
	if f.ByConfirmation {
		return r.listByConfirmation(f, branches)
	}
	order := direction(f.Descending)
	if len(branches) == 1 {
		b := branches[0]
		return r.messagePage(&f, b.from, b.where, b.time+order+", m.item_hash", f.Limit, f.Offset)
	}
	page, ids := mergedPage(branches, "m", f.Descending, f.Limit, f.Offset)
	list, err := r.messagesOf(&f, page, ids, "")
	sortRows(list, f.Descending, func(m *MessageRow) (int64, float64, message.Hash) {
		return int64(m.Message.Time), 0, m.Message.ItemHash
	})
	return list, err
}

// messagePage reads a page of messages in an order.
func (r *Reader) messagePage(f *MessageFilter, from string, w where, order string, limit int, offset int64) ([]MessageRow, error) {
	w.args = slices.Clone(w.args) // the conditions may serve another query
	query := "SELECT " + f.columns() + " FROM " + from + w.String() + " ORDER BY " + order + w.limit(limit, offset)
	rows, err := r.rows(query, w.args...)
	return collectFor(r, rows, err, scanMessage, messageText)
}

// messagesOf reads the messages whose ids a query gives, in an order or, for "", in none.
func (r *Reader) messagesOf(f *MessageFilter, ids string, w *where, order string) ([]MessageRow, error) {
	query := "SELECT " + f.columns() + " FROM (" + ids + ") AS page CROSS JOIN messages m WHERE m.id = page.id"
	if order != "" {
		query += " ORDER BY " + order
	}
	rows, err := r.rows(query, w.args...)
	return collectFor(r, rows, err, scanMessage, messageText)
}

// sortRows sorts a page by two numbers, both ascending or descending, and then by ascending hash: less work than for a
// database, which would copy whole rows.
func sortRows[T any](list []T, descending bool, key func(*T) (int64, float64, message.Hash)) {
	slices.SortFunc(list, func(a, b T) int {
		i, x, h := key(&a)
		j, y, k := key(&b)
		order := cmp.Or(cmp.Compare(i, j), cmp.Compare(x, y))
		if descending {
			order = -order
		}
		return cmp.Or(order, cmp.Compare(h, k))
	})
}

func direction(descending bool) string {
	if descending {
		return " DESC"
	}
	return ""
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
	branches, err := r.messageBranches(f)
	if err == nil {
		n, err = r.countBranches(branches, most)
	}
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
	switch f.Status {
	case "":
	case string(message.StatusRemoving):
		w.add("status = 'removing'")
	default:
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
	received := "reception_time"
	if f.Status == string(message.StatusRemoving) {
		received = r.conn.engine.checked(received) // few are, and they have an index of their own
	}
	query := "SELECT item_hash, status, reception_time FROM messages" + w.String() + " ORDER BY " + received + direction(f.Descending) + ", item_hash"
	rows, err := r.rows(query+w.limit(f.Limit, f.Offset), w.args...)
	list, err := collectFor(r, rows, err, func(rows *sql.Rows, h *MessageHash) error { return rows.Scan(&h.Hash, &h.Status, &h.ReceptionTime) }, nil)
	return list, wrap(err, "list hashes")
}

// CountHashes counts what ListHashes would list without its limit. It stops after most rows; 0 counts all.
func (r *Reader) CountHashes(f HashFilter, most int) (n int64, err error) {
	b := branch{where: *f.where(), from: "messages"}
	n, err = r.countBranches([]branch{b}, most)
	return n, wrap(err, "count hashes")
}

// CountRows counts the rows of one of the schema's tables.
func (r *Reader) CountRows(table string) (int64, error) {
	var n int64
	_, err := found(r.row("SELECT COUNT(*) FROM "+table), &n)
	return n, wrap(err, "count rows of %s", table)
}
