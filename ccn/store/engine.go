package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// engine is what differs between the databases. Everything else is common: the tables, the queries, their order of text
// (by byte) and what a transaction promises.
type engine interface {
	// open returns the pool that connections are taken from. It connects to nothing.
	open() (*sql.DB, error)
	// session prepares a new connection for its work.
	session(ctx context.Context, c *sql.Conn, writes bool) error
	// begin starts a transaction: a snapshot that cannot be written, or the only one that may write, of all processes.
	begin(ctx context.Context, c *sql.Conn, writes bool) error
	// commit ends the transaction. Its error says that nothing was written, unless the connection was lost.
	commit(ctx context.Context, c *sql.Conn) error
	// within bounds how long a transaction may take.
	within(ctx context.Context) (context.Context, context.CancelFunc)
	// alive reports whether a connection can be used again after an error.
	alive(c *sql.Conn) bool
	// interrupted reports whether an error is no fault of the transaction, which may succeed when it is tried again.
	interrupted(err error) bool

	// schema turns a migration into the engine's own words.
	schema(script string) string
	version(ctx context.Context, c *sql.Conn) (int, error)
	setVersion(ctx context.Context, c *sql.Conn, version int) error

	// bind turns a query with '?' placeholders into the engine's own form.
	bind(query string) string
}

// engineOf returns the engine that dsn names.
func engineOf(dsn string) (engine, error) {
	scheme, rest, _ := strings.Cut(dsn, ":")
	switch {
	case scheme == "sqlite" && rest != "" && !strings.HasPrefix(rest, ":memory:"):
		return newSQLite(rest)
	case scheme == "postgres" || scheme == "postgresql":
		return newPostgres(dsn)
	}
	return nil, fmt.Errorf("want sqlite:<path of a file> or postgres://user@host/database")
}
