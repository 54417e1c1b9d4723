package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"math"

	"github.com/aleph-im/aleph-go/message"
)

// RejectedRow is a message that was refused.
type RejectedRow struct {
	Hash          message.Hash
	Sender        string // who signed it; "" unless Verified
	Envelope      json.RawMessage
	ErrorCode     message.ErrorCode
	Details       json.RawMessage // null or {"errors": […]}
	ReceptionTime message.Time
	JudgedAt      message.Time
	Verified      bool              // signature and content are right: only the state of the node spoke against it
	Own           bool              // Sender is the owner of the content
	Content       []byte            // of a verified message that is not inline: the fetched JSON
	WaitsFor      []message.WaitKey // what would let it come back; not read back
}

const rejectedColumns = `SELECT r.item_hash, r.sender, r.message, r.error_code, r.details, r.reception_time, r.judged_at, r.verified, r.own, r.content FROM rejected_messages r `

func scanRejected(rows *sql.Rows, row *RejectedRow) error {
	var verified, own int64
	err := rows.Scan(&row.Hash, &row.Sender, (*[]byte)(&row.Envelope), &row.ErrorCode, (*[]byte)(&row.Details), &row.ReceptionTime, &row.JudgedAt,
		&verified, &own, &row.Content)
	row.Verified, row.Own = verified != 0, own != 0
	return err
}

// waiting reports whether something can let a row of rejected_messages come back.
const waiting = `(CASE WHEN EXISTS (SELECT 1 FROM rejected_waits w WHERE w.item_hash = r.item_hash AND w.sender = r.sender) THEN 1 ELSE 0 END)`

// Rejected returns why a message was refused, nil when it never was. Of several copies it is one whose signature and content are
// right, then that of the owner of the content, then one that something can let come back. A message may have been accepted
// later: see Status.
func (r *Reader) Rejected(h message.Hash) (*RejectedRow, error) {
	return r.rejected(h, `WHERE r.item_hash = ? ORDER BY r.verified DESC, r.own DESC, `+waiting+` DESC, r.message LIMIT 1`, string(h))
}

// RejectedCopy returns why the copy of a message that a sender signed was refused, nil when it never was. When no copy of
// that sender was seen to be right it is the one that was not, whoever it names.
func (r *Reader) RejectedCopy(h message.Hash, sender string) (*RejectedRow, error) {
	return r.rejected(h, `WHERE r.item_hash = ? AND r.sender IN (?, '') ORDER BY r.sender DESC LIMIT 1`, string(h), sender)
}

func (r *Reader) rejected(h message.Hash, query string, args ...any) (*RejectedRow, error) {
	rows, err := r.rows(rejectedColumns+query, args...)
	list, err := collect(rows, err, scanRejected)
	if err != nil || len(list) == 0 {
		return nil, wrap(err, "read rejected message %s", h)
	}
	return &list[0], nil
}

// PutRejected records a refusal. Copies whose signature and content are right count before others, of each sender one: that which
// something can let come back, then the one whose envelope is the smaller text. The record does not tell which came first, and nobody
// displaces what another has signed.
func (tx *Tx) PutRejected(row *RejectedRow) error {
	if !tx.foreseen.free[row.Hash] {
		var one int
		better, err := found(tx.row(`SELECT 1 FROM rejected_messages WHERE item_hash = ? AND sender <> '' LIMIT 1`, string(row.Hash)), &one)
		switch {
		case err != nil:
			return wrap(err, "look for rejected copies of message %s", row.Hash)
		case better && row.Sender == "":
			return nil
		case row.Sender != "":
			if err := tx.exec(`DELETE FROM rejected_messages WHERE item_hash = ? AND sender = ''`, string(row.Hash)); err != nil {
				return wrap(err, "delete rejected copy of message %s", row.Hash)
			}
		}
	}
	mine := integer(len(row.WaitsFor) > 0)
	tx.waits(row.Hash, row.WaitsFor)
	n, err := tx.affected(`INSERT INTO rejected_messages AS r (item_hash, sender, message, error_code, details, reception_time, judged_at, verified, own, content)
		VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT (item_hash, sender) DO UPDATE SET message = excluded.message, error_code = excluded.error_code,
		details = excluded.details, reception_time = excluded.reception_time, judged_at = excluded.judged_at, verified = excluded.verified, own = excluded.own, content = excluded.content
		WHERE excluded.message = r.message OR ? > `+waiting+` OR ? = `+waiting+` AND excluded.message < r.message`,
		string(row.Hash), row.Sender, string(row.Envelope), int(row.ErrorCode), optional(string(row.Details)), int64(row.ReceptionTime), int64(row.JudgedAt),
		integer(row.Verified), integer(row.Own), optional(string(row.Content)), mine, mine)
	if err != nil || n == 0 {
		return wrap(err, "store rejected message %s", row.Hash)
	}
	if err := tx.exec(`DELETE FROM rejected_waits WHERE item_hash = ? AND sender = ?`, string(row.Hash), row.Sender); err != nil {
		return wrap(err, "clear waits of rejected message %s", row.Hash)
	}
	for _, key := range row.WaitsFor {
		err := tx.exec(`INSERT INTO rejected_waits (wait_key, judged_at, item_hash, sender) VALUES (?,?,?,?) ON CONFLICT DO NOTHING`,
			string(key), int64(row.JudgedAt), string(row.Hash), row.Sender)
		if err != nil {
			return wrap(err, "store waits of rejected message %s", row.Hash)
		}
	}
	return nil
}

// DeleteRejected forgets all refusals of a message, because it was accepted after all.
func (tx *Tx) DeleteRejected(h message.Hash) error {
	if tx.foreseen.free[h] {
		return nil
	}
	return wrap(tx.exec(`DELETE FROM rejected_messages WHERE item_hash = ?`, string(h)), "delete rejected message %s", h)
}

// A message that comes back has one attempt, whoever brought it before.
const (
	originRevived = "p2p"
	noRetries     = math.MaxInt32
)

// maxRevived bounds what one commit lets come back for one key, so that no message costs the work of thousands. The others
// have their turn with ReviveMore.
const maxRevived = 100

// WaitedFor returns the keys with a prefix that rejected messages wait for.
func (r *Reader) WaitedFor(prefix message.WaitKey) (map[message.WaitKey]bool, error) {
	rows, err := r.rows(`SELECT DISTINCT wait_key FROM rejected_waits WHERE wait_key >= ? AND wait_key < ?`,
		string(prefix), string(prefix)+"\U0010FFFF")
	list, err := collect(rows, err, func(rows *sql.Rows, key *message.WaitKey) error { return rows.Scan(key) })
	keys := make(map[message.WaitKey]bool, len(list))
	for _, key := range list {
		keys[key] = true
	}
	return keys, wrap(err, "list what rejected messages wait for")
}

// revive lets the rejected messages that wait for key come back, as pending messages that are due now, and notes how many have
// to wait for their turn. It returns how many came back.
func (tx *Tx) revive(key message.WaitKey, now message.Time) (int64, error) {
	n, err := tx.reviveSome(key, now, maxRevived)
	if err != nil || n < maxRevived {
		return n, err
	}
	return n, wrap(tx.exec(`INSERT INTO revivals (wait_key, remaining) SELECT wait_key, COUNT(*) FROM rejected_waits WHERE wait_key = ? GROUP BY wait_key
		ON CONFLICT (wait_key) DO UPDATE SET remaining = excluded.remaining`, string(key)), "note that more messages wait for %s", key)
}

// ReviveMore lets more of the rejected messages come back whose turn it is. It reports whether there may be others after them.
func (s *Store) ReviveMore(ctx context.Context, now message.Time) (more bool, err error) {
	err = s.Read(ctx, func(r *Reader) error {
		return r.row(`SELECT EXISTS (SELECT 1 FROM revivals)`).Scan(&more)
	})
	if err != nil || !more {
		return false, wrap(err, "look for rejected messages that are to come back")
	}
	return true, s.Write(ctx, func(tx *Tx) error {
		type revival struct {
			key       message.WaitKey
			remaining int64
		}
		rows, err := tx.rows(`SELECT wait_key, remaining FROM revivals ORDER BY wait_key LIMIT 1`)
		list, err := collect(rows, err, func(rows *sql.Rows, v *revival) error { return rows.Scan(&v.key, &v.remaining) })
		if err != nil {
			return wrap(err, "list what lets rejected messages come back")
		}
		for _, v := range list {
			n, err := tx.reviveSome(v.key, now, min(v.remaining, maxRevived))
			if err != nil {
				return err
			}
			// Who was refused again waits behind those that had no turn yet, and none has two.
			query, args := `UPDATE revivals SET remaining = ? WHERE wait_key = ?`, []any{v.remaining - n, string(v.key)}
			if n == 0 || n == v.remaining {
				query, args = `DELETE FROM revivals WHERE wait_key = ?`, []any{string(v.key)}
			}
			if err := tx.exec(query, args...); err != nil {
				return wrap(err, "note how many messages still wait for %s", v.key)
			}
		}
		return nil
	})
}

// reviveSome lets at most so many come back, those first that were judged the longest ago.
func (tx *Tx) reviveSome(key message.WaitKey, now message.Time, most int64) (int64, error) {
	rows, err := tx.rows(rejectedColumns+`JOIN rejected_waits w ON w.item_hash = r.item_hash AND w.sender = r.sender WHERE w.wait_key = ?
		ORDER BY w.judged_at, w.item_hash, w.sender LIMIT ?`, string(key), most)
	list, err := collect(rows, err, scanRejected)
	if err != nil {
		return 0, wrap(err, "list rejected messages that wait for %s", key)
	}
	for i := range list {
		row := &list[i]
		m, _, err := message.Parse(row.Envelope)
		if err != nil {
			return 0, wrap(err, "read envelope of rejected message %s", row.Hash)
		}
		p := &PendingRow{
			Hash: row.Hash, Sender: m.Sender, Signature: m.Signature, Envelope: row.Envelope, Origin: originRevived,
			ReceptionTime: row.ReceptionTime, NextAttempt: now, Retries: noRetries, ErrorCode: row.ErrorCode, Details: row.Details,
		}
		if err := tx.PutPending(p, nil); err != nil {
			return 0, err
		}
		if err := tx.exec(`DELETE FROM rejected_messages WHERE item_hash = ? AND sender = ?`, string(row.Hash), row.Sender); err != nil {
			return 0, wrap(err, "delete rejected message %s", row.Hash)
		}
	}
	return int64(len(list)), nil
}
