package qemu

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/aleph-im/aleph-go/crn/vm"
)

// image makes an image as CopyChanges fills it.
func image(t *testing.T, size int64) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy.qcow2")
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-o", fmt.Sprintf("cluster_size=%d", ChunkSize), path, strconv.FormatInt(size, 10)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// The disk is written to as a guest would, through QEMU: between two copies, and while one is made.
func TestCopiesOfChangesAddUpToTheDisk(t *testing.T) {
	dir := t.TempDir()
	const size = 5<<20 + 4096
	data := filepath.Join(dir, "data")
	first := make([]byte, size)
	copy(first[3<<20:], "precious")
	for path, content := range map[string][]byte{data: first, filepath.Join(dir, "seed"): nil} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	spec := InstanceSpec{
		ID: "copied", VCPUs: 1, MemoryMiB: 64, Root: filepath.Join(dir, "root"), RootMiB: 8, Seed: filepath.Join(dir, "seed"),
		Drives: []vm.Drive{{Path: data}}, Console: nowhere{io.Discard},
	}
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", spec.Root, "8M").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	d, err := New(Config{Dir: filepath.Join(dir, "driver"), Accelerator: "tcg"})
	if err != nil {
		t.Fatal(err)
	}
	i, err := d.Instances(filepath.Join(dir, "run"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := i.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if m.Kill() == nil {
			_ = m.Release()
		}
	})
	random := rand.New(rand.NewPCG(1, 2))
	write := func(pattern, at, length int) {
		t.Helper()
		line := fmt.Sprintf("qemu-io drive2 \"write -P %d %d %d\"", pattern, at, length)
		if pattern == 0 {
			line = fmt.Sprintf("qemu-io drive2 \"write -z %d %d\"", at, length)
		}
		if _, err := m.ask(t.Context(), order{command: "human-monitor-command", arguments: with{"command-line": line}}); err != nil {
			t.Fatal(err)
		}
	}
	copied := make([]byte, size)
	for n := range 6 {
		all := n == 0 || n == 4
		chunks := map[int64]bool{}
		if n > 0 {
			for range random.IntN(4) + 1 {
				at, length := random.IntN(size/512-2000)*512, (random.IntN(1999)+1)*512
				write(random.IntN(3), at, length)
				for c := at / ChunkSize; c <= (at+length-1)/ChunkSize; c++ {
					chunks[int64(c)] = true
				}
			}
		}
		if all {
			clear(copied)
		}
		f := image(t, size)
		if err := m.CopyChanges(t.Context(), []DiskCopy{{Disk: data, To: f}}, all); err != nil {
			t.Fatal(err)
		}
		err := ReadChanges(f, size, func(c int64, chunk []byte) error {
			if !all && !chunks[c] {
				t.Errorf("chunk %d was not written to", c)
			}
			to := copied[c*ChunkSize : min(size, (c+1)*ChunkSize)]
			if clear(to); chunk != nil && copy(to, chunk) != len(to) {
				t.Errorf("chunk %d has %d bytes", c, len(chunk))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		now, err := os.ReadFile(data)
		if err != nil || !bytes.Equal(now, copied) {
			t.Fatalf("copy %d is not the disk, %v", n, err)
		}
	}
}

func TestWhatIsNoCopyIsNotRead(t *testing.T) {
	f := image(t, 1<<20)
	whole, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	use := func(int64, []byte) error { return nil }
	if err := ReadChanges(bytes.NewReader(whole), 1<<20, use); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(b []byte) []byte{
		"nothing":              func(b []byte) []byte { return nil },
		"another format":       func(b []byte) []byte { b[0]++; return b },
		"another size":         func(b []byte) []byte { b[31]++; return b },
		"other clusters":       func(b []byte) []byte { b[23]++; return b },
		"no tables":            func(b []byte) []byte { b[39] = 0; return b },
		"tables nowhere":       func(b []byte) []byte { b[40] = 0xff; return b },
		"tables beyond it":     func(b []byte) []byte { b[41] = 1; return b },
		"its head and no more": func(b []byte) []byte { return b[:104] },
	} {
		if err := ReadChanges(bytes.NewReader(spoil(bytes.Clone(whole))), 1<<20, use); err == nil {
			t.Errorf("%s: read", name)
		}
	}
}

func FuzzReadChanges(f *testing.F) {
	head := make([]byte, 4*104)
	copy(head, "QFI\xfb\x00\x00\x00\x03")
	head[23], head[29], head[39], head[47] = 18, 16, 1, 104
	f.Add(head)
	f.Fuzz(func(t *testing.T, image []byte) {
		_ = ReadChanges(bytes.NewReader(image), 1<<20, func(n int64, chunk []byte) error {
			if n < 0 || n > 3 || chunk != nil && len(chunk) != ChunkSize {
				t.Errorf("chunk %d of %d bytes", n, len(chunk))
			}
			return nil
		})
	})
}
