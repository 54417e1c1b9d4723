// Package store keeps what a core channel node knows: messages in every state and what they add up to. It offers typed
// queries inside transactions and decides nothing; package state decides, package intake drives, packages api and schedule
// read.
package store

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
)

//go:embed schema.sql
var schema string

// schemaVersion is the version of schema.sql. A change of the schema increments it and adds a step to migrate.
const schemaVersion = 1

// maxStatements bounds the prepared statements kept by one connection. Queries beyond it are prepared each time.
const maxStatements = 256

// Store is an open database. It is safe for concurrent use.
type Store struct {
	db      *sql.DB
	writer  chan *conn // holds the only connection that writes
	readers chan *conn
}

// conn is one connection with the statements prepared on it. One goroutine uses it at a time.
type conn struct {
	*sql.Conn
	statements map[string]*sql.Stmt
}

// Open opens the database that dsn names, creating it when it does not exist: "sqlite:<path>".
func Open(ctx context.Context, dsn string) (*Store, error) {
	engine, path, ok := strings.Cut(dsn, ":")
	if !ok || engine != "sqlite" || path == "" || strings.HasPrefix(path, ":memory:") {
		return nil, fmt.Errorf("open database %q: want sqlite:<path of a file>", dsn)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open database %q: %w", dsn, err)
	}
	db, err := sql.Open(sqliteDriver, "file:"+(&url.URL{Path: path}).EscapedPath())
	if err != nil {
		return nil, fmt.Errorf("open database %q: %w", dsn, err)
	}
	readers := max(4, runtime.GOMAXPROCS(0))
	db.SetMaxOpenConns(readers + 1)
	db.SetMaxIdleConns(readers + 1)
	s := &Store{db: db, writer: make(chan *conn, 1), readers: make(chan *conn, readers)}
	if err := s.connect(ctx, readers); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %q: %w", dsn, err), db.Close())
	}
	return s, nil
}

// connect opens the writer first: it creates and migrates the schema that the readers then find.
func (s *Store) connect(ctx context.Context, readers int) error {
	w, err := s.open(ctx, "PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA cache_size = -65536",
		"PRAGMA wal_autocheckpoint = 4000", "PRAGMA journal_size_limit = 67108864")
	if err != nil {
		return err
	}
	if err := migrate(ctx, w); err != nil {
		return errors.Join(err, w.Close())
	}
	s.writer <- w
	for range readers {
		r, err := s.open(ctx, "PRAGMA query_only = ON", "PRAGMA cache_size = -8192")
		if err != nil {
			return err
		}
		s.readers <- r
	}
	return nil
}

func (s *Store) open(ctx context.Context, pragmas ...string) (*conn, error) {
	c, err := s.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	common := []string{
		"PRAGMA busy_timeout = 10000", "PRAGMA foreign_keys = ON", "PRAGMA temp_store = MEMORY", "PRAGMA mmap_size = 268435456",
	}
	for _, pragma := range append(common, pragmas...) {
		if _, err := c.ExecContext(ctx, pragma); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", pragma, err), c.Close())
		}
	}
	return &conn{Conn: c, statements: map[string]*sql.Stmt{}}, nil
}

// migrate brings the schema to schemaVersion, in one transaction.
func migrate(ctx context.Context, c *conn) error {
	var version int
	if err := c.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	switch {
	case version == schemaVersion:
		return nil
	case version > schemaVersion:
		return fmt.Errorf("the database has schema version %d and this program knows up to %d: run the newer release that wrote it, or start on an empty database", version, schemaVersion)
	}
	ddl := strings.NewReplacer("{{id}}", "INTEGER PRIMARY KEY", "{{rowless}}", " WITHOUT ROWID").Replace(schema)
	script := fmt.Sprintf("BEGIN IMMEDIATE;\n%s\nPRAGMA user_version = %d;\nCOMMIT;", ddl, schemaVersion)
	if _, err := c.ExecContext(ctx, script); err != nil {
		_, rollback := c.ExecContext(ctx, "ROLLBACK")
		return errors.Join(fmt.Errorf("create schema: %w", err), rollback)
	}
	return nil
}

// Close waits for transactions that run and closes the database. The store must not be used afterwards.
func (s *Store) Close() error {
	var errs []error
	for range cap(s.readers) {
		errs = append(errs, (<-s.readers).close())
	}
	errs = append(errs, (<-s.writer).close(), s.db.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	return nil
}

func (c *conn) close() error {
	var errs []error
	for _, statement := range c.statements {
		errs = append(errs, statement.Close())
	}
	return errors.Join(append(errs, c.Conn.Close())...)
}

// Read runs read with one consistent snapshot of the database. The Reader must not outlive the call.
func (s *Store) Read(ctx context.Context, read func(r *Reader) error) error {
	c, err := take(ctx, s.readers)
	if err != nil {
		return fmt.Errorf("wait for a database reader: %w", err)
	}
	defer func() { s.readers <- c }()
	return c.transaction(ctx, "BEGIN", func() error { return read(&Reader{ctx: ctx, conn: c}) })
}

// Write runs write in the single transaction that may change the database and commits it when write returns nil: what it
// wrote is then on disk. Any error undoes all of it. A commit that began is not cut short by ctx.
func (s *Store) Write(ctx context.Context, write func(tx *Tx) error) error {
	c, err := take(ctx, s.writer)
	if err != nil {
		return fmt.Errorf("wait for the database writer: %w", err)
	}
	defer func() { s.writer <- c }()
	ctx = context.WithoutCancel(ctx)
	return c.transaction(ctx, "BEGIN IMMEDIATE", func() error { return write(&Tx{&Reader{ctx: ctx, conn: c}}) })
}

func take(ctx context.Context, from chan *conn) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case c := <-from:
		return c, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *conn) transaction(ctx context.Context, begin string, body func() error) error {
	// The end of a transaction must be reached even when ctx ends, or the connection would stay inside it.
	end := context.WithoutCancel(ctx)
	if _, err := c.ExecContext(end, begin); err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	done := false
	defer func() {
		if !done { // body panicked
			_, _ = c.ExecContext(end, "ROLLBACK")
		}
	}()
	if err := body(); err != nil {
		done = true
		_, rollback := c.ExecContext(end, "ROLLBACK")
		return errors.Join(err, rollback)
	}
	done = true
	if _, err := c.ExecContext(end, "COMMIT"); err != nil {
		_, rollback := c.ExecContext(end, "ROLLBACK")
		return errors.Join(fmt.Errorf("commit transaction: %w", err), rollback)
	}
	return nil
}

// Reader is a snapshot of the database.
type Reader struct {
	ctx  context.Context
	conn *conn
}

// Tx is the transaction that may write; it reads what it wrote.
type Tx struct{ *Reader }

// prepare returns the statement of a query. The second result tells whether the connection keeps it.
func (r *Reader) prepare(query string) (*sql.Stmt, bool, error) {
	if s := r.conn.statements[query]; s != nil {
		return s, true, nil
	}
	if len(r.conn.statements) >= maxStatements {
		return nil, false, nil
	}
	s, err := r.conn.PrepareContext(r.ctx, query)
	if err != nil {
		return nil, false, err
	}
	r.conn.statements[query] = s
	return s, true, nil
}

// rows runs a query with '?' placeholders. The rows must be closed before the transaction ends.
func (r *Reader) rows(query string, args ...any) (*sql.Rows, error) {
	s, kept, err := r.prepare(query)
	if err != nil {
		return nil, err
	}
	if !kept {
		return r.conn.QueryContext(r.ctx, query, args...)
	}
	return s.QueryContext(r.ctx, args...)
}

// row runs a query that returns at most one row.
func (r *Reader) row(query string, args ...any) *sql.Row {
	if s, kept, err := r.prepare(query); err == nil && kept {
		return s.QueryRowContext(r.ctx, args...)
	}
	return r.conn.QueryRowContext(r.ctx, query, args...)
}

// exec runs a statement that returns nothing.
func (tx *Tx) exec(query string, args ...any) error {
	_, err := tx.affected(query, args...)
	return err
}

// affected runs a statement and returns how many rows it changed.
func (tx *Tx) affected(query string, args ...any) (int64, error) {
	s, kept, err := tx.prepare(query)
	if err != nil {
		return 0, err
	}
	var result sql.Result
	if kept {
		result, err = s.ExecContext(tx.ctx, args...)
	} else {
		result, err = tx.conn.ExecContext(tx.ctx, query, args...)
	}
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// found scans a row that may be absent.
func found(row *sql.Row, dst ...any) (bool, error) {
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
