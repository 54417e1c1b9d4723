package store

import (
	"encoding/json"

	"github.com/aleph-im/aleph-go/message"
)

// RejectedRow is a message that was refused.
type RejectedRow struct {
	Hash          message.Hash
	Envelope      json.RawMessage
	ErrorCode     message.ErrorCode
	Details       json.RawMessage // null or {"errors": […]}
	ReceptionTime message.Time
}

// Rejected returns why a message was refused, nil when it never was. A message may have been accepted later: see Status.
func (r *Reader) Rejected(h message.Hash) (*RejectedRow, error) {
	row := &RejectedRow{Hash: h}
	ok, err := found(r.row(`SELECT message, error_code, details, reception_time FROM rejected_messages WHERE item_hash = ?`, string(h)),
		(*[]byte)(&row.Envelope), &row.ErrorCode, (*[]byte)(&row.Details), &row.ReceptionTime)
	if err != nil || !ok {
		return nil, wrap(err, "read rejected message %s", h)
	}
	return row, nil
}

// PutRejected records a refusal; the last one of a hash counts.
func (tx *Tx) PutRejected(row *RejectedRow) error {
	return wrap(tx.exec(`INSERT INTO rejected_messages (item_hash, message, error_code, details, reception_time) VALUES (?,?,?,?,?)
		ON CONFLICT (item_hash) DO UPDATE SET message = excluded.message, error_code = excluded.error_code,
		details = excluded.details, reception_time = excluded.reception_time`,
		string(row.Hash), string(row.Envelope), int(row.ErrorCode), optional(string(row.Details)), int64(row.ReceptionTime)),
		"store rejected message %s", row.Hash)
}

// DeleteRejected forgets a refusal, because the message was accepted after all.
func (tx *Tx) DeleteRejected(h message.Hash) error {
	return wrap(tx.exec(`DELETE FROM rejected_messages WHERE item_hash = ?`, string(h)), "delete rejected message %s", h)
}
