package store

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
)

// sqlite is a file of this process alone, in WAL mode: readers and the writer do not wait for each other.
type sqlite struct{ path string }

func newSQLite(path string) (engine, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	return &sqlite{path}, nil
}

// advised adds to what SQLite says of a file that it cannot open what can be done.
func advised(err error) error {
	if err == nil {
		return nil
	}
	const damaged = "the file is damaged: restore a backup with alephd ccn restore, or begin anew in another folder"
	for _, known := range []struct{ text, advice string }{
		{"disk image is malformed", damaged}, {"file is not a database", damaged},
		{"unable to open database file", "let the user of this process write to its folder"},
		{"readonly database", "let the user of this process write to it and to its folder"},
		{"disk is full", "make room on its disk"},
	} {
		if strings.Contains(err.Error(), known.text) {
			return fmt.Errorf("%w: %s", err, known.advice)
		}
	}
	return err
}

func (e *sqlite) open() (*sql.DB, error) {
	// A connection is one goroutine's at a time: it needs no lock of its own. The driver in Go does not know the word.
	return sql.Open(sqliteDriver, "file:"+(&url.URL{Path: e.path}).EscapedPath()+"?_mutex=no")
}

func (e *sqlite) session(ctx context.Context, c *sql.Conn, use use) error {
	pragmas := []string{"busy_timeout = 10000", "foreign_keys = ON", "temp_store = MEMORY"}
	switch use {
	case writes:
		// The cache has room for the pages that package intake has changed when it commits: what does not fit is written to the
		// log before, and a page that changes again then has SQLite sum up all of the transaction once more. Should tend not get to
		// do it, the log is copied by a commit once it has 1 GiB.
		pragmas = append(pragmas, "journal_mode = WAL", "synchronous = FULL", "cache_size = -122880", "wal_autocheckpoint = 262144",
			"journal_size_limit = 536870912")
	case reads:
		pragmas = append(pragmas, "query_only = ON", "cache_size = -8192")
	}
	for _, pragma := range pragmas {
		if _, err := c.ExecContext(ctx, "PRAGMA "+pragma); err != nil {
			return fmt.Errorf("PRAGMA %s: %w", pragma, err)
		}
	}
	return nil
}

// begin cannot be cut short: whether the connection is inside a transaction must always be known.
func (e *sqlite) begin(ctx context.Context, c *sql.Conn, use use) error {
	query := "BEGIN"
	if use == writes {
		query = "BEGIN IMMEDIATE"
	}
	_, err := c.ExecContext(context.WithoutCancel(ctx), query)
	return err
}

func (e *sqlite) commit(ctx context.Context, c *sql.Conn) error {
	_, err := c.ExecContext(ctx, "COMMIT")
	return err
}

// tend copies pages from the log into the database, so that commits need not. SQLite syncs the log before.
func (e *sqlite) tend(ctx context.Context, c *sql.Conn) (pages int64, all bool, err error) {
	var busy, copied int64
	err = c.QueryRowContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)").Scan(&busy, &pages, &copied)
	return pages, err == nil && busy == 0 && copied == pages, err
}

// lasts chooses between syncing the log at each commit and only before its pages go into the database.
func (e *sqlite) lasts(ctx context.Context, c *sql.Conn, yes bool) error {
	level := "NORMAL"
	if yes {
		level = "FULL"
	}
	_, err := c.ExecContext(ctx, "PRAGMA synchronous = "+level)
	return err
}

func (e *sqlite) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return ctx, func() {}
}

func (e *sqlite) alive(*sql.Conn) bool { return true }

func (e *sqlite) interrupted(error) bool { return false }

// starting knows a database that another process creates: the change to WAL mode does not wait for locks as all else does.
func (e *sqlite) starting(err error) bool { return sqliteBusy(err) }

func (e *sqlite) schema(script string) string {
	return strings.NewReplacer("{{id}}", "INTEGER PRIMARY KEY", "{{key}}", "INTEGER PRIMARY KEY", "{{rowless}}", " WITHOUT ROWID").Replace(only("sqlite", script))
}

func (e *sqlite) version(ctx context.Context, c *sql.Conn) (version int, err error) {
	return version, c.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version)
}

func (e *sqlite) setVersion(ctx context.Context, c *sql.Conn, version int) error {
	_, err := c.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", version))
	return err
}

func (e *sqlite) shared() bool { return false }

func (e *sqlite) listen(ctx context.Context, heard func(Notice)) error {
	<-ctx.Done()
	return ctx.Err()
}

// insert spares SQLite the copies of pages with which it would undo half of a statement.
func (e *sqlite) insert() string { return "INSERT OR FAIL" }

func (e *sqlite) bind(query string) string { return query }

func (e *sqlite) checked(column string) string { return "+" + column }

func (e *sqlite) values(args []any) []any { return args }
