package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"

	"github.com/aleph-im/aleph-go/message"
)

// filled makes a database of the first schema with some messages in it.
func filled(t *testing.T, dsn string) {
	t.Helper()
	c := old(t, dsn, 1)
	for i := range 100 {
		h := message.HashBytes([]byte(strconv.Itoa(i)))
		_, err := c.ExecContext(t.Context(), fmt.Sprintf(`INSERT INTO messages (item_hash, type, chain, sender, item_type, item_content, time, size, status,
			reception_time, owner, content_time) VALUES ('%s', 'POST', 'ETH', 'a', 'inline', '{}', %d, 2, 'processed', 6, 'a', %d)`, h, i, i))
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
}

// contents reads what a database of the first schema holds, and fails where it is of another.
func contents(t *testing.T, dsn string) []string {
	t.Helper()
	c := old(t, dsn, 1)
	if version, err := c.engine.version(t.Context(), c.Conn); err != nil || version != 1 {
		t.Errorf("the schema has version %d, %v", version, err)
	}
	tables := `SELECT name, sql FROM sqlite_schema ORDER BY name`
	if c.engine.shared() {
		tables = `SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema() ORDER BY indexname`
	}
	rows := append(table(t, c, tables), table(t, c, `SELECT * FROM messages ORDER BY id`)...)
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	return rows
}

func migratedWhole(t *testing.T, dsn string) {
	t.Helper()
	told := []int{}
	s, err := OpenMigrating(t.Context(), dsn, func(percent int) { told = append(told, percent) })
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSorted(told) || len(told) < 3 || told[0] != 0 || told[len(told)-1] != 100 {
		t.Errorf("told %d", told)
	}
	err = s.Read(t.Context(), func(r *Reader) error {
		m, err := r.Message(message.HashBytes([]byte("99")))
		if err == nil && m == nil {
			err = errors.New("the message is not there")
		}
		return err
	})
	if err := errors.Join(err, s.Close()); err != nil {
		t.Error(err)
	}
	_, err = OpenMigrating(t.Context(), dsn, func(percent int) { t.Errorf("told %d of what is done", percent) })
	if err != nil {
		t.Error(err)
	}
}

func TestMigrationThatIsKilledLeavesAllAsItWas(t *testing.T) {
	if dsn := os.Getenv("MIGRATED_DSN"); dsn != "" {
		until, err := strconv.Atoi(os.Getenv("MIGRATED_UNTIL"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = OpenMigrating(t.Context(), dsn, func(percent int) {
			if percent >= until {
				fmt.Println("there")
				select {}
			}
		})
		t.Fatalf("was not killed: %v", err)
	}
	engines(t, func(t *testing.T, dsn string) {
		filled(t, dsn)
		had := contents(t, dsn)
		for _, until := range []string{"0", "20", "60", "100"} {
			child := exec.Command(os.Args[0], "-test.run=^TestMigrationThatIsKilledLeavesAllAsItWas$")
			child.Env = append(os.Environ(), "MIGRATED_DSN="+dsn, "MIGRATED_UNTIL="+until)
			out, err := child.StdoutPipe()
			if err == nil {
				err = child.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			if line != "there\n" {
				t.Errorf("%s %%: %q, %v", until, line, err)
			}
			if err := child.Process.Kill(); err != nil {
				t.Error(err)
			}
			_ = child.Wait() // it was killed
			if has := contents(t, dsn); !slices.Equal(has, had) {
				t.Errorf("after %s %% there is %q, there was %q", until, has, had)
			}
		}
		migratedWhole(t, dsn)
	})
}

func TestMigrationThatIsToldToStopLeavesAllAsItWas(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		filled(t, dsn)
		had := contents(t, dsn)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, err := OpenMigrating(ctx, dsn, func(percent int) {
			if percent >= 60 {
				cancel()
			}
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if has := contents(t, dsn); !slices.Equal(has, had) {
			t.Errorf("there is %q, there was %q", has, had)
		}
		migratedWhole(t, dsn)
	})
}
