package store

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/aleph-im/aleph-go/message"
)

// What has the hash of a message is found by the end of that hash, and then compared with the whole of it (decision 0052).
//
// Hashes come in no order, so in one table of ends each message would change a page of its own. For messages there are two in SQLite: new
// ends go into one that is small, and from there into the one that has all others in parts of its range, of which a page then gets
// several at once (decision 0056). The view hash_ends has both. In PostgreSQL it reads an index of messages.

// endLength is how many characters of a hash are its end.
const endLength = 12

// hashEnd is the end of a hash.
func hashEnd(column string) string {
	return fmt.Sprintf("substr(%s, length(%s) - %d)", column, column, endLength-1)
}

// hashStart is what an index has of hashes that it keeps in order.
func hashStart(column string) string { return fmt.Sprintf("substr(%s, 1, %d)", column, endLength) }

// whole keeps SQLite from putting what the whole hash is to be into the expression of an index, which it then would not know again.
func whole(column string) string { return "COALESCE(" + column + ", '')" }

// endOf is the end of a hash. What anybody asks for may be no hash, and of other characters: it is nowhere.
func endOf(hash string) string { return hash[max(0, len(hash)-endLength):] }

// hashArgs are the arguments of the conditions on a hash.
func hashArgs(h message.Hash) []any { return []any{endOf(string(h)), string(h)} }

// byHash finds what belongs to a message in tables that have an index of the ends of its hashes: claims and pins. See hashArgs.
func byHash(column string) string { return hashEnd(column) + ` = ? AND ` + whole(column) + ` = ?` }

// messagesByEnd are the messages m whose hash has an end e.
const messagesByEnd = `hash_ends e JOIN messages m ON m.id = e.message_id`

// messageHash chooses the message with a hash out of messagesByEnd. See hashArgs.
var messageHash = `e.hash_end = ? AND ` + whole("m.item_hash") + ` = ?`

// messageID is the number of the message with a hash. See hashArgs.
var messageID = `(SELECT m.id FROM ` + messagesByEnd + ` WHERE ` + messageHash + `)`

// sameHash chooses the message whose hash another column has out of messagesByEnd.
func sameHash(other string) string {
	return "e.hash_end = " + hashEnd(other) + " AND " + whole("m.item_hash") + " = " + other
}

// hashes chooses the rows of messages with some hashes, or what has the number of such a row; at least one.
func (w *where) hashes(id string, hashes []string) {
	args := make([]any, len(hashes))
	for i, h := range hashes {
		args[i] = h
	}
	w.add(id+" IN (SELECT m.id FROM (VALUES (?)"+strings.Repeat(",(?)", len(hashes)-1)+") AS asked CROSS JOIN "+messagesByEnd+" WHERE "+
		sameHash("asked.column1")+")", args...)
}

// maxNewEnds is how many ends stay new. Their table has about 900 pages of 4 KiB then, which stay in the cache. A sixteenth more come
// before some go.
const maxNewEnds = 1 << 17

// newEnds is what a connection knows of the table of new ends.
type newEnds struct {
	most    int64 // that stay; 0 stands for maxNewEnds
	counted bool
	n       int64  // that there are, once they are counted
	settled string // the greatest end of the part that went last; the next part begins there
}

// lastEnd is behind all ends.
const lastEnd = "\U0010ffff"

// settleEnds has ends that are not new any more go where all others are.
func (tx *Tx) settleEnds() error {
	if tx.conn.engine.shared() {
		return nil
	}
	e := &tx.conn.ends
	if !e.counted {
		if err := tx.row(`SELECT COUNT(*) FROM hash_ends_new`).Scan(&e.n); err != nil {
			return wrap(err, "count new ends of hashes")
		}
		e.counted = true
	}
	most := cmp.Or(e.most, maxNewEnds)
	for range 2 { // up to the end of the range, and on from its beginning
		if e.n <= most+most/16 {
			return nil
		}
		if err := tx.settlePart(e, e.n-most); err != nil {
			return wrap(err, "settle ends of hashes")
		}
	}
	return nil
}

// settlePart has so many new ends settle that follow those that did last, or all up to the end of the range.
func (tx *Tx) settlePart(e *newEnds, n int64) error {
	last := lastEnd
	if _, err := found(tx.row(`SELECT hash_end FROM hash_ends_new WHERE hash_end > ? ORDER BY hash_end LIMIT 1 OFFSET ?`, e.settled, n-1), &last); err != nil {
		return err
	}
	const part = ` FROM hash_ends_new WHERE hash_end > ? AND hash_end <= ?`
	if err := tx.exec(tx.conn.engine.insert()+` INTO hash_ends_settled SELECT hash_end, message_id`+part, e.settled, last); err != nil {
		return err
	}
	n, err := tx.affected(`DELETE`+part, e.settled, last)
	if e.n, e.settled = e.n-n, last; last == lastEnd {
		e.settled = ""
	}
	return err
}

// forgetEnd removes the end of a message that is deleted.
func (tx *Tx) forgetEnd(hash string, id int64) error {
	if tx.conn.engine.shared() {
		return nil
	}
	n, err := tx.affected(`DELETE FROM hash_ends_new WHERE hash_end = ? AND message_id = ?`, endOf(hash), id)
	if tx.conn.ends.n -= n; err == nil && n == 0 {
		err = tx.exec(`DELETE FROM hash_ends_settled WHERE hash_end = ? AND message_id = ?`, endOf(hash), id)
	}
	return wrap(err, "forget the end of %s", hash)
}
