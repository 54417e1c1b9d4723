package ccn

import (
	"bytes"
	"context"
	"database/sql"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aleph-im/aleph-go/params"
)

// sqliteDriver is the one of the two that the build has.
func sqliteDriver() string {
	if slices.Contains(sql.Drivers(), "sqlite3") {
		return "sqlite3"
	}
	return "sqlite"
}

// lines calls wrote with each line of a log.
type lines func(line string)

func (l lines) Write(p []byte) (int, error) {
	l(string(p))
	return len(p), nil
}

func TestNodeThatMigratesSaysSo(t *testing.T) {
	dir := t.TempDir()
	script, err := os.ReadFile("store/schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	script = bytes.ReplaceAll(script, []byte("{{id}}"), []byte("INTEGER PRIMARY KEY"))
	script = bytes.ReplaceAll(script, []byte("{{key}}"), []byte("INTEGER PRIMARY KEY"))
	script = bytes.ReplaceAll(script, []byte("{{rowless}}"), []byte("WITHOUT ROWID"))
	db, err := sql.Open(sqliteDriver(), "file:"+filepath.Join(dir, "aleph.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, query := range []string{"PRAGMA journal_mode = WAL", string(script), "PRAGMA user_version = 1", "BEGIN IMMEDIATE"} {
		if _, err := db.ExecContext(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}

	begun, done := make(chan struct{}), make(chan error, 1)
	var once sync.Once
	var ended atomic.Bool
	log := slog.New(slog.NewTextHandler(lines(func(line string) {
		if strings.Contains(line, "to a newer schema") {
			once.Do(func() { close(begun) })
		}
		if strings.Contains(line, "database is migrated\"") {
			ended.Store(true)
		}
	}), nil))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		n, err := New(ctx, Config{Params: params.Devnet(), DataDir: dir, HTTPListen: address, Logger: log})
		if err == nil {
			done <- nil
			err = n.Run(ctx)
		}
		done <- err
	}()
	select {
	case <-begun:
	case err := <-done:
		t.Fatal(err)
	}
	// Who asks nothing keeps nobody from going on.
	idle, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	for path, want := range map[string]int{
		"/health": http.StatusOK, "/ready": http.StatusServiceUnavailable, "/api/v0/messages.json": http.StatusServiceUnavailable,
	} {
		if status, answer := get(t, "http://"+address+path); status != want || answer != `{"status":"migrating, 0 %"}` {
			t.Errorf("%s: %d %s", path, status, answer)
		}
	}
	if _, err := db.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if !ended.Load() {
		t.Error("the log does not say that it is done")
	}
	if status, answer := get(t, "http://"+address+"/ready"); status != http.StatusOK {
		t.Errorf("afterwards: %d %s", status, answer)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
