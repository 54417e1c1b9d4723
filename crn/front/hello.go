package front

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// errRead ends a handshake of which only the first message was of interest.
var errRead = errors.New("the first message was read")

// readHello reads the first message of a TLS client and returns the host name in it, in lower case and empty when there is none, and
// all bytes that were read.
func readHello(c io.Reader) (name string, said []byte, err error) {
	var all bytes.Buffer
	listening := &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		name = strings.ToLower(hello.ServerName)
		return nil, errRead
	}}
	err = tls.Server(deaf{io.TeeReader(io.LimitReader(c, maxHello), &all)}, listening).HandshakeContext(context.Background())
	if !errors.Is(err, errRead) {
		return "", nil, err
	}
	return name, all.Bytes(), nil
}

// deaf is a connection that can only be read; the deadline of the one below holds.
type deaf struct{ io.Reader }

func (deaf) Write(p []byte) (int, error)      { return len(p), nil }
func (deaf) Close() error                     { return nil }
func (deaf) LocalAddr() net.Addr              { return nil }
func (deaf) RemoteAddr() net.Addr             { return nil }
func (deaf) SetDeadline(time.Time) error      { return nil }
func (deaf) SetReadDeadline(time.Time) error  { return nil }
func (deaf) SetWriteDeadline(time.Time) error { return nil }

// replayed is a connection of which some was read already. It gives up a client that takes nothing for as long as silence.
type replayed struct {
	net.Conn
	said    []byte
	silence time.Duration
}

func (r *replayed) Write(p []byte) (int, error) {
	if err := r.SetWriteDeadline(time.Now().Add(r.silence)); err != nil {
		return 0, err
	}
	return r.Conn.Write(p)
}

func (r *replayed) Read(p []byte) (int, error) {
	if len(r.said) > 0 {
		n := copy(p, r.said)
		r.said = r.said[n:]
		return n, nil
	}
	return r.Conn.Read(p)
}

// handover is the listener of the server: it accepts what is given to it.
type handover struct {
	address net.Addr
	given   chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func newHandover(address net.Addr) *handover {
	return &handover{address: address, given: make(chan net.Conn), closed: make(chan struct{})}
}

// give reports whether the server has taken the connection.
func (h *handover) give(c net.Conn) bool {
	select {
	case h.given <- c:
		return true
	case <-h.closed:
		return false
	}
}

// Accept implements [net.Listener].
func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.given:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (h *handover) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

// Addr implements [net.Listener].
func (h *handover) Addr() net.Addr { return h.address }
