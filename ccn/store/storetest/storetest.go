// Package storetest is what every engine of ccn/store must pass, and the way for other packages to run their tests on all
// of them.
package storetest

import (
	"path/filepath"
	"testing"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/internal/postgrestest"
)

// Each runs test once an engine, on an empty database. Every call of open opens that database: again, or at the same time
// as another process would. What the test leaves open is closed at its end.
func Each(t *testing.T, test func(t *testing.T, open func() *store.Store)) {
	t.Run("sqlite", func(t *testing.T) { test(t, Open(t, "sqlite:"+filepath.Join(t.TempDir(), "node.db"))) })
	t.Run("postgres", func(t *testing.T) { test(t, Open(t, postgrestest.DSN(t))) })
}

// Open returns a function that opens the database named dsn, for Each.
func Open(t testing.TB, dsn string) func() *store.Store {
	return func() *store.Store {
		t.Helper()
		s, err := store.Open(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s
	}
}
