package intake

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

// image copies files of a place, which is what a crash leaves of them.
func image(t *testing.T, from place, to string, names ...string) {
	t.Helper()
	for _, name := range names {
		files, err := filepath.Glob(filepath.Join(from.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			relative, err := filepath.Rel(from.dir, file)
			if err != nil {
				t.Fatal(err)
			}
			copied := filepath.Join(to, relative)
			if err := os.MkdirAll(filepath.Dir(copied), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(copied, raw, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

const (
	database = "aleph.db*"
	journals = "journal/*"
)

// count counts the applied messages that a database holds by itself.
func count(t *testing.T, at place) (n int64) {
	t.Helper()
	s, err := store.OpenReader(t.Context(), at.dsn)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Read(t.Context(), func(r *store.Reader) (err error) {
		n, err = r.CountMessages(store.MessageFilter{}, 0)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return n
}

// What was answered is there after a crash, whatever of it the database had: nothing, or what it had at any time before.
func TestAcknowledgedSurvivesACrash(t *testing.T) {
	at := onSQLite(t.TempDir())
	r := start(t, at)
	<-r.Started()
	early := t.TempDir() // loss of power: the database fell back to its beginning
	image(t, at, early, database)

	want := map[message.Hash]message.Status{}
	take := func(h message.Hash, raw []byte) {
		t.Helper()
		out := r.submit(raw)
		if out.Status == "" {
			t.Fatalf("message %s has no status", h)
		}
		want[h] = out.Status
	}
	middle := t.TempDir()
	for n := range 40 {
		take(post(n, nil))
		if n == 20 {
			r.wantStatus(hashOfPost(n), message.StatusProcessed) // a reader has it committed
			image(t, at, middle, database)
		}
	}
	take(post(100, fields{"type": "denied"}))
	take(post(101, fields{"ref": message.HashBytes([]byte("missing"))}))
	take(envelope(message.TypePost, fields{"address": "0xA", "time": 1, "type": "note"}, "bad"))
	late := t.TempDir()
	image(t, at, late, database)
	for _, dir := range []string{early, middle, late} {
		image(t, at, dir, journals)
	}
	r.stop()

	for name, dir := range map[string]string{"early": early, "middle": middle, "late": late} {
		t.Run(name, func(t *testing.T) {
			at := onSQLite(dir)
			if n := count(t, at); n >= 40 {
				t.Fatalf("the database alone has %d messages: there is nothing to show", n)
			}
			for range 2 { // the second start finds all of it in the database
				again := start(t, at)
				<-again.Started()
				for h, status := range want {
					again.wantStatus(h, status)
				}
				again.stop()
			}
			if n := count(t, at); n != 40 {
				t.Errorf("the database has %d messages, want 40", n)
			}
		})
	}
}

// What the database does not take at the start stays in the journal, although the database takes other things.
func TestWhatAStartCannotTakeInIsLeftForTheNext(t *testing.T) {
	at := onSQLite(t.TempDir())
	r := start(t, at)
	<-r.Started()
	dir := t.TempDir()
	image(t, at, dir, database)
	h, raw := post(1, nil)
	r.submit(raw)
	image(t, at, dir, journals)
	r.stop()

	at = onSQLite(dir)
	s, err := store.Open(t.Context(), at.dsn)
	if err != nil {
		t.Fatal(err)
	}
	driver := slices.IndexFunc(sql.Drivers(), func(name string) bool { return strings.HasPrefix(name, "sqlite") })
	db, err := sql.Open(sql.Drivers()[driver], filepath.Join(dir, "aleph.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, table := range []string{"messages", "pending_messages"} {
		if _, err := db.Exec(`CREATE TRIGGER no_` + table + ` BEFORE INSERT ON ` + table + ` BEGIN SELECT RAISE(ABORT, 'no room'); END`); err != nil {
			t.Fatal(err)
		}
	}
	disk, err := files.OpenDisk(filepath.Join(dir, "files"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(Config{Params: params.Devnet(), Store: s, State: &rules{}, Files: disk, Verify: verify, Journal: filepath.Join(dir, "journal")})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "no room") || !strings.Contains(err.Error(), string(h)) {
		t.Errorf("the start ends with %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"messages", "pending_messages"} {
		if _, err := db.Exec(`DROP TRIGGER no_` + table); err != nil {
			t.Fatal(err)
		}
	}
	again := start(t, at)
	<-again.Started()
	again.wantStatus(h, message.StatusProcessed)
}

func hashOfPost(n int) message.Hash {
	h, _ := post(n, nil)
	return h
}

// A message on which the transaction breaks takes others with it that were answered; they are applied again.
func TestAnsweredMessagesOutliveAFailedTransaction(t *testing.T) {
	r := start(t, onSQLite(t.TempDir()))
	<-r.Started()
	for n := range 10 {
		h, raw := post(n, nil)
		r.submit(raw)
		if n == 4 {
			r.wantStatus(h, message.StatusProcessed) // a reader has it committed
		}
	}
	poison, raw := post(100, fields{"type": "poison"})
	if out := r.submit(raw); out.Status != message.StatusPending {
		t.Errorf("the message that cannot be applied is %s", out.Status)
	}
	for n := range 10 {
		r.wantStatus(hashOfPost(n), message.StatusProcessed)
	}
	r.wantStatus(poison, message.StatusPending)
}

// The journal has a message before it is applied, and keeps it when that fails: a start that finds it there takes in all the others.
func TestMessageThatCannotBeAppliedStopsNoStart(t *testing.T) {
	at := onSQLite(t.TempDir())
	r := start(t, at)
	<-r.Started()
	early := t.TempDir() // loss of power: the database fell back to its beginning
	image(t, at, early, database)
	for n := range 5 {
		_, raw := post(n, nil)
		r.submit(raw)
	}
	poison, raw := post(100, fields{"type": "poison"})
	r.submit(raw)
	for n := range 5 {
		_, raw := post(5+n, nil)
		r.submit(raw)
	}
	image(t, at, early, journals)
	r.stop()
	at = onSQLite(early)
	if n := count(t, at); n > 0 {
		t.Fatalf("the database alone has %d messages: there is nothing to show", n)
	}
	again := start(t, at)
	<-again.Started()
	for n := range 10 {
		again.wantStatus(hashOfPost(n), message.StatusProcessed)
	}
	again.wantStatus(poison, message.StatusPending)
}

// What a failed transaction took with it and cannot be read back is there after the next start.
func TestAnsweredMessagesOutliveAJournalThatCannotBeRead(t *testing.T) {
	const all = 11
	for range 10 {
		at := onSQLite(t.TempDir())
		loseUnread(t, at, all)
		held := count(t, at)
		r := start(t, at)
		<-r.Started()
		for n := range all {
			r.wantStatus(hashOfPost(n), message.StatusProcessed)
		}
		r.stop()
		if held < all {
			return
		} // a reader had what was to be lost committed
	}
	t.Fatal("the database never lost a message: there is nothing to show")
}

// loseUnread takes in n messages, the last of them after a transaction failed whose messages could not be read back.
func loseUnread(t *testing.T, at place, n int) {
	t.Helper()
	r := start(t, at)
	<-r.Started()
	submit := func(n int) {
		_, raw := post(n, nil)
		r.submit(raw)
	}
	for n := range n - 1 {
		submit(n)
	}
	dir := filepath.Join(at.dir, "journal")
	hidden := dir + ".hidden"
	if err := os.Rename(dir, hidden); err != nil {
		t.Fatal(err)
	}
	poison, raw := post(100, fields{"type": "poison"})
	r.submit(raw)
	r.wantStatus(poison, message.StatusPending)
	submit(n - 1)
	if err := os.Rename(hidden, dir); err != nil {
		t.Fatal(err)
	}
	r.stop()
}

// Without a journal that can be written each group is committed before it is answered.
func TestBrokenJournalCostsNoMessage(t *testing.T) {
	at := onSQLite(t.TempDir())
	r := start(t, at)
	<-r.Started()
	if err := r.keeper.journal.Close(); err != nil { // nothing is written at this moment
		t.Fatal(err)
	}
	for n := range 10 {
		_, raw := post(n, nil)
		r.submit(raw)
	}
	dir := t.TempDir()
	image(t, at, dir, database)
	if n := count(t, onSQLite(dir)); n != 10 {
		t.Errorf("the database has %d of 10 messages", n)
	}
	// A transaction that a reader could not commit is undone, and what it held is in no journal.
	for round, want := range map[uint64]error{r.store.Committed(): nil, r.store.Committed() + 1: store.ErrUndone} {
		told := make(chan error, 1)
		applied := make(chan uint64, 1)
		applied <- round
		r.keeper.writing <- journaled{applied: applied, done: func(err error) { told <- err }}
		if err := <-told; !errors.Is(err, want) {
			t.Errorf("a group of round %d: %v, want %v", round, err, want)
		}
	}
	// It cannot be closed again, which is told.
	r.wantErr = true
	r.stop()
}
