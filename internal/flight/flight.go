// Package flight lets those who want the same thing at the same time share one attempt to get it: files of other nodes, by the core
// node and by the compute node.
package flight

import (
	"context"
	"errors"
	"sync"
)

// Group holds the attempts that are under way. The zero Group is ready, and safe for concurrent use.
type Group[K comparable, V any] struct {
	mu     sync.Mutex
	flying map[K]*attempt[V] // guarded by mu
}

type attempt[V any] struct {
	done chan struct{} // closed when the rest is there
	got  V
	err  error
	left bool // it failed when the context of who made it had ended
}

// errPanicked is what others see of an attempt that panicked.
var errPanicked = errors.New("the attempt broke off")

// Do returns what do returns, or what the attempt of another caller for the same key does, whose own do is not called then. Each
// waits no longer than its own context. When that of who attempts it ends, another takes over.
func (g *Group[K, V]) Do(ctx context.Context, key K, do func() (V, error)) (V, error) {
	for {
		own := &attempt[V]{done: make(chan struct{}), err: errPanicked}
		other := g.enter(key, own)
		if other == own {
			defer g.leave(key, own)
			own.got, own.err = do()
			own.left = own.err != nil && ctx.Err() != nil
			return own.got, own.err
		}
		var none V
		select {
		case <-ctx.Done():
			return none, ctx.Err()
		case <-other.done:
		}
		if !other.left {
			return other.got, other.err
		}
		if err := ctx.Err(); err != nil {
			return none, err
		}
	}
}

// enter returns the attempt that is under way, which is own when there was none.
func (g *Group[K, V]) enter(key K, own *attempt[V]) *attempt[V] {
	g.mu.Lock()
	defer g.mu.Unlock()
	if other := g.flying[key]; other != nil {
		return other
	}
	if g.flying == nil {
		g.flying = make(map[K]*attempt[V])
	}
	g.flying[key] = own
	return own
}

func (g *Group[K, V]) leave(key K, own *attempt[V]) {
	g.mu.Lock()
	delete(g.flying, key)
	g.mu.Unlock()
	close(own.done)
}
