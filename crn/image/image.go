// Package image provides what machines boot from: the guest kernel that fetch-kernel.sh unpacked, the initramfs with our guest
// program, and checks of the users' archives. Runtimes are built by build-runtime.sh and travel over the network like any file.
package image

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/aleph-im/aleph-go/message"
)

// Kernel is a guest kernel with its modules.
type Kernel struct {
	Version string
	Path    string   // the kernel itself where QEMU can start it, or else packed, as a bzImage
	Modules []string // paths of the modules to load
}

// LoadKernel reads the folder that fetch-kernel.sh made.
func LoadKernel(dir string) (Kernel, error) {
	fail := func(err error) (Kernel, error) {
		return Kernel{}, fmt.Errorf("guest kernel in %s: %w; 'make guest' fetches it", dir, err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "kernel.json"))
	if err != nil {
		return fail(err)
	}
	var description struct{ Version string }
	if err := json.Unmarshal(raw, &description); err != nil {
		return fail(err)
	}
	k := Kernel{Version: description.Version, Path: filepath.Join(dir, "vmlinuz")}
	if _, err := os.Stat(k.Path); err != nil {
		return fail(err)
	}
	if unpacked := filepath.Join(dir, "vmlinux"); hasEntry(unpacked) {
		k.Path = unpacked
	}
	list, err := os.ReadFile(filepath.Join(dir, "modules", "list"))
	if err != nil {
		return fail(err)
	}
	for _, name := range strings.Fields(string(list)) {
		k.Modules = append(k.Modules, filepath.Join(dir, "modules", filepath.Base(name)))
	}
	return k, nil
}

// hasEntry reports whether a file is an unpacked kernel that says, in a note of type 18 by Xen, where a machine is to enter it. QEMU
// starts no other.
func hasEntry(path string) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_NOTE || p.Filesz > 1<<20 {
			continue
		}
		notes := make([]byte, p.Filesz)
		if _, err := p.ReadAt(notes, 0); err != nil {
			return false
		}
		// Each is three numbers (length of the name, length of what it says, type), the name and what it says, filled up to 4 bytes.
		for len(notes) >= 12 {
			name, says := uint64(f.ByteOrder.Uint32(notes)), uint64(f.ByteOrder.Uint32(notes[4:]))
			kind, end := f.ByteOrder.Uint32(notes[8:]), 12+(name+3)&^3+(says+3)&^3
			if end > uint64(len(notes)) {
				return false
			}
			if kind == 18 && string(notes[12:12+name]) == "Xen\x00" {
				return true
			}
			notes = notes[end:]
		}
	}
	return false
}

// Initramfs writes the initramfs with the guest program as /init and the kernel's modules into dir, and returns its path. The
// name says what is inside, so an existing file is used again.
func Initramfs(dir string, guestProgram []byte, k Kernel) (string, error) {
	var b bytes.Buffer
	w := newCPIO(&b)
	// The kernel opens /dev/console for PID 1 before anything is mounted.
	w.dir("dev")
	w.device("dev/console", 5, 1)
	w.dir("proc")
	w.dir("sys")
	w.dir("modules")
	w.file("init", 0o755, guestProgram)
	var list strings.Builder
	for _, path := range k.Modules {
		content, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("build the initramfs: %w", err)
		}
		w.file("modules/"+filepath.Base(path), 0o644, content)
		fmt.Fprintln(&list, filepath.Base(path))
	}
	w.file("modules/list", 0o644, []byte(list.String()))
	w.close()

	sum := sha256.Sum256(b.Bytes())
	path := filepath.Join(dir, "initramfs-"+hex.EncodeToString(sum[:8])+".cpio")
	if info, err := os.Stat(path); err == nil && info.Size() == int64(b.Len()) {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("build the initramfs: %w", err)
	}
	temporary, err := os.CreateTemp(dir, ".initramfs-*")
	if err != nil {
		return "", fmt.Errorf("build the initramfs: %w", err)
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.Write(b.Bytes())
	if err = errors.Join(err, temporary.Close()); err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		return "", fmt.Errorf("build the initramfs: %w", err)
	}
	return path, nil
}

// CheckArchive looks at the first bytes of a user's archive, so that a wrong file is refused before a machine is booted for it.
// What is inside is judged in the guest.
func CheckArchive(path string, encoding message.Encoding) error {
	var magics []string
	var at int64
	switch encoding {
	case message.EncodingZip:
		magics = []string{"PK\x03\x04", "PK\x05\x06"}
	case message.EncodingSquashfs:
		magics = []string{"hsqs"}
	case message.EncodingTar:
		magics, at = []string{"ustar"}, 257
	case message.EncodingTarGzip:
		magics = []string{"\x1f\x8b"}
	case message.EncodingPlain:
		return nil
	default:
		return fmt.Errorf("encoding %q is none of zip, tar, tar.gz, squashfs, plain", encoding)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var head [5]byte
	if _, err := f.ReadAt(head[:], at); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for _, magic := range magics {
		if strings.HasPrefix(string(head[:]), magic) {
			return nil
		}
	}
	return fmt.Errorf("the file is not a %s archive (at byte %d it has %q)", encoding, at, bytes.TrimRight(head[:], "\x00"))
}
