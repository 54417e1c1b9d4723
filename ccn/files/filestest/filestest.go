// Package filestest is what every implementation of files.Store must pass.
package filestest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"sync"
	"testing"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/message"
)

// Run tests the store that open returns. Open is called for each test and must give an empty store.
func Run(t *testing.T, open func(t *testing.T) files.Store) {
	t.Run("WhatWasPutIsRead", func(t *testing.T) {
		s := open(t)
		for _, text := range []string{"", "a", strings.Repeat("0123456789", 100_000)} {
			h, size, err := s.Put(t.Context(), strings.NewReader(text), 0)
			if err != nil || h != message.HashBytes([]byte(text)) || size != int64(len(text)) {
				t.Fatalf("put %d bytes: %s, %d, %v", len(text), h, size, err)
			}
			want(t, s, h, text)
		}
	})
	t.Run("PuttingTwiceIsNoError", func(t *testing.T) {
		s := open(t)
		for range 2 {
			if _, _, err := s.Put(t.Context(), strings.NewReader("twice"), 5); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("MoreThanTheLimitIsRefused", func(t *testing.T) {
		s := open(t)
		if _, _, err := s.Put(t.Context(), strings.NewReader("123456"), 5); !errors.Is(err, files.ErrTooLarge) {
			t.Fatalf("got %v", err)
		}
		absent(t, s, message.HashBytes([]byte("123456")))
		absent(t, s, message.HashBytes([]byte("12345")))
	})
	t.Run("OtherBytesThanExpectedAreRefused", func(t *testing.T) {
		s := open(t)
		h := message.HashBytes([]byte("right"))
		if _, err := s.PutExpecting(t.Context(), h, strings.NewReader("wrong"), 0); !errors.Is(err, files.ErrWrongHash) {
			t.Fatalf("got %v", err)
		}
		absent(t, s, h)
		absent(t, s, message.HashBytes([]byte("wrong")))
		if _, err := s.PutExpecting(t.Context(), h, strings.NewReader("right"), 0); err != nil {
			t.Fatal(err)
		}
		want(t, s, h, "right")
	})
	t.Run("NamesThatAreNoSha256AreRefused", func(t *testing.T) {
		s := open(t)
		for _, h := range []message.Hash{"", "..", "../../etc/passwd", "QmYULJoNGPDmoRq4WNWTDTUvJGJv1hosox8H6vVd1kCsY8"} {
			if _, err := s.PutExpecting(t.Context(), h, strings.NewReader("x"), 0); !errors.Is(err, files.ErrUnverifiable) {
				t.Errorf("put %q: %v", h, err)
			}
			absent(t, s, h)
		}
	})
	t.Run("FailedTransferLeavesNothing", func(t *testing.T) {
		s := open(t)
		broken := errors.New("line cut")
		r := io.MultiReader(strings.NewReader("part"), failing{broken})
		if _, _, err := s.Put(t.Context(), r, 0); !errors.Is(err, broken) {
			t.Fatalf("got %v", err)
		}
		absent(t, s, message.HashBytes([]byte("part")))
	})
	t.Run("EndedContextEndsTheTransfer", func(t *testing.T) {
		s := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := s.Put(ctx, strings.NewReader("late"), 0); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("DeletedIsGone", func(t *testing.T) {
		s := open(t)
		h, _, err := s.Put(t.Context(), strings.NewReader("short life"), 0)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := s.Delete(t.Context(), h); err != nil {
				t.Fatal(err)
			}
		}
		absent(t, s, h)
	})
	t.Run("ManyPutTheSameAtOnce", func(t *testing.T) {
		s := open(t)
		text := strings.Repeat("x", 200_000)
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				if _, _, err := s.Put(t.Context(), strings.NewReader(text), 0); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		want(t, s, message.HashBytes([]byte(text)), text)
	})
}

func want(t *testing.T, s files.Store, h message.Hash, text string) {
	t.Helper()
	f, size, err := s.Open(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := io.ReadAll(f)
	if err != nil || size != int64(len(text)) || !bytes.Equal(got, []byte(text)) {
		t.Fatalf("read %d of %d bytes: %v", len(got), size, err)
	}
	if info, err := s.Stat(t.Context(), h); err != nil || info.Size != int64(len(text)) || info.Hash != h || info.Dir {
		t.Fatalf("stat: %+v, %v", info, err)
	}
}

func absent(t *testing.T, s files.Store, h message.Hash) {
	t.Helper()
	if _, _, err := s.Open(t.Context(), h); !errors.Is(err, files.ErrNotFound) || !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("open %q: %v", h, err)
	}
	if _, err := s.Stat(t.Context(), h); !errors.Is(err, files.ErrNotFound) {
		t.Fatalf("stat %q: %v", h, err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
