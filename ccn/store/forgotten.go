package store

import (
	"encoding/json"

	"github.com/aleph-im/aleph-go/message"
)

// ForgottenRow is what remains of a forgotten message: the envelope without its content, and what billing needs.
type ForgottenRow struct {
	Message       message.Message // without ItemContent
	Owner         string
	PaymentType   string
	Size          *int64 // bytes of the stored file; nil when it stored none
	ForgottenBy   []message.Hash
	ForgottenAt   message.Time
	ReceptionTime message.Time
}

// Forgotten returns what remains of a forgotten message, nil when it was not forgotten.
func (r *Reader) Forgotten(h message.Hash) (*ForgottenRow, error) {
	f := &ForgottenRow{}
	var signature, owner, payment *string
	var at *int64
	var by []byte
	ok, err := found(r.row(`SELECT type, chain, sender, signature, item_type, time, channel, owner, payment_type, size, forgotten_by,
		forgotten_at, reception_time FROM forgotten_messages WHERE item_hash = ?`, string(h)),
		&f.Message.Type, &f.Message.Chain, &f.Message.Sender, &signature, &f.Message.ItemType, &f.Message.Time, &f.Message.Channel,
		&owner, &payment, &f.Size, &by, &at, &f.ReceptionTime)
	if err != nil || !ok {
		return nil, wrap(err, "read forgotten message %s", h)
	}
	f.Message.ItemHash, f.Message.Signature, f.Owner, f.PaymentType = h, value(signature), value(owner), value(payment)
	if at != nil {
		f.ForgottenAt = message.Time(*at)
	}
	return f, wrap(json.Unmarshal(by, &f.ForgottenBy), "read forgotten message %s", h)
}

// InsertForgotten stores what remains of a forgotten message.
func (tx *Tx) InsertForgotten(f *ForgottenRow) error {
	by, err := json.Marshal(f.ForgottenBy)
	if err != nil {
		return wrap(err, "store forgotten message %s", f.Message.ItemHash)
	}
	m := &f.Message
	return wrap(tx.exec(`INSERT INTO forgotten_messages (item_hash, type, chain, sender, signature, item_type, time, channel, owner,
		payment_type, size, forgotten_by, forgotten_at, reception_time) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)`,
		string(m.ItemHash), string(m.Type), string(m.Chain), m.Sender, optional(m.Signature), string(m.ItemType), int64(m.Time), m.Channel,
		f.Owner, f.PaymentType, f.Size, string(by), int64(f.ForgottenAt), int64(f.ReceptionTime)), "store forgotten message %s", m.ItemHash)
}
