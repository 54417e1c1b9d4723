package image

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// into is a file of zeros in memory.
type into []byte

func (b into) WriteAt(p []byte, at int64) (int, error) { return copy(b[at:], p), nil }

// qcow2Of has QEMU's own tool make an image of a disk.
func qcow2Of(t testing.TB, disk []byte, options ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	raw, out := filepath.Join(dir, "raw"), filepath.Join(dir, "qcow2")
	if err := os.WriteFile(raw, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	args := append(append([]string{"convert", "-f", "raw", "-O", "qcow2"}, options...), raw, out)
	if said, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	made, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// someDisk has data, repeated data, and holes.
func someDisk(size int) []byte {
	disk, random := make([]byte, size), rand.New(rand.NewPCG(1, 2))
	for at := 0; at < size; at += 200_000 {
		for i := at; i < min(size, at+70_000); i++ {
			disk[i] = byte(random.Uint32() >> (random.Uint32() & 31))
		}
	}
	return disk
}

func TestQcow2HoldsTheDiskThatItWasMadeOf(t *testing.T) {
	disk := someDisk(5<<20 + 512)
	for name, options := range map[string][]string{
		"plain": nil, "compressed": {"-c"}, "small clusters": {"-o", "cluster_size=512"}, "large clusters": {"-c", "-o", "cluster_size=2M"},
		"of the older version": {"-o", "compat=0.10"}, "of the older version and compressed": {"-c", "-o", "compat=0.10"},
	} {
		image := qcow2Of(t, disk, options...)
		got := make(into, 8<<20)
		if !IsQcow2(bytes.NewReader(image)) {
			t.Errorf("%s: it is none", name)
		}
		size, err := CopyQcow2(t.Context(), got, bytes.NewReader(image), int64(len(got)))
		if err != nil || size != int64(len(disk)) {
			t.Errorf("%s: %d bytes, %v", name, size, err)
		}
		if !bytes.Equal(got[:len(disk)], disk) || len(bytes.Trim(got[len(disk):], "\x00")) > 0 {
			t.Errorf("%s: it holds another disk", name)
		}
	}
}

func TestQcow2ThatIsNotWholeIsRefused(t *testing.T) {
	disk := someDisk(1 << 20)
	for name, test := range map[string]struct {
		change func(image []byte) []byte
		want   string
	}{
		"based on another":   {func(i []byte) []byte { binary.BigEndian.PutUint64(i[8:], 512); return i }, "based on another"},
		"encrypted":          {func(i []byte) []byte { i[35] = 1; return i }, "encrypted"},
		"data elsewhere":     {func(i []byte) []byte { i[79] |= 1 << 2; return i }, "features"},
		"another version":    {func(i []byte) []byte { i[7] = 9; return i }, "version 9"},
		"larger than it may": {func(i []byte) []byte { binary.BigEndian.PutUint64(i[24:], 1<<40); return i }, "at most"},
		"huge clusters":      {func(i []byte) []byte { i[23] = 63; return i }, "2^63"},
		"no tables":          {func(i []byte) []byte { binary.BigEndian.PutUint32(i[36:], 0); return i }, "shorter"},
		"tables elsewhere":   {func(i []byte) []byte { binary.BigEndian.PutUint64(i[40:], 1<<50); return i }, "too early"},
		"cut in its header":  {func(i []byte) []byte { return i[:60] }, "header"},
		"cut in its tables":  {func(i []byte) []byte { return i[:200_000] }, "too early"},
	} {
		_, err := CopyQcow2(t.Context(), make(into, 2<<20), bytes.NewReader(test.change(qcow2Of(t, disk))), 2<<20)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := CopyQcow2(t.Context(), make(into, 2<<20), bytes.NewReader(qcow2Of(t, disk, "-c", "-o", "compression_type=zstd")), 2<<20); err == nil || !strings.Contains(err.Error(), "zlib") {
		t.Errorf("compressed otherwise: %v", err)
	}
}

func FuzzQcow2(f *testing.F) {
	f.Add(qcow2Of(f, someDisk(3000), "-o", "cluster_size=512"))
	f.Add(qcow2Of(f, someDisk(3000), "-c", "-o", "cluster_size=512"))
	f.Fuzz(func(t *testing.T, image []byte) {
		const limit = 64 << 10
		if size, err := CopyQcow2(t.Context(), make(into, limit), bytes.NewReader(image), limit); err == nil && size > limit {
			t.Errorf("a disk of %d bytes", size)
		}
	})
}
