package store

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

func openLater(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "node.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.tending.stop(); err != nil { // nobody but the test commits
		t.Fatal(err)
	}
	return s
}

// setLater writes a value later and returns the round.
func setLater(t *testing.T, s *Store, key string) uint64 {
	t.Helper()
	round, err := s.WriteLater(t.Context(), func(tx *Tx) error { return tx.Set(key, "set") })
	if err != nil {
		t.Fatal(err)
	}
	return round
}

func wantSet(t *testing.T, read func(func(*Reader) error) error, key string, want bool) {
	t.Helper()
	err := read(func(r *Reader) error {
		v, err := r.Get(key)
		if set := v == "set"; set != want {
			t.Errorf("%s is set: %v, want %v", key, set, want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsWrittenLaterIsCommittedForWhoReads(t *testing.T) {
	s := openLater(t)
	read := func(do func(*Reader) error) error { return s.Read(t.Context(), do) }
	committed := func(do func(*Reader) error) error { return s.ReadCommitted(t.Context(), do) }
	first := setLater(t, s, "a")
	if second := setLater(t, s, "b"); second != first {
		t.Errorf("rounds %d and %d, want one", first, second)
	}
	wantSet(t, committed, "a", false)
	if s.Committed() >= first {
		t.Error("the round counts as committed")
	}
	wantSet(t, read, "a", true)
	wantSet(t, committed, "b", true)
	if s.Committed() != first {
		t.Errorf("committed is round %d, want %d", s.Committed(), first)
	}
	next := setLater(t, s, "c")
	if err := s.Write(t.Context(), func(tx *Tx) error { return tx.Set("d", "set") }); err != nil {
		t.Fatal(err)
	}
	wantSet(t, committed, "c", true)
	if next <= first || s.Committed() != next {
		t.Errorf("committed is round %d, want %d after %d", s.Committed(), next, first)
	}
}

func TestWhatIsSetAtCommitIsSetOnce(t *testing.T) {
	s := openLater(t)
	for _, v := range []string{"first", "set"} {
		_, err := s.WriteLater(t.Context(), func(tx *Tx) error {
			tx.SetAtCommit("key", v)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	wantSet(t, func(do func(*Reader) error) error { return s.Read(t.Context(), do) }, "key", true)
}

func TestFailedWriteUndoesItsRound(t *testing.T) {
	s := openLater(t)
	read := func(do func(*Reader) error) error { return s.Read(t.Context(), do) }
	kept := setLater(t, s, "kept")
	if err := s.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	lost := setLater(t, s, "lost")
	broken := errors.New("broken")
	if _, err := s.WriteLater(t.Context(), func(*Tx) error { return broken }); !errors.Is(err, ErrUndone) || !errors.Is(err, broken) {
		t.Fatalf("WriteLater returns %v", err)
	}
	wantSet(t, read, "kept", true)
	wantSet(t, read, "lost", false)
	if c := s.Committed(); c != kept || c >= lost {
		t.Errorf("committed is round %d; %d was kept, %d lost", c, kept, lost)
	}
	setLater(t, s, "again")
	wantSet(t, read, "again", true)
}

// A commit that fails for a reader is told to who wrote.
func TestFailedCommitIsToldToWhoWrote(t *testing.T) {
	s := openLater(t)
	_, err := s.WriteLater(t.Context(), func(tx *Tx) error {
		if err := tx.exec("PRAGMA defer_foreign_keys = ON"); err != nil {
			return err
		}
		return tx.exec(`INSERT INTO pending_waits (wait_key, pending_id) VALUES ('of no message', 1)`)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Read(t.Context(), func(*Reader) error { return nil }); !errors.Is(err, ErrUndone) {
		t.Errorf("Read returns %v", err)
	}
	if _, err := s.WriteLater(t.Context(), func(*Tx) error { return nil }); !errors.Is(err, ErrUndone) {
		t.Errorf("WriteLater returns %v", err)
	}
	setLater(t, s, "again")
	wantSet(t, func(do func(*Reader) error) error { return s.Read(t.Context(), do) }, "again", true)
}

// Only commits that nothing else makes durable are spared the sync.
func TestWriteIsSynced(t *testing.T) {
	s := openLater(t)
	level := func(tx *Tx) string {
		var level string
		if err := tx.row("PRAGMA synchronous").Scan(&level); err != nil {
			t.Fatal(err)
		}
		return level
	}
	var seen []string
	for range 2 {
		if _, err := s.WriteLater(t.Context(), func(tx *Tx) error { seen = append(seen, level(tx)); return nil }); err != nil {
			t.Fatal(err)
		}
		if err := s.Write(t.Context(), func(tx *Tx) error { seen = append(seen, level(tx)); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(seen, ""); got != "1212" {
		t.Errorf("levels %s, want 1 (NORMAL) and 2 (FULL) in turn", got)
	}
}
