package journal

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"reflect"
	"strings"
	"testing"
)

func open(t *testing.T, dir string) *Journal {
	t.Helper()
	j, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func reopen(t *testing.T, j *Journal) *Journal {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return open(t, j.dir)
}

func record(text string) Record { return Record{Origin: "api", Received: 7, Message: []byte(text)} }

func records(texts ...string) (list []Record) {
	for _, text := range texts {
		list = append(list, record(text))
	}
	return list
}

func replayed(t *testing.T, j *Journal, after Position) (texts []string) {
	t.Helper()
	err := j.Replay(after, func(r Record) error {
		if !reflect.DeepEqual(r, record(string(r.Message))) {
			t.Errorf("record came back as %+v", r)
		}
		texts = append(texts, string(r.Message))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

func appendAll(t *testing.T, j *Journal, texts ...string) Position {
	t.Helper()
	want := j.End().After(records(texts...))
	if err := j.Append(records(texts...)); err != nil {
		t.Fatal(err)
	}
	if j.End() != want {
		t.Fatalf("the end is %v, After said %v", j.End(), want)
	}
	return want
}

func TestRecordsComeBackInOrderFromWherePositionSays(t *testing.T) {
	j := open(t, t.TempDir())
	first := appendAll(t, j, "a", "")
	second := appendAll(t, j, "b")
	if err := j.Rotate(); err != nil {
		t.Fatal(err)
	}
	appendAll(t, j, "c")
	j = reopen(t, j) // as another process would after a crash
	appendAll(t, j, "new")
	for after, want := range map[Position][]string{
		{}:      {"a", "", "b", "c", "new"},
		first:   {"b", "c", "new"},
		second:  {"c", "new"},
		j.End(): nil,
	} {
		if got := replayed(t, j, after); !reflect.DeepEqual(got, want) {
			t.Errorf("after %v: %q, want %q", after, got, want)
		}
		if back, err := ParsePosition(after.String()); err != nil || back != after {
			t.Errorf("position %v is read as %v, %v", after, back, err)
		}
	}
	if err := j.Drop(j.End()); err != nil {
		t.Fatal(err)
	}
	if got := replayed(t, j, Position{}); !reflect.DeepEqual(got, []string{"new"}) {
		t.Errorf("when all but the newest segment are dropped, it holds %q", got)
	}
	if got := replayed(t, reopen(t, j), Position{}); !reflect.DeepEqual(got, []string{"new"}) {
		t.Errorf("the segment that was being written holds %q", got)
	}
}

// Whatever a crash leaves of the last record, the records before it come back and nothing else does.
func TestTornRecordIsLeftOut(t *testing.T) {
	j := open(t, t.TempDir())
	whole := appendAll(t, j, "kept", "kept too").Offset
	end := appendAll(t, j, "torn").Offset
	segment := j.path(1)
	raw, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	for cut := whole; cut < end; cut++ {
		torn := append(bytes.Clone(raw[:cut]), make([]byte, end-cut)...) // a file may be longer than what was written of it
		for _, left := range [][]byte{raw[:cut], torn} {
			if err := os.WriteFile(segment, left, 0o644); err != nil {
				t.Fatal(err)
			}
			j = reopen(t, j)
			if got := replayed(t, j, Position{}); !reflect.DeepEqual(got, []string{"kept", "kept too"}) {
				t.Fatalf("cut at %d: %q", cut, got)
			}
		}
	}
}

// A file that becomes a segment again holds nothing of what it held before, wherever the new records end.
func TestSegmentsAreWrittenOverOldOnes(t *testing.T) {
	j := open(t, t.TempDir())
	large := strings.Repeat("old", spareMin/3)
	appendAll(t, j, "old", "old", large)
	if err := j.Rotate(); err != nil {
		t.Fatal(err)
	}
	appendAll(t, j, "kept")
	if err := j.Drop(j.End()); err != nil {
		t.Fatal(err)
	}
	if err := j.Rotate(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(j.path(3))
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() < int64(len(large)) {
		t.Fatalf("the segment begins with %d bytes", info.Size())
	}
	appendAll(t, j, "new") // as long as the first old record: the second follows
	if got := replayed(t, reopen(t, j), Position{}); !reflect.DeepEqual(got, []string{"kept", "new"}) {
		t.Errorf("read %q", got)
	}
}

func TestSmallAndHugeSegmentsAreDeleted(t *testing.T) {
	for _, size := range []int{1, spareMax} {
		j := open(t, t.TempDir())
		appendAll(t, j, strings.Repeat("x", size))
		if err := j.Rotate(); err != nil {
			t.Fatal(err)
		}
		if err := j.Drop(j.End()); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{j.path(1), j.spare()} {
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("of a segment with a message of %d bytes stays %s", size, path)
			}
		}
	}
}

func TestOneProcessHasAJournal(t *testing.T) {
	j := open(t, t.TempDir())
	if _, err := Open(j.dir); err == nil {
		t.Error("a journal opens twice")
	}
	reopen(t, j)
}

func TestReplayStopsAtAnError(t *testing.T) {
	j := open(t, t.TempDir())
	appendAll(t, j, "a", "b")
	stop := errors.New("stop")
	if err := reopen(t, j).Replay(Position{}, func(Record) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Replay returns %v", err)
	}
}

func TestForeignFilesAndPositionsAreRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/notes"+suffix, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil {
		t.Error("a folder with a foreign segment opens")
	}
	for _, text := range []string{"1", ":", "1:x", "-1:2"} {
		if _, err := ParsePosition(text); err == nil {
			t.Errorf("%q is a position", text)
		}
	}
	j := open(t, t.TempDir())
	if err := j.Append([]Record{{Message: make([]byte, MaxMessage+1)}}); err == nil {
		t.Error("a message above the bound is taken")
	}
}

// Any bytes in a segment are read as records or as its end.
func FuzzReplay(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{9, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 255})
	f.Add(bytes.Repeat([]byte{255}, 64))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for r := bytes.NewReader(raw); ; {
			record, err := read(r, 1)
			if err != nil {
				t.Fatal(err)
			}
			if record == nil {
				return
			}
		}
	})
}
