package wasm_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn/guest"
	"github.com/aleph-im/aleph-go/crn/vm"
	"github.com/aleph-im/aleph-go/crn/wasm"
	"github.com/aleph-im/aleph-go/crn/wasm/wasmtest"
	"github.com/aleph-im/aleph-go/guest/wire"
)

// patience bounds every wait.
const patience = 30 * time.Second

// smallest has a _start that does nothing.
const smallest = "\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x07\x0a\x01\x06_start\x00\x00\x0a\x04\x01\x02\x00\x0b"

// launch starts the process of a module and configures it.
func launch(t *testing.T, d *wasm.Driver, module string) (vm.Machine, *guest.Session) {
	t.Helper()
	return launchAs(t, d, "module", module)
}

// launchAs does, from a file of the given name.
func launchAs(t *testing.T, d *wasm.Driver, name, module string) (vm.Machine, *guest.Session) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(module), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := d.Start(t.Context(), vm.Spec{ID: "test", VCPUs: 1, MemoryMiB: 16, Drives: []vm.Drive{{Path: path, ReadOnly: true}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Stop(context.Background()) })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := guest.Open(ctx, m.Channel(), wire.Config{
		Archives: []wire.Archive{{Device: "vda", Encoding: "plain", Size: int64(len(module))}}, Args: []string{"module"}, Seconds: 1,
	}, func(wire.LogLine) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return m, s
}

func await(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("did not happen: %s", what)
	}
}

func newDriver(t *testing.T) *wasm.Driver {
	t.Helper()
	d, err := wasm.New(wasm.Config{Dir: t.TempDir(), Program: wasmtest.Runner(t), Patience: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestAProcessIsHeldToWhatItIsAdmittedWith(t *testing.T) {
	d := newDriver(t)
	print, err := d.Fingerprint(t.Context())
	if err != nil || print.OverheadMiB == 0 {
		t.Fatalf("%+v, %v", print, err)
	}
	m, s := launch(t, d, smallest)
	await(t, "it is ready", s.Ready())
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", m.Inspect().PID))
	if err != nil {
		t.Fatal(err)
	}
	_, bound, _ := strings.Cut(string(limits), "Max data size")
	want := strconv.Itoa((16 + print.OverheadMiB) << 20)
	if got := strings.Fields(bound); len(got) < 2 || got[0] != want || got[1] != want {
		t.Errorf("the kernel's bounds are %s, want %s bytes", limits, want)
	}
}

func TestAProcessStartsIsSeenAndStops(t *testing.T) {
	d := newDriver(t)
	m, s := launch(t, d, smallest)
	await(t, "it is ready", s.Ready())
	status := m.Inspect()
	if !status.Running || status.PID == 0 || status.Started.IsZero() || status.RSSKiB < 1000 {
		t.Errorf("status %+v", status)
	}
	if uid := ownerOf(t, status.PID); os.Getuid() == 0 && uid == 0 {
		t.Error("the process is root's")
	}
	if root, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(status.PID), "root")); err != nil || root == "/" {
		t.Errorf("its root is %q, %v", root, err)
	}
	if err := m.Stop(t.Context()); err != nil {
		t.Errorf("stop: %v", err)
	}
	if err := m.Stop(t.Context()); err != nil {
		t.Errorf("stop again: %v", err)
	}
	if status := m.Inspect(); status.Running {
		t.Errorf("status after the end: %+v", status)
	}
	if print, err := d.Fingerprint(t.Context()); err != nil || print.Driver != "wasm" || !strings.HasPrefix(print.Version, "wazero") {
		t.Errorf("fingerprint %+v, %v", print, err)
	}
}

func TestAProcessEndsWithItsChannel(t *testing.T) {
	m, s := launch(t, newDriver(t), smallest)
	await(t, "it is ready", s.Ready())
	s.Close() // what the kernel does for a node that was killed
	await(t, "it ends", m.Done())
}

func TestAProcessThatWasKilledSaysSo(t *testing.T) {
	m, s := launch(t, newDriver(t), smallest)
	await(t, "it is ready", s.Ready())
	if err := unix.Kill(m.Inspect().PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "the session ends", s.Done())
	await(t, "it ends", m.Done())
	if m.Err() == nil || !strings.Contains(m.Err().Error(), "killed") {
		t.Errorf("error %v", m.Err())
	}
}

func TestAProcessWithoutASignOfLifeIsKilled(t *testing.T) {
	m, s := launch(t, newDriver(t), smallest)
	await(t, "it is ready", s.Ready())
	if err := unix.Kill(m.Inspect().PID, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	await(t, "it ends", m.Done())
	if m.Err() == nil || !strings.Contains(m.Err().Error(), "cannot be interrupted") {
		t.Errorf("error %v", m.Err())
	}
}

func TestAModuleIsCompiledOnce(t *testing.T) {
	dir := t.TempDir()
	d, err := wasm.New(wasm.Config{Dir: dir, Program: wasmtest.Runner(t)})
	if err != nil {
		t.Fatal(err)
	}
	compiled := func() (files []string) {
		files, _ = filepath.Glob(filepath.Join(dir, "compiled", "module", "cache", "*", "*"))
		return files
	}
	for range 2 {
		m, s := launch(t, d, smallest)
		await(t, "it is ready", s.Ready())
		if err := m.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if files := compiled(); len(files) != 1 {
			t.Errorf("compiled %v", files)
		}
	}
}

func TestCompiledModulesAreBounded(t *testing.T) {
	const most = 500
	dir := t.TempDir()
	compiled := filepath.Join(dir, "compiled")
	use := func(name string, hours int) {
		t.Helper()
		at := time.Now().Add(-time.Duration(hours) * time.Hour)
		if err := errors.Join(os.MkdirAll(filepath.Join(compiled, name), 0o711), os.Chtimes(filepath.Join(compiled, name), at, at)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range most - 1 {
		use(fmt.Sprint(i), most-i)
	}
	d, err := wasm.New(wasm.Config{Dir: dir, Program: wasmtest.Runner(t)})
	if err != nil {
		t.Fatal(err)
	}
	_, running := launchAs(t, d, "running", smallest)
	await(t, "it is ready", running.Ready())
	use("running", 2*most)
	m, s := launchAs(t, d, "last", smallest)
	await(t, "it is ready", s.Ready())
	if err := m.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(compiled)
	if err != nil || len(left) > most {
		t.Errorf("%d modules are kept, %v", len(left), err)
	}
	for name, want := range map[string]bool{"0": false, fmt.Sprint(most - 2): true, "running": true, "last": true} {
		if _, err := os.Stat(filepath.Join(compiled, name)); (err == nil) != want {
			t.Errorf("module %s is kept: %v", name, err == nil)
		}
	}
}

func TestANodeWithoutTheRunnerSaysHowToGetIt(t *testing.T) {
	d, err := wasm.New(wasm.Config{Dir: t.TempDir(), Program: filepath.Join(t.TempDir(), "absent")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Start(t.Context(), vm.Spec{ID: "test", VCPUs: 1, MemoryMiB: 16, Drives: []vm.Drive{{Path: "/dev/null"}}})
	if !errors.Is(err, wasm.ErrMissing) || !strings.Contains(err.Error(), "make build") {
		t.Errorf("got %v", err)
	}
}

func ownerOf(t *testing.T, pid int) uint32 {
	t.Helper()
	var stat unix.Stat_t
	if err := unix.Stat(filepath.Join("/proc", strconv.Itoa(pid)), &stat); err != nil {
		t.Fatal(err)
	}
	return stat.Uid
}
