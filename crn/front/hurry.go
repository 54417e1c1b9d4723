package front

import (
	"net"
	"net/http"
	"net/netip"
	"time"
)

// hurried has answers over HTTP/2 given up that a client takes nothing of for as long as silence. It can take nothing of one while the
// connection is well, of which there may be many answers; those of HTTP/1 end with their connection.
func hurried(h http.Handler, silence time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 {
			w = &hurry{w, http.NewResponseController(w), silence}
		}
		h.ServeHTTP(w, r)
	})
}

// counting answers as many requests at once as there may be connections, together and of one source, and refuses others: over HTTP/2
// a connection brings hundreds.
func counting(c *counter, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		remote, _ := netip.ParseAddrPort(r.RemoteAddr)
		source := sourceOf(net.TCPAddrFromAddrPort(remote))
		if !c.enter(source) {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "503: This node answers too many requests just now", http.StatusServiceUnavailable)
			return
		}
		defer c.leave(source)
		h.ServeHTTP(w, r)
	})
}

// hurry is an answer of which each part must be taken in time. Between parts it may take as long as it likes.
type hurry struct {
	http.ResponseWriter
	control *http.ResponseController
	silence time.Duration
}

func (h *hurry) Write(p []byte) (int, error) {
	defer h.within()()
	return h.ResponseWriter.Write(p)
}

// FlushError is what http.ResponseController calls.
func (h *hurry) FlushError() error {
	defer h.within()()
	return h.control.Flush()
}

// Unwrap is for http.ResponseController.
func (h *hurry) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// within bounds what is done until end is called.
func (h *hurry) within() (end func()) {
	_ = h.control.SetWriteDeadline(time.Now().Add(h.silence)) // a server of tests may have none
	return func() { _ = h.control.SetWriteDeadline(time.Time{}) }
}
