package files_test

import (
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/aleph-im/aleph-go/ccn/files"
)

// BenchmarkPut stores a file of 64 MiB, beside what hashing it and copying it without syncing take, one after the other.
func BenchmarkPut(b *testing.B) {
	const size = 64 << 20
	source := filepath.Join(b.TempDir(), "source")
	f, err := os.Create(source)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.CopyN(f, rand.NewChaCha8([32]byte{1}), size); err != nil {
		b.Fatal(err)
	}
	f.Close()
	read := func(b *testing.B, use func(io.Reader) error) {
		b.SetBytes(size)
		b.ReportAllocs()
		for b.Loop() {
			f, err := os.Open(source)
			if err != nil {
				b.Fatal(err)
			}
			if err := use(struct{ io.Reader }{f}); err != nil {
				b.Fatal(err)
			}
			f.Close()
		}
	}
	b.Run("disk", func(b *testing.B) {
		d, err := files.OpenDisk(b.TempDir())
		if err != nil {
			b.Fatal(err)
		}
		defer d.Close()
		read(b, func(r io.Reader) error {
			_, _, err := d.Put(b.Context(), r, 0)
			return err
		})
	})
	b.Run("hash-then-copy", func(b *testing.B) {
		to := filepath.Join(b.TempDir(), "copy")
		read(b, func(r io.Reader) error {
			if _, err := io.CopyBuffer(sha256.New(), r, make([]byte, 256<<10)); err != nil {
				return err
			}
			in, err := os.Open(source)
			if err != nil {
				return err
			}
			defer in.Close()
			out, err := os.Create(to)
			if err != nil {
				return err
			}
			defer out.Close()
			_, err = io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, make([]byte, 256<<10))
			return err
		})
	})
}
