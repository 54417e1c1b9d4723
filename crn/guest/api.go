package guest

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// apiShutdown bounds how long requests go on after their session has ended.
const apiShutdown = 5 * time.Second

// ServeAPI answers the program's requests to the guest API until the session ends. Close waits for it.
func (s *Session) ServeAPI(h http.Handler) {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 15 * time.Second, ReadTimeout: 5 * time.Minute, WriteTimeout: 15 * time.Minute, IdleTimeout: time.Minute, MaxHeaderBytes: 32 << 10,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	s.running.Go(func() {
		_ = server.Serve(&apiListener{session: s, slots: make(chan struct{}, wire.MaxAPIStreams)}) // ends with the session
		ctx, cancel := context.WithTimeout(context.Background(), apiShutdown)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			server.Close()
		}
	})
}

// apiListener takes the streams that the guest opens. A guest that opens more than it may, or none of its business, hurts only
// itself: what is not taken yet is bounded by the multiplexer, what is taken by slots.
type apiListener struct {
	session *Session
	slots   chan struct{}
}

func (l *apiListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.session.mux.CloseChan():
		return nil, net.ErrClosed
	}
	stream, err := l.session.mux.AcceptStream()
	if err != nil {
		return nil, err
	}
	return &apiConn{Stream: stream, listener: l}, nil
}

func (l *apiListener) Close() error   { return nil } // the session owns the streams
func (l *apiListener) Addr() net.Addr { return l.session.mux.Addr() }

// apiConn is a stream of the guest. Its first byte says what it is for.
type apiConn struct {
	*yamux.Stream
	listener *apiListener
	known    bool // the first byte was read; used by one reader at a time
	once     sync.Once
}

func (c *apiConn) Read(b []byte) (int, error) {
	if !c.known {
		var kind [1]byte
		if _, err := io.ReadFull(c.Stream, kind[:]); err != nil {
			return 0, err
		}
		if kind[0] != wire.StreamAPI {
			return 0, io.EOF // ends it without a word
		}
		c.known = true
	}
	return c.Stream.Read(b)
}

// Close ends this side. The stream counts until the guest has ended its side as well, or the multiplexer has cut it off, which it
// does in time: until then it can fill memory here.
func (c *apiConn) Close() error {
	var err error
	c.once.Do(func() {
		err = c.Stream.Close()
		c.listener.session.running.Go(func() {
			_, _ = io.Copy(io.Discard, c.Stream)
			<-c.listener.slots
		})
	})
	return err
}
