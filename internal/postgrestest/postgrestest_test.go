package postgrestest

import (
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestEachTestGetsAnEmptyDatabase(t *testing.T) {
	for range 2 {
		t.Run("database", func(t *testing.T) {
			c, err := pgx.Connect(t.Context(), DSN(t))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close(t.Context())
			if _, err := c.Exec(t.Context(), `CREATE TABLE here (name TEXT)`); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDefaultOrderIsNotThatOfBytes(t *testing.T) {
	c, err := pgx.Connect(t.Context(), DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	var before bool
	if err := c.QueryRow(t.Context(), `SELECT 'a'::text < 'B'::text`).Scan(&before); err != nil || !before {
		t.Errorf("a < B is %v, %v: a forgotten collation would go unnoticed", before, err)
	}
}
