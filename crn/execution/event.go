package execution

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// How a program gets an event: a POST of its body, JSON, to EventPath. EventHeader has the kind and tells it from a call: the
// node takes that header out of every request from outside. A status of 2xx says that the event was handled
// (docs/decisions/0022).
const (
	EventPath     = "/_aleph/event"
	EventHeader   = "Aleph-Event"
	EventIDHeader = "Aleph-Event-Id"
)

// Kinds of events. The first is the type of the reference's event scope, whose body is the message as well (spec/crn.md §3.4.4).
const (
	EventMessage = "aleph.message"
	EventCron    = "aleph.cron"
)

// Event is something that a program asked to be told of.
type Event struct {
	Kind string
	ID   string // the message's hash, or the minute in RFC 3339
	Body []byte // JSON: the message, or {"time": the minute, "schedule": the program's}
}

// eventTimeout bounds the delivery of an event, the start of its program included.
const eventTimeout = 10 * time.Minute

// Deliver hands an event to a program, starting it first when needed, and waits for its answer. The program has
// resources.seconds to answer, as for a call.
func (p *Pool) Deliver(ctx context.Context, hash message.Hash, e Event) error {
	ctx, cancel := context.WithTimeout(ctx, eventTimeout)
	defer cancel()
	x, err := p.Acquire(ctx, hash)
	if err != nil {
		return fmt.Errorf("start program %s: %w", hash, err)
	}
	defer x.Release()
	ctx, cancelAnswer := context.WithTimeout(ctx, x.AnswerWithin())
	defer cancelAnswer()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost"+EventPath, bytes.NewReader(e.Body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set(EventHeader, e.Kind)
	request.Header.Set(EventIDHeader, e.ID)
	response, err := x.Transport().RoundTrip(request)
	if err != nil {
		return fmt.Errorf("hand %s %s to program %s: %w", e.Kind, e.ID, hash, err)
	}
	defer response.Body.Close()
	// What it says is of no use; once read to the end, its connection is.
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10))
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("hand %s %s to program %s: it answers %s", e.Kind, e.ID, hash, response.Status)
	}
	return nil
}
