// Package listen bounds what clients can hold of a server of HTTP by connections alone: how many there are, and how long one may
// take nothing of an answer. The servers of both nodes listen through it.
package listen

import (
	"container/list"
	"io"
	"math"
	"net"
	"net/http"
	"sync"
	"time"
)

// Listener bounds how many connections are open. When there are too many, the one that was without a request for longest makes
// room: so who opens many and asks nothing keeps nobody out. The server tells it what becomes of each, by Turned.
type Listener struct {
	net.Listener
	most    int
	silence time.Duration

	mu   sync.Mutex
	open map[net.Conn]*list.Element // guarded by mu; the place in idle, nil while a request is answered
	idle *list.List                 // guarded by mu; of net.Conn, without a request for longest first
}

// Bound returns a listener with at most so many connections, which gives up a client that takes nothing for as long as silence.
func Bound(l net.Listener, most int, silence time.Duration) *Listener {
	return &Listener{Listener: l, most: most, silence: silence, open: map[net.Conn]*list.Element{}, idle: list.New()}
}

// Accept implements net.Listener. Connections over TCP are a *Conn.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		accepted, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		conn := accepted
		if tcp, ok := accepted.(*net.TCPConn); ok {
			conn = &Conn{tcp, l.silence}
		}
		if l.admit(conn) {
			return conn, nil
		}
		_ = accepted.Close() // nothing was said on it
	}
}

func (l *Listener) admit(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) >= l.most {
		oldest := l.idle.Front()
		if oldest == nil {
			return false
		}
		l.forget(oldest.Value.(net.Conn))
		_ = oldest.Value.(net.Conn).Close() // who waits there for a request sees it
	}
	l.open[conn] = l.idle.PushBack(conn)
	return true
}

// forget no longer counts a connection. The caller holds mu.
func (l *Listener) forget(conn net.Conn) {
	if place := l.open[conn]; place != nil {
		l.idle.Remove(place)
	}
	delete(l.open, conn)
}

// Turned follows what becomes of a connection that Accept returned: it is the ConnState of an http.Server. One that was taken over
// no longer counts.
func (l *Listener) Turned(conn net.Conn, to http.ConnState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	place, counted := l.open[conn]
	if !counted {
		return
	}
	switch to {
	case http.StateActive:
		if place != nil {
			l.idle.Remove(place)
			l.open[conn] = nil
		}
	case http.StateIdle:
		if place == nil {
			l.open[conn] = l.idle.PushBack(conn)
		}
	case http.StateHijacked, http.StateClosed:
		l.forget(conn)
	}
}

// Conn gives up a client that takes nothing of an answer for as long as silence.
type Conn struct {
	*net.TCPConn
	silence time.Duration
}

// atOnce is how many bytes a client must take before the silence is over.
const atOnce = 128 << 10

func (c *Conn) Write(p []byte) (n int, err error) {
	for {
		if err := c.SetWriteDeadline(time.Now().Add(c.silence)); err != nil {
			return n, err
		}
		m, err := c.TCPConn.Write(p[n:min(n+atOnce, len(p))])
		if n += m; err != nil || n == len(p) {
			return n, err
		}
	}
}

// ReadFrom implements io.ReaderFrom, by which files go to the network without passing through the process.
func (c *Conn) ReadFrom(r io.Reader) (n int64, err error) {
	whole, ok := r.(*io.LimitedReader)
	if !ok {
		whole = &io.LimitedReader{R: r, N: math.MaxInt64}
	}
	for whole.N > 0 {
		if err := c.SetWriteDeadline(time.Now().Add(c.silence)); err != nil {
			return n, err
		}
		m, err := c.TCPConn.ReadFrom(&io.LimitedReader{R: whole.R, N: min(whole.N, atOnce)})
		n += m
		if whole.N -= m; err != nil || m == 0 {
			return n, err
		}
	}
	return n, nil
}
