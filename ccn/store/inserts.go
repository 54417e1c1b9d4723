package store

import (
	"fmt"
	"strings"
)

// insertion is a table that takes rows in bulk.
type insertion struct {
	query   string // after INSERT, up to VALUES
	columns int
	end     string // after the rows
}

func intoTable(table, columns, end string) insertion {
	return insertion{" INTO " + table + " (" + columns + ") VALUES ", strings.Count(columns, ",") + 1, end}
}

var (
	intoMessages = intoTable("messages", `item_hash, type, chain, sender, signature, item_type, item_content, content, time, channel,
		size, status, reception_time, owner, content_time, content_type, content_ref, content_key, content_item_hash, payment_type,
		tags, first_confirmed_at, first_confirmed_height`, "")
	intoEnds     = intoTable("hash_ends_new", "hash_end, message_id", "")
	intoTags     = intoTable("message_tags", "tag, time, message_id, type", "")
	intoPosts    = intoTable("posts", "id, item_hash, owner, type, ref, amends, channel, content_time, last_updated, tags", "")
	intoPostTags = intoTable("post_tags", "tag, last_updated, post_id", "")
	intoTerms    = intoTable("address_terms", "address, kind, term, messages",
		" ON CONFLICT (address, kind, term) DO UPDATE SET messages = address_terms.messages + excluded.messages")
)

// statement is the statement that inserts a number of rows, after INSERT.
func (i insertion) statement(rows int) string {
	row := "(?" + strings.Repeat(",?", i.columns-1) + ")"
	return i.query + row + strings.Repeat(","+row, rows-1) + i.end
}

// inserts are rows that wait to be written together: a statement of many rows costs little more than one of one row.
// Whatever else the transaction asks of the database comes after them.
type inserts struct {
	messages, ends, tags, posts, postTags []any // values, row after row
	lastID                                int64 // of a row of messages; 0: not known yet
}

// maxWaiting bounds the messages that wait to be written.
const maxWaiting = 128

// putMessage leaves a row of messages to be written and sets m.ID. Processes that share a database are told the id by it.
func (tx *Tx) putMessage(m *MessageRow, row []any) error {
	if tx.conn.engine.shared() {
		id, err := tx.insert("INSERT"+intoMessages.statement(1), row...)
		m.ID = id
		return err
	}
	id, err := tx.nextID()
	if err != nil {
		return err
	}
	m.ID = id
	tx.inserts.messages = append(tx.inserts.messages, row...)
	tx.inserts.ends = append(tx.inserts.ends, endOf(string(m.Message.ItemHash)), id)
	tx.conn.ends.n++
	if len(tx.inserts.messages) >= maxWaiting*intoMessages.columns {
		return tx.flush()
	}
	return nil
}

// nextID returns the id that the next row of messages will have. SQLite numbers the rows itself: of rows that come with a
// number it keeps copies of pages, with which it would undo half of a statement.
func (tx *Tx) nextID() (int64, error) {
	if tx.inserts.lastID == 0 {
		if _, err := found(tx.row(`SELECT id FROM messages ORDER BY id DESC LIMIT 1`), &tx.inserts.lastID); err != nil {
			return 0, wrap(err, "find the last message")
		}
	}
	tx.inserts.lastID++
	return tx.inserts.lastID, nil
}

// writeInserts writes the rows that wait. Messages come first: the others refer to them.
func (tx *Tx) writeInserts() error {
	waiting := &tx.inserts
	for _, of := range []struct {
		into insertion
		rows *[]any
	}{{intoMessages, &waiting.messages}, {intoEnds, &waiting.ends}, {intoTags, &waiting.tags}, {intoPosts, &waiting.posts}, {intoPostTags, &waiting.postTags}} {
		rows := *of.rows
		*of.rows = rows[:0]
		last, err := tx.bulk(of.into, rows)
		if err != nil {
			return wrap(err, "write %d rows", len(rows)/of.into.columns)
		}
		if of.rows == &waiting.messages && len(rows) > 0 && last != waiting.lastID {
			return fmt.Errorf("the database numbered a message %d, and %d was foreseen", last, waiting.lastID)
		}
		clear(rows)
	}
	return nil
}

// bulkStatement returns the statement that inserts a number of rows, which is long and made once.
func (c *conn) bulkStatement(into insertion, rows int) string {
	key := bulkKey{into.query, rows}
	text, ok := c.bulk[key]
	if !ok {
		text = c.engine.insert() + into.statement(rows)
		if c.bulk == nil {
			c.bulk = map[bulkKey]string{}
		}
		c.bulk[key] = text
	}
	return text
}

type bulkKey struct {
	query string // of the insertion
	rows  int
}

// bulk writes rows in statements of few lengths, each prepared once, and returns the id of the last row, on a database
// of this process alone.
func (tx *Tx) bulk(into insertion, rows []any) (last int64, err error) {
	for length := maxWaiting; len(rows) > 0; length /= 2 {
		for n := length * into.columns; len(rows) >= n; rows = rows[n:] {
			result, err := tx.run(tx.conn.bulkStatement(into, length), rows[:n])
			if err != nil {
				return 0, err
			}
			if tx.conn.engine.shared() {
				continue // PostgreSQL tells none
			}
			if last, err = result.LastInsertId(); err != nil {
				return 0, err
			}
		}
	}
	return last, nil
}
