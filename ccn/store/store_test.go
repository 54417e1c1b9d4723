package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aleph-im/aleph-go/message"
)

func open(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), "sqlite:"+path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func fresh(t testing.TB) *Store {
	t.Helper()
	s := open(t, filepath.Join(t.TempDir(), "node.db"))
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func write(t testing.TB, s *Store, f func(tx *Tx) error) {
	t.Helper()
	if err := s.Write(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, s *Store, f func(r *Reader) error) {
	t.Helper()
	if err := s.Read(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, s *Store, key string) (v string) {
	t.Helper()
	read(t, s, func(r *Reader) (err error) {
		v, err = r.Get(key)
		return err
	})
	return v
}

func set(key, v string) func(tx *Tx) error { return func(tx *Tx) error { return tx.Set(key, v) } }

func TestWhatWasWrittenIsThereAfterReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a folder?with#odd%20name.db")
	s := open(t, path)
	write(t, s, set("cursor", "42"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	defer s.Close()
	if got := get(t, s, "cursor"); got != "42" {
		t.Errorf("got %q", got)
	}
}

func TestFailedWriteLeavesNothing(t *testing.T) {
	s := fresh(t)
	cause := errors.New("no")
	err := s.Write(t.Context(), func(tx *Tx) error {
		if err := tx.Set("a", "1"); err != nil {
			return err
		}
		return cause
	})
	if !errors.Is(err, cause) {
		t.Errorf("got error %v", err)
	}
	if got := get(t, s, "a"); got != "" {
		t.Errorf("got %q", got)
	}
	write(t, s, set("a", "2"))
}

func TestPanicInAWriteLeavesTheWriterUsable(t *testing.T) {
	s := fresh(t)
	func() {
		defer func() { _ = recover() }()
		_ = s.Write(t.Context(), func(tx *Tx) error {
			if err := tx.Set("a", "1"); err != nil {
				return err
			}
			panic("bug")
		})
	}()
	write(t, s, set("b", "2"))
	if a, b := get(t, s, "a"), get(t, s, "b"); a != "" || b != "2" {
		t.Errorf("got a=%q b=%q", a, b)
	}
}

func TestReaderKeepsItsSnapshot(t *testing.T) {
	s := fresh(t)
	write(t, s, set("a", "1"))
	read(t, s, func(r *Reader) error {
		before, err := r.Get("a")
		if err != nil {
			return err
		}
		write(t, s, set("a", "2"))
		after, err := r.Get("a")
		if before != "1" || after != "1" {
			t.Errorf("got %q, then %q", before, after)
		}
		return err
	})
	if got := get(t, s, "a"); got != "2" {
		t.Errorf("got %q", got)
	}
}

func TestReaderCannotWrite(t *testing.T) {
	s := fresh(t)
	err := s.Read(t.Context(), func(r *Reader) error { return (&Tx{Reader: r}).Set("a", "1") })
	if err == nil {
		t.Error("a reader wrote")
	}
}

func TestReadersAndWritersAtOnce(t *testing.T) {
	s := fresh(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				if err := s.Write(t.Context(), set(fmt.Sprint(i), fmt.Sprint(j))); err != nil {
					t.Error(err)
				}
				err := s.Read(t.Context(), func(r *Reader) error {
					v, err := r.Get(fmt.Sprint(i))
					if err == nil && v != fmt.Sprint(j) {
						err = fmt.Errorf("wrote %d, read %s", j, v)
					}
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestCancelledContextIsRefused(t *testing.T) {
	s := fresh(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Write(ctx, set("a", "1")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := s.Read(ctx, func(*Reader) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.db")
	s := open(t, path)
	c := <-s.writer
	if _, err := c.ExecContext(t.Context(), fmt.Sprintf("PRAGMA user_version = %d", len(migrations)+1)); err != nil {
		t.Fatal(err)
	}
	s.writer <- c
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), "sqlite:"+path); err == nil || !strings.Contains(err.Error(), "newer release") {
		t.Errorf("got %v", err)
	}
}

func TestUnknownEngineIsRefused(t *testing.T) {
	for _, dsn := range []string{"", "node.db", "mysql://x", "sqlite:", "sqlite::memory:", "postgres://127.0.0.1:1/x?sslmode=off"} {
		if _, err := Open(t.Context(), dsn); err == nil {
			t.Errorf("%q was opened", dsn)
		}
	}
}

func TestPendingMessagesWaitAndWake(t *testing.T) {
	s := fresh(t)
	row := &PendingRow{Hash: "h", Sender: "s", Signature: "x", Envelope: []byte(`{}`), Origin: "p2p", NextAttempt: 1000, ErrorCode: message.ErrStoreRefNotFound}
	other := *row
	other.Signature = "y"
	key := message.WaitMessage("target")
	write(t, s, func(tx *Tx) error {
		return errors.Join(tx.PutPending(row, []message.WaitKey{key, key}), tx.PutPending(&other, nil))
	})
	due := func(now message.Time) (list []PendingRow) {
		read(t, s, func(r *Reader) (err error) {
			list, err = r.PendingDue(now, 10)
			return err
		})
		return list
	}
	if n := len(due(500)); n != 0 {
		t.Errorf("%d are due before their time", n)
	}
	write(t, s, func(tx *Tx) error {
		n, err := tx.WakePending([]message.WaitKey{key}, 500)
		if n != 1 {
			t.Errorf("woke %d", n)
		}
		return err
	})
	if list := due(500); len(list) != 1 || list[0].Signature != "x" || list[0].ErrorCode != message.ErrStoreRefNotFound {
		t.Errorf("got %+v", list)
	}
	row.Retries = 3
	write(t, s, func(tx *Tx) error { return tx.PutPending(row, nil) })
	write(t, s, func(tx *Tx) error { return tx.DeletePending("h", "s", "y") })
	read(t, s, func(r *Reader) error {
		list, err := r.Pending("h")
		if len(list) != 1 || list[0].Retries != 3 {
			t.Errorf("got %+v", list)
		}
		if waiters, err := r.Waiters(key); err != nil || len(waiters) != 0 {
			t.Errorf("still waiting: %v, %v", waiters, err)
		}
		return err
	})
}

func TestConfirmationsAreKeptBeforeTheMessageComes(t *testing.T) {
	s := fresh(t)
	early := Confirmation{TxHash: "t1", Chain: message.ChainETH, Height: 5, Time: 50, Publisher: "p"}
	late := Confirmation{TxHash: "t2", Chain: message.ChainETH, Height: 9, Time: 90, Publisher: "p"}
	m := &MessageRow{Message: message.Message{ItemHash: "h", Type: message.TypePost, ItemType: message.ItemInline, ItemContent: "{}"}, Status: message.StatusProcessed}
	write(t, s, func(tx *Tx) error {
		return errors.Join(tx.InsertConfirmation("h", late), tx.InsertMessage(m, &ContentColumns{Tags: []string{"a"}}),
			tx.InsertConfirmation("h", early), tx.InsertConfirmation("h", early))
	})
	read(t, s, func(r *Reader) error {
		got, err := r.Message("h")
		if err != nil || got == nil || len(got.Confirmations) != 2 || got.Confirmations[0] != early {
			t.Errorf("got %+v, %v", got, err)
		}
		var first int64
		if err := r.row(`SELECT first_confirmed_height FROM messages WHERE item_hash = 'h'`).Scan(&first); err != nil || first != 5 {
			t.Errorf("first confirmed at height %d, %v", first, err)
		}
		return nil
	})
}

func TestStatusTellsTheFurthestState(t *testing.T) {
	s := fresh(t)
	envelope := []byte(`{}`)
	m := message.Message{ItemHash: "h", Type: message.TypePost, ItemType: message.ItemInline, ItemContent: "{}", Signature: "x"}
	for _, step := range []struct {
		want message.Status
		do   func(tx *Tx) error
	}{
		{"", func(*Tx) error { return nil }},
		{message.StatusRejected, func(tx *Tx) error { return tx.PutRejected(&RejectedRow{Hash: "h", Envelope: envelope}) }},
		{message.StatusPending, func(tx *Tx) error { return tx.PutPending(&PendingRow{Hash: "h", Envelope: envelope}, nil) }},
		{message.StatusProcessed, func(tx *Tx) error {
			return tx.InsertMessage(&MessageRow{Message: m, Status: message.StatusProcessed}, &ContentColumns{})
		}},
		{message.StatusForgotten, func(tx *Tx) error {
			return errors.Join(tx.DeleteMessage("h"), tx.InsertForgotten(&ForgottenRow{Message: m, ForgottenBy: []message.Hash{"f"}}))
		}},
	} {
		write(t, s, step.do)
		read(t, s, func(r *Reader) error {
			got, _, err := r.Status("h")
			if got != step.want {
				t.Errorf("got %q, want %q", got, step.want)
			}
			return err
		})
	}
	read(t, s, func(r *Reader) error {
		f, err := r.Forgotten("h")
		if err != nil || f == nil || len(f.ForgottenBy) != 1 || f.Message.Signature != "x" {
			t.Errorf("got %+v, %v", f, err)
		}
		return nil
	})
}

func TestBalanceOfTheGreatestHeightStays(t *testing.T) {
	s := fresh(t)
	put := func(amount string, height int64, by message.Hash, now message.Time) {
		write(t, s, func(tx *Tx) error {
			return tx.PutBalance(&BalanceRow{Address: "a", Chain: message.ChainETH, Balance: amount, Height: height, Message: by, LastUpdate: now})
		})
	}
	for _, step := range []struct {
		amount  string
		height  int64
		by      message.Hash
		now     message.Time
		want    string
		updated message.Time
	}{
		{"5", 10, "m", 1, "5", 1},
		{"6", 9, "z", 2, "5", 1},
		{"7", 10, "a", 3, "5", 1},
		{"8", 10, "n", 4, "8", 4},
		{"8", 11, "a", 5, "8", 4},
	} {
		put(step.amount, step.height, step.by, step.now)
		read(t, s, func(r *Reader) error {
			list, err := r.Balances("a")
			if len(list) != 1 || list[0].Balance != step.want || list[0].LastUpdate != step.updated {
				t.Errorf("after %+v: %+v", step, list)
			}
			return err
		})
	}
}
