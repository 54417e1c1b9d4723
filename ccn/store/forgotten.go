package store

import (
	"database/sql"
	"encoding/json"
	"slices"

	"github.com/aleph-im/aleph-go/message"
)

// ForgottenRow is what remains of a forgotten message: the envelope without its content, what billing needs, and what
// decides about messages that refer to it and come later.
type ForgottenRow struct {
	Message       message.Message // without ItemContent
	Owner         string
	PaymentType   string
	Size          *int64 // bytes of the stored file; nil when it stored none
	ForgottenBy   []message.Hash
	ForgottenAt   message.Time
	ReceptionTime message.Time
	ContentTime   float64
	ContentType   *string // content.type
	ContentKey    *string // content.key
	ContentRef    *string // content.ref; of a PROGRAM content.replaces
	AllowAmend    bool    // content.allow_amend
	Grants        []byte  // JSON: content.content.authorizations, when an owner granted rights with it; not read back
}

// Forgetting is one FORGET that names a message.
type Forgetting struct {
	By          message.Hash
	ContentTime float64
	Time        message.Time // envelope time
}

// AggregateForgetting is one FORGET that names a key: it takes the elements before it.
type AggregateForgetting struct {
	Forgetting
	Sender string
}

// Forgotten returns what remains of a forgotten message, nil when it was not forgotten.
func (r *Reader) Forgotten(h message.Hash) (*ForgottenRow, error) {
	f := &ForgottenRow{}
	var signature, owner, payment *string
	var at *int64
	var by []byte
	var allowAmend int64
	ok, err := found(r.row(`SELECT type, chain, sender, signature, item_type, time, channel, owner, payment_type, size, forgotten_by,
		forgotten_at, reception_time, content_time, content_type, content_key, content_ref, allow_amend FROM forgotten_messages WHERE item_hash = ?`, string(h)),
		&f.Message.Type, &f.Message.Chain, &f.Message.Sender, &signature, &f.Message.ItemType, &f.Message.Time, &f.Message.Channel,
		&owner, &payment, &f.Size, &by, &at, &f.ReceptionTime, &f.ContentTime, &f.ContentType, &f.ContentKey, &f.ContentRef, &allowAmend)
	if err != nil || !ok {
		return nil, wrap(err, "read forgotten message %s", h)
	}
	f.Message.ItemHash, f.Message.Signature, f.Owner, f.PaymentType = h, value(signature), value(owner), value(payment)
	f.AllowAmend = allowAmend != 0
	if at != nil {
		f.ForgottenAt = message.Time(*at)
	}
	return f, wrap(json.Unmarshal(by, &f.ForgottenBy), "read forgotten message %s", h)
}

// InsertForgotten stores what remains of a forgotten message.
func (tx *Tx) InsertForgotten(f *ForgottenRow) error {
	tx.appears(f.Message.ItemHash)
	by, err := json.Marshal(f.ForgottenBy)
	if err != nil {
		return wrap(err, "store forgotten message %s", f.Message.ItemHash)
	}
	m := &f.Message
	return wrap(tx.exec(`INSERT INTO forgotten_messages (item_hash, type, chain, sender, signature, item_type, time, channel, owner,
		payment_type, size, forgotten_by, forgotten_at, reception_time, content_time, content_type, content_key, content_ref, grants, allow_amend)
		VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`,
		string(m.ItemHash), string(m.Type), string(m.Chain), m.Sender, optional(m.Signature), string(m.ItemType), int64(m.Time), m.Channel,
		f.Owner, f.PaymentType, f.Size, string(by), int64(f.ForgottenAt), int64(f.ReceptionTime), f.ContentTime, f.ContentType, f.ContentKey,
		f.ContentRef, optional(string(f.Grants)), integer(f.AllowAmend)), "store forgotten message %s", m.ItemHash)
}

// InsertForgetting notes that a FORGET took target; the same one twice is one.
func (tx *Tx) InsertForgetting(target message.Hash, f *Forgetting) error {
	return wrap(tx.exec(`INSERT INTO forgets (target, item_hash, content_time, time) VALUES (?,?,?,?) ON CONFLICT DO NOTHING`,
		string(target), string(f.By), f.ContentTime, int64(f.Time)), "note that %s forgot %s", f.By, target)
}

// Forgettings lists the FORGETs that took target, in the order in which they are folded.
func (r *Reader) Forgettings(target message.Hash) ([]Forgetting, error) {
	rows, err := r.rows(`SELECT item_hash, content_time, time FROM forgets WHERE target = ? ORDER BY content_time, item_hash`, string(target))
	list, err := collect(rows, err, func(rows *sql.Rows, f *Forgetting) error { return rows.Scan(&f.By, &f.ContentTime, &f.Time) })
	return list, wrap(err, "read who forgot %s", target)
}

// MaxForgettings is how many FORGETs of a message are kept, the first ones in the order in which they are folded: what one more
// takes must not grow with how many there were.
const MaxForgettings = 100

// RefreshForgotten makes what remains of a message name those who forgot it, in the order in which they are folded, as many as are
// kept.
func (tx *Tx) RefreshForgotten(h message.Hash) error {
	list, err := tx.Forgettings(h)
	if err != nil || len(list) == 0 {
		return err
	}
	for len(list) > MaxForgettings {
		last := &list[len(list)-1]
		if err := tx.exec(`DELETE FROM forgets WHERE target = ? AND content_time = ? AND item_hash = ?`, string(h), last.ContentTime, string(last.By)); err != nil {
			return wrap(err, "drop one of many who forgot %s", h)
		}
		list = list[:len(list)-1]
	}
	by := make([]message.Hash, len(list))
	for i, f := range list {
		by[i] = f.By
	}
	text, err := json.Marshal(by)
	if err == nil {
		err = tx.exec(`UPDATE forgotten_messages SET forgotten_by = ?, forgotten_at = ? WHERE item_hash = ?`, string(text), int64(list[0].Time), string(h))
	}
	return wrap(err, "refresh forgotten message %s", h)
}

// InsertAggregateForgetting notes that a FORGET takes the elements of a key that come before it.
func (tx *Tx) InsertAggregateForgetting(owner, key string, f *AggregateForgetting) error {
	return wrap(tx.exec(`INSERT INTO aggregate_forgets (owner, key, content_time, item_hash, sender, time) VALUES (?,?,?,?,?,?) ON CONFLICT DO NOTHING`,
		owner, key, f.ContentTime, string(f.By), f.Sender, int64(f.Time)), "note that %s forgot aggregate %s", f.By, key)
}

// AggregateForgettings lists the FORGETs after (t, h) that take the elements of a key, in the order in which they are folded.
func (r *Reader) AggregateForgettings(owner, key string, t float64, h message.Hash) ([]AggregateForgetting, error) {
	rows, err := r.rows(`SELECT item_hash, content_time, time, sender FROM aggregate_forgets WHERE owner = ? AND key = ?
		AND (content_time, item_hash) > (?, ?) ORDER BY content_time, item_hash`, owner, key, t, string(h))
	list, err := collect(rows, err, func(rows *sql.Rows, f *AggregateForgetting) error {
		return rows.Scan(&f.By, &f.ContentTime, &f.Time, &f.Sender)
	})
	return list, wrap(err, "read who forgot aggregate %s of %s", key, owner)
}

// ForgottenElements lists the forgotten elements of a key that come before (t, h).
func (r *Reader) ForgottenElements(owner, key string, t float64, h message.Hash) ([]message.Hash, error) {
	list, err := r.hashes(`SELECT item_hash FROM forgotten_messages WHERE owner = ? AND content_key = ?
		AND (content_time, item_hash) < (?, ?) ORDER BY item_hash`, owner, key, t, string(h))
	return list, wrap(err, "list forgotten elements of aggregate %s of %s", key, owner)
}

// ForgottenGrant is an element in which an owner granted rights, and which was forgotten.
type ForgottenGrant struct {
	Hash        message.Hash
	ContentTime float64
	Grants      []byte     // JSON: content.content.authorizations
	First       Forgetting // the first FORGET that took it
}

// ForgottenGrants lists what an owner granted in elements of a key and forgot, from the newest to the oldest element.
func (r *Reader) ForgottenGrants(owner, key string) ([]ForgottenGrant, error) {
	rows, err := r.rows(`SELECT m.item_hash, m.content_time, m.grants, f.item_hash, f.content_time, f.time FROM forgotten_messages m
		JOIN forgets f ON f.target = m.item_hash WHERE m.owner = ? AND m.content_key = ? AND m.grants IS NOT NULL
		ORDER BY m.content_time DESC, m.item_hash DESC, f.content_time, f.item_hash`, owner, key)
	list, err := collect(rows, err, func(rows *sql.Rows, g *ForgottenGrant) error {
		return rows.Scan(&g.Hash, &g.ContentTime, &g.Grants, &g.First.By, &g.First.ContentTime, &g.First.Time)
	})
	list = slices.CompactFunc(list, func(a, b ForgottenGrant) bool { return a.Hash == b.Hash })
	return list, wrap(err, "list forgotten grants of %s", owner)
}

// ForgottenAmendments lists the forgotten amendments of a forgotten post by its owner.
func (r *Reader) ForgottenAmendments(original message.Hash) ([]message.Hash, error) {
	list, err := r.hashes(`SELECT a.item_hash FROM forgotten_messages a JOIN forgotten_messages o ON o.item_hash = a.content_ref AND o.owner = a.owner
		WHERE a.content_ref = ? AND a.content_type = 'amend' ORDER BY a.item_hash`, string(original))
	return list, wrap(err, "list forgotten amendments of %s", original)
}

// RemovedRow is what remains of a message whose owner could not pay for it.
type RemovedRow struct {
	Message       message.Message // without ItemContent
	Owner         string
	PaymentType   string
	Size          *int64 // bytes of the stored file; nil when it stored none
	RemovedAt     message.Time
	ReceptionTime message.Time
	ContentTime   float64
	ContentRef    *string // content.ref; of a PROGRAM content.replaces
	AllowAmend    bool    // content.allow_amend
	Envelope      []byte  // JSON
}

// Removed returns what remains of a removed message, nil when it was not removed.
func (r *Reader) Removed(h message.Hash) (*RemovedRow, error) {
	row := &RemovedRow{}
	var signature, owner, payment *string
	var at *int64
	var allowAmend int64
	ok, err := found(r.row(`SELECT type, chain, sender, signature, item_type, time, channel, owner, payment_type, size, removed_at,
		reception_time, content_time, content_ref, allow_amend, message FROM removed_messages WHERE item_hash = ?`, string(h)),
		&row.Message.Type, &row.Message.Chain, &row.Message.Sender, &signature, &row.Message.ItemType, &row.Message.Time, &row.Message.Channel,
		&owner, &payment, &row.Size, &at, &row.ReceptionTime, &row.ContentTime, &row.ContentRef, &allowAmend, &row.Envelope)
	if err != nil || !ok {
		return nil, wrap(err, "read removed message %s", h)
	}
	row.Message.ItemHash, row.Message.Signature, row.Owner, row.PaymentType = h, value(signature), value(owner), value(payment)
	row.AllowAmend = allowAmend != 0
	if at != nil {
		row.RemovedAt = message.Time(*at)
	}
	return row, nil
}

// InsertRemoved stores what remains of a removed message.
func (tx *Tx) InsertRemoved(row *RemovedRow) error {
	tx.appears(row.Message.ItemHash)
	m := &row.Message
	return wrap(tx.exec(`INSERT INTO removed_messages (item_hash, type, chain, sender, signature, item_type, time, channel, owner, payment_type,
		size, removed_at, reception_time, content_time, content_ref, allow_amend, message) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`,
		string(m.ItemHash), string(m.Type), string(m.Chain), m.Sender, optional(m.Signature), string(m.ItemType), int64(m.Time), m.Channel,
		row.Owner, row.PaymentType, row.Size, int64(row.RemovedAt), int64(row.ReceptionTime), row.ContentTime, row.ContentRef,
		integer(row.AllowAmend), string(row.Envelope)),
		"store removed message %s", m.ItemHash)
}

// DeleteRemoved deletes what remains of a removed message.
func (tx *Tx) DeleteRemoved(h message.Hash) error {
	return wrap(tx.exec(`DELETE FROM removed_messages WHERE item_hash = ?`, string(h)), "delete removed message %s", h)
}

// ReviveRemoved lets a removed message come back, as a pending message that is due now.
func (tx *Tx) ReviveRemoved(row *RemovedRow, now message.Time) error {
	m := &row.Message
	err := tx.PutPending(&PendingRow{
		Hash: m.ItemHash, Sender: m.Sender, Signature: m.Signature, Envelope: row.Envelope, Origin: originRevived,
		ReceptionTime: row.ReceptionTime, NextAttempt: now, Retries: noRetries, ErrorCode: message.ErrInternal,
	}, nil)
	if err != nil {
		return err
	}
	return tx.DeleteRemoved(m.ItemHash)
}
