package store

import (
	"database/sql"

	"github.com/aleph-im/aleph-go/message"
)

// Confirmation is one chain transaction that anchored a message.
type Confirmation struct {
	TxHash    string
	Chain     message.Chain
	Height    int64
	Time      message.Time // of the block
	Publisher string
	Signature string // of the copy that was anchored; "" when a contract's event made it
}

// Confirmations lists the confirmations of an applied message, the earliest first.
func (r *Reader) Confirmations(h message.Hash) ([]Confirmation, error) {
	rows, err := r.rows(`SELECT c.tx_hash, c.chain, c.height, c.time, c.publisher, c.signature FROM confirmations c CROSS JOIN `+messagesByEnd+`
		WHERE `+sameHash("c.item_hash")+` AND COALESCE(m.signature, '') = c.signature AND c.item_hash = ? ORDER BY c.time, c.tx_hash`, string(h))
	list, err := collect(rows, err, func(rows *sql.Rows, c *Confirmation) error {
		return rows.Scan(&c.TxHash, &c.Chain, &c.Height, &c.Time, &c.Publisher, &c.Signature)
	})
	return list, wrap(err, "read confirmations of %s", h)
}

// firstConfirmed returns the earliest time and the lowest height at which a copy of a message was anchored; nil when it was
// not. It asks for the rows and not for their minimum, which SQLite would plan anew at each call.
func (r *Reader) firstConfirmed(h message.Hash, signature string) (at, height *int64, err error) {
	if r.foreseen.fresh[h] {
		return nil, nil, nil
	}
	rows, err := r.rows(`SELECT time, height FROM confirmations WHERE item_hash = ? AND signature = ?`, string(h), signature)
	if err != nil {
		return nil, nil, wrap(err, "read confirmations of %s", h)
	}
	defer rows.Close()
	for rows.Next() {
		var t, n int64
		if err := rows.Scan(&t, &n); err != nil {
			return nil, nil, wrap(err, "read confirmations of %s", h)
		}
		if at == nil || t < *at {
			at = &t
		}
		if height == nil || n < *height {
			height = &n
		}
	}
	return at, height, wrap(rows.Err(), "read confirmations of %s", h)
}

// InsertConfirmation keeps a confirmation of a message in whatever state; the same one twice is one. It counts for the copy
// with the signature that was anchored.
func (tx *Tx) InsertConfirmation(h message.Hash, c Confirmation) error {
	tx.appears(h)
	err := tx.exec(`INSERT INTO confirmations (item_hash, tx_hash, chain, height, time, publisher, signature) VALUES (?,?,?,?,?,?,?)
		ON CONFLICT DO NOTHING`, string(h), c.TxHash, string(c.Chain), c.Height, int64(c.Time), c.Publisher, c.Signature)
	if err == nil {
		err = tx.exec(`UPDATE messages SET
			first_confirmed_at = (SELECT MIN(time) FROM confirmations c WHERE c.item_hash = messages.item_hash AND c.signature = COALESCE(messages.signature, '')),
			first_confirmed_height = (SELECT MIN(height) FROM confirmations c WHERE c.item_hash = messages.item_hash AND c.signature = COALESCE(messages.signature, ''))
			WHERE id = `+messageID, hashArgs(h)...)
	}
	return wrap(err, "store confirmation of %s", h)
}

// DeleteConfirmations deletes the confirmations of a message.
func (tx *Tx) DeleteConfirmations(h message.Hash) error {
	return wrap(tx.exec(`DELETE FROM confirmations WHERE item_hash = ?`, string(h)), "delete confirmations of %s", h)
}
