package guest

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type entry struct {
	name    string
	mode    fs.FileMode
	content string
}

func archiveOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		if e.mode != 0 {
			h.SetMode(e.mode)
		}
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func unzipTo(t testing.TB, dir string, archive []byte, limits Limits) error {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	return Unzip(bytes.NewReader(archive), int64(len(archive)), root, limits)
}

var wide = Limits{Bytes: 1 << 20, Files: 100}

func TestUnzipKeepsContentFoldersAndExecutability(t *testing.T) {
	dir := t.TempDir()
	err := unzipTo(t, dir, archiveOf(t, entry{name: "empty/", mode: fs.ModeDir | 0o755}, entry{"a/b/run", 0o755, "x"}, entry{"a/data", 0o600, "y"}, entry{name: "./", mode: fs.ModeDir}), wide)
	if err != nil {
		t.Fatal(err)
	}
	for path, executable := range map[string]bool{"a/b/run": true, "a/data": false} {
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil || info.Size() != 1 || (info.Mode()&0o100 != 0) != executable {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "empty")); err != nil || !info.IsDir() {
		t.Error("the empty folder is missing")
	}
}

func TestUnzipRefusesWhatCouldHurt(t *testing.T) {
	bomb := archiveOf(t, entry{"zeros", 0, strings.Repeat("\x00", 2<<20)})
	lying := bytes.Clone(bomb)
	// The claimed size is made small in the central directory, where readers look for it.
	at := bytes.LastIndex(lying, []byte("PK\x01\x02"))
	binary.LittleEndian.PutUint32(lying[at+24:], 10)
	many := make([]entry, 101)
	for i := range many {
		many[i].name = strings.Repeat("x", i+1)
	}
	for name, test := range map[string]struct {
		archive []byte
		says    string
	}{
		"not an archive":         {[]byte("hello"), "not a valid zip"},
		"empty":                  {nil, "not a valid zip"},
		"parent":                 {archiveOf(t, entry{"../evil", 0, "x"}), "out of the archive"},
		"parent inside":          {archiveOf(t, entry{"a/../../evil", 0, "x"}), "out of the archive"},
		"absolute":               {archiveOf(t, entry{"/evil", 0, "x"}), "out of the archive"},
		"backslash":              {archiveOf(t, entry{`..\evil`, 0, "x"}), "out of the archive"},
		"symbolic link":          {archiveOf(t, entry{"link", fs.ModeSymlink | 0o777, "/etc"}), "symbolic link"},
		"device":                 {archiveOf(t, entry{"dev", fs.ModeDevice | 0o600, ""}), "special file"},
		"bomb":                   {bomb, "more than is allowed"},
		"bomb that denies it":    {lying, ""},
		"too many entries":       {archiveOf(t, many...), "at most 100"},
		"file where a folder is": {archiveOf(t, entry{"a/b", 0, "x"}, entry{"a", 0, "x"}), "a"},
	} {
		dir := t.TempDir()
		inner := filepath.Join(dir, "inner")
		if err := os.Mkdir(inner, 0o755); err != nil {
			t.Fatal(err)
		}
		err := unzipTo(t, inner, test.archive, wide)
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 1 {
			t.Errorf("%s: something landed outside: %v", name, entries)
		}
	}
}

func FuzzUnzip(f *testing.F) {
	f.Add(archiveOf(f, entry{"a/b", 0o755, "content"}))
	f.Add(archiveOf(f, entry{"../evil", 0, "x"}, entry{"link", fs.ModeSymlink, "/"}))
	f.Fuzz(func(t *testing.T, archive []byte) {
		dir := t.TempDir()
		inner := filepath.Join(dir, "inner")
		if err := os.Mkdir(inner, 0o755); err != nil {
			t.Fatal(err)
		}
		_ = unzipTo(t, inner, archive, Limits{Bytes: 1 << 16, Files: 10})
		if entries, _ := os.ReadDir(dir); len(entries) != 1 {
			t.Errorf("something landed outside: %v", entries)
		}
		var total int64
		_ = filepath.Walk(inner, func(_ string, info fs.FileInfo, err error) error {
			if err == nil && info.Mode().IsRegular() {
				total += info.Size()
			}
			return nil
		})
		if total > 1<<16+1 {
			t.Errorf("%d bytes were written", total)
		}
	})
}

func TestListeningIsSeenInTheKernelsTables(t *testing.T) {
	const head = "  sl  local_address rem_address   st tx_queue rx_queue\n"
	for line, want := range map[string]bool{
		"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000":                                                 true,
		"   0: 00000000:1F90 00000000:0000 0A 00000000:00000000":                                                 true,
		"   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000": true,
		"   0: 0000000000000000FFFF00000100007F:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000": true,
		"   0: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000": false, // ::1 alone
		"   0: 0100007F:1F91 00000000:0000 0A 00000000:00000000":                                                 false,
		"   0: 0100007F:1F90 0100007F:9999 01 00000000:00000000":                                                 false,
		"   0: 0B00007F:1F90 00000000:0000 0A 00000000:00000000":                                                 false,
		"": false,
	} {
		if got := tableListens(head+line+"\n", 8080); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}

func TestMountsStayInTheRoot(t *testing.T) {
	for path, want := range map[string]string{"/data": "/newroot/data", "data": "/newroot/data", "/a/../../b": "/newroot/b", "/": "", "..": "", "": ""} {
		got, err := inRoot(path)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", path, got, err)
		}
	}
}
