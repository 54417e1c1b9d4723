// Package convergence holds nodes to what docs/architecture.md promises: the same messages in any order, with any copies, on
// either engine, give the same rows and the same answers, byte for byte.
package convergence

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/ccn/store/storetest"
	"github.com/aleph-im/aleph-go/internal/postgrestest"
	"github.com/aleph-im/aleph-go/message"
)

// early is before the end of any grace period, late is after it.
var early, late = time.Unix(10, 0), time.Unix(1_700_000_000, 0)

// check tells n stories, the same ones in each run. ALEPH_HISTORIES asks for another number, ALEPH_FIRST for others: it is
// the number of the first.
func check(t *testing.T, n int, prop func(*rapid.T, *telling)) {
	n, next := number(t, "ALEPH_HISTORIES", n), number(t, "ALEPH_FIRST", 1)
	end := next + n
	stories := rapid.Custom(draw)
	for next < end { // rapid takes a hundred at once
		rapid.Check(t, func(t *rapid.T) {
			if next == end {
				return
			}
			t.Logf("story %d", next)
			prop(t, stories.Example(next))
			next++ // one that fails is told again
		})
	}
}

func number(t *testing.T, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q is not a number of histories", name, text)
	}
	return n
}

// telling is a story, told once in the order in which it could have happened, and once as it came to another node.
type telling struct {
	story    *story
	clock    time.Time
	contents map[message.Hash][]byte // of messages, as files
	ordered  []news
	batches  [][]news // in another order and with copies; the node is restarted between them
}

func (told *telling) now() time.Time { return told.clock }

// draw tells a story.
func draw(t *rapid.T) *telling {
	s := tell(t)
	heard := s.news()
	told := &telling{story: s, clock: one(t, []time.Time{early, late}, "clock"), contents: map[message.Hash][]byte{}}
	for _, m := range append(slices.Clone(s.said), s.forgets...) {
		told.contents[m.ItemHash] = m.text
	}
	for i := range files {
		told.ordered = append(told.ordered, news{file: &files[i]})
	}
	told.ordered = append(told.ordered, heard...)
	var shuffled, copies []news
	for _, i := range rapid.Permutation(indices(len(heard))).Draw(t, "order") {
		shuffled = append(shuffled, heard[i])
	}
	for _, i := range rapid.SliceOfN(rapid.IntRange(0, len(heard)-1), 0, 6).Draw(t, "copies") {
		c := heard[i]
		if c.message != nil && c.anchor == nil && rapid.Bool().Draw(t, "forged") {
			c.message = forge(t, c.message)
		}
		copies = append(copies, c)
	}
	split := even(t, len(heard)+1, "split")
	first := slices.Concat(copies, shuffled[:split])
	// Nobody learns the size of a file that was forgotten before it came.
	end := slices.IndexFunc(first, func(what news) bool { return what.message != nil && what.message.Type == message.TypeForget })
	if end < 0 {
		end = len(first)
	}
	for i := range files {
		first = slices.Insert(first, even(t, end+1, "file"), news{file: &files[i]})
	}
	// Of copies that are equally good the one that came first is kept, so the others come when all is known.
	var echoes []news
	for range even(t, 3, "echoes") {
		m := one(t, s.said, "echoed")
		echoes = append(echoes, news{message: echo(t, m.Message)})
	}
	told.ordered = append(told.ordered, echoes...)
	told.batches = [][]news{first, slices.Concat(copies, shuffled[split:], copies, echoes)}
	return told
}

func indices(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// String writes a story down.
func (told *telling) String() string {
	var b strings.Builder
	write := func(what news) {
		switch m := what.message; {
		case what.file != nil:
			fmt.Fprintf(&b, "%.8s file of %d bytes\n", what.file.Hash, what.file.Size)
		case what.anchor != nil:
			fmt.Fprintf(&b, "%.8s anchored at %d\n", m.ItemHash, what.anchor.Height)
		case m.Signature != signature:
			fmt.Fprintf(&b, "%.8s forged\n", m.ItemHash)
		default:
			fmt.Fprintf(&b, "%.8s %s %s %s %s\n", m.ItemHash, m.Type, m.Sender, m.ItemType, told.contents[m.ItemHash])
		}
	}
	for _, batch := range append([][]news{told.ordered}, told.batches...) {
		for _, what := range batch {
			write(what)
		}
		b.WriteString("--\n")
	}
	return b.String()
}

// place is where a node keeps its database.
type place interface {
	// start starts a node, on an empty database when it is a new one.
	start(ctx context.Context, anew bool) (*store.Store, error)
	stop(*store.Store) error
}

// folder keeps the database in a file.
type folder string

func (f folder) start(ctx context.Context, anew bool) (*store.Store, error) {
	path := filepath.Join(string(f), "node.db")
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		if anew {
			if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
				return nil, err
			}
		}
	}
	return store.Open(ctx, "sqlite:"+path)
}

func (folder) stop(db *store.Store) error { return db.Close() }

// server keeps the database in PostgreSQL. Its nodes share their connections, as new ones take longer than a story.
type server struct {
	dsn string
	db  *store.Store
}

func newServer(t *testing.T) *server {
	dsn := postgrestest.DSN(t)
	return &server{dsn, storetest.Open(t, dsn)()}
}

func (s *server) start(ctx context.Context, anew bool) (*store.Store, error) {
	if !anew {
		return s.db, nil
	}
	c, err := pgx.Connect(ctx, s.dsn)
	if err != nil {
		return nil, err
	}
	defer c.Close(ctx)
	var statements string
	err = c.QueryRow(ctx, `SELECT string_agg(format('DELETE FROM %I', tablename), ';') FROM pg_tables
		WHERE schemaname = 'public' AND tablename <> 'schema_version'`).Scan(&statements)
	if err == nil {
		_, err = c.Exec(ctx, statements)
	}
	return s.db, err
}

func (*server) stop(*store.Store) error { return nil }

// live lets a node hear news in batches, with a restart between them, and calls ask while it still runs.
func live(t *rapid.T, p place, told *telling, ask func(*store.Store), batches ...[]news) {
	for i, batch := range batches {
		db, err := p.start(t.Context(), i == 0)
		if err != nil {
			t.Fatal(err)
		}
		last := i == len(batches)-1
		err = db.Write(t.Context(), func(tx *store.Tx) error {
			at(t, tx, told).hearAll(batch)
			for _, f := range files { // a node keeps for a while what it gave up, by its own clock
				if err := tx.DeleteGracePins(f.Hash); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil && last {
			ask(db)
		}
		if stopped := p.stop(db); err != nil || stopped != nil {
			t.Fatal(err, stopped)
		}
	}
}

// difference returns the lines that only one of two texts has.
func difference(want, got string) string {
	var b strings.Builder
	has := func(text string) map[string]bool {
		lines := map[string]bool{}
		for line := range strings.Lines(text) {
			lines[line] = true
		}
		return lines
	}
	wanted, gotten := has(want), has(got)
	for line := range strings.Lines(want) {
		if !gotten[line] {
			b.WriteString("in order only:  " + line)
		}
	}
	for line := range strings.Lines(got) {
		if !wanted[line] {
			b.WriteString("shuffled only:  " + line)
		}
	}
	return b.String()
}
