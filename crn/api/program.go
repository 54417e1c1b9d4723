package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/crn/guest"
	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/crn/vm/qemu"
	"github.com/aleph-im/aleph-go/crn/wasm"
	"github.com/aleph-im/aleph-go/message"
)

// call answers ANY /vm/{ref}{path} (spec/crn.md §2.3): the request goes to the program and its answer back, both as they come.
// The path is escaped.
func (s *Server) call(w http.ResponseWriter, r *http.Request, ref, path string) {
	if s.cfg.Pool.Draining() {
		s.refuse(w, execution.ErrDraining)
		return
	}
	hash, err := message.ParseHash(ref)
	if err != nil {
		plain(w, http.StatusBadRequest, "Invalid message reference: "+ref)
		return
	}
	started := time.Now()
	x, err := s.cfg.Pool.Acquire(r.Context(), hash)
	if err != nil {
		if r.Context().Err() == nil {
			s.refuse(w, err)
		}
		return
	}
	defer x.Release()
	s.metrics.waited.Observe(time.Since(started).Seconds())
	s.forward(w, r, x, path)
}

// forward is one exchange with a running program.
func (s *Server) forward(w http.ResponseWriter, r *http.Request, x *execution.Execution, path string) {
	var conn guest.Conn
	ctx, cancel := context.WithCancelCause(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { conn, _ = info.Conn.(guest.Conn) },
	}))
	defer cancel(nil)
	// What is bounded is the wait for an answer. Once it flows, it may go on: programs stream.
	within := x.AnswerWithin()
	late := time.AfterFunc(within, func() { cancel(errLate) })
	defer late.Stop()

	proxy := httputil.ReverseProxy{
		Transport: x.Transport(),
		Rewrite: func(p *httputil.ProxyRequest) {
			passOn(p, "program", path)
			// What says that a request is an event comes from this node alone.
			dropEventHeaders(p.Out.Header)
		},
		FlushInterval: -1,
		BufferPool:    &s.buffers,
		ModifyResponse: func(response *http.Response) error {
			late.Stop()
			h := response.Header
			// The node's own name stays in front, whatever the program calls itself.
			h.Del("Server")
			h.Set("Aleph-Program-ItemHash", string(x.Hash()))
			h.Set("Aleph-Program-Code-Ref", string(x.CodeRef()))
			if conn != nil {
				h.Add("Server-Timing", "app;dur="+strconv.FormatFloat(float64(conn.Elapsed().Microseconds())/1000, 'f', 3, 64))
			}
			s.metrics.calls.WithLabelValues(strconv.Itoa(response.StatusCode/100) + "xx").Inc()
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			if r.Context().Err() != nil {
				return // the caller is gone
			}
			s.metrics.calls.WithLabelValues("failed").Inc()
			if errors.Is(context.Cause(ctx), errLate) {
				fail(w, http.StatusGatewayTimeout, fmt.Sprintf("Program did not respond within `resource.seconds` (%d s)", int(within.Seconds())))
				return
			}
			if failure := x.Failure(); failure != nil {
				err = failure
			}
			s.refuseAnswer(w, err)
		},
		ErrorLog: s.broken,
	}
	defer unhurried(r)()
	// Answers may begin before the request's body has ended.
	_ = http.NewResponseController(w).EnableFullDuplex()
	proxy.ServeHTTP(w, r.WithContext(ctx))
}

// buffers are those that answers are copied through. It implements [httputil.BufferPool].
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if kept, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return kept[:]
	}
	return make([]byte, bufferSize)
}

func (b *buffers) Put(buffer []byte) { b.pool.Put((*[bufferSize]byte)(buffer)) }

const bufferSize = 32 << 10

// dropEventHeaders also takes out spellings that servers of programs read as the same name: WSGI has no hyphens.
func dropEventHeaders(h http.Header) {
	for name := range h {
		switch http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-")) {
		case execution.EventHeader, execution.EventIDHeader:
			delete(h, name)
		}
	}
}

var errLate = errors.New("program did not respond in time")

// setPath sets the path of u to the escaped one, keeping its escapes.
func setPath(u *url.URL, escaped string) {
	plain, err := url.PathUnescape(escaped)
	if err != nil {
		plain = escaped
	}
	u.Path, u.RawPath = plain, escaped
}

// refuse answers for a program that could not be started.
func (s *Server) refuse(w http.ResponseWriter, err error) {
	s.metrics.calls.WithLabelValues("refused").Inc()
	status, text := refusal(err)
	var exit *guest.ExitError
	if errors.As(err, &exit) && exit.Output != "" && !exit.OOM {
		// What the program said while it failed is what its author needs to see, and what diagnostics look for.
		plain(w, http.StatusInternalServerError, exit.Error()+"\n\n"+exit.Output)
		return
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "10")
	}
	fail(w, status, text)
}

// refusal is the answer for an error of [execution.Pool.Acquire].
func refusal(err error) (status int, text string) {
	var silent *execution.SilentError
	var boot *execution.BootError
	var setup *guest.SetupError
	var exit *guest.ExitError
	var malformed *message.Error
	switch {
	case errors.Is(err, instance.ErrUnknown):
		return http.StatusNotFound, err.Error()
	case errors.Is(err, instance.ErrStopped), errors.Is(err, instance.ErrMoving), errors.Is(err, instance.ErrBusy):
		return http.StatusConflict, err.Error()
	case errors.Is(err, execution.ErrDraining):
		return http.StatusServiceUnavailable, "Server is draining, try another node"
	case errors.Is(err, instance.ErrFenced):
		return http.StatusServiceUnavailable, err.Error()
	case errors.Is(err, execution.ErrNoRoom):
		return http.StatusServiceUnavailable, "This CRN cannot host the requested workload at this time. " + err.Error()
	case errors.Is(err, qemu.ErrNoSecureProcessor):
		return http.StatusServiceUnavailable, err.Error()
	case errors.Is(err, instance.ErrConfidential):
		return http.StatusBadRequest, err.Error()
	case errors.Is(err, execution.ErrUnsupported), errors.Is(err, instance.ErrRefused), errors.Is(err, corenode.ErrNotProgram):
		return http.StatusBadRequest, err.Error()
	case errors.Is(err, execution.ErrResource) && !errors.Is(err, corenode.ErrUnavailable):
		return http.StatusBadRequest, "400: Code, runtime or data not available. " + err.Error()
	case errors.Is(err, corenode.ErrNotFound):
		return http.StatusNotFound, "Hash not found: " + err.Error()
	case errors.Is(err, corenode.ErrUnavailable):
		return http.StatusServiceUnavailable, "Aleph Connector unavailable: " + err.Error()
	case errors.As(err, &silent):
		return http.StatusGatewayTimeout, err.Error()
	case errors.As(err, &setup):
		return http.StatusInternalServerError, "Error during vm initialisation: " + err.Error()
	case errors.As(err, &boot):
		return http.StatusInternalServerError, "Error during runtime initialisation: " + err.Error()
	case errors.As(err, &exit):
		return http.StatusInternalServerError, "Error during vm initialisation: " + err.Error()
	case errors.Is(err, qemu.ErrMissing), errors.Is(err, wasm.ErrMissing):
		return http.StatusServiceUnavailable, err.Error()
	case errors.As(err, &malformed):
		return http.StatusBadRequest, err.Error()
	}
	return http.StatusInternalServerError, err.Error()
}

// refuseAnswer answers for a program that broke off.
func (s *Server) refuseAnswer(w http.ResponseWriter, err error) {
	var exit *guest.ExitError
	switch {
	case errors.As(err, &exit), errors.Is(err, guest.ErrLost):
		fail(w, http.StatusBadGateway, "VM did not respond and was shut down: "+err.Error())
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		fail(w, http.StatusBadGateway, "The program closed the connection without an answer")
	default:
		fail(w, http.StatusBadGateway, "Invalid response from VM: "+err.Error())
	}
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}
