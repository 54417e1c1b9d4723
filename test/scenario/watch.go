package scenario

import (
	"context"
	"errors"

	"github.com/aleph-im/aleph-go/client"
)

// history is how many older messages a watch asks for, so that none is missed while it connects.
const history = 10

// watch is a subscription that is read by a goroutine of its own.
type watch struct {
	messages chan *client.StoredMessage
	failed   chan error
	stop     context.CancelFunc
	ended    chan struct{}
}

func openWatch(_ context.Context, r *runner, _ client.Account, a filterArguments) (any, error) {
	if r.watch != nil {
		return nil, errors.New("a watch is open")
	}
	ctx, stop := context.WithCancel(context.Background()) // it goes on between the steps
	w := &watch{messages: make(chan *client.StoredMessage, 64), failed: make(chan error, 1), stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		for m, err := range r.api.Watch(ctx, a.filter(), history) {
			if err != nil {
				w.failed <- err
				return
			}
			select {
			case w.messages <- m:
			case <-ctx.Done():
				return
			}
		}
	}()
	r.watch = w
	return nil, nil
}

func nextMessage(ctx context.Context, r *runner, _ client.Account, _ struct{}) (any, error) {
	if r.watch == nil {
		return nil, errors.New("no watch is open")
	}
	select {
	case m := <-r.watch.messages:
		return m, nil
	case err := <-r.watch.failed:
		return nil, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func closeWatch(_ context.Context, r *runner, _ client.Account, _ struct{}) (any, error) {
	r.closeWatch()
	return nil, nil
}

func (r *runner) closeWatch() {
	if r.watch == nil {
		return
	}
	r.watch.stop()
	<-r.watch.ended
	r.watch = nil
}
