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
	session(ctx context.Context, c *sql.Conn, use use) error
	begin(ctx context.Context, c *sql.Conn, use use) error
	// commit ends the transaction. Its error says that nothing was written, unless the connection was lost.
	commit(ctx context.Context, c *sql.Conn) error
	// tend copies what is committed from the log of changes to where it belongs, beside the transactions. It returns how many
	// pages the log has, and whether all of them are copied, and so outlast a loss of power. It is called now and then while
	// there are commits, on a database of this process alone.
	tend(ctx context.Context, c *sql.Conn) (pages int64, all bool, err error)
	// lasts says whether commits must outlast a loss of power.
	lasts(ctx context.Context, c *sql.Conn, yes bool) error
	// within bounds how long a transaction may take.
	within(ctx context.Context) (context.Context, context.CancelFunc)
	// alive reports whether a connection can be used again after an error.
	alive(c *sql.Conn) bool
	// interrupted reports whether an error is no fault of the transaction, which may succeed when it is tried again.
	interrupted(err error) bool
	starting(err error) bool // the database takes no connections yet

	// schema turns a migration into the engine's own words.
	schema(script string) string
	version(ctx context.Context, c *sql.Conn) (int, error)
	setVersion(ctx context.Context, c *sql.Conn, version int) error

	// shared reports whether several processes may use a database at once. Only then connections enqueue and listen.
	shared() bool
	// listen calls heard with what other transactions notify of, until the connection is lost or ctx ends. The first call
	// comes once nothing can be missed any more.
	listen(ctx context.Context, heard func(Notice)) error

	// bind turns a query with '?' placeholders into the engine's own form.
	bind(query string) string
	// insert is the verb of a statement that inserts many rows in a transaction that is undone when it fails.
	insert() string
	// checked names a column in a condition that is to be checked for each row, and is not to choose an index.
	checked(column string) string
	// values turns arguments into what the engine keeps as every other does.
	values(args []any) []any
}

// MaxIndexed is how many bytes a text may have that is part of an index. PostgreSQL takes about 2,700 bytes an index row,
// which may hold two such texts.
const MaxIndexed = 1024

// use is what the transactions of a connection are for.
type use int

const (
	reads  use = iota // a snapshot that cannot be written
	writes            // the only transaction that may write, of all processes
	queues            // adds pending messages and takes them up, beside the one that writes
	tends             // no transactions
)

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
