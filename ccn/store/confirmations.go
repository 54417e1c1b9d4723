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
}

// Confirmations lists the confirmations of a message, lowest first.
func (r *Reader) Confirmations(h message.Hash) ([]Confirmation, error) {
	rows, err := r.rows(`SELECT tx_hash, chain, height, time, publisher FROM confirmations WHERE item_hash = ? ORDER BY time, tx_hash`, string(h))
	list, err := collect(rows, err, func(rows *sql.Rows, c *Confirmation) error {
		return rows.Scan(&c.TxHash, &c.Chain, &c.Height, &c.Time, &c.Publisher)
	})
	return list, wrap(err, "read confirmations of %s", h)
}

// InsertConfirmation keeps a confirmation of a message in whatever state; the same one twice is one.
func (tx *Tx) InsertConfirmation(h message.Hash, c Confirmation) error {
	err := tx.exec(`INSERT INTO confirmations (item_hash, tx_hash, chain, height, time, publisher) VALUES (?,?,?,?,?,?) ON CONFLICT DO NOTHING`,
		string(h), c.TxHash, string(c.Chain), c.Height, int64(c.Time), c.Publisher)
	if err == nil {
		err = tx.exec(`UPDATE messages SET first_confirmed_at = (SELECT MIN(time) FROM confirmations WHERE item_hash = ?),
			first_confirmed_height = (SELECT MIN(height) FROM confirmations WHERE item_hash = ?) WHERE item_hash = ?`,
			string(h), string(h), string(h))
	}
	return wrap(err, "store confirmation of %s", h)
}

// DeleteConfirmations deletes the confirmations of a message.
func (tx *Tx) DeleteConfirmations(h message.Hash) error {
	return wrap(tx.exec(`DELETE FROM confirmations WHERE item_hash = ?`, string(h)), "delete confirmations of %s", h)
}
