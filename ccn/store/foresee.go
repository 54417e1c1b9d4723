package store

import (
	"fmt"
	"strings"

	"github.com/aleph-im/aleph-go/message"
)

// foreseen is what a transaction knows to be absent, so that it need not look again.
type foreseen struct {
	fresh map[message.Hash]bool    // messages that were neither applied nor confirmed
	free  map[message.Hash]bool    // messages that neither wait nor were refused
	quiet map[message.WaitKey]bool // keys that nothing waits for
}

func (f *foreseen) appears(h message.Hash) { delete(f.fresh, h) }

// waits notes that a message waits or was refused, and what would let it go on.
func (f *foreseen) waits(h message.Hash, keys []message.WaitKey) {
	delete(f.free, h)
	for _, key := range keys {
		delete(f.quiet, key)
	}
}

// Foresee looks at once for messages that are about to be applied. Most are new, and what is asked of a new one while it
// is applied then needs no look of its own.
func (tx *Tx) Foresee(hashes []message.Hash) error {
	tx.foreseen = foreseen{
		fresh: make(map[message.Hash]bool, len(hashes)), free: make(map[message.Hash]bool, len(hashes)), quiet: make(map[message.WaitKey]bool, len(hashes)),
	}
	for len(hashes) > 0 {
		n := min(len(hashes), maxForeseen)
		if err := tx.foresee(hashes[:n]); err != nil {
			return wrap(err, "look for %d messages", n)
		}
		hashes = hashes[n:]
	}
	return nil
}

// maxForeseen bounds the placeholders of one query.
const maxForeseen = 512

func (tx *Tx) foresee(hashes []message.Hash) error {
	// Few lengths of lists make few statements: the last hash is asked for again.
	length := 1
	for length < len(hashes) {
		length *= 2
	}
	places := "?" + strings.Repeat(",?", length-1)
	ids, keys := make([]any, length), make([]any, length)
	for i := range length {
		h := hashes[min(i, len(hashes)-1)]
		key := message.WaitMessage(h)
		ids[i], keys[i] = string(h), string(key)
		tx.foreseen.fresh[h], tx.foreseen.free[h], tx.foreseen.quiet[key] = true, true, true
	}
	var query strings.Builder
	var args []any
	look := func(column string, values []any, tables ...string) {
		for _, table := range tables {
			if query.Len() > 0 {
				query.WriteString(" UNION ALL ")
			}
			fmt.Fprintf(&query, "SELECT '%s', %s FROM %s WHERE %s IN (%s)", table, column, table, column, places)
			args = append(args, values...)
		}
	}
	look("item_hash", ids, "messages", "forgotten_messages", "removed_messages", "confirmations", tablePending, tableRejected)
	look("wait_key", keys, tablePendingWaits, tableRejectedWaits)
	rows, err := tx.rows(query.String(), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var table, known string
		if err := rows.Scan(&table, &known); err != nil {
			return err
		}
		switch table {
		case tablePendingWaits, tableRejectedWaits:
			delete(tx.foreseen.quiet, message.WaitKey(known))
		case tablePending, tableRejected:
			delete(tx.foreseen.free, message.Hash(known))
		default:
			delete(tx.foreseen.fresh, message.Hash(known))
		}
	}
	return rows.Err()
}

// The tables of messages that were not applied, and of what they wait for.
const (
	tablePending       = "pending_messages"
	tableRejected      = "rejected_messages"
	tablePendingWaits  = "pending_waits"
	tableRejectedWaits = "rejected_waits"
)
