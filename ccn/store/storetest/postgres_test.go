package storetest

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/internal/postgrestest"
)

// cut ends all connections of stores to a database, as a restart of the server does.
func cut(t *testing.T, dsn string) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	if _, err := c.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'alephd'`); err != nil {
		t.Fatal(err)
	}
}

func TestLostConnectionsHeal(t *testing.T) {
	dsn := postgrestest.DSN(t)
	s := Open(t, dsn)()
	for range 3 {
		cut(t, dsn)
		write(t, s, set("a", "1"))
		for range 10 { // more than there are readers
			if get(t, s, "a") != "1" {
				t.Error("not there")
			}
		}
	}
}

func TestTransactionThatIsCutOffSaysSoAndLeavesNothing(t *testing.T) {
	dsn := postgrestest.DSN(t)
	s := Open(t, dsn)()
	overlook := func(error) error { return nil }
	for name, handle := range map[string]func(error) error{"returns its error": func(err error) error { return err }, "overlooks its error": overlook} {
		err := s.Write(t.Context(), func(tx *store.Tx) error {
			if err := tx.Set("a", "1"); err != nil {
				return err
			}
			cut(t, dsn)
			return handle(tx.Set("b", "1"))
		})
		if !errors.Is(err, store.ErrInterrupted) {
			t.Errorf("a transaction that %s: got %v", name, err)
		}
		if a := get(t, s, "a"); a != "" {
			t.Errorf("a transaction that %s left a=%q", name, a)
		}
	}
	err := s.Read(t.Context(), func(r *store.Reader) error {
		cut(t, dsn)
		_, err := r.Get("a")
		return err
	})
	if !errors.Is(err, store.ErrInterrupted) {
		t.Errorf("got %v", err)
	}
}

func TestServerThatIsNotThereIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = store.Open(t.Context(), "postgres://aleph@"+address+"/aleph")
	if err == nil || !strings.Contains(err.Error(), address) {
		t.Errorf("got %v", err)
	}
}
