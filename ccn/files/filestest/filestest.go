// Package filestest is what every implementation of files.Store must pass.
package filestest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/message"
)

// SHA256 names bytes as stores of sha256 do.
func SHA256(_ testing.TB, b []byte) message.Hash { return message.HashBytes(b) }

// Run tests the store that open returns. Open is called for each test and must give an empty store. Name says how the store
// names bytes.
func Run(t *testing.T, open func(t *testing.T) files.Store, name func(testing.TB, []byte) message.Hash) {
	for _, test := range []struct {
		behaviour string
		run       func(*suite)
	}{
		{"WhatWasPutIsRead", (*suite).read},
		{"PuttingTwiceIsNoError", (*suite).twice},
		{"MoreThanTheLimitIsRefused", (*suite).limit},
		{"OtherBytesThanExpectedAreRefused", (*suite).wrong},
		{"NamesThatAreNoHashesAreRefused", (*suite).names},
		{"FailedTransferLeavesNothing", (*suite).broken},
		{"EndedContextEndsTheTransfer", (*suite).ended},
		{"DeletedIsGone", (*suite).deleted},
		{"ManyPutTheSameAtOnce", (*suite).parallel},
		{"AnyPartIsRead", (*suite).ranges},
		{"OnlyWhatNobodyKeptExpires", (*suite).expire},
		{"WalkVisitsEachFileOnce", (*suite).walk},
		{"WholeFilesVerify", (*suite).verify},
	} {
		t.Run(test.behaviour, func(t *testing.T) { test.run(&suite{t, open(t), name}) })
	}
}

type suite struct {
	t    *testing.T
	s    files.Store
	name func(testing.TB, []byte) message.Hash
}

func (s *suite) put(text string) message.Hash {
	s.t.Helper()
	h, size, err := s.s.Put(s.t.Context(), strings.NewReader(text), 0)
	if want := s.name(s.t, []byte(text)); err != nil || h != want || size != int64(len(text)) {
		s.t.Fatalf("put %d bytes: %s, %d, %v; want %s", len(text), h, size, err, want)
	}
	return h
}

func (s *suite) want(h message.Hash, text string) {
	s.t.Helper()
	f, size, err := s.s.Open(s.t.Context(), h)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	got, err := io.ReadAll(f)
	if err != nil || size != int64(len(text)) || !bytes.Equal(got, []byte(text)) {
		s.t.Fatalf("read %d of %d bytes: %v", len(got), size, err)
	}
	if info, err := s.s.Stat(s.t.Context(), h); err != nil || info.Size != int64(len(text)) || info.Hash != h || info.Dir {
		s.t.Fatalf("stat: %+v, %v", info, err)
	}
}

func (s *suite) absent(h message.Hash) {
	s.t.Helper()
	if _, _, err := s.s.Open(s.t.Context(), h); !errors.Is(err, files.ErrNotFound) || !errors.Is(err, fs.ErrNotExist) {
		s.t.Fatalf("open %q: %v", h, err)
	}
	if _, err := s.s.Stat(s.t.Context(), h); !errors.Is(err, files.ErrNotFound) {
		s.t.Fatalf("stat %q: %v", h, err)
	}
	if _, err := s.s.Keep(s.t.Context(), h); !errors.Is(err, files.ErrNotFound) {
		s.t.Fatalf("keep %q: %v", h, err)
	}
}

// sizes are around the borders of what stores cut files into.
var sizes = []int{0, 1, 5, 4096, 256<<10 - 1, 256 << 10, 256<<10 + 1, 1_000_000, 5<<20 - 1, 5 << 20, 5<<20 + 1, 11 << 20}

func text(size int) string {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(size), byte(size >> 8), byte(size >> 16)}).Read(b)
	return string(b)
}

func (s *suite) read() {
	for _, size := range sizes {
		s.want(s.put(text(size)), text(size))
	}
}

func (s *suite) twice() {
	for range 2 {
		if _, _, err := s.s.Put(s.t.Context(), strings.NewReader("twice"), 5); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *suite) limit() {
	for _, size := range []int{6, 300_000, 6 << 20} {
		b := text(size)
		if _, _, err := s.s.Put(s.t.Context(), strings.NewReader(b), int64(size-1)); !errors.Is(err, files.ErrTooLarge) {
			s.t.Fatalf("put: %v", err)
		}
		h := s.name(s.t, []byte(b))
		if _, err := s.s.PutExpecting(s.t.Context(), h, strings.NewReader(b), int64(size-1)); !errors.Is(err, files.ErrTooLarge) {
			s.t.Fatalf("put expecting: %v", err)
		}
		s.absent(h)
		s.absent(s.name(s.t, []byte(b[:size-1])))
		if _, err := s.s.PutExpecting(s.t.Context(), h, strings.NewReader(b), int64(size)); err != nil {
			s.t.Fatalf("at the limit: %v", err)
		}
	}
}

func (s *suite) wrong() {
	for _, size := range []int{5, 6 << 20} {
		right, wrong := text(size), text(size+1)
		h := s.name(s.t, []byte(right))
		if _, err := s.s.PutExpecting(s.t.Context(), h, strings.NewReader(wrong), 0); !errors.Is(err, files.ErrWrongHash) {
			s.t.Fatalf("got %v", err)
		}
		s.absent(h)
		if got, err := s.s.PutExpecting(s.t.Context(), h, strings.NewReader(right), 0); err != nil || got != int64(size) {
			s.t.Fatal(got, err)
		}
		s.want(h, right)
	}
}

func (s *suite) names() {
	for _, h := range []message.Hash{
		"", ".", "..", "../../etc/passwd", ".//../../../../../../../../../../../../root/.ssh/authorized_keys", "tmp",
		"XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX", "Qm000000000000000000000000000000000000000000",
		"Qm1111111111111111111111111111111111111111111", "bafyaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		message.Hash(strings.ToUpper(string(message.HashBytes(nil)))),
	} {
		if _, err := s.s.PutExpecting(s.t.Context(), h, strings.NewReader("x"), 0); !errors.Is(err, files.ErrUnverifiable) {
			s.t.Errorf("put %q: %v", h, err)
		}
		s.absent(h)
		if err := s.s.Delete(s.t.Context(), h); err != nil {
			s.t.Errorf("delete %q: %v", h, err)
		}
		if deleted, err := s.s.Expire(s.t.Context(), h, time.Now().Add(time.Hour)); deleted || err != nil {
			s.t.Errorf("expire %q: %t, %v", h, deleted, err)
		}
	}
}

func (s *suite) broken() {
	cut := errors.New("line cut")
	for _, size := range []int{4, 300_000, 6 << 20} {
		r := io.MultiReader(strings.NewReader(text(size)), failing{cut})
		if _, _, err := s.s.Put(s.t.Context(), r, 0); !errors.Is(err, cut) {
			s.t.Fatalf("got %v", err)
		}
		s.absent(s.name(s.t, []byte(text(size))))
	}
}

func (s *suite) ended() {
	ctx, cancel := context.WithCancel(s.t.Context())
	cancel()
	if _, _, err := s.s.Put(ctx, strings.NewReader("late"), 0); !errors.Is(err, context.Canceled) {
		s.t.Fatalf("got %v", err)
	}
	s.absent(s.name(s.t, []byte("late")))
}

func (s *suite) deleted() {
	h := s.put("short life")
	for range 2 {
		if err := s.s.Delete(s.t.Context(), h); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := s.s.Walk(s.t.Context(), func(i files.Info) error { return fmt.Errorf("%s is still there", i.Hash) }); err != nil {
		s.t.Fatal(err)
	}
}

func (s *suite) parallel() {
	same := text(600_000)
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			if _, _, err := s.s.Put(s.t.Context(), strings.NewReader(same), 0); err != nil {
				s.t.Error(err)
			}
			if _, _, err := s.s.Put(s.t.Context(), strings.NewReader(text(i)), 0); err != nil {
				s.t.Error(err)
			}
		})
	}
	wg.Wait()
	s.want(s.name(s.t, []byte(same)), same)
	for i := range 12 {
		s.want(s.name(s.t, []byte(text(i))), text(i))
	}
}

func (s *suite) ranges() {
	random := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{1, 256 << 10, 256<<10 + 1, 3_000_000} {
		whole := text(size)
		f, _, err := s.s.Open(s.t.Context(), s.put(whole))
		if err != nil {
			s.t.Fatal(err)
		}
		for range 60 {
			from := random.IntN(size + 1)
			length := random.IntN(min(size-from, 700_000) + 1)
			at, err := f.Seek(int64(from), io.SeekStart)
			if random.IntN(2) == 0 {
				at, err = f.Seek(int64(from-size), io.SeekEnd)
			}
			if err != nil || at != int64(from) {
				s.t.Fatalf("seek to %d: %d, %v", from, at, err)
			}
			got := make([]byte, length)
			if _, err := io.ReadFull(f, got); err != nil || string(got) != whole[from:from+length] {
				s.t.Fatalf("%d bytes from %d of %d: %v", length, from, size, err)
			}
			if at, err := f.Seek(0, io.SeekCurrent); err != nil || at != int64(from+length) {
				s.t.Fatalf("after %d bytes from %d: at %d, %v", length, from, at, err)
			}
		}
		if _, err := f.Seek(-1, io.SeekStart); err == nil {
			s.t.Error("before the beginning")
		}
		if _, err := f.Seek(int64(size)+10, io.SeekStart); err != nil {
			s.t.Error(err)
		}
		if n, err := f.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			s.t.Errorf("read behind the end: %d, %v", n, err)
		}
		if err := f.Close(); err != nil {
			s.t.Error(err)
		}
	}
}

func (s *suite) expire() {
	h := s.put("needed again")
	info, err := s.s.Stat(s.t.Context(), h)
	if err != nil {
		s.t.Fatal(err)
	}
	decided := info.Stored
	if deleted, err := s.s.Expire(s.t.Context(), h, decided); deleted || err != nil {
		s.t.Fatalf("put when that was decided: %t, %v", deleted, err)
	}
	kept, err := s.s.Keep(s.t.Context(), h)
	if err != nil || kept.Hash != h || kept.Size != info.Size || kept.Stored.Before(info.Stored) {
		s.t.Fatalf("keep: %+v, %v", kept, err)
	}
	s.want(h, "needed again")
	if deleted, err := s.s.Expire(s.t.Context(), h, time.Now().Add(time.Hour)); !deleted || err != nil {
		s.t.Fatalf("kept by nobody since: %t, %v", deleted, err)
	}
	if deleted, err := s.s.Expire(s.t.Context(), h, time.Now().Add(time.Hour)); deleted || err != nil {
		s.t.Fatalf("already gone: %t, %v", deleted, err)
	}
}

func (s *suite) walk() {
	left := map[message.Hash]int64{}
	for i := range 40 {
		left[s.put(text(i))] = int64(i)
	}
	seen := 0
	err := s.s.Walk(s.t.Context(), func(info files.Info) error {
		if size, ok := left[info.Hash]; !ok || size != info.Size {
			return fmt.Errorf("visited %+v", info)
		}
		delete(left, info.Hash)
		seen++
		return nil
	})
	if err != nil || len(left) > 0 {
		s.t.Fatalf("%d not visited, %v", len(left), err)
	}
	stop := errors.New("enough")
	if err := s.s.Walk(s.t.Context(), func(files.Info) error { return stop }); !errors.Is(err, stop) {
		s.t.Fatalf("got %v", err)
	}
}

func (s *suite) verify() {
	for _, size := range []int{0, 10, 600_000} {
		if err := s.s.Verify(s.t.Context(), s.put(text(size))); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := s.s.Verify(s.t.Context(), s.name(s.t, []byte("never put"))); !errors.Is(err, files.ErrNotFound) {
		s.t.Fatalf("got %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
