package partial_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/files/partial"
	"github.com/aleph-im/aleph-go/message"
)

// opened is a store in dir, on a disk with much room, whose clock is ahead by *ahead.
func opened(t *testing.T, dir string, ahead *time.Duration) *partial.Store {
	t.Helper()
	free := int64(1 << 40)
	return openedOn(t, dir, ahead, &free)
}

// openedOn is a store on a disk with so many free bytes.
func openedOn(t *testing.T, dir string, ahead *time.Duration, free *int64) *partial.Store {
	t.Helper()
	s, err := partial.Open(dir, func() time.Time { return time.Now().Add(*ahead) }, func(string) (int64, error) { return *free, nil })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func begin(t *testing.T, s *partial.Store, sender, file string, length int64) string {
	t.Helper()
	id, err := s.Begin(partial.Upload{Sender: sender, Hash: message.HashBytes([]byte(file)), Length: length})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func take(t *testing.T, s *partial.Store, id string) *partial.Taken {
	t.Helper()
	taken, err := s.Take(t.Context(), id, func() {})
	if err != nil {
		t.Fatal(err)
	}
	return taken
}

func closing(t *testing.T, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// TestUploadOutlivesItsProcess loses what a process that is killed loses: the state of the hash, and at worst a part of it.
func TestUploadOutlivesItsProcess(t *testing.T) {
	file := strings.Repeat("0123456789", 1000)
	disk, err := files.OpenDisk(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer closing(t, disk)
	for name, kill := range map[string]func(sum string) error{
		"in between":       func(string) error { return nil },
		"before the state": os.Remove,
		"a broken state": func(sum string) error {
			return os.WriteFile(sum, []byte("\x00\x00\x00\x00\x00\x00\x00\x01 and no state"), 0o644)
		},
		"a state of more": func(sum string) error { return os.WriteFile(sum, bytes.Repeat([]byte{0x7f}, 100), 0o644) },
	} {
		dir, ahead := t.TempDir(), time.Duration(0)
		s := opened(t, dir, &ahead)
		id := begin(t, s, "alice", file, int64(len(file)))
		first := take(t, s, id)
		broken := io.MultiReader(strings.NewReader(file[:4000]), broken{})
		if err := first.Append(t.Context(), broken); !errors.Is(err, errBroken) {
			t.Errorf("%s: %v", name, err)
		}
		closing(t, first)
		if err := kill(filepath.Join(dir, id+".sum")); err != nil {
			t.Fatal(err)
		}
		rest := take(t, opened(t, dir, &ahead), id)
		if rest.Offset != 4000 {
			t.Errorf("%s: %d bytes are there", name, rest.Offset)
		}
		if err := errors.Join(rest.Append(t.Context(), strings.NewReader(file[4000:])), rest.MoveTo(t.Context(), disk), rest.Drop()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		closing(t, rest)
		if err := disk.Verify(t.Context(), rest.Hash); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		// What a process leaves that is killed after it moved the file, before it dropped the upload.
		if err := os.WriteFile(filepath.Join(dir, id+".json"), []byte("{}"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := opened(t, dir, &ahead).Sweep(); err != nil {
			t.Error(err)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
			t.Errorf("%s: left are %v", name, left)
		}
	}
}

var errBroken = errors.New("broken off")

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errBroken }

func TestOtherBytesAreNotStored(t *testing.T) {
	disk, err := files.OpenDisk(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer closing(t, disk)
	var ahead time.Duration
	s := opened(t, t.TempDir(), &ahead)
	taken := take(t, s, begin(t, s, "alice", "file", 4))
	defer closing(t, taken)
	if err := taken.Append(t.Context(), strings.NewReader("fill")); err != nil {
		t.Fatal(err)
	}
	if err := taken.MoveTo(t.Context(), disk); !errors.Is(err, files.ErrWrongHash) {
		t.Errorf("other bytes: %v", err)
	}
	if err := taken.Append(t.Context(), strings.NewReader("more")); !errors.Is(err, files.ErrTooLarge) {
		t.Errorf("more bytes: %v", err)
	}
}

func TestUploadsAreBounded(t *testing.T) {
	var ahead time.Duration
	dir := t.TempDir()
	s := opened(t, dir, &ahead)
	there := func(id string) bool {
		taken, err := s.Take(t.Context(), id, func() {})
		if err != nil {
			return false
		}
		closing(t, taken)
		return true
	}
	// An account that begins too many loses its oldest.
	var own []string
	for i := range 9 {
		own = append(own, begin(t, s, "alice", fmt.Sprint(i), 1))
		then := time.Now().Add(time.Duration(i-9) * time.Second) // times of files are no finer than the kernel's tick
		if err := os.Chtimes(filepath.Join(dir, own[i]+".part"), then, then); err != nil {
			t.Fatal(err)
		}
	}
	if there(own[0]) || !there(own[1]) || !there(own[8]) {
		t.Error("not the oldest upload of the account was given up")
	}
	if again := begin(t, s, "alice", "8", 1); again != own[8] {
		t.Error("the same upload began twice")
	}
	if _, err := s.Begin(partial.Upload{Sender: "alice", Hash: "x", Length: 17 << 30}); !errors.Is(err, partial.ErrNoRoom) {
		t.Errorf("more bytes than an account may have: %v", err)
	}
	// When all are too many, those that stand still make room, and only they.
	for i := 0; ; i++ {
		_, err := s.Begin(partial.Upload{Sender: fmt.Sprint(i), Hash: "x", Length: 16 << 30})
		if errors.Is(err, partial.ErrNoRoom) {
			break
		}
		if err != nil || i == 4 { // of these the last does not fit
			t.Fatalf("upload %d: %v", i, err)
		}
	}
	ahead = time.Hour
	last := begin(t, s, "bob", "file", 16<<30)
	// Those that got no byte for a day go.
	held := take(t, s, last)
	ahead = 25 * time.Hour
	if err := s.Sweep(); err != nil {
		t.Fatal(err)
	}
	if there(own[8]) {
		t.Error("an old upload is there still")
	}
	if err := held.Append(t.Context(), strings.NewReader("f")); err != nil {
		t.Errorf("an upload in use was given up: %v", err)
	}
	closing(t, held)
}

func TestUploadsLeaveRoomOnTheDisk(t *testing.T) {
	var ahead time.Duration
	free := int64(1<<30 + 10)
	s := openedOn(t, t.TempDir(), &ahead, &free)
	first := begin(t, s, "alice", "first", 10)
	second := partial.Upload{Sender: "bob", Hash: "x", Length: 11}
	if _, err := s.Begin(second); !errors.Is(err, partial.ErrNoRoom) {
		t.Errorf("more than the disk has room for: %v", err)
	}
	second.Known = true
	if _, err := s.Begin(second); err != nil {
		t.Errorf("of a file that the node has: %v", err)
	}
	free += 5
	if _, err := s.Begin(partial.Upload{Sender: "carol", Hash: "y", Length: 6}); !errors.Is(err, partial.ErrNoRoom) {
		t.Errorf("beside what is still to come: %v", err)
	}
	free -= 5
	taken := take(t, s, first)
	if err := taken.Append(t.Context(), strings.NewReader("12345")); err != nil {
		t.Fatal(err)
	}
	closing(t, taken)
	free -= 5
	third := partial.Upload{Sender: "carol", Hash: "x", Length: 9}
	if _, err := s.Begin(third); !errors.Is(err, partial.ErrNoRoom) {
		t.Errorf("beside what came: %v", err)
	}
	ahead = time.Hour // what stands still makes room
	if _, err := s.Begin(third); err != nil {
		t.Errorf("when another stood still: %v", err)
	}
}

func TestNamesLeadNowhereElse(t *testing.T) {
	var ahead time.Duration
	s := opened(t, t.TempDir(), &ahead)
	for _, id := range []string{"", "../x", strings.Repeat("a", 32), strings.Repeat(".", 32), strings.Repeat("A", 32)} {
		if _, err := s.Take(t.Context(), id, func() {}); !errors.Is(err, partial.ErrNotFound) {
			t.Errorf("%q: %v", id, err)
		}
	}
}
