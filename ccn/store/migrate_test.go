package store

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/internal/postgrestest"
)

// engines are the databases that the tests of this package run on; those of what the store promises are in storetest.
func engines(t *testing.T, test func(t *testing.T, dsn string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, "sqlite:"+filepath.Join(t.TempDir(), "a folder?with#odd%20name.db")) })
	t.Run("postgres", func(t *testing.T) { test(t, postgrestest.DSN(t)) })
}

func opened(t *testing.T, dsn string) (*Store, *conn) {
	t.Helper()
	s, err := Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	c := <-s.writer
	t.Cleanup(func() { s.writer <- c })
	return s, c
}

func TestMigrationsGoOnWhereTheDatabaseIs(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		_, c := opened(t, dsn)
		steps := append(migrations[:len(migrations):len(migrations)], `CREATE TABLE later (id {{id}}, name TEXT NOT NULL)`, `INSERT INTO later (name) VALUES ('first')`)
		for range 2 {
			if err := migrate(t.Context(), c, steps); err != nil {
				t.Fatal(err)
			}
		}
		var n int
		if err := c.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM later`).Scan(&n); err != nil || n != 1 {
			t.Errorf("%d rows, %v", n, err)
		}
	})
}

func TestFailedMigrationLeavesTheOldSchema(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		_, c := opened(t, dsn)
		steps := append(migrations[:len(migrations):len(migrations)], `CREATE TABLE later (id {{id}})`, `CREATE TABLE later (id {{id}})`)
		if err := migrate(t.Context(), c, steps); err == nil || !strings.Contains(err.Error(), fmt.Sprint("version ", len(migrations)+2)) {
			t.Errorf("got %v", err)
		}
		if version, err := c.engine.version(t.Context(), c.Conn); err != nil || version != len(migrations) {
			t.Errorf("version %d, %v", version, err)
		}
		if err := migrate(t.Context(), c, steps[:len(steps)-1]); err != nil {
			t.Error(err)
		}
	})
}

func TestNewerSchemaIsRefused(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		_, c := opened(t, dsn)
		if err := c.engine.setVersion(t.Context(), c.Conn, len(migrations)+1); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), dsn); err == nil || !strings.Contains(err.Error(), "newer release") {
			t.Errorf("got %v", err)
		}
	})
}

func TestUnknownEngineIsRefused(t *testing.T) {
	for _, dsn := range []string{"", "node.db", "mysql://x", "sqlite:", "sqlite::memory:", "postgres://127.0.0.1:1/x?sslmode=off"} {
		if _, err := Open(t.Context(), dsn); err == nil {
			t.Errorf("%q was opened", dsn)
		}
	}
}

func TestErrorsHoldNoPassword(t *testing.T) {
	for _, dsn := range []string{
		"postgres://user:secret@127.0.0.1:1/x", "postgres://user:secret@127.0.0.1:1/x?sslmode=off", "postgresql://user:s%ecret@127.0.0.1:1/x",
		"postgres://127.0.0.1:1/x?user=u&password=secret", "mysql://user:secret@host/x",
	} {
		if _, err := Open(t.Context(), dsn); err == nil || strings.Contains(err.Error(), "ecret") {
			t.Errorf("%s: got %v", dsn, err)
		}
	}
}

func TestPlaceholdersAreNumbered(t *testing.T) {
	for query, want := range map[string]string{
		`SELECT 1`:                                 `SELECT 1`,
		`SELECT ?, ? FROM t WHERE a = ?`:           `SELECT $1, $2 FROM t WHERE a = $3`,
		`SELECT '?', "?" FROM t WHERE a = ?`:       `SELECT '?', "?" FROM t WHERE a = $1`,
		`SELECT 'it''s ?' FROM t WHERE é = ? -- é`: `SELECT 'it''s ?' FROM t WHERE é = $1 -- é`,
	} {
		if got := (&postgres{}).bind(query); got != want {
			t.Errorf("%s: got %s", query, got)
		}
	}
}
