package files

import (
	"context"
	"errors"
	"time"
)

// inParallel is how many nodes are asked for one thing at the same time.
const inParallel = 4

// Race asks nodes for the same thing, in their order, a further one whenever one failed or was silent for as long as hedge, and
// returns the first answer that is right. It is ErrNotFound, with what each of them said, when none has it. Nobody is asked any
// more when it returns.
func Race[T any](ctx context.Context, nodes []string, hedge time.Duration, ask func(ctx context.Context, node string) (T, error)) (T, error) {
	within, stop := context.WithCancel(ctx)
	type answer struct {
		got T
		err error
	}
	answers := make(chan answer, inParallel)
	running := 0
	defer func() {
		stop()
		for ; running > 0; running-- {
			<-answers
		}
	}()
	silence := time.NewTimer(0)
	defer silence.Stop()
	failed := []error{ErrNotFound}
	var none T
	for len(nodes) > 0 || running > 0 {
		var next <-chan time.Time
		if len(nodes) > 0 && running < inParallel {
			next = silence.C
		}
		select {
		case <-ctx.Done():
			return none, ctx.Err()
		case <-next:
			node := nodes[0]
			nodes = nodes[1:]
			running++
			go func() {
				got, err := ask(within, node)
				answers <- answer{got, err}
			}()
			silence.Reset(hedge)
		case a := <-answers:
			running--
			if a.err == nil {
				return a.got, nil
			}
			failed = append(failed, a.err)
			silence.Reset(0)
		}
	}
	return none, errors.Join(failed...)
}
