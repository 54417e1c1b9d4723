package guest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"sync"
	"time"
)

// Transport carries HTTP requests to the program of a session, over connections that are kept for the next one. It implements
// [http.RoundTripper]. Who traces a request (httptrace) is told of the [Conn] that it goes over, and of answers that precede the answer.
//
// A request without a body that can be made twice, as most are, is exchanged by the goroutine of its caller alone. net/http takes
// three for it, which wake each other, and what a call waits for is threads that wake each other. It carries the others, which a
// program may answer before all of them was written.
type Transport struct {
	dial   func(ctx context.Context) (Conn, error)
	others *http.Transport

	mu   sync.Mutex
	idle []*kept // that which was used last is at the end
}

const (
	// idleConnections are kept at most, and none for longer than the program keeps it: five seconds is the shortest patience among common servers.
	idleConnections = 64
	idlePatience    = 4 * time.Second
	// maxHead bounds the head of an answer, in bytes: it is held in this process before it is passed on.
	maxHead = 1 << 20
)

// Transport returns one over connections of its own.
func (s *Session) Transport() *Transport { return newTransport(s.Dial) }

func newTransport(dial func(ctx context.Context) (Conn, error)) *Transport {
	return &Transport{dial: dial, others: &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		MaxIdleConns:           idleConnections,
		MaxIdleConnsPerHost:    idleConnections,
		IdleConnTimeout:        idlePatience,
		DisableCompression:     true, // bodies pass as they are
		MaxResponseHeaderBytes: maxHead,
	}}
}

// CloseIdleConnections closes those that no request is on.
func (t *Transport) CloseIdleConnections() {
	t.others.CloseIdleConnections()
	t.mu.Lock()
	idle := t.idle
	t.idle = nil
	t.mu.Unlock()
	for _, c := range idle {
		c.end()
	}
}

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if !isPlain(r) {
		return t.others.RoundTrip(r)
	}
	for {
		c, err := t.take(r.Context())
		if err != nil {
			return nil, err
		}
		response, err := t.exchange(c, r)
		switch {
		case err == nil:
			return response, nil
		case r.Context().Err() != nil:
			return nil, r.Context().Err()
		case errors.Is(err, errUnanswered) && c.answered: // the program had enough of the connection just then
		default:
			return nil, err
		}
	}
}

// isPlain reports whether a request has nothing but a head and changes nothing, nor the connection.
func isPlain(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
	default:
		return false
	}
	return (r.Body == nil || r.Body == http.NoBody) && len(r.TransferEncoding) == 0 &&
		r.Header["Connection"] == nil && r.Header["Upgrade"] == nil && r.Header["Expect"] == nil
}

// kept is a connection to the program. Between requests it is in Transport.idle, else its user's.
type kept struct {
	Conn
	limit    io.LimitedReader // what reader reads of it
	reader   *bufio.Reader
	writer   *bufio.Writer
	patience *time.Timer // runs while it is idle
	answered bool        // once at least
}

func (c *kept) end() {
	c.patience.Stop()
	c.Conn.Close()
}

// take returns a connection on which nothing has come that was not asked for.
func (t *Transport) take(ctx context.Context) (*kept, error) {
	for {
		t.mu.Lock()
		last := len(t.idle) - 1
		if last < 0 {
			t.mu.Unlock()
			break
		}
		c := t.idle[last]
		t.idle = t.idle[:last]
		t.mu.Unlock()
		c.patience.Stop()
		if c.Quiet() {
			return c, nil
		}
		c.end()
	}
	conn, err := t.dial(ctx)
	if err != nil {
		return nil, err
	}
	c := &kept{Conn: conn, limit: io.LimitedReader{R: conn}, writer: bufio.NewWriter(conn)}
	c.reader = bufio.NewReader(&c.limit)
	c.patience = time.AfterFunc(time.Hour, func() { t.expire(c) })
	c.patience.Stop()
	return c, nil
}

// keep takes a connection back.
func (t *Transport) keep(c *kept) {
	c.answered = true
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.idle) >= idleConnections {
		c.end()
		return
	}
	c.patience.Reset(idlePatience)
	t.idle = append(t.idle, c)
}

// expire ends a connection that was idle for long.
func (t *Transport) expire(c *kept) {
	t.mu.Lock()
	at := slices.Index(t.idle, c)
	if at >= 0 {
		t.idle = slices.Delete(t.idle, at, at+1)
	}
	t.mu.Unlock()
	if at >= 0 { // else a request has just taken it
		c.end()
	}
}

// errUnanswered: the connection ended before the answer began.
var errUnanswered = errors.New("no answer")

// exchange writes a request and reads the head of its answer. With an error the connection is over.
func (t *Transport) exchange(c *kept, r *http.Request) (*http.Response, error) {
	trace := httptrace.ContextClientTrace(r.Context())
	if trace != nil && trace.GotConn != nil {
		trace.GotConn(httptrace.GotConnInfo{Conn: c.Conn, Reused: c.answered})
	}
	stop := context.AfterFunc(r.Context(), func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	fail := func(err error) (*http.Response, error) {
		stop()
		c.end()
		return nil, err
	}
	c.limit.N = maxHead
	err := r.Write(c.writer)
	if err == nil {
		err = c.writer.Flush()
	}
	if err == nil {
		_, err = c.reader.Peek(1)
	}
	if err != nil {
		return fail(fmt.Errorf("%w: %w", errUnanswered, err))
	}
	response, err := readHead(c, r, trace)
	if err != nil {
		if c.limit.N <= 0 {
			err = fmt.Errorf("the head of the answer has more than %d bytes", maxHead)
		}
		return fail(err)
	}
	c.limit.N = math.MaxInt64
	a := &answer{ReadCloser: response.Body, asker: r.Context(), end: func(again bool) {
		if stop() && again && !response.Close && !r.Close && response.StatusCode != http.StatusSwitchingProtocols && c.reader.Buffered() == 0 {
			t.keep(c)
		} else {
			c.end()
		}
	}}
	if response.Body == http.NoBody {
		a.once.Do(func() { a.end(true) })
	} else {
		response.Body = a
	}
	return response, nil
}

// readHead reads the head of the answer and hands on those that precede it.
func readHead(c *kept, r *http.Request, trace *httptrace.ClientTrace) (*http.Response, error) {
	for {
		response, err := http.ReadResponse(c.reader, r)
		if err != nil {
			return nil, err
		}
		if response.StatusCode >= 200 || response.StatusCode == http.StatusSwitchingProtocols {
			return response, nil
		}
		if trace != nil && trace.Got1xxResponse != nil {
			if err := trace.Got1xxResponse(response.StatusCode, textproto.MIMEHeader(response.Header)); err != nil {
				return nil, err
			}
			c.limit.N = maxHead // that one was passed on
		}
	}
}

// answer is the body of an answer. Its end is that of the exchange.
type answer struct {
	io.ReadCloser
	asker context.Context
	once  sync.Once
	end   func(again bool) // again: nothing is left of the answer, and the connection may serve once more
}

func (a *answer) Read(b []byte) (int, error) {
	n, err := a.ReadCloser.Read(b)
	if err != nil {
		a.once.Do(func() { a.end(err == io.EOF) })
		if err != io.EOF && a.asker.Err() != nil {
			err = a.asker.Err()
		}
	}
	return n, err
}

func (a *answer) Close() error {
	a.once.Do(func() { a.end(false) })
	return nil
}
