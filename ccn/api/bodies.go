package api

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// body is that of a request, which must come in time.
type body struct {
	io.ReadCloser
	control *http.ResponseController
	limits  *Limits
	began   time.Time
	n       int64

	mu          sync.Mutex // held while a deadline is set
	ended       bool       // guarded by mu: what follows on the connection is not of this body
	interrupted bool       // guarded by mu
}

func (b *body) Read(p []byte) (int, error) {
	late := time.Now().Add(b.limits.Silence)
	if all := b.began.Add(b.limits.Silence + time.Duration(b.n)*time.Second/time.Duration(b.limits.Rate)); all.Before(late) {
		late = all
	}
	b.waitUntil(late, false)
	n, err := b.ReadCloser.Read(p)
	if b.n += int64(n); errors.Is(err, io.EOF) {
		b.waitUntil(time.Time{}, true)
	}
	return n, err
}

// waitUntil sets until when the body may come, unless it was interrupted.
func (b *body) waitUntil(late time.Time, ended bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.interrupted {
		_ = b.control.SetReadDeadline(late) // a server of tests may have none
	}
	b.ended = ended
}

// interrupt ends the reading of what has not come yet, also a Read that waits for it, with os.ErrDeadlineExceeded.
func (b *body) interrupt() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		b.interrupted = true
		_ = b.control.SetReadDeadline(time.Unix(1, 0))
	}
}

// pace makes the body of a request come in time. What reads it sees os.ErrDeadlineExceeded when it does not.
func (a *API) pace(w http.ResponseWriter, r *http.Request) {
	if r.Body == nil || r.Body == http.NoBody {
		return
	}
	b := &body{ReadCloser: r.Body, control: http.NewResponseController(w), limits: &a.limits, began: time.Now()}
	_ = b.control.SetReadDeadline(b.began.Add(a.limits.Silence)) // the server reads what the handler leaves
	r.Body = b
}

// held is a body in memory. It counts until it is released.
type held struct {
	bytes []byte
	from  *allowance
	taken int64
}

func (h *held) release() {
	h.from.left.Add(h.taken)
	h.bytes, h.taken = nil, 0
}

// allowance bounds how much is held in memory for all requests together, in bytes.
type allowance struct{ left atomic.Int64 }

var errBusy = refuse(http.StatusServiceUnavailable, "503: the node is busy with other requests, try again later")

// take reads at most limit bytes, and one more when there are more. Memory grows with what comes, not with what a client
// says will come.
func (m *allowance) take(r io.Reader, limit int64) (*held, error) {
	h := &held{from: m}
	for {
		if len(h.bytes) == cap(h.bytes) {
			size := min(max(2*int64(cap(h.bytes)), 4<<10), limit+1)
			if more := size - h.taken; m.left.Add(-more) < 0 {
				m.left.Add(more)
				h.release()
				return nil, errBusy
			}
			h.taken = size
			h.bytes = append(make([]byte, 0, size), h.bytes...)
		}
		n, err := r.Read(h.bytes[len(h.bytes):cap(h.bytes)])
		h.bytes = h.bytes[:len(h.bytes)+n]
		if errors.Is(err, io.EOF) || int64(len(h.bytes)) > limit {
			return h, nil
		}
		if err != nil {
			h.release()
			return nil, err
		}
	}
}

// readBody reads the JSON that a client posts. Whoever reads it releases it.
func (a *API) readBody(w http.ResponseWriter, r *http.Request, limit int64) (*held, error) {
	return a.memory.take(http.MaxBytesReader(w, r.Body, limit), limit)
}
