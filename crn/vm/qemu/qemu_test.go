package qemu

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/crn/image/imagetest"
	"github.com/aleph-im/aleph-go/crn/vm"
	"github.com/aleph-im/aleph-go/crn/vm/vmtest"
	"github.com/aleph-im/aleph-go/guest/wire"
)

func TestConformance(t *testing.T) {
	images := imagetest.Get(t)
	vmtest.Run(t, func(t *testing.T, dir string) vm.Driver {
		d, err := New(Config{Dir: dir, Kernel: images.Kernel.Path, Initrd: images.Initramfs, BootMark: wire.BootMark, Accelerator: "tcg"})
		if err != nil {
			t.Fatal(err)
		}
		return d
	})
}

func TestAcceleratorIsFoundByBootingOnceAndRemembered(t *testing.T) {
	images := imagetest.Get(t)
	cfg := Config{Dir: t.TempDir(), Kernel: images.Kernel.Path, Initrd: images.Initramfs, BootMark: wire.BootMark}
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	found, err := d.Fingerprint(t.Context())
	if err != nil || found.Accelerator == "" || found.Reason == "" {
		t.Fatalf("got %+v, %v", found, err)
	}
	t.Logf("%+v", found)
	if left, _ := filepath.Glob(filepath.Join(cfg.Dir, "run", "*")); len(left) > 0 {
		t.Errorf("the trial left %v", left)
	}
	// A remembered answer is not tried again: one that no trial would give shows it.
	file := filepath.Join(cfg.Dir, "accelerator.json")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	marked := strings.Replace(string(raw), found.Reason[:5], "REMEMBERED", 1)
	if err := os.WriteFile(file, []byte(marked), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Fingerprint(t.Context()); err != nil || !strings.HasPrefix(got.Reason, "REMEMBERED") {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestMissingQEMUNamesThePackage(t *testing.T) {
	d, err := New(Config{Dir: t.TempDir(), Binary: "qemu-that-nobody-installed"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Start(t.Context(), vm.Spec{ID: "a", VCPUs: 1, MemoryMiB: 64})
	if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "qemu-system-x86") {
		t.Errorf("got %v", err)
	}
}

func TestDrivesKeepTheirOrderAndNothingElseIsAttached(t *testing.T) {
	args, err := arguments(vm.Spec{ID: "a", VCPUs: 2, MemoryMiB: 256, Kernel: "k", Initrd: "i", Channel: "c", Drives: []vm.Drive{{Path: "/a,b", ReadOnly: true}, {Path: "/c"}}}, "tcg")
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Join(args, " ")
	first, second := strings.Index(line, "read-only=on,file=/a,,b"), strings.Index(line, "read-only=off,file=/c")
	if first < 0 || second < first {
		t.Errorf("drives: %s", line)
	}
	if !slices.Contains(args, "-nodefaults") || strings.Contains(line, "netdev") {
		t.Errorf("a machine without network: %s", line)
	}
	if args = (Rate{Bytes: 1 << 20, Operations: 100}).bound(args); strings.Count(strings.Join(args, " "), ",throttling.group=disks,throttling.bps-total=1048576,throttling.iops-total=100") != 2 {
		t.Errorf("bounded drives: %s", args)
	}
	// A card is joined to the node's end of a socket, and to nothing of the host.
	args, err = arguments(vm.Spec{VCPUs: 1, MemoryMiB: 1, Card: true}, "tcg")
	if line := strings.Join(args, " "); err != nil || strings.Count(line, "netdev ") != 1 || !strings.Contains(line, "-netdev socket,id=card,fd=5 ") {
		t.Errorf("a machine with a card: %s, %v", line, err)
	}
	for _, spec := range []vm.Spec{{VCPUs: 0, MemoryMiB: 1}, {VCPUs: 1, MemoryMiB: 0}, {VCPUs: 1, MemoryMiB: 1, Drives: []vm.Drive{{}}}} {
		if _, err := arguments(spec, "tcg"); err == nil {
			t.Errorf("%+v was accepted", spec)
		}
	}
}

func TestAProcessThatTookThePidIsSpared(t *testing.T) {
	d, err := New(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	dir := d.runDir("old")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// This process has the pid, and did not start when the record says.
	if err := writeRecord(dir, os.Getpid(), ""); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(raw), `"start":`, `"start":1`, 1)
	if err := os.WriteFile(filepath.Join(dir, recordFile), []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	if ids, err := d.Reap(t.Context()); err != nil || len(ids) != 1 {
		t.Errorf("got %v, %v", ids, err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Error("its folder is still there")
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("1 (a b) c) S 1 1 1 0 -1 4194560 1 1 1 1 5 6 0 0 20 0 1 0 77 1000 200 18446744073709551615"))
	f.Add([]byte("1 (x"))
	f.Fuzz(func(t *testing.T, raw []byte) { _, _ = parseStat(raw) })
}

func TestParseStatReadsNamesWithParentheses(t *testing.T) {
	p, err := parseStat([]byte("12 (a) (b) Z 1 1 1 0 -1 4194560 1 1 1 1 5 6 0 0 20 0 1 0 77 1000 200 1 1 1"))
	if err != nil || p.state != 'Z' || p.start != 77 || p.cpu.Milliseconds() != 110 {
		t.Errorf("got %+v, %v", p, err)
	}
}
