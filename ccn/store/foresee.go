package store

import (
	"math/bits"
	"slices"
	"strings"

	"github.com/aleph-im/aleph-go/message"
)

// foreseen is what a transaction knows to be absent, so that it need not look again.
type foreseen struct {
	fresh map[message.Hash]bool    // messages that were neither applied nor confirmed
	free  map[message.Hash]bool    // messages that neither wait nor were refused
	quiet map[message.WaitKey]bool // keys that nothing waits for
}

// forget makes what was known unknown, and keeps the maps: a transaction that many groups share looks for each.
func (f *foreseen) forget() {
	if f.fresh == nil {
		f.fresh, f.free, f.quiet = map[message.Hash]bool{}, map[message.Hash]bool{}, map[message.WaitKey]bool{}
	}
	clear(f.fresh)
	clear(f.free)
	clear(f.quiet)
}

// appears notes that something is known of a message.
func (tx *Tx) appears(h message.Hash) {
	delete(tx.foreseen.fresh, h)
	tx.conn.known.add(string(h))
}

// waits notes that a message waits or was refused, and what would let it go on.
func (tx *Tx) waits(h message.Hash, keys []message.WaitKey) {
	delete(tx.foreseen.free, h)
	tx.conn.known.add(string(h))
	for _, key := range keys {
		delete(tx.foreseen.quiet, key)
		tx.conn.known.add(string(key))
	}
}

// Foresee looks at once for messages that are about to be applied. Most are new, and what is asked of a new one while it
// is applied then needs no look of its own.
func (tx *Tx) Foresee(hashes []message.Hash) error {
	f := &tx.foreseen
	f.forget()
	asked := make([]message.Hash, 0, len(hashes))
	for _, h := range hashes {
		f.fresh[h], f.free[h], f.quiet[message.WaitMessage(h)] = true, true, true
		if !tx.conn.known.unknown(h) {
			asked = append(asked, h)
		}
	}
	for part := range slices.Chunk(asked, maxForeseen) {
		if err := tx.foresee(part); err != nil {
			return wrap(err, "look for %d messages", len(part))
		}
	}
	return nil
}

// maxForeseen bounds the placeholders of one query.
const maxForeseen = 512

// foresight are the queries for lists of 1, 2, 4 hashes and so on. They are long, and made once.
var foresight = func() (queries [10]string) {
	for power := range queries {
		queries[power] = `WITH asked (hash, wait) AS (VALUES (?,?)` + strings.Repeat(",(?,?)", 1<<power-1) + `)
			SELECT hash, wait, applied, held, awaited FROM (SELECT hash, wait, ` +
			anyOf(sameHash("hash"), messagesByEnd) + ` OR ` + anyOf("item_hash = hash", "forgotten_messages", "removed_messages", "confirmations") + ` AS applied, ` +
			anyOf("item_hash = hash", "pending_messages", "rejected_messages") + ` AS held, ` +
			anyOf("wait_key = wait", "pending_waits", "rejected_waits") + ` AS awaited FROM asked) AS known
			WHERE applied OR held OR awaited`
	}
	return queries
}()

func (tx *Tx) foresee(hashes []message.Hash) error {
	// Few lengths of lists make few statements: the last hash is asked for again.
	power := bits.Len(uint(len(hashes) - 1))
	length := 1 << power
	args := make([]any, 0, 2*length)
	for i := range length {
		h := hashes[min(i, len(hashes)-1)]
		key := message.WaitMessage(h)
		args = append(args, string(h), string(key))
	}
	rows, err := tx.rows(foresight[power], args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var hash message.Hash
		var wait message.WaitKey
		var applied, held, awaited bool
		if err := rows.Scan(&hash, &wait, &applied, &held, &awaited); err != nil {
			return err
		}
		if applied {
			delete(tx.foreseen.fresh, hash)
		}
		if held {
			delete(tx.foreseen.free, hash)
		}
		if awaited {
			delete(tx.foreseen.quiet, wait)
		}
	}
	return rows.Err()
}

// anyOf tells whether one of several tables has a row.
func anyOf(condition string, tables ...string) string {
	exists := make([]string, len(tables))
	for i, table := range tables {
		exists[i] = "EXISTS (SELECT 1 FROM " + table + " WHERE " + condition + ")"
	}
	return "(" + strings.Join(exists, " OR ") + ")"
}
