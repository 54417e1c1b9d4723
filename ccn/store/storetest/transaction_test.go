package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

func write(t testing.TB, s *store.Store, f func(tx *store.Tx) error) {
	t.Helper()
	if err := s.Write(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, s *store.Store, f func(r *store.Reader) error) {
	t.Helper()
	if err := s.Read(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, s *store.Store, key string) (v string) {
	t.Helper()
	read(t, s, func(r *store.Reader) (err error) {
		v, err = r.Get(key)
		return err
	})
	return v
}

func set(key, v string) func(tx *store.Tx) error {
	return func(tx *store.Tx) error { return tx.Set(key, v) }
}

func TestWhatWasWrittenIsThereAfterReopening(t *testing.T) {
	Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		write(t, s, set("cursor", "42"))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if got := get(t, open(), "cursor"); got != "42" {
			t.Errorf("got %q", got)
		}
	})
}

func TestFailedWriteLeavesNothing(t *testing.T) {
	Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		cause := errors.New("no")
		err := s.Write(t.Context(), func(tx *store.Tx) error {
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
	})
}

// A caller that overlooks the error of a statement must not be told that all is written when it is not.
func TestOverlookedErrorIsNoSilentLoss(t *testing.T) {
	Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		vm := &store.VMRow{Hash: "h"}
		err := s.Write(t.Context(), func(tx *store.Tx) error {
			if err := errors.Join(tx.Set("a", "1"), tx.InsertVM(vm)); err != nil {
				t.Error(err)
			}
			if tx.InsertVM(vm) == nil {
				t.Error("the same VM was stored twice")
			}
			return nil
		})
		if a := get(t, s, "a"); (err == nil) != (a == "1") {
			t.Errorf("the write ended with %v and a=%q", err, a)
		}
		write(t, s, set("b", "2"))
	})
}

func TestPanicInAWriteLeavesTheWriterUsable(t *testing.T) {
	Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		func() {
			defer func() { _ = recover() }()
			_ = s.Write(t.Context(), func(tx *store.Tx) error {
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
	})
}

func TestReaderKeepsItsSnapshot(t *testing.T) {
	Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		write(t, s, set("a", "1"))
		read(t, s, func(r *store.Reader) error {
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
	})
}

func TestReaderCannotWrite(t *testing.T) {
	Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		if err := s.Read(t.Context(), func(r *store.Reader) error { return (&store.Tx{Reader: r}).Set("a", "1") }); err == nil {
			t.Error("a reader wrote")
		}
		if got := get(t, s, "a"); got != "" {
			t.Errorf("got %q", got)
		}
	})
}

func TestReadersAndWritersAtOnce(t *testing.T) {
	Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for j := range 20 {
					if err := s.Write(t.Context(), set(fmt.Sprint(i), fmt.Sprint(j))); err != nil {
						t.Error(err)
					}
					err := s.Read(t.Context(), func(r *store.Reader) error {
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
	})
}

// Each write reads what the one before wrote, whichever process that was.
func TestWritersOfSeveralProcessesGoOneAfterTheOther(t *testing.T) {
	Each(t, func(t *testing.T, open func() *store.Store) {
		const writers, each = 3, 20
		var stores []*store.Store
		for range writers {
			stores = append(stores, open())
		}
		var wg sync.WaitGroup
		for _, s := range stores {
			wg.Go(func() {
				for range each {
					err := s.Write(t.Context(), func(tx *store.Tx) error {
						v, err := tx.Get("count")
						if err != nil {
							return err
						}
						n, _ := strconv.Atoi(v) // 0 at first
						return tx.Set("count", strconv.Itoa(n+1))
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if got := get(t, stores[0], "count"); got != strconv.Itoa(writers*each) {
			t.Errorf("counted %s", got)
		}
	})
}

func TestProcessesThatStartAtOnceCreateOneSchema(t *testing.T) {
	Each(t, func(t *testing.T, open func() *store.Store) {
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() { write(t, open(), set(fmt.Sprint(i), "here")) })
		}
		wg.Wait()
		s := open()
		for i := range 4 {
			if get(t, s, fmt.Sprint(i)) != "here" {
				t.Errorf("what process %d wrote is gone", i)
			}
		}
	})
}

func TestCancelledContextIsRefused(t *testing.T) {
	Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Write(ctx, set("a", "1")); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if err := s.Read(ctx, func(*store.Reader) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func TestWriteThatBeganIsNotCutShort(t *testing.T) {
	Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		ctx, cancel := context.WithCancel(t.Context())
		err := s.Write(ctx, func(tx *store.Tx) error {
			cancel()
			return tx.Set("a", "1")
		})
		if a := get(t, s, "a"); err != nil || a != "1" {
			t.Errorf("got %v, a=%q", err, a)
		}
	})
}

func TestReaderOutlivesAClientThatLeaves(t *testing.T) {
	Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		for range 10 { // more than there are readers
			ctx, cancel := context.WithCancel(t.Context())
			_ = s.Read(ctx, func(r *store.Reader) error {
				cancel()
				_, err := r.Get("a")
				return err
			})
		}
		get(t, s, "a")
	})
}

func TestClosedStoreSaysSo(t *testing.T) {
	Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Fatal(err)
		}
		if err := s.Write(context.Background(), set("a", "1")); !errors.Is(err, store.ErrClosed) {
			t.Errorf("got %v", err)
		}
		if err := s.Read(context.Background(), func(*store.Reader) error { return nil }); !errors.Is(err, store.ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}

// Text that an engine cannot hold is the fault of its own transaction and spoils no other.
func TestBadTextFailsAloneOrIsKept(t *testing.T) {
	Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		for _, bad := range []string{"a\xff", "nul\x00nul"} {
			err := s.Write(t.Context(), func(tx *store.Tx) error {
				return tx.PutPending(&store.PendingRow{Hash: message.Hash(bad), Envelope: []byte(`{}`)}, nil)
			})
			t.Logf("%q: %v", bad, err)
			write(t, s, set("a", bad[:1]))
		}
	})
}
