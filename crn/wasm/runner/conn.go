package runner

import (
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// conn is one connection of the host. What is written goes out in frames that say how long the answer took (wire.FrameHeader).
type conn struct {
	*yamux.Stream
	asked atomic.Int64 // when the last byte of a request came, in Unix nanoseconds
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Stream.Read(b)
	if n > 0 {
		c.asked.Store(time.Now().UnixNano())
	}
	return n, err
}

// maxFrame bounds the bytes of one frame.
const maxFrame = 32 << 10

func (c *conn) Write(b []byte) (int, error) {
	written := 0
	frame := make([]byte, wire.FrameHeaderSize, wire.FrameHeaderSize+min(len(b), maxFrame))
	for len(b) > 0 {
		part := b[:min(len(b), maxFrame)]
		b = b[len(part):]
		elapsed := max(0, time.Duration(time.Now().UnixNano()-c.asked.Load()))
		wire.FrameHeader{Length: uint32(len(part)), Elapsed: elapsed}.Put(frame)
		if _, err := c.Stream.Write(append(frame, part...)); err != nil {
			return written, err
		}
		written += len(part)
	}
	return written, nil
}
