package guest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// Conn is a connection to the program.
type Conn interface {
	net.Conn
	// Elapsed is how long the program took for its latest answer, from the last byte of the request that reached it to the first
	// byte that it wrote: measured in the guest on the channel, or without the way there and back on the network card.
	Elapsed() time.Duration
	// Quiet reports whether the program has neither sent anything that was not read nor hung up. Nobody may be reading meanwhile.
	Quiet() bool
}

// channelConn is a connection over the channel. What is read comes out of frames that also say how long the program took.
type channelConn struct {
	*yamux.Stream

	left    uint32 // bytes of the current frame not read yet
	header  [wire.FrameHeaderSize]byte
	got     int         // bytes of header read so far: a deadline may strike in the middle
	asked   atomic.Bool // something was written since the last frame
	elapsed atomic.Int64
}

// Write passes bytes to the program.
func (c *channelConn) Write(b []byte) (int, error) {
	c.asked.Store(true)
	return c.Stream.Write(b)
}

// Read returns bytes from the program.
func (c *channelConn) Read(b []byte) (int, error) {
	for c.left == 0 {
		n, err := c.Stream.Read(c.header[c.got:])
		c.got += n
		if err != nil {
			if c.got > 0 && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		if c.got < len(c.header) {
			continue
		}
		h := wire.ParseFrameHeader(c.header[:])
		c.got, c.left = 0, h.Length
		if c.asked.Swap(false) {
			c.elapsed.Store(int64(h.Elapsed))
		}
	}
	n, err := c.Stream.Read(b[:min(len(b), int(c.left))])
	c.left -= uint32(n)
	return n, err
}

// Elapsed implements [Conn].
func (c *channelConn) Elapsed() time.Duration { return time.Duration(c.elapsed.Load()) }

// Quiet implements [Conn].
func (c *channelConn) Quiet() bool {
	if c.left > 0 || c.got > 0 {
		return false
	}
	_ = c.Stream.SetReadDeadline(time.Unix(1, 0)) // what is there is read all the same
	n, err := c.Stream.Read(c.header[:1])
	_ = c.Stream.SetReadDeadline(time.Time{})
	c.got = n
	return n == 0 && errors.Is(err, yamux.ErrTimeout)
}

// lines reads JSON values, one a line, of bounded length: the other end runs code of strangers.
type lines struct{ scanner *bufio.Scanner }

func newLines(r io.Reader, limit int) *lines {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 4<<10), limit)
	return &lines{s}
}

func (l *lines) next(v any) error {
	if !l.scanner.Scan() {
		if err := l.scanner.Err(); err != nil {
			return fmt.Errorf("read from the guest: %w", err)
		}
		return io.EOF
	}
	if err := json.Unmarshal(l.scanner.Bytes(), v); err != nil {
		return fmt.Errorf("read from the guest: %w", err)
	}
	return nil
}
