package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/aleph-im/aleph-go/message"
)

// OpenReader opens a database that exists, to be read only: it neither creates nor migrates, and refuses a schema that
// this program would have to migrate. Other processes may use the database. A transaction may take as long as it needs.
func OpenReader(ctx context.Context, dsn string) (_ *Store, err error) {
	defer func() { err = wrap(err, "open database %q for reading", redact(dsn)) }()
	engine, err := engineOf(dsn)
	if err != nil {
		return nil, err
	}
	if file, ok := engine.(*sqlite); ok {
		if _, err := os.Stat(file.path); err != nil {
			return nil, err
		}
	}
	engine = patient{engine}
	db, err := engine.open()
	if err != nil {
		return nil, err
	}
	readers := max(2, runtime.GOMAXPROCS(0))
	db.SetMaxOpenConns(readers + 1)
	s := &Store{engine: engine, db: db, writer: make(chan *conn, 1), queue: make(chan *conn, 1), readers: make(chan *conn, readers), closed: make(chan struct{})}
	// What is asked to write fails in the engine.
	s.writer <- &conn{db: db, engine: engine, known: new(known)}
	s.queue <- &conn{db: db, engine: engine, known: new(known)}
	for range readers {
		s.readers <- &conn{db: db, engine: engine, known: new(known)}
	}
	if err := s.Read(ctx, checkVersion); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// patient is an engine whose transactions have no bound.
type patient struct{ engine }

func (patient) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return ctx, func() {}
}

func checkVersion(r *Reader) error {
	version, err := r.conn.engine.version(r.ctx, r.conn.Conn)
	if err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	if version != len(migrations) {
		return fmt.Errorf("the database has schema version %d, this program has version %d: start the node once with this release, or use the release that wrote the database", version, len(migrations))
	}
	return nil
}

// SchemaVersion is the version of the schema that this program works with.
func SchemaVersion() int { return len(migrations) }

// Integrity lists what the engine itself finds wrong with the database, nothing when it is whole. PostgreSQL checks its
// pages by itself as they are read, and lists nothing.
func (r *Reader) Integrity() ([]string, error) {
	if e, ok := r.conn.engine.(patient); ok {
		if _, ok := e.engine.(*postgres); ok {
			return nil, nil
		}
	}
	rows, err := r.conn.QueryContext(r.ctx, `PRAGMA integrity_check`)
	list, err := collect(rows, err, func(rows *sql.Rows, s *string) error { return rows.Scan(s) })
	if len(list) == 1 && list[0] == "ok" {
		list = nil
	}
	return list, wrap(err, "check the integrity of the database")
}

// LostEnds lists the messages that are not found by the end of their hash, and says how many ends lead to no message.
func (r *Reader) LostEnds() (lost []message.Hash, stray int, err error) {
	lost, err = r.hashes(`SELECT m.item_hash FROM messages m
		WHERE NOT EXISTS (SELECT 1 FROM hash_ends e WHERE e.hash_end = ` + hashEnd("m.item_hash") + ` AND e.message_id = m.id) ORDER BY m.id`)
	if err != nil {
		return nil, 0, wrap(err, "look for messages by their hashes")
	}
	var messages, ends int
	err = r.row(`SELECT (SELECT COUNT(*) FROM messages), (SELECT COUNT(*) FROM hash_ends)`).Scan(&messages, &ends)
	return lost, ends - (messages - len(lost)), wrap(err, "count the ends of hashes")
}

// EachMessage calls visit with each applied message in the order in which they were applied, until visit returns an error,
// which EachMessage then returns. Confirmations are left out.
func (r *Reader) EachMessage(visit func(*MessageRow) error) error {
	rows, err := r.rows(`SELECT id, item_hash, type, chain, sender, COALESCE(signature, ''), item_type, COALESCE(item_content, ''),
		COALESCE(item_content, content, ''), time, channel, size, status, reception_time, owner, content_time, payment_type
		FROM messages ORDER BY id`)
	if err != nil {
		return wrap(err, "list messages")
	}
	defer rows.Close()
	for rows.Next() {
		m := &MessageRow{}
		err := rows.Scan(&m.ID, &m.Message.ItemHash, &m.Message.Type, &m.Message.Chain, &m.Message.Sender, &m.Message.Signature,
			&m.Message.ItemType, &m.Message.ItemContent, &m.Content, &m.Message.Time, &m.Message.Channel, &m.Size, &m.Status,
			&m.ReceptionTime, &m.Owner, &m.ContentTime, &m.PaymentType)
		if err != nil {
			return wrap(err, "list messages")
		}
		if err := visit(m); err != nil {
			return err
		}
	}
	return wrap(rows.Err(), "list messages")
}

// EachForgotten calls visit with each forgotten message and the FORGETs that name it, a JSON list as stored.
func (r *Reader) EachForgotten(visit func(h message.Hash, by string) error) error {
	rows, err := r.rows(`SELECT item_hash, forgotten_by FROM forgotten_messages ORDER BY item_hash`)
	if err != nil {
		return wrap(err, "list forgotten messages")
	}
	defer rows.Close()
	for rows.Next() {
		var h message.Hash
		var by string
		if err := rows.Scan(&h, &by); err != nil {
			return wrap(err, "list forgotten messages")
		}
		if err := visit(h, by); err != nil {
			return err
		}
	}
	return wrap(rows.Err(), "list forgotten messages")
}

// EachPinnedFile calls visit with each file that is pinned, and its row, nil when it has none.
func (r *Reader) EachPinnedFile(visit func(h message.Hash, f *FileRow) error) error {
	rows, err := r.rows(`SELECT p.file_hash, f.size, f.type FROM (SELECT DISTINCT file_hash FROM file_pins) p
		LEFT JOIN files f ON f.hash = p.file_hash ORDER BY p.file_hash`)
	if err != nil {
		return wrap(err, "list pinned files")
	}
	defer rows.Close()
	for rows.Next() {
		var h message.Hash
		var size *int64
		var kind *string
		if err := rows.Scan(&h, &size, &kind); err != nil {
			return wrap(err, "list pinned files")
		}
		var f *FileRow
		if size != nil {
			f = &FileRow{Hash: h, Size: *size, Type: value(kind)}
		}
		if err := visit(h, f); err != nil {
			return err
		}
	}
	return wrap(rows.Err(), "list pinned files")
}

// Snapshot writes a consistent copy of a SQLite database to a new file at path while others write to it.
func (s *Store) Snapshot(ctx context.Context, path string) error {
	c, err := s.take(ctx, s.readers)
	if err != nil {
		return fmt.Errorf("wait for a database reader: %w", err)
	}
	defer func() { s.readers <- c }()
	if err := c.connect(ctx); err != nil {
		return fmt.Errorf("copy database: %w", err)
	}
	e := c.engine
	if p, ok := e.(patient); ok {
		e = p.engine
	}
	if _, ok := e.(*sqlite); !ok {
		return errors.New("copy database: only SQLite databases are copied by the node: use pg_dump for PostgreSQL")
	}
	// VACUUM INTO reads this database; the engine refuses it to a connection that may only query.
	if _, err := c.ExecContext(ctx, `PRAGMA query_only = OFF`); err != nil {
		return fmt.Errorf("copy database: %w", err)
	}
	_, err = c.ExecContext(ctx, `VACUUM INTO ?`, path)
	_, restore := c.ExecContext(context.WithoutCancel(ctx), `PRAGMA query_only = ON`)
	return wrap(full(errors.Join(err, restore)), "copy database to %s", path)
}
