package image_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/crn/image"
	"github.com/aleph-im/aleph-go/message"
)

func kernelDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"kernel.json": `{"version":"6.1.0-test"}`, "vmlinuz": "kernel", "modules/list": "b.ko\na.ko\n", "modules/a.ko": "module a", "modules/b.ko": "module bb",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// unpackedKernel is a file with the least that makes an unpacked kernel: a note of a kind by somebody.
func unpackedKernel(t *testing.T, by string, kind uint32) []byte {
	t.Helper()
	const header, program = 64, 56
	note := append(binary.LittleEndian.AppendUint32(nil, uint32(len(by))), 8, 0, 0, 0)
	note = append(binary.LittleEndian.AppendUint32(note, kind), by...)
	note = append(append(note, make([]byte, -len(by)&3)...), 1, 2, 3, 4, 5, 6, 7, 8)
	var b bytes.Buffer
	ident := [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)}
	err := errors.Join(
		binary.Write(&b, binary.LittleEndian, elf.Header64{Ident: ident, Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64),
			Version: uint32(elf.EV_CURRENT), Phoff: header, Ehsize: header, Phentsize: program, Phnum: 1}),
		binary.Write(&b, binary.LittleEndian, elf.Prog64{Type: uint32(elf.PT_NOTE), Off: header + program, Filesz: uint64(len(note))}))
	if err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), note...)
}

func TestTheUnpackedKernelIsTakenWhereItCanBeStarted(t *testing.T) {
	good := unpackedKernel(t, "Xen\x00", 18)
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"none":                {nil, "vmlinuz"},
		"says where to enter": {good, "vmlinux"},
		"another note":        {unpackedKernel(t, "Xen\x00", 17), "vmlinuz"},
		"another author":      {unpackedKernel(t, "GNU\x00", 18), "vmlinuz"},
		"cut off":             {good[:len(good)-1], "vmlinuz"},
		"no such file format": {[]byte("vmlinux"), "vmlinuz"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := kernelDir(t)
			if c.file != nil {
				if err := os.WriteFile(filepath.Join(dir, "vmlinux"), c.file, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if k, err := image.LoadKernel(dir); err != nil || filepath.Base(k.Path) != c.want {
				t.Errorf("got %s, %v", k.Path, err)
			}
		})
	}
}

func TestInitramfsIsReadByOthersAndTheSameEachTime(t *testing.T) {
	kernel, err := image.LoadKernel(kernelDir(t))
	if err != nil || kernel.Version != "6.1.0-test" || len(kernel.Modules) != 2 {
		t.Fatalf("got %+v, %v", kernel, err)
	}
	dir := t.TempDir()
	path, err := image.Initramfs(dir, []byte("the guest program"), kernel)
	if err != nil {
		t.Fatal(err)
	}
	again, err := image.Initramfs(dir, []byte("the guest program"), kernel)
	if err != nil || again != path {
		t.Errorf("the same content: %s, %v", again, err)
	}
	other, err := image.Initramfs(dir, []byte("another program"), kernel)
	if err != nil || other == path {
		t.Errorf("another content: %s, %v", other, err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	entries := readCPIO(t, raw)
	for name, want := range map[string]string{"init": "the guest program", "modules/a.ko": "module a", "modules/b.ko": "module bb", "modules/list": "b.ko\na.ko\n", "dev/console": "", "dev": ""} {
		if got, ok := entries[name]; !ok || got != want {
			t.Errorf("%s is %q (%v)", name, got, ok)
		}
	}
}

// readCPIO reads with the system's cpio where there is one, and by the format's description otherwise.
func readCPIO(t *testing.T, raw []byte) map[string]string {
	t.Helper()
	if path, err := exec.LookPath("cpio"); err == nil {
		list := exec.Command(path, "-t", "--quiet")
		list.Stdin = bytes.NewReader(raw)
		if out, err := list.CombinedOutput(); err != nil {
			t.Errorf("cpio: %v %s", err, out)
		}
	}
	entries := map[string]string{}
	field := func(i int) (n int) {
		for _, c := range raw[6+8*i : 14+8*i] {
			n = n<<4 | strings.IndexByte("0123456789ABCDEF", c)
		}
		return n
	}
	align := func(n int) int { return (n + 3) &^ 3 }
	for len(raw) >= 110 && string(raw[:6]) == "070701" {
		size, nameSize := field(6), field(11)
		name := string(raw[110 : 110+nameSize-1])
		begin := align(110 + nameSize)
		if name == "TRAILER!!!" {
			return entries
		}
		entries[name] = string(raw[begin : begin+size])
		raw = raw[align(begin+size):]
	}
	t.Fatal("the archive has no end")
	return nil
}

func TestAMissingKernelSaysHowToGetIt(t *testing.T) {
	if _, err := image.LoadKernel(t.TempDir()); err == nil || !strings.Contains(err.Error(), "make guest") {
		t.Errorf("got %v", err)
	}
}

func TestTheGuestProgramMustBeAProgram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "guest-init")
	if _, err := image.GuestProgram(path); err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := image.GuestProgram(path); err == nil || !strings.Contains(err.Error(), "not a Linux program") {
		t.Errorf("got %v", err)
	}
}

func TestArchivesAreKnownByTheirFirstBytes(t *testing.T) {
	for _, test := range []struct {
		content  string
		encoding message.Encoding
		ok       bool
	}{
		{"PK\x03\x04rest", "zip", true}, {"PK\x05\x06empty archive", "zip", true}, {"hsqs", "zip", false}, {"", "zip", false}, {"P", "zip", false},
		{"hsqsrest", "squashfs", true}, {"PK\x03\x04", "squashfs", false}, {"anything", "plain", true}, {"", "plain", true}, {"x", "rar", false},
		{strings.Repeat("\x00", 257) + "ustar", "tar", true}, {strings.Repeat("\x00", 257) + "usta", "tar", false}, {"ustar", "tar", false}, {"", "tar", false},
		{"\x1f\x8b\x08rest", "tar.gz", true}, {"PK\x03\x04", "tar.gz", false}, {"\x1f", "tar.gz", false},
	} {
		path := filepath.Join(t.TempDir(), "archive")
		if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := image.CheckArchive(path, test.encoding); (err == nil) != test.ok {
			t.Errorf("%q as %s: %v", test.content, test.encoding, err)
		}
	}
}
