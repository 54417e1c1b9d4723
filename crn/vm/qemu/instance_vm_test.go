package qemu

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/crn/vm"
)

type nowhere struct{ io.Writer }

func (nowhere) Close() error { return nil }

// A machine whose disk holds nothing to boot is enough to look at its process, which a second node takes over.
func TestAnInstanceIsConfined(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	spec := InstanceSpec{
		ID: "watched", VCPUs: 1, MemoryMiB: 64, Root: filepath.Join(dir, "root"), RootMiB: 8, Backing: file("parent"), Seed: file("seed"),
		Drives: []vm.Drive{{Path: file("data")}, {Path: file("fixed"), ReadOnly: true}}, Console: nowhere{io.Discard},
	}
	out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", spec.Backing, spec.Root, strconv.FormatInt(spec.RootMiB<<20, 10)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	run := filepath.Join(dir, strings.Repeat("a long name ", 10)) // sockets have short paths, folders need not
	open := func() (*Driver, *Instances) {
		d, err := New(Config{Dir: filepath.Join(dir, "driver"), Accelerator: "tcg"})
		if err != nil {
			t.Fatal(err)
		}
		i, err := d.Instances(run)
		if err != nil {
			t.Fatal(err)
		}
		return d, i
	}
	d, i := open()
	m, err := i.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	pid := m.Inspect().PID
	t.Cleanup(func() { _ = endRecorded(t.Context(), filepath.Join(run, spec.ID)) })
	writable := []string{spec.Root, spec.Drives[0].Path}
	checkConfined(t, d, pid, append(writable, spec.Backing, spec.Seed, spec.Drives[1].Path, filepath.Join(run, spec.ID, stderrFile)), writable)

	if err := m.Detach(); err != nil {
		t.Fatal(err)
	}
	d, i = open()
	if _, err := d.Reap(t.Context()); err != nil {
		t.Error(err)
	}
	adopted, err := i.Adopt(t.Context(), func(string) (io.WriteCloser, error) { return spec.Console, nil })
	if err != nil || adopted[spec.ID] == nil {
		t.Fatalf("adopted %v, %v", adopted, err)
	}
	m = adopted[spec.ID]
	if now := m.Inspect(); now.PID != pid || !now.Running {
		t.Errorf("process %d was adopted as %+v", pid, now)
	}
	if err := errors.Join(m.Kill(), m.Release()); err != nil {
		t.Error(err)
	}
	left, _ := os.ReadDir(run)
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if i.groups != nil {
		if _, err := os.Stat(i.groups.dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("control groups: %v", err)
		}
	}
}

func TestAnInstanceThatLostItsFolderIsEnded(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"root", "seed"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	spec := InstanceSpec{ID: "lost", VCPUs: 1, MemoryMiB: 64, Root: filepath.Join(dir, "root"), RootMiB: 8, Seed: filepath.Join(dir, "seed"), Console: nowhere{io.Discard}}
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
	if err := os.RemoveAll(filepath.Join(dir, "run", spec.ID)); err != nil {
		t.Fatal(err)
	}
	if adopted, err := i.Adopt(t.Context(), nil); err != nil || len(adopted) > 0 {
		t.Errorf("adopted %v, %v", adopted, err)
	}
	<-m.Done()
	if err := m.Release(); err != nil {
		t.Error(err)
	}
}
