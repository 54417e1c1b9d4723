package store

import (
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/aleph-im/aleph-go/message"
)

// PendingRow is a copy of a message that waits for its content or for another message. Copies with another sender or
// signature wait beside each other.
type PendingRow struct {
	ID            int64
	Hash          message.Hash
	Sender        string
	Signature     string
	Envelope      json.RawMessage
	Origin        string // api, p2p, chain, node
	ReceptionTime message.Time
	NextAttempt   message.Time
	Retries       int
	ErrorCode     message.ErrorCode // of the last attempt
	Details       json.RawMessage   // of the last attempt
}

const pendingColumns = `SELECT p.id, p.item_hash, p.sender, p.signature, p.message, p.origin, p.reception_time, p.next_attempt,
	p.retries, p.error_code, p.details FROM pending_messages p `

func scanPending(rows *sql.Rows, p *PendingRow) error {
	return rows.Scan(&p.ID, &p.Hash, &p.Sender, &p.Signature, (*[]byte)(&p.Envelope), &p.Origin, &p.ReceptionTime, &p.NextAttempt,
		&p.Retries, &p.ErrorCode, (*[]byte)(&p.Details))
}

// Pending lists the waiting copies of a message.
func (r *Reader) Pending(h message.Hash) ([]PendingRow, error) {
	rows, err := r.rows(pendingColumns+`WHERE p.item_hash = ? ORDER BY p.id`, string(h))
	list, err := collectFor(r, rows, err, scanPending, func(p *PendingRow) int { return len(p.Envelope) })
	return list, wrap(err, "read pending message %s", h)
}

// PendingDue lists up to limit messages whose next attempt is not after now, the longest due first.
func (r *Reader) PendingDue(now message.Time, limit int) ([]PendingRow, error) {
	rows, err := r.rows(pendingColumns+`WHERE p.next_attempt <= ? ORDER BY p.next_attempt, p.id LIMIT ?`, int64(now), limit)
	list, err := collect(rows, err, scanPending)
	return list, wrap(err, "list pending messages that are due")
}

// NextPending returns when the next pending message is due; 0 when none waits.
func (r *Reader) NextPending() (message.Time, error) {
	var next *int64
	if err := r.row(`SELECT MIN(next_attempt) FROM pending_messages`).Scan(&next); err != nil || next == nil {
		return 0, wrap(err, "find next pending message")
	}
	return message.Time(*next), nil
}

// PendingCount counts the waiting copies.
func (r *Reader) PendingCount() (int64, error) {
	var n int64
	return n, wrap(r.row(`SELECT COUNT(*) FROM pending_messages`).Scan(&n), "count pending messages")
}

// Waiters lists the messages that wait for key.
func (r *Reader) Waiters(key message.WaitKey) ([]PendingRow, error) {
	rows, err := r.rows(pendingColumns+`JOIN pending_waits w ON w.pending_id = p.id WHERE w.wait_key = ? ORDER BY p.id`, string(key))
	list, err := collect(rows, err, scanPending)
	return list, wrap(err, "list messages that wait for %s", key)
}

// WakePending makes the messages that wait for any of keys due now, rejected ones among them, and returns how many.
func (tx *Tx) WakePending(keys []message.WaitKey, now message.Time) (int64, error) {
	var woken int64
	for _, key := range keys {
		pending, rejected, err := tx.awaited(key)
		if err != nil {
			return 0, err
		}
		if pending {
			n, err := tx.affected(`UPDATE pending_messages SET next_attempt = ?
				WHERE id IN (SELECT pending_id FROM pending_waits WHERE wait_key = ?) AND next_attempt > ?`, int64(now), string(key), int64(now))
			if err != nil {
				return 0, fmt.Errorf("wake messages that wait for %s: %w", key, err)
			}
			woken += n
		}
		if rejected {
			n, err := tx.revive(key, now)
			if err != nil {
				return 0, err
			}
			woken += n
		}
	}
	return woken, nil
}

// awaited reports whether pending and whether rejected messages wait for key. Most keys nobody waits for, and to find that
// out is much cheaper than to wake nobody.
func (r *Reader) awaited(key message.WaitKey) (pending, rejected bool, err error) {
	if r.foreseen.quiet[key] {
		return false, false, nil
	}
	err = r.row(`SELECT EXISTS (SELECT 1 FROM pending_waits WHERE wait_key = ?), EXISTS (SELECT 1 FROM rejected_waits WHERE wait_key = ?)`,
		string(key), string(key)).Scan(&pending, &rejected)
	return pending, rejected, wrap(err, "look for messages that wait for %s", key)
}

// PutPending inserts p, or updates the attempt of the same copy, and replaces what it waits for. It sets p.ID.
func (tx *Tx) PutPending(p *PendingRow, waits []message.WaitKey) error {
	tx.waits(p.Hash, waits)
	err := tx.row(`INSERT INTO pending_messages (item_hash, sender, signature, message, origin, reception_time, next_attempt, retries, error_code, details)
		VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT (item_hash, sender, signature) DO UPDATE SET next_attempt = excluded.next_attempt,
		retries = excluded.retries, error_code = excluded.error_code, details = excluded.details RETURNING id`,
		string(p.Hash), p.Sender, p.Signature, string(p.Envelope), p.Origin, int64(p.ReceptionTime), int64(p.NextAttempt),
		p.Retries, int(p.ErrorCode), optional(string(p.Details))).Scan(&p.ID)
	if err != nil {
		return wrap(err, "store pending message %s", p.Hash)
	}
	if err := tx.exec(`DELETE FROM pending_waits WHERE pending_id = ?`, p.ID); err != nil {
		return wrap(err, "clear waits of pending message %s", p.Hash)
	}
	for _, key := range waits {
		if err := tx.exec(`INSERT INTO pending_waits (wait_key, pending_id) VALUES (?,?) ON CONFLICT DO NOTHING`, string(key), p.ID); err != nil {
			return wrap(err, "store waits of pending message %s", p.Hash)
		}
	}
	return nil
}

// DeletePending deletes one waiting copy.
func (tx *Tx) DeletePending(h message.Hash, sender, signature string) error {
	if tx.foreseen.free[h] {
		return nil
	}
	return wrap(tx.exec(`DELETE FROM pending_messages WHERE item_hash = ? AND sender = ? AND signature = ?`, string(h), sender, signature),
		"delete pending message %s", h)
}
