package api

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"sync"
	"time"
)

// Limits bound what clients can hold of a node. A field that is zero takes its default.
type Limits struct {
	Header      time.Duration // until the header of a request is there: 10 s
	Silence     time.Duration // without progress of a body that is read, or an answer that is written: 30 s
	Rate        int64         // bytes a second at which a body must come after that, in all: 8 KiB
	Answer      time.Duration // until an answer from the database is there: 1 min
	Stat        time.Duration // until IPFS knows what a file is: 30 s
	Idle        time.Duration // between two requests of a connection: 2 min
	Grace       time.Duration // for requests that are being answered when the node stops: 5 s
	Connections int           // open at once, without WebSockets, which have limits of their own: 4,096
	Bodies      int64         // bytes of bodies held in memory at once: 256 MiB
}

func (l Limits) withDefaults() Limits {
	return Limits{
		Header:      cmp.Or(l.Header, 10*time.Second),
		Silence:     cmp.Or(l.Silence, 30*time.Second),
		Rate:        cmp.Or(l.Rate, 8<<10),
		Answer:      cmp.Or(l.Answer, time.Minute),
		Stat:        cmp.Or(l.Stat, 30*time.Second),
		Idle:        cmp.Or(l.Idle, 2*time.Minute),
		Grace:       cmp.Or(l.Grace, 5*time.Second),
		Connections: cmp.Or(l.Connections, 4096),
		Bodies:      cmp.Or(l.Bodies, 256<<20),
	}
}

// maxHeader bounds the header of a request, in bytes: long lists of hashes are asked for in its first line.
const maxHeader = 64 << 10

// Serve answers what comes to a listener until ctx ends, and then for the grace period what is being answered. It returns
// when nobody is served any more.
func (a *API) Serve(ctx context.Context, listener net.Listener) error {
	requests, endRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer a.Wait()
	defer endRequests()
	bounded := &connections{Listener: listener, limits: a.limits, open: map[net.Conn]*list.Element{}, idle: list.New()}
	server := &http.Server{
		Handler:           a,
		ReadHeaderTimeout: a.limits.Header,
		IdleTimeout:       a.limits.Idle,
		MaxHeaderBytes:    maxHeader,
		ConnState:         bounded.turned,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ErrorLog:          slog.NewLogLogger(a.cfg.Logger.Handler(), slog.LevelDebug),
	}
	express := newExpress(requests, a, bounded)
	ended := make(chan error, 2)
	go func() { ended <- server.Serve(express) }()
	go func() { ended <- express.run() }()
	var failed error
	select {
	case err := <-ended:
		failed = fmt.Errorf("serve the API: %w", err)
		ended <- err
	case <-ctx.Done():
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.limits.Grace)
	defer cancel()
	_ = bounded.Close() // nobody else comes; the node closes it too
	express.stop(late)
	if err := server.Shutdown(late); errors.Is(err, context.DeadlineExceeded) {
		a.cfg.Logger.Warn("requests cut off", "after", a.limits.Grace)
		_ = server.Close() // the requests are cut off whatever it says
	}
	<-ended
	<-ended
	return failed
}

// connections bounds how many are open. When there are too many, the one that was without a request for longest makes room:
// so who opens many and asks nothing keeps nobody out.
type connections struct {
	net.Listener
	limits Limits

	mu   sync.Mutex
	open map[net.Conn]*list.Element // guarded by mu; the place in idle, nil while a request is answered
	idle *list.List                 // guarded by mu; of net.Conn, without a request for longest first
}

// Accept implements net.Listener.
func (c *connections) Accept() (net.Conn, error) {
	for {
		accepted, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		conn := accepted
		if tcp, ok := accepted.(*net.TCPConn); ok {
			conn = &connection{tcp, c.limits.Silence}
		}
		if c.admit(conn) {
			return conn, nil
		}
		_ = accepted.Close() // nothing was said on it
	}
}

func (c *connections) admit(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) >= c.limits.Connections {
		oldest := c.idle.Front()
		if oldest == nil {
			return false
		}
		c.forget(oldest.Value.(net.Conn))
		_ = oldest.Value.(net.Conn).Close() // who waits there for a request sees it
	}
	c.open[conn] = c.idle.PushBack(conn)
	return true
}

// forget no longer counts a connection. The caller holds mu.
func (c *connections) forget(conn net.Conn) {
	if place := c.open[conn]; place != nil {
		c.idle.Remove(place)
	}
	delete(c.open, conn)
}

// turned follows what becomes of a connection.
func (c *connections) turned(conn net.Conn, to http.ConnState) {
	if h, ok := conn.(*handed); ok {
		conn = h.connection
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	place, counted := c.open[conn]
	if !counted {
		return
	}
	switch to {
	case http.StateActive:
		if place != nil {
			c.idle.Remove(place)
			c.open[conn] = nil
		}
	case http.StateIdle:
		if place == nil {
			c.open[conn] = c.idle.PushBack(conn)
		}
	case http.StateHijacked, http.StateClosed:
		c.forget(conn)
	}
}

// connection gives up a client that takes nothing of an answer for as long as silence.
type connection struct {
	*net.TCPConn
	silence time.Duration
}

// atOnce is how many bytes a client must take before the silence is over.
const atOnce = 128 << 10

func (c *connection) Write(p []byte) (n int, err error) {
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
func (c *connection) ReadFrom(r io.Reader) (n int64, err error) {
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
