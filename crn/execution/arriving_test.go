package execution_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/message"
)

// Who asks for hashes that he makes up and goes away, while the core node is slow, has the node hold so many and no more.
func TestCallersBeginABoundedNumberOfExecutions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.stop(t)
		runs, late := r.network.program("runs", 128), r.network.program("late", 128)
		if err := r.call(t, runs); err != nil {
			t.Fatal(err)
		}
		silent := make(chan struct{})
		r.network.mu.Lock()
		r.network.silent = silent
		r.network.mu.Unlock()

		gone, leave := context.WithCancel(t.Context())
		leave()
		const most = 1024
		for i := range most {
			if _, err := r.Acquire(gone, message.HashBytes(fmt.Append(nil, i))); !errors.Is(err, context.Canceled) {
				t.Fatalf("caller %d: %v", i, err)
			}
		}
		for i := range 3 {
			if _, err := r.Acquire(gone, message.HashBytes(fmt.Append(nil, most+i))); !errors.Is(err, execution.ErrNoRoom) {
				t.Errorf("one more: %v", err)
			}
		}
		planned := make(chan execution.Outcome)
		go func() { planned <- r.Allocate(t.Context(), execution.Plan{Persistent: []message.Hash{late}}) }()
		synctest.Wait()
		if n := len(r.List()); n != most+2 {
			t.Errorf("%d executions", n)
		}
		if err := r.call(t, runs); err != nil {
			t.Errorf("what runs is called: %v", err)
		}
		if _, err := r.Acquire(gone, message.HashBytes(fmt.Append(nil, 0))); !errors.Is(err, context.Canceled) {
			t.Errorf("what is looked up already: %v", err)
		}
		close(silent)
		synctest.Wait()
		if _, err := r.Acquire(t.Context(), message.HashBytes(fmt.Append(nil, most))); !errors.Is(err, corenode.ErrNotFound) {
			t.Errorf("once the core node answers: %v", err)
		}
		if o := <-planned; len(o.Failing) > 0 {
			t.Errorf("what the plan has is kept out: %v", o.Errors)
		}
	})
}
