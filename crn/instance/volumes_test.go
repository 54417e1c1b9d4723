package instance

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestAVolumeBeginsAsItsParentIs(t *testing.T) {
	dir := t.TempDir()
	raw := filepath.Join(dir, "raw")
	content := append(bytes.Repeat([]byte("volume"), 30_000), make([]byte, 1<<20)...)
	content = content[:len(content)&^511]
	if err := os.WriteFile(raw, content, 0o600); err != nil {
		t.Fatal(err)
	}
	convert := func(options ...string) string {
		path := filepath.Join(dir, strings.Join(options, "")+".image")
		if out, err := exec.Command("qemu-img", append(append([]string{"convert", "-f", "raw", "-O", "qcow2"}, options...), raw, path)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return path
	}
	based := filepath.Join(dir, "based")
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", based).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, test := range map[string]struct {
		parent string
		size   int64
		want   string // of the error
	}{
		"bytes":                       {raw, 2 << 20, ""},
		"of its own size":             {raw, int64(len(content)), ""},
		"qcow2":                       {convert(), 2 << 20, ""},
		"compressed":                  {convert("-c"), 2 << 20, ""},
		"too large":                   {raw, 1 << 20, "and the volume"},
		"too large inside":            {convert("-c"), 1 << 20, "at most 1 MiB"},
		"based on a file of the host": {based, 2 << 20, "must be whole"},
	} {
		disk, err := os.Create(filepath.Join(dir, "disk"))
		if err != nil {
			t.Fatal(err)
		}
		if err := disk.Truncate(test.size); err != nil {
			t.Fatal(err)
		}
		err = fill(t.Context(), disk, test.parent, test.size)
		got, _ := os.ReadFile(disk.Name())
		disk.Close()
		if test.want != "" {
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || int64(len(got)) != test.size || !bytes.HasPrefix(got, content) || len(bytes.Trim(got[len(content):], "\x00")) > 0 {
			t.Errorf("%s: another disk of %d bytes, %v", name, len(got), err)
		}
	}
}
