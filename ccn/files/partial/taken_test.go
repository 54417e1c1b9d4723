package partial

import (
	"bytes"
	"crypto/sha256"
	"io"
	"strings"
	"syscall"
	"testing"
)

// full is a disk that takes so many bytes.
type full struct {
	bytes.Buffer
	left int
}

func (f *full) Write(p []byte) (int, error) {
	n, _ := f.Buffer.Write(p[:min(len(p), f.left)]) // never fails
	if f.left -= n; n < len(p) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func TestWhatADiskDoesNotTakeIsNotHashed(t *testing.T) {
	part, sum := &full{left: 7}, sha256.New()
	n, err := io.CopyBuffer(struct{ io.Writer }{&hashed{part, sum}}, struct{ io.Reader }{strings.NewReader("0123456789")}, make([]byte, 4))
	if n != 7 || err != syscall.ENOSPC || part.String() != "0123456" {
		t.Fatalf("%d bytes, %q: %v", n, part, err)
	}
	if want := sha256.Sum256(part.Bytes()); !bytes.Equal(sum.Sum(nil), want[:]) {
		t.Error("other bytes are hashed than were written")
	}
}
