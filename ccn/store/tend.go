package store

import (
	"context"
	"sync"
	"time"
)

// tending looks after a database beside its transactions, a while after a commit. The zero value does nothing.
type tending struct {
	conn   *conn
	woken  chan struct{}
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// tendEvery is how long commits gather before the database is tended: pages that many of them change are copied once.
const tendEvery = 3 * time.Second

func (t *tending) start(c *conn) {
	ctx, cancel := context.WithCancel(context.Background())
	t.conn, t.woken, t.cancel = c, make(chan struct{}, 1), cancel
	t.done.Go(func() { t.run(ctx) })
}

// wake says that there was a commit.
func (t *tending) wake() {
	select {
	case t.woken <- struct{}{}:
	default:
	}
}

func (t *tending) run(ctx context.Context) {
	pause := time.NewTimer(tendEvery)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		select {
		case <-ctx.Done():
			return
		case <-t.woken:
		}
		// Commits do what fails here, and tell of it.
		_ = t.conn.engine.tend(ctx, t.conn.Conn)
		pause.Reset(tendEvery)
	}
}

func (t *tending) stop() error {
	if t.conn == nil {
		return nil
	}
	t.cancel()
	t.done.Wait()
	return t.conn.close()
}
