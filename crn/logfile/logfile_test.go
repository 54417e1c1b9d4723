package logfile_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/crn/logfile"
)

func read(t *testing.T, path string) string {
	t.Helper()
	r, err := logfile.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	raw, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestTheLastPartIsKeptInOrderAndBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if got := read(t, path); got != "" {
		t.Errorf("a log never written holds %q", got)
	}
	const limit = 1000
	f, err := logfile.Open(path, limit)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 500 {
		if i == 250 { // continued by a later process
			f.Close()
			if f, err = logfile.Open(path, limit); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := fmt.Fprintf(f, "line %03d\n", i); err != nil {
			t.Fatal(err)
		}
		var size int64
		for _, name := range []string{path, path + ".1"} {
			if info, err := os.Stat(name); err == nil {
				size += info.Size()
			}
		}
		if size > limit {
			t.Fatalf("%d bytes after line %d", size, i)
		}
	}
	lines := strings.Split(strings.TrimSpace(read(t, path)), "\n")
	if len(lines)*9 < limit/2 {
		t.Errorf("only %d lines are kept", len(lines))
	}
	for i, line := range lines {
		if want := fmt.Sprintf("line %03d", 500-len(lines)+i); line != want {
			t.Fatalf("line %d is %q, want %q", i, line, want)
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := f.Write([]byte("x")); err == nil {
		t.Error("a closed log takes writes")
	}
}
