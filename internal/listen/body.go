package listen

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// Pace is how the body of a request must come.
type Pace struct {
	Silence time.Duration // how long nothing may come
	Rate    int64         // bytes a second at which it must come after that, in all
}

// Body is that of a request, which must come in time. What reads it sees os.ErrDeadlineExceeded when it does not.
type Body struct {
	io.ReadCloser
	control *http.ResponseController
	pace    Pace
	began   time.Time
	n       int64
	err     error // that ended the reading, other than the end of the body

	mu          sync.Mutex // held while a deadline is set
	ended       bool       // guarded by mu: what follows on the connection is not of this body
	unhurried   bool       // guarded by mu
	interrupted bool       // guarded by mu
}

// Keep makes the body of a request come in time. A request without one is left as it is.
func (p Pace) Keep(w http.ResponseWriter, r *http.Request) {
	if r.Body == nil || r.Body == http.NoBody {
		return
	}
	b := &Body{ReadCloser: r.Body, control: http.NewResponseController(w), pace: p, began: time.Now()}
	_ = b.control.SetReadDeadline(b.began.Add(p.Silence)) // the server reads what the handler leaves
	r.Body = b
}

func (b *Body) Read(p []byte) (int, error) {
	late := time.Now().Add(b.pace.Silence)
	// In seconds first: the nanoseconds of some bytes are too many for a whole number.
	if all := b.began.Add(b.pace.Silence + time.Duration(float64(b.n)/float64(b.pace.Rate)*float64(time.Second))); all.Before(late) {
		late = all
	}
	b.waitUntil(late, false)
	n, err := b.ReadCloser.Read(p)
	if b.n += int64(n); errors.Is(err, io.EOF) {
		b.waitUntil(time.Time{}, true)
	} else if err != nil {
		b.err = err
	}
	return n, err
}

// Err returns why the body could not be read: it is malformed, ends early, or came too late. It is for who has read it.
func (b *Body) Err() error { return b.err }

// waitUntil sets until when the body may come, unless it was interrupted.
func (b *Body) waitUntil(late time.Time, ended bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.unhurried {
		late = time.Time{}
	}
	if !b.interrupted {
		_ = b.control.SetReadDeadline(late) // a server of tests may have none
	}
	b.ended = ended
}

// Unhurried lets the body come as slowly as it likes until end is called. What is left then, which the server reads, must come in time.
func (b *Body) Unhurried() (end func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unhurried = true
	_ = b.control.SetReadDeadline(time.Time{})
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.unhurried = false; !b.ended {
			_ = b.control.SetReadDeadline(time.Now().Add(b.pace.Silence))
		}
	}
}

// Interrupt ends the reading of what has not come yet, also a Read that waits for it, with os.ErrDeadlineExceeded.
func (b *Body) Interrupt() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		b.interrupted = true
		_ = b.control.SetReadDeadline(time.Unix(1, 0))
	}
}
