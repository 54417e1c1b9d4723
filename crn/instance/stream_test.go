package instance

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// buffer is a line whose other side takes all.
type buffer struct{ bytes.Buffer }

func (*buffer) SetWriteDeadline(time.Time) error { return nil }

func TestMemoryTravelsInParts(t *testing.T) {
	var line buffer
	w := &memoryWriter{t.Context(), &line}
	memory := strings.Repeat("memory", 1<<19) // more than a part
	_, err := io.WriteString(w, memory)
	if err = errors.Join(err, w.finish([]MovedFile{{Name: "rootfs.qcow2", Size: 5}}), w.beat(), w.beat()); err != nil {
		t.Fatal(err)
	}
	whole := line.Bytes()
	r := &memoryReader{r: bytes.NewReader(whole), most: 1 << 30}
	if got, err := io.ReadAll(r); err != nil || string(got) != memory {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	if files, err := r.files(); err != nil || len(files) != 1 || files[0].Size != 5 {
		t.Errorf("got %+v, %v", files, err)
	}
	if err := r.watch(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the other side hung up: %v", err)
	}
	for _, at := range []int{0, 2, 100, len(memory)} { // what breaks off is not taken for the end
		r := &memoryReader{r: bytes.NewReader(whole[:at]), most: 1 << 30}
		if _, err := io.ReadAll(r); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("broken off at %d: %v", at, err)
		}
	}
	r = &memoryReader{r: bytes.NewReader(whole), most: 1 << 20}
	if got, err := io.ReadAll(r); err == nil || len(got) > 1<<20 {
		t.Errorf("of what may be a MiB came %d bytes, %v", len(got), err)
	}
}

func FuzzMemory(f *testing.F) {
	f.Add(binary.BigEndian.AppendUint32(nil, 1<<31))
	f.Add([]byte{0, 0, 0, 1, 'm', 0, 0, 0, 0, 0, 0, 0, 2, '[', ']', 0, 0, 0, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, line []byte) {
		r := &memoryReader{r: bytes.NewReader(line), most: 1 << 20}
		got, err := io.ReadAll(r)
		if len(got) > len(line) {
			t.Errorf("%d bytes became %d", len(line), len(got))
		}
		if err != nil {
			return
		}
		if _, err := r.files(); err == nil && r.watch() == nil {
			t.Error("it goes on after its end")
		}
	})
}
