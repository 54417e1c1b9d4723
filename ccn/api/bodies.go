package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/aleph-im/aleph-go/ccn/store"
)

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

// leastBody is what a body counts at least, in bytes, however short it is.
const leastBody = 4 << 10

// take reads at most limit bytes, and one more when there are more. Memory grows with what comes, not with what a client
// says will come.
func (m *allowance) take(r io.Reader, limit int64) (*held, error) {
	h := &held{from: m}
	for {
		if len(h.bytes) == cap(h.bytes) {
			size := min(max(2*int64(cap(h.bytes)), leastBody), limit+1)
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

// count counts a body that is in memory already.
func (m *allowance) count(body []byte) (*held, error) {
	h := &held{bytes: body, from: m, taken: max(int64(len(body)), leastBody)}
	if m.left.Add(-h.taken) < 0 {
		h.release()
		return nil, errBusy
	}
	return h, nil
}

// answered is what an answer takes of the memory for answers, until it is released: when the client has it.
type answered struct {
	from  *allowance
	most  int64 // bytes that one answer may take
	size  int64 // bytes that it takes
	taken int64 // of those that are not free
}

const (
	answerFree  = 256 << 10 // bytes of each answer that do not count, so that small ones are given whatever others hold
	answerTimes = 3         // what is read is in memory as rows, as text, and while that grows
)

// charging has what is read with the context it returns count until it is released.
func (a *API) charging(ctx context.Context) (context.Context, *answered) {
	held := &answered{from: &a.answers, most: a.limits.Answers / 2}
	return store.Charging(ctx, held.charge), held
}

var errTooLong = refuse(http.StatusRequestEntityTooLarge, "413: the answer would be too large: ask for smaller pages with pagination, or for contentFormat=none")

// charge implements the function of store.Charging.
func (a *answered) charge(bytes int) error {
	if a.size += answerTimes * int64(bytes); a.size > a.most {
		return errTooLong
	}
	more := a.size - answerFree - a.taken
	if more <= 0 {
		return nil
	}
	if a.from.left.Add(-more) < 0 {
		a.from.left.Add(more)
		return errBusy
	}
	a.taken += more
	return nil
}

func (a *answered) release() {
	a.from.left.Add(a.taken)
	a.size, a.taken = 0, 0
}

// readBody reads the JSON that a client posts. Whoever reads it releases it.
func (a *API) readBody(w http.ResponseWriter, r *http.Request, limit int64) (*held, error) {
	return a.memory.take(http.MaxBytesReader(w, r.Body, limit), limit)
}
