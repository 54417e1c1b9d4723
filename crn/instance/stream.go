package instance

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// How memory goes from node to node: in parts, each with its length in four bytes before it. One without bytes says that this was all.
// After it comes a part with the files as they are while the guest stands still, in JSON, and then, for as long as it does, parts
// without bytes now and then.

// maxPart bounds a part, in bytes.
const maxPart = 1 << 20

// memoryWriter writes parts. It fails when ctx ends, or when the other side does not take one.
type memoryWriter struct {
	ctx context.Context
	to  Line
}

// Write implements io.Writer.
func (m *memoryWriter) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		part := b[:min(len(b), maxPart)]
		if err := m.part(part); err != nil {
			return n, err
		}
		n, b = n+len(part), b[len(part):]
	}
	return n, nil
}

func (m *memoryWriter) part(b []byte) error {
	// In this order: the end of ctx sets another deadline.
	if err := errors.Join(m.to.SetWriteDeadline(time.Now().Add(stallLimit)), m.ctx.Err()); err != nil {
		return err
	}
	_, err := m.to.Write(append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(b)), uint32(len(b))), b...))
	return err
}

func (m *memoryWriter) beat() error { return m.part(nil) }

// finish says that this was all, and what files there are.
func (m *memoryWriter) finish(files []MovedFile) error {
	raw, err := json.Marshal(files)
	if err == nil && len(raw) > maxPart {
		err = errors.New("it has too many disks")
	}
	if err != nil {
		return err
	}
	return errors.Join(m.part(nil), m.part(raw))
}

// memoryReader reads what memoryWriter wrote. Up to the end of the memory it is an io.Reader.
type memoryReader struct {
	r    io.Reader
	most int64 // bytes that may come
	left int   // bytes of the part that is being read
	done bool  // this was all
}

// Read implements io.Reader. What breaks off is io.ErrUnexpectedEOF.
func (m *memoryReader) Read(b []byte) (int, error) {
	if m.done {
		return 0, io.EOF
	}
	if m.left == 0 {
		n, err := m.next()
		if err != nil {
			return 0, err
		}
		if m.left = n; n == 0 {
			m.done = true
			return 0, io.EOF
		}
	}
	if m.most <= 0 {
		return 0, errors.New("more comes than the memory can take to travel")
	}
	n, err := m.r.Read(b[:min(int64(len(b)), int64(m.left), m.most)])
	m.most -= int64(n)
	if m.left -= n; errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// next returns the length of the next part.
func (m *memoryReader) next() (int, error) {
	var head [4]byte
	if _, err := io.ReadFull(m.r, head[:]); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxPart {
		return 0, fmt.Errorf("a part of %d bytes came, and the longest has %d", n, maxPart)
	}
	return int(n), nil
}

// files reads those that there are, once all memory was read.
func (m *memoryReader) files() (files []MovedFile, err error) {
	n, err := m.next()
	if err != nil {
		return nil, err
	}
	raw := make([]byte, n)
	if _, err := io.ReadFull(m.r, raw); err != nil {
		return nil, err
	}
	return files, json.Unmarshal(raw, &files)
}

// watch returns when the other side has hung up.
func (m *memoryReader) watch() error {
	for {
		n, err := m.next()
		if err != nil {
			return err
		}
		if n != 0 {
			return errors.New("more came than there is to come")
		}
	}
}
