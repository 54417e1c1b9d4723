package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/aleph-im/aleph-go/message"
)

// fate makes something known of the n-th hash, or has something wait for it.
func fate(tx *Tx, n int) error {
	h := fated(n)
	m := message.Message{ItemHash: h, Type: message.TypePost, Sender: "a", ItemType: message.ItemInline, ItemContent: "{}"}
	switch n % 6 {
	case 0:
		return tx.InsertForgotten(&ForgottenRow{Message: m, Owner: "a"})
	case 1:
		return tx.InsertRemoved(&RemovedRow{Message: m, Owner: "a"})
	case 2:
		return tx.PutPending(&PendingRow{Hash: h, Sender: "a", Signature: "s", Envelope: []byte("{}")}, nil)
	case 3:
		waiting := message.HashBytes(fmt.Append(nil, "waits for", n))
		return tx.PutPending(&PendingRow{Hash: waiting, Sender: "a", Signature: "s", Envelope: []byte("{}")}, []message.WaitKey{message.WaitMessage(h)})
	case 4:
		return tx.PutRejected(&RejectedRow{Hash: h, Envelope: []byte("{}"), Sender: "a", Verified: true})
	}
	return tx.InsertMessage(&MessageRow{Message: m, Owner: "a", Status: message.StatusProcessed}, &ContentColumns{})
}

func fated(n int) message.Hash { return message.HashBytes(fmt.Append(nil, "fate", n)) }

// learned opens a database that knows what it has.
func learned(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.learn(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNothingKnownIsTakenForUnknown(t *testing.T) {
	path := "sqlite:" + filepath.Join(t.TempDir(), "node.db")
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	const all = 6000
	var written atomic.Int64
	ended := make(chan error)
	go func() {
		for n := range all {
			write := func(tx *Tx) error { return fate(tx, n) }
			var err error
			if n%100 == 0 {
				err = s.Write(t.Context(), write)
			} else {
				_, err = s.WriteLater(t.Context(), write)
			}
			if err != nil {
				ended <- err
				return
			}
			written.Store(int64(n + 1))
		}
		ended <- nil
	}()
	check := func() {
		t.Helper()
		for n := range written.Load() {
			if s.known.unknown(fated(int(n))) {
				t.Fatalf("hash %d of %d is taken for unknown", n, written.Load())
			}
		}
	}
	for writing := true; writing; {
		if err := s.learn(t.Context()); err != nil {
			t.Error(err)
		}
		check()
		select {
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
			writing = false
		default:
		}
	}
	check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = learned(t, path)
	defer s.Close()
	check()
	unknown := 0
	for n := range all {
		if s.known.unknown(message.HashBytes(fmt.Append(nil, "never", n))) {
			unknown++
		}
	}
	if unknown < all*9/10 {
		t.Errorf("only %d of %d that nobody sent are unknown", unknown, all)
	}
}

func TestWhatIsUnknownIsNotAskedFor(t *testing.T) {
	s := openLater(t)
	if err := s.learn(t.Context()); err != nil {
		t.Fatal(err)
	}
	asked := errors.New("the database was asked")
	err := s.Write(t.Context(), func(tx *Tx) error {
		if err := fate(tx, 5); err != nil {
			return err
		}
		tx.before = func() error { return asked } // comes before each statement
		defer func() { tx.before = tx.flush }()
		if err := tx.Foresee([]message.Hash{fated(1)}); err != nil {
			t.Errorf("a hash that is nowhere: %v", err)
		}
		if signature, status, err := tx.Signature(fated(1)); err != nil || signature != "" || status != "" {
			t.Errorf("got %q, %q, %v", signature, status, err)
		}
		if err := tx.Foresee([]message.Hash{fated(1), fated(5)}); !errors.Is(err, asked) {
			t.Errorf("a message that is there: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestAFullFilterIsReplaced(t *testing.T) {
	s := openLater(t)
	if err := s.learn(t.Context()); err != nil {
		t.Fatal(err)
	}
	small := newFilter(4)
	s.known.all.Store(small)
	err := s.Write(t.Context(), func(tx *Tx) error {
		for n := range 6 {
			if err := fate(tx, n); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !s.known.full() {
		t.Error("six texts fill no filter with room for four")
	}
	if err := s.learn(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.known.full() || s.known.all.Load() == small {
		t.Error("the filter was not replaced")
	}
}

func TestANodeThatFollowsAChainAsksTheDatabase(t *testing.T) {
	path := "sqlite:" + filepath.Join(t.TempDir(), "node.db")
	s := learned(t, path)
	err := s.Write(t.Context(), func(tx *Tx) error {
		return tx.InsertConfirmation(fated(1), Confirmation{TxHash: "t", Chain: "ETH", Publisher: "p"})
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.known.unknown(fated(1)) {
		t.Error("a message that was confirmed is unknown")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = learned(t, path)
	defer s.Close()
	if s.known.unknown(fated(1)) || s.known.unknown(fated(2)) {
		t.Error("it knows without the confirmations that were there")
	}
}
