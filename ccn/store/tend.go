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
const tendEvery = 5 * time.Second

func (s *Store) startTending(c *conn) {
	ctx, cancel := context.WithCancel(context.Background())
	t := &s.tending
	t.conn, t.woken, t.cancel = c, make(chan struct{}, 1), cancel
	t.done.Go(func() { s.tendOnAndOn(ctx) })
}

// wake says that there was a commit.
func (t *tending) wake() {
	select {
	case t.woken <- struct{}{}:
	default:
	}
}

func (s *Store) tendOnAndOn(ctx context.Context) {
	pause := time.NewTimer(tendEvery)
	defer pause.Stop()
	for {
		if s.known.full() {
			_ = s.learn(ctx) // as long as it does not know, the database is asked
		}
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		select {
		case <-ctx.Done():
			return
		case <-s.tending.woken:
		}
		// Commits do what fails here, and tell of it.
		_ = s.tend(ctx)
		pause.Reset(tendEvery)
	}
}

// longLog is the number of pages in the log of changes from which on it is to begin anew: 512 MiB. Until then pages that change
// often are copied seldom.
const longLog = 131072

// tend copies what was committed out of the log. The log begins anew with a transaction that finds all of it copied, which
// none does that follows the last at once: so it is kept from beginning for a moment, when little is left to copy.
func (s *Store) tend(ctx context.Context) error {
	pages, err := s.tendOnce(ctx)
	if err != nil || pages < longLog {
		return err
	}
	if err := s.Commit(ctx); err != nil {
		return err
	}
	if _, err := s.tendOnce(ctx); err != nil {
		return err
	}
	w, err := s.take(ctx, s.writer)
	if err != nil {
		return err
	}
	defer func() { s.writer <- w }()
	if err := s.commitLater(w); err != nil {
		return err
	}
	_, err = s.tendOnce(ctx)
	return err
}

// tendOnce returns the number of pages that the log has.
func (s *Store) tendOnce(ctx context.Context) (pages int64, err error) {
	committed := s.Committed()
	pages, all, err := s.engine.tend(ctx, s.tending.conn.Conn)
	if all {
		s.noteLasting(committed)
	}
	return pages, err
}

func (t *tending) stop() error {
	if t.conn == nil {
		return nil
	}
	t.cancel()
	t.done.Wait()
	return t.conn.close()
}
