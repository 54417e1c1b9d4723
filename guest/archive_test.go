package guest

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
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

// tarOf is archiveOf with another format. A name that ends in a slash is a folder; a mode that is a link leads to content.
func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: int64(e.mode.Perm()), Typeflag: tar.TypeReg}
		switch {
		case e.mode&fs.ModeSymlink != 0:
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.content
		case e.mode&fs.ModeIrregular != 0:
			h.Typeflag, h.Linkname = tar.TypeLink, e.content
		case e.mode&fs.ModeDevice != 0:
			h.Typeflag = tar.TypeBlock
		case strings.HasSuffix(e.name, "/"):
			h.Typeflag = tar.TypeDir
		default:
			h.Size = int64(len(e.content))
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte(e.content)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compress(t testing.TB, b []byte) []byte {
	t.Helper()
	var compressed bytes.Buffer
	w := gzip.NewWriter(&compressed)
	_, err := w.Write(b)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return compressed.Bytes()
}

func untarTo(t testing.TB, dir string, archive []byte, limits Limits) error {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if bytes.HasPrefix(archive, []byte("\x1f\x8b")) {
		return UntarGzip(bytes.NewReader(archive), root, limits)
	}
	return Untar(bytes.NewReader(archive), root, limits)
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

func TestUnpackingKeepsContentFoldersAndExecutability(t *testing.T) {
	entries := []entry{{name: "empty/", mode: fs.ModeDir | 0o755}, {"a/b/run", 0o755, "x"}, {"./a/data", 0o600, "y"}, {name: "./", mode: fs.ModeDir}}
	for name, unpack := range map[string]func(dir string) error{
		"zip":    func(dir string) error { return unzipTo(t, dir, archiveOf(t, entries...), wide) },
		"tar":    func(dir string) error { return untarTo(t, dir, tarOf(t, entries...), wide) },
		"tar.gz": func(dir string) error { return untarTo(t, dir, compress(t, tarOf(t, entries...)), wide) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := unpack(dir); err != nil {
				t.Fatal(err)
			}
			isWhole(t, dir)
		})
	}
}

func isWhole(t *testing.T, dir string) {
	t.Helper()
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

func TestUntarRefusesWhatCouldHurt(t *testing.T) {
	many := make([]entry, 101)
	for i := range many {
		many[i].name = strings.Repeat("x", i+1)
	}
	good := tarOf(t, entry{"a", 0, strings.Repeat("x", 5000)})
	// Headers without end: each is a kilobyte about the name of a file that never comes.
	var headers bytes.Buffer
	for range 10_000 {
		headers.Write(tarOf(t, entry{strings.Repeat("n", 300), 0, ""})[:1024])
	}
	for name, test := range map[string]struct {
		archive []byte
		says    string
	}{
		"not an archive":         {[]byte("hello"), "not a valid tar"},
		"empty":                  {nil, "it is empty"},
		"only an end":            {make([]byte, 1024), "it is empty"},
		"parent":                 {tarOf(t, entry{"../evil", 0, "x"}), "out of the archive"},
		"parent inside":          {tarOf(t, entry{"a/../../evil", 0, "x"}), "out of the archive"},
		"absolute":               {tarOf(t, entry{"/evil", 0, "x"}), "out of the archive"},
		"backslash":              {tarOf(t, entry{`..\evil`, 0, "x"}), "out of the archive"},
		"symbolic link":          {tarOf(t, entry{"link", fs.ModeSymlink, "/etc"}), "symbolic link"},
		"write through a link":   {tarOf(t, entry{"link", fs.ModeSymlink, ".."}, entry{"link/evil", 0, "x"}), "symbolic link"},
		"link":                   {tarOf(t, entry{"link", fs.ModeIrregular, "../../etc/passwd"}), "this is a link"},
		"device":                 {tarOf(t, entry{"dev", fs.ModeDevice | 0o600, ""}), "special file"},
		"bomb":                   {tarOf(t, entry{"zeros", 0, strings.Repeat("\x00", 2<<20)}), "more than is allowed"},
		"compressed bomb":        {compress(t, tarOf(t, entry{"zeros", 0, strings.Repeat("\x00", 2<<20)})), "more than is allowed"},
		"bomb of headers":        {compress(t, headers.Bytes()), "not a valid tar"},
		"cut short":              {good[:1000], "unexpected EOF"},
		"cut short, compressed":  {compress(t, good)[:40], "unexpected EOF"},
		"not gzip after all":     {[]byte("\x1f\x8b and then nothing"), "not a valid gzip"},
		"too many entries":       {tarOf(t, many...), "more than 100 entries"},
		"file where a folder is": {tarOf(t, entry{"a/b", 0, "x"}, entry{"a", 0, "x"}), "a"},
	} {
		dir := t.TempDir()
		inner := filepath.Join(dir, "inner")
		if err := os.Mkdir(inner, 0o755); err != nil {
			t.Fatal(err)
		}
		err := untarTo(t, inner, test.archive, wide)
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 1 {
			t.Errorf("%s: something landed outside: %v", name, entries)
		}
	}
}

func FuzzUntar(f *testing.F) {
	plain := tarOf(f, entry{"a/b", 0o755, "content"})
	f.Add(plain)
	f.Add(compress(f, plain))
	f.Add(tarOf(f, entry{"../evil", 0, "x"}, entry{"link", fs.ModeSymlink, "/"}))
	f.Fuzz(func(t *testing.T, archive []byte) { staysInside(t, archive, untarTo) })
}

func FuzzUnzip(f *testing.F) {
	f.Add(archiveOf(f, entry{"a/b", 0o755, "content"}))
	f.Add(archiveOf(f, entry{"../evil", 0, "x"}, entry{"link", fs.ModeSymlink, "/"}))
	f.Fuzz(func(t *testing.T, archive []byte) { staysInside(t, archive, unzipTo) })
}

// staysInside unpacks whatever it is given.
func staysInside(t *testing.T, archive []byte, unpack func(t testing.TB, dir string, archive []byte, limits Limits) error) {
	dir := t.TempDir()
	inner := filepath.Join(dir, "inner")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	_ = unpack(t, inner, archive, Limits{Bytes: 1 << 16, Files: 10})
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
