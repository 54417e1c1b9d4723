package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/internal/postgrestest"
	"github.com/aleph-im/aleph-go/message"
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
		steps := append(migrations[:len(migrations):len(migrations)], step{script: `CREATE TABLE later (id {{id}}, name TEXT NOT NULL)`}, step{script: `INSERT INTO later (name) VALUES ('first')`})
		for range 2 {
			if err := migrate(t.Context(), c, steps, func(int) {}); err != nil {
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
		steps := append(migrations[:len(migrations):len(migrations)], step{script: `CREATE TABLE later (id {{id}})`}, step{script: `CREATE TABLE later (id {{id}})`})
		if err := migrate(t.Context(), c, steps, func(int) {}); err == nil || !strings.Contains(err.Error(), fmt.Sprint("version ", len(migrations)+2)) {
			t.Errorf("got %v", err)
		}
		if version, err := c.engine.version(t.Context(), c.Conn); err != nil || version != len(migrations) {
			t.Errorf("version %d, %v", version, err)
		}
		if err := migrate(t.Context(), c, steps[:len(steps)-1], func(int) {}); err != nil {
			t.Error(err)
		}
	})
}

// old connects to a database that has seen only the first so many steps.
func old(t *testing.T, dsn string, steps int) *conn {
	t.Helper()
	e, err := engineOf(dsn)
	if err != nil {
		t.Fatal(err)
	}
	db, err := e.open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	c := &conn{db: db, engine: e, use: writes, known: new(known)}
	if err := c.connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := migrate(t.Context(), c, migrations[:steps], func(int) {}); err != nil {
		t.Fatal(err)
	}
	return c
}

// table reads all rows of a table, or of a query, as text.
func table(t *testing.T, c *conn, query string) (rows []string) {
	t.Helper()
	list, err := c.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	columns, err := list.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for list.Next() {
		values, targets := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			targets[i] = &values[i]
		}
		if err := list.Scan(targets...); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, fmt.Sprintf("%q", values))
	}
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestMessagesKeepWhatTheyHaveWhenTheirIndexGetsShorter(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		c := old(t, dsn, 1)
		h := message.HashBytes([]byte("kept"))
		for _, insert := range []string{
			`INSERT INTO messages (id, item_hash, type, chain, sender, signature, item_type, item_content, time, channel, size, status, reception_time,
				owner, content_time, content_type, content_ref, tags, first_confirmed_at, first_confirmed_height)
				VALUES (7, '` + string(h) + `', 'POST', 'ETH', 'a', 's', 'inline', '{}', 5, 'c', 2, 'processed', 6, 'a', 0.25, 'note', 'r', '["x"]', 8, 9)`,
			`INSERT INTO messages (id, item_hash, type, chain, sender, item_type, content, time, size, status, reception_time, owner, content_time,
				content_key, content_item_hash, payment_type) VALUES (9, 'other', 'STORE', 'SOL', 'b', 'ipfs', '{}', 5, 2, 'removing', 6, 'a', 3, 'k', 'i', 'hold')`,
			`INSERT INTO message_tags (tag, time, message_id, type) VALUES ('x', 5, 7, 'POST')`,
			`INSERT INTO posts (id, item_hash, owner, type, content_time, last_updated) VALUES (7, '` + string(h) + `', 'a', 'note', 0.25, 0.25)`,
			`INSERT INTO node_metrics (node_id, kind, measured_at, item_hash, entry, measured) VALUES ('n', 'crn', 1, '` + string(h) + `', 0, '[1,null]')`,
		} {
			if _, err := c.ExecContext(t.Context(), insert); err != nil {
				t.Fatal(err)
			}
		}
		queries := []string{`SELECT * FROM messages ORDER BY id`, `SELECT * FROM message_tags`, `SELECT * FROM posts`, `SELECT * FROM node_metrics`}
		indexes := `SELECT sql FROM sqlite_schema WHERE type = 'index' AND tbl_name IN ('messages', 'node_metrics') AND sql IS NOT NULL ORDER BY name`
		if c.engine.shared() {
			indexes = `SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema() AND tablename IN ('messages', 'node_metrics')
				AND indexname <> 'messages_item_hash_key' ORDER BY indexname`
		}
		before := make([][]string, len(queries))
		for i, q := range queries {
			before[i] = table(t, c, q)
		}
		had := table(t, c, indexes)
		if err := c.close(); err != nil {
			t.Fatal(err)
		}

		s, c := opened(t, dsn)
		for i, q := range queries {
			if after := table(t, c, q); !slices.Equal(after, before[i]) {
				t.Errorf("%s: %s, was %s", q, after, before[i])
			}
		}
		has := slices.DeleteFunc(table(t, c, indexes), func(sql string) bool { return strings.Contains(sql, "messages_hash ") })
		if !slices.Equal(has, had) {
			t.Errorf("the indexes are\n%s\nand were\n%s", strings.Join(has, "\n"), strings.Join(had, "\n"))
		}
		s.writer <- c // for this test to write as anybody does
		defer func() { <-s.writer }()
		err := s.Write(t.Context(), func(tx *Tx) error {
			if m, err := tx.Message(h); err != nil || m == nil || m.ID != 7 {
				t.Errorf("message %+v, %v", m, err)
			}
			if p, err := tx.Post(h); err != nil || p == nil {
				t.Errorf("post %+v, %v", p, err)
			}
			if err := errors.Join(tx.DeletePost(h), tx.DeleteMessage(h)); err != nil {
				return err
			}
			measured, err := tx.NodeMetrics("crn", "n", 0, 0, false)
			if len(measured) > 0 {
				t.Error("a measurement is there without its message")
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestElementsKeepWhatTheyHaveWhenTheyAreNumbered(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		c := old(t, dsn, 3)
		first, second := message.HashBytes([]byte("first")), message.HashBytes([]byte("second"))
		for id, h := range map[int]message.Hash{9: first, 7: second} {
			for _, insert := range []string{
				fmt.Sprintf(`INSERT INTO messages (id, item_hash, type, chain, sender, item_type, time, size, status, reception_time, owner, content_time)
					VALUES (%d, '%s', 'AGGREGATE', 'ETH', 'a', 'inline', 5, 2, 'processed', 6, 'a', %d)`, id, h, id),
				fmt.Sprintf(`INSERT INTO aggregate_elements (item_hash, owner, key, content_time, content) VALUES ('%s', 'a', 'k', %d, '{"n":%d}')`, h, id, id),
			} {
				if _, err := c.ExecContext(t.Context(), insert); err != nil {
					t.Fatal(err)
				}
			}
		}
		const query = `SELECT item_hash, owner, key, content_time, content FROM aggregate_elements ORDER BY item_hash`
		had := table(t, c, query)
		if err := c.close(); err != nil {
			t.Fatal(err)
		}

		s, c := opened(t, dsn)
		if has := table(t, c, query); len(has) != 2 || !slices.Equal(has, had) {
			t.Errorf("the elements are %s and were %s", has, had)
		}
		s.writer <- c // for this test to write as anybody does
		defer func() { <-s.writer }()
		err := s.Write(t.Context(), func(tx *Tx) error {
			if err := tx.DeleteElement(first); err != nil {
				return err
			}
			for h, want := range map[message.Hash]string{first: "", second: `{"n":7}`} {
				e, err := tx.Element(h)
				if err != nil || (e != nil) != (want != "") || e != nil && string(e.Content) != want {
					t.Errorf("element %s is %+v, %v", h, e, err)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestMessagesAreFoundWhenTheirEndsAreInTwoTables(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		c := old(t, dsn, 5)
		var hashes []message.Hash
		for id := 1; id <= 300; id++ {
			h := message.HashBytes(fmt.Append(nil, id))
			if id == 17 { // with an end that another one has
				h = message.Hash(strings.Repeat("0", 52)) + hashes[3][52:]
			}
			hashes = append(hashes, h)
			_, err := c.ExecContext(t.Context(), fmt.Sprintf(`INSERT INTO messages (id, item_hash, type, chain, sender, item_type, time, size, status, reception_time, owner, content_time)
				VALUES (%d, '%s', 'POST', 'ETH', 'a', 'inline', 5, 2, 'processed', 6, 'a', %d)`, id, h, id))
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := c.close(); err != nil {
			t.Fatal(err)
		}

		s, c := opened(t, dsn)
		s.writer <- c // for this test to write as anybody does
		defer func() { <-s.writer }()
		err := s.Write(t.Context(), func(tx *Tx) error {
			for i, h := range hashes {
				if m, err := tx.Message(h); err != nil || m == nil || m.ID != int64(i+1) {
					t.Fatalf("message %d is %+v, %v", i+1, m, err)
				}
			}
			if err := tx.DeleteMessage(hashes[3]); err != nil {
				return err
			}
			if m, err := tx.Message(hashes[3]); err != nil || m != nil {
				t.Errorf("what was deleted is %+v, %v", m, err)
			}
			if m, err := tx.Message(hashes[16]); err != nil || m == nil || m.ID != 17 {
				t.Errorf("what ended alike is %+v, %v", m, err)
			}
			if err := tx.SetMessageStatus(hashes[16], message.StatusRemoving); err != nil {
				return err
			}
			lost, stray, err := tx.LostEnds()
			if len(lost) > 0 || stray > 0 {
				t.Errorf("lost %v, and %d that lead nowhere", lost, stray)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestVersionsAndClaimsStayWhenTheyComeInOrder(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		c := old(t, dsn, 4)
		first, second := message.HashBytes([]byte("first")), message.HashBytes([]byte("second"))
		for i, h := range []message.Hash{first, second} {
			for _, insert := range []string{
				fmt.Sprintf(`INSERT INTO file_pins (file_hash, type, owner, item_hash, ref, tag, created) VALUES ('file%d', 'message', 'a', '%s', NULL, '%s', %d)`, i, h, first, 5-i),
				fmt.Sprintf(`INSERT INTO files (hash, size, type) VALUES ('file%d', %d, 'file')`, i, 100+i),
				fmt.Sprintf(`INSERT INTO claims (item_hash, owner, payment_type, content_time, need, must_pay, exempt, status, ended, ended_by)
					VALUES ('%s', 'a', 'hold', %d, '1.5', 1, 0, 'forgotten', 7.5, 'x')`, h, 5-i),
			} {
				if _, err := c.ExecContext(t.Context(), insert); err != nil {
					t.Fatal(err)
				}
			}
		}
		queries := []string{
			`SELECT * FROM file_pins ORDER BY id`, `SELECT item_hash, owner, payment_type, content_time, need, must_pay, exempt, status, ended, ended_by FROM claims ORDER BY item_hash`,
		}
		had := make([][]string, len(queries))
		for i, q := range queries {
			had[i] = table(t, c, q)
		}
		if err := c.close(); err != nil {
			t.Fatal(err)
		}

		s, c := opened(t, dsn)
		for i, q := range queries {
			if has := table(t, c, q); len(has) != 2 || !slices.Equal(has, had[i]) {
				t.Errorf("%s: %s, was %s", q, has, had[i])
			}
		}
		s.writer <- c // for this test to write as anybody does
		defer func() { <-s.writer }()
		err := s.Write(t.Context(), func(tx *Tx) error {
			if v, err := tx.Tag(string(first)); err != nil || v == nil || v.Message != first || v.File != "file0" || v.ContentTime != 5 {
				t.Errorf("the newest version is %+v, %v", v, err)
			}
			if file, size, ok, err := tx.ReferencedFile(second, false); err != nil || !ok || file != "file1" || size != 101 {
				t.Errorf("%s has %s of %d bytes, %v, %v", second, file, size, ok, err)
			}
			claim, err := tx.Claim(second)
			if err != nil || claim == nil {
				return fmt.Errorf("claim %+v: %w", claim, err)
			}
			claim.Need = "2"
			if err := errors.Join(tx.PutClaim(claim), tx.DeletePin(first, PinMessage)); err != nil {
				return err
			}
			if v, err := tx.Tag(string(first)); err != nil || v == nil || v.Message != second {
				t.Errorf("then the newest version is %+v, %v", v, err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if has := table(t, c, `SELECT item_hash, need FROM claims ORDER BY need`); len(has) != 2 || !strings.Contains(has[1], string(second)) {
			t.Errorf("the claims are %s", has)
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
