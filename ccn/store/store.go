// Package store keeps what a core channel node knows: messages in every state and what they add up to. It offers typed
// queries inside transactions and decides nothing; package state decides, package intake drives, packages api and schedule
// read.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Store is an open database. It is safe for concurrent use.
type Store struct {
	engine  engine
	db      *sql.DB
	writer  chan *conn // holds the only connection of this process that writes
	queue   chan *conn // of a shared database: holds the connection that adds and takes up pending messages
	readers chan *conn
	closing sync.Once
	closed  chan struct{}
	tending tending
	known   known

	// Of WriteLater. What is not atomic belongs to who holds the writer.
	later     *Tx    // the transaction that is open; nil: none
	round     uint64 // number of the transaction that is open, or was last
	undone    error  // why a round was undone whose writers do not know it yet
	open      atomic.Uint64
	committed atomic.Uint64
	lasting   atomic.Uint64
}

// ErrClosed is returned for what is asked of a closed store.
var ErrClosed = errors.New("the database is closed")

// Open opens the database that dsn names: "sqlite:<path>", a file that is created when it does not exist, or
// "postgres://…", a database that several processes may use at once. It brings the schema to its newest version.
func Open(ctx context.Context, dsn string) (*Store, error) {
	return OpenMigrating(ctx, dsn, func(int) {})
}

// OpenMigrating is Open for those who do something while the schema is brought to its newest version. That takes minutes
// where there are many messages, and leaves all as it was until it is done. When there is something to migrate,
// migrating is called before anything is done, and each time that more of it is: with how much, from 0 to 100.
func OpenMigrating(ctx context.Context, dsn string, migrating func(percent int)) (_ *Store, err error) {
	defer func() { err = wrap(advised(err), "open database %q", redact(dsn)) }()
	engine, err := engineOf(dsn)
	if err != nil {
		return nil, err
	}
	db, err := engine.open()
	if err != nil {
		return nil, err
	}
	readers := max(4, runtime.GOMAXPROCS(0))
	db.SetMaxOpenConns(readers + 2) // a writer, and either a queue or who tends the database
	db.SetMaxIdleConns(readers + 2)
	s := &Store{engine: engine, db: db, writer: make(chan *conn, 1), queue: make(chan *conn, 1), readers: make(chan *conn, readers), closed: make(chan struct{})}
	if err := s.connect(ctx, readers, migrating); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// connect opens the writer first: it creates and migrates the schema that the readers then find.
func (s *Store) connect(ctx context.Context, readers int, migrating func(percent int)) error {
	w, err := s.dial(ctx, writes)
	if err != nil {
		return err
	}
	if err := migrate(ctx, w, migrations, migrating); err != nil {
		return errors.Join(err, w.close())
	}
	s.writer <- w
	for range readers {
		r, err := s.dial(ctx, reads)
		if err != nil {
			return err
		}
		s.readers <- r
	}
	if s.engine.shared() {
		q, err := s.dial(ctx, queues)
		if err != nil {
			return err
		}
		s.queue <- q
		return nil
	}
	t, err := s.dial(ctx, tends)
	if err != nil {
		return err
	}
	s.startTending(t)
	return nil
}

// startingFor bounds how long a database may take that starts, or recovers from a crash: often the one that its nodes went
// down with.
const startingFor = time.Minute

func (s *Store) dial(ctx context.Context, use use) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, startingFor)
	defer cancel()
	c := &conn{db: s.db, engine: s.engine, use: use, known: &s.known}
	for {
		err := c.connect(ctx)
		if err == nil || !s.engine.starting(err) {
			return c, err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return c, err
		}
	}
}

// redact leaves of the URL of a database what is no secret.
func redact(dsn string) string {
	scheme, rest, ok := strings.Cut(dsn, "://")
	if !ok {
		return dsn
	}
	rest, _, _ = strings.Cut(rest, "?")
	return scheme + "://" + rest[strings.LastIndexByte(rest, '@')+1:]
}

// Close waits for transactions that run and closes the database. Closing again does nothing.
func (s *Store) Close() (err error) {
	s.closing.Do(func() {
		close(s.closed)
		errs := []error{s.tending.stop()}
		for range cap(s.readers) {
			errs = append(errs, (<-s.readers).close())
		}
		if s.engine.shared() {
			errs = append(errs, (<-s.queue).close())
		}
		w := <-s.writer
		errs = append(errs, s.commitLater(w), w.close(), s.db.Close())
		err = wrap(errors.Join(errs...), "close database")
	})
	return err
}

// Read runs read with one consistent snapshot of the database, which has everything that was written before. The Reader
// must not outlive the call.
func (s *Store) Read(ctx context.Context, read func(r *Reader) error) error {
	if err := s.Commit(ctx); err != nil {
		return err
	}
	return s.ReadCommitted(ctx, read)
}

// ReadCommitted is Read for those who need not see what WriteLater wrote a moment ago.
func (s *Store) ReadCommitted(ctx context.Context, read func(r *Reader) error) error {
	c, err := s.take(ctx, s.readers)
	if err != nil {
		return fmt.Errorf("wait for a database reader: %w", err)
	}
	defer func() { s.readers <- c }()
	return c.transaction(ctx, func(ctx context.Context) error { return read(&Reader{ctx: ctx, conn: c, charge: charged(ctx)}) })
}

// Write runs write in the single transaction that may change the database, of all processes that use it, and commits it
// when write returns nil: what it wrote is then on disk. Any error undoes all of it. Once write was called, ctx cuts
// nothing short. An ErrInterrupted may be tried again.
func (s *Store) Write(ctx context.Context, write func(tx *Tx) error) error {
	c, err := s.take(ctx, s.writer)
	if err != nil {
		return fmt.Errorf("wait for the database writer: %w", err)
	}
	defer func() { s.writer <- c }()
	if err := s.commitLater(c); err != nil {
		return err
	}
	if err := c.lasts(ctx, true); err != nil {
		return err
	}
	defer s.tending.wake()
	committed := s.Committed()
	err = c.transaction(ctx, func(ctx context.Context) error {
		tx := newTx(ctx, c)
		if err := write(tx); err != nil {
			return err
		}
		return tx.finish()
	})
	if err == nil {
		s.noteLasting(committed)
	}
	return err
}

func (s *Store) take(ctx context.Context, from chan *conn) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case c := <-from:
		return c, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.closed:
		return nil, ErrClosed
	}
}

// Reader is a snapshot of the database.
type Reader struct {
	ctx      context.Context
	conn     *conn
	foreseen foreseen              // of a transaction that writes
	before   func() error          // comes before each statement; nil: nothing does
	charge   func(bytes int) error // see Charging; nil: nobody is told
}

// Tx is the transaction that may write; it reads what it wrote, except the counters of addresses, which are written at its
// end.
type Tx struct {
	*Reader
	inserts  inserts
	tallies  tallies
	atCommit map[string]string // node state
}

func newTx(ctx context.Context, c *conn) *Tx {
	tx := &Tx{Reader: &Reader{ctx: ctx, conn: c}}
	tx.before = tx.flush
	return tx
}

// flush writes the rows that wait before another statement that may want to see them.
func (tx *Tx) flush() error {
	if len(tx.inserts.messages)+len(tx.inserts.tags)+len(tx.inserts.posts)+len(tx.inserts.postTags) == 0 {
		return nil
	}
	tx.before = nil
	defer func() { tx.before = tx.flush }()
	return tx.writeInserts()
}

// finish writes what the transaction put off.
func (tx *Tx) finish() error {
	if err := tx.flush(); err != nil {
		return err
	}
	for key, v := range tx.atCommit {
		if err := tx.Set(key, v); err != nil {
			return err
		}
	}
	if err := tx.writeTallies(); err != nil {
		return err
	}
	return tx.settleEnds()
}

// statement returns the prepared statement of a query, nil when it is not kept prepared.
func (r *Reader) statement(query string) (*sql.Stmt, error) {
	if r.before != nil {
		if err := r.before(); err != nil {
			return nil, err
		}
	}
	return r.conn.prepare(r.ctx, query)
}

// rows runs a query with '?' placeholders. The rows must be closed before the transaction ends.
func (r *Reader) rows(query string, args ...any) (*sql.Rows, error) {
	s, err := r.statement(query)
	if err != nil {
		return nil, err
	}
	args = r.conn.engine.values(args)
	if s == nil {
		return r.conn.QueryContext(r.ctx, r.conn.engine.bind(query), args...)
	}
	return s.QueryContext(r.ctx, args...)
}

// row runs a query that returns at most one row.
func (r *Reader) row(query string, args ...any) row {
	s, err := r.statement(query)
	if err != nil {
		return row{err: err}
	}
	args = r.conn.engine.values(args)
	if s == nil {
		return row{Row: r.conn.QueryRowContext(r.ctx, r.conn.engine.bind(query), args...)}
	}
	return row{Row: s.QueryRowContext(r.ctx, args...)}
}

// row is a row or why there is none.
type row struct {
	*sql.Row
	err error
}

func (r row) Scan(dst ...any) error {
	if r.err != nil {
		return r.err
	}
	return r.Row.Scan(dst...)
}

// exec runs a statement that returns nothing.
func (tx *Tx) exec(query string, args ...any) error {
	_, err := tx.affected(query, args...)
	return err
}

// affected runs a statement and returns how many rows it changed.
func (tx *Tx) affected(query string, args ...any) (int64, error) {
	result, err := tx.run(query, args)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// insert runs the insertion of one row into a table with ids and returns the row's. A RETURNING would make SQLite build a
// table of its own for each row.
func (tx *Tx) insert(query string, args ...any) (id int64, err error) {
	if tx.conn.engine.shared() {
		return id, tx.row(query+` RETURNING id`, args...).Scan(&id)
	}
	result, err := tx.run(query, args)
	if err != nil {
		return 0, err
	}
	return result.LastInsertId()
}

func (tx *Tx) run(query string, args []any) (sql.Result, error) {
	s, err := tx.statement(query)
	if err != nil {
		return nil, err
	}
	args = tx.conn.engine.values(args)
	if s == nil {
		return tx.conn.ExecContext(tx.ctx, tx.conn.engine.bind(query), args...)
	}
	return s.ExecContext(tx.ctx, args...)
}

// found scans a row that may be absent.
func found(row row, dst ...any) (bool, error) {
	err := row.Scan(dst...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// collect scans every row with scan and closes them.
func collect[T any](rows *sql.Rows, err error, scan func(*sql.Rows, *T) error) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []T
	for rows.Next() {
		var item T
		if err := scan(rows, &item); err != nil {
			return nil, err
		}
		list = append(list, item)
	}
	return list, rows.Err()
}
