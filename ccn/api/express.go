package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/aleph-im/aleph-go/internal/listen"
)

// Most of what a busy node is asked is to publish messages, over connections on which nothing else is asked. The express
// reads these requests by itself, which takes a fraction of what the server of net/http needs, and does what the handler does.
// A connection on which anything else comes (another path, a header that it does not know, half a header) goes to that
// server, with every byte of the request, and stays there.
type express struct {
	*listen.Listener
	api      *API
	requests context.Context // of every request
	others   chan net.Conn   // for the server of net/http
	stopped  chan struct{}
	serving  sync.WaitGroup

	mu       sync.Mutex
	idle     map[net.Conn]bool // guarded by mu; whether a connection of the express waits for a request
	stopping bool              // guarded by mu
}

const expressPath = "/api/v0/messages"

// Requests of the express begin with this line; headers that say nothing else than these names may follow.
var (
	expressLine    = []byte("POST " + expressPath + " HTTP/1.1\r\n")
	expressHeaders = [...]string{"Host", "Content-Type", "Content-Length", "User-Agent", "Accept", "Accept-Encoding", "Connection"}
)

// expressBuffer holds the header of a request of the express.
const expressBuffer = 4 << 10

func newExpress(requests context.Context, a *API, l *listen.Listener) *express {
	return &express{
		Listener: l, api: a, requests: requests, others: make(chan net.Conn), stopped: make(chan struct{}), idle: map[net.Conn]bool{},
	}
}

// run accepts connections until the listener is closed.
func (e *express) run() error {
	for {
		conn, err := e.Listener.Accept()
		if err != nil {
			return err
		}
		tcp, ok := conn.(*listen.Conn)
		e.mu.Lock()
		ok = ok && !e.stopping
		if ok {
			e.idle[conn] = true
			e.serving.Add(1)
		}
		e.mu.Unlock()
		if !ok {
			e.handOver(conn)
			continue
		}
		go e.serve(tcp)
	}
}

// Accept implements net.Listener for the server of net/http.
func (e *express) Accept() (net.Conn, error) {
	select {
	case conn := <-e.others:
		return conn, nil
	case <-e.stopped:
		return nil, net.ErrClosed
	}
}

// handOver gives a connection to the server of net/http.
func (e *express) handOver(conn net.Conn) {
	select {
	case e.others <- conn:
	case <-e.stopped:
		e.Turned(conn, http.StateClosed)
		_ = conn.Close() // nobody is there to answer
	}
}

// stop ends the express when the listener is closed: connections without a request at once, the others when they are
// answered or late ends.
func (e *express) stop(late context.Context) {
	close(e.stopped)
	e.mu.Lock()
	e.stopping = true
	for conn, idle := range e.idle {
		if idle {
			_ = conn.Close() // who waits there for a request sees it
		}
	}
	e.mu.Unlock()
	cut := context.AfterFunc(late, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		for conn := range e.idle {
			_ = conn.Close() // the client has had its time
		}
	})
	e.serving.Wait()
	cut()
}

// waits notes whether a connection waits for a request, and reports whether it may go on.
func (e *express) waits(conn net.Conn, idle bool) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.idle[conn] = idle
	return !idle || !e.stopping
}

// handed is a connection of which the beginning was read already.
type handed struct {
	*listen.Conn
	read *bufio.Reader
}

func (h *handed) Read(p []byte) (int, error) {
	if h.read.Buffered() > 0 {
		return h.read.Read(p)
	}
	return h.Conn.Read(p)
}

// turned follows what becomes of a connection of the server of net/http.
func (e *express) turned(conn net.Conn, to http.ConnState) {
	if h, ok := conn.(*handed); ok {
		conn = h.Conn
	}
	e.Turned(conn, to)
}

// serve answers requests of the express until another one comes.
func (e *express) serve(conn *listen.Conn) {
	defer e.serving.Done()
	in := bufio.NewReaderSize(conn, expressBuffer)
	patience := e.api.limits.Header
	over := false
	for e.waits(conn, true) {
		_ = conn.SetReadDeadline(time.Now().Add(patience)) // a closed one is seen by the read
		if _, err := in.Peek(1); err != nil {
			break
		}
		e.waits(conn, false)
		e.Turned(conn, http.StateActive)
		length, ok := expressRequest(in)
		if !ok {
			over = true
			break
		}
		if !e.answer(conn, in, length) {
			break
		}
		e.Turned(conn, http.StateIdle)
		patience = e.api.limits.Idle
	}
	e.mu.Lock()
	delete(e.idle, conn)
	e.mu.Unlock()
	if over {
		_ = conn.SetReadDeadline(time.Time{}) // the server sets its own
		e.handOver(&handed{conn, in})
		return
	}
	e.Turned(conn, http.StateClosed)
	_ = conn.Close() // whatever it says, it is over
}

// expressRequest takes the header of a request and returns the length of its body. When it is none for the express, nothing
// is taken.
func expressRequest(in *bufio.Reader) (length int64, ok bool) {
	buffered, _ := in.Peek(in.Buffered()) // there is as much
	header, ok := bytes.CutPrefix(buffered, expressLine)
	end := bytes.Index(header, []byte("\r\n\r\n"))
	if !ok || end < 0 {
		return 0, false
	}
	length = -1
	hosts := 0
	for line := range bytes.SplitSeq(header[:end], []byte("\r\n")) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.Trim(value, " \t")
		known := ""
		for _, h := range expressHeaders {
			if len(h) == len(name) && bytes.EqualFold(name, []byte(h)) {
				known = h
			}
		}
		switch known {
		case "":
			return 0, false
		case "Host":
			hosts++
		case "Connection":
			if !bytes.EqualFold(value, []byte("keep-alive")) {
				return 0, false
			}
		case "Content-Length":
			n, err := strconv.ParseUint(string(value), 10, 31)
			if err != nil || length >= 0 || n > maxBody {
				return 0, false
			}
			length = int64(n)
		}
		for _, c := range value {
			if c < ' ' || c > '~' {
				return 0, false
			}
		}
	}
	if length < 0 || hosts != 1 {
		return 0, false
	}
	_, _ = in.Discard(len(expressLine) + end + len("\r\n\r\n")) // it is in the buffer
	return length, true
}

// answer answers a request and reports whether the connection can be used again.
func (e *express) answer(conn *listen.Conn, in *bufio.Reader, length int64) (again bool) {
	w := &expressWriter{conn: conn, header: http.Header{}}
	defer func() {
		if r := recover(); r != nil {
			e.api.cfg.Logger.Error("request failed", "path", expressPath, "panic", r, "stack", string(debug.Stack()))
			again = false
		}
	}()
	if int64(in.Buffered()) >= length && !e.api.cfg.OperationsOnly { // most are there as a whole, and no handler need read them
		body, _ := in.Peek(int(length))
		e.publish(w, body)
		_, _ = in.Discard(int(length))
		return w.send() == nil
	}
	body := &io.LimitedReader{R: in, N: length}
	request := &http.Request{
		Method: http.MethodPost, URL: &url.URL{Path: expressPath}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: io.NopCloser(body), ContentLength: length, RemoteAddr: conn.RemoteAddr().String(),
	}
	e.api.ServeHTTP(w, request.WithContext(e.requests))
	return w.send() == nil && body.N == 0 && w.header.Get("Connection") != "close"
}

// publish is the handler of a body that is in memory.
func (e *express) publish(w *expressWriter, body []byte) {
	held, err := e.api.memory.count(body)
	if err == nil {
		defer held.release()
		var answer published
		var status int
		if answer, status, err = e.api.publish(e.requests, body); err == nil {
			err = reply(w, status, answer)
		}
	}
	if err == nil {
		return
	}
	f := e.api.faultOf(http.MethodPost, expressPath, err)
	if f == nil {
		f = e.api.trouble(http.MethodPost, expressPath, err)
	}
	f.write(w)
}

// expressWriter keeps an answer until it is whole.
type expressWriter struct {
	conn   *listen.Conn
	header http.Header
	status int
	body   []byte
}

// SetReadDeadline is what http.ResponseController looks for.
func (w *expressWriter) SetReadDeadline(t time.Time) error { return w.conn.SetReadDeadline(t) }

func (w *expressWriter) Header() http.Header { return w.header }

func (w *expressWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *expressWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.body = append(w.body, p...)
	return len(p), nil
}

func (w *expressWriter) send() error {
	if w.status == 0 {
		return errors.New("there is no answer")
	}
	out := make([]byte, 0, 256+len(w.body))
	out = strconv.AppendInt(append(out, "HTTP/1.1 "...), int64(w.status), 10)
	out = append(append(append(out, ' '), http.StatusText(w.status)...), "\r\n"...)
	for name, values := range w.header {
		if name == "Content-Length" {
			continue
		}
		for _, v := range values {
			out = append(append(append(append(out, name...), ": "...), v...), "\r\n"...)
		}
	}
	out = time.Now().UTC().AppendFormat(append(out, "Date: "...), http.TimeFormat)
	out = strconv.AppendInt(append(out, "\r\nContent-Length: "...), int64(len(w.body)), 10)
	out = append(append(out, "\r\n\r\n"...), w.body...)
	_, err := w.conn.Write(out)
	return err
}
