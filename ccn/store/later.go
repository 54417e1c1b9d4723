package store

import (
	"context"
	"errors"
	"fmt"
)

// ErrUndone is returned by WriteLater when everything is undone that was written later since the last commit, of earlier
// calls as well.
var ErrUndone = errors.New("what was not committed yet is undone")

// WriteLater runs write like Write, but leaves the transaction open for more: what it wrote is committed when somebody
// wants to see it, which is to say by the next Read, Write, Commit or Close. Many writes then share the cost of one
// commit. A crash undoes what is not committed, and a loss of power what no Write came after, so the caller must be able
// to do it again.
//
// The round that it returns numbers the transaction: see Committed. Only a database of this process alone can do it.
func (s *Store) WriteLater(ctx context.Context, write func(tx *Tx) error) (round uint64, err error) {
	if s.Shared() {
		return 0, errors.New("a database that several processes share commits at once")
	}
	c, err := s.take(ctx, s.writer)
	if err != nil {
		return 0, fmt.Errorf("wait for the database writer: %w", err)
	}
	defer func() { s.writer <- c }()
	if err := s.undone; err != nil {
		s.undone = nil
		return 0, fmt.Errorf("%w: %w", ErrUndone, err)
	}
	if s.later == nil {
		if err := c.lasts(ctx, false); err != nil {
			return 0, err
		}
		if err := c.begin(ctx); err != nil {
			return 0, fmt.Errorf("begin transaction: %w", err)
		}
		s.round++
		s.later = newTx(context.WithoutCancel(ctx), c)
		s.open.Store(s.round)
	}
	tx := s.later
	if err := c.guarded(tx.ctx, func() error { return write(tx) }); err != nil {
		s.endRound()
		return 0, fmt.Errorf("%w: %w", ErrUndone, err)
	}
	return s.round, nil
}

// Committed is the last round of WriteLater that was committed. A round that was not, and is over, was undone.
func (s *Store) Committed() uint64 { return s.committed.Load() }

// Lasting is the last round of WriteLater that is known to outlast a loss of power. Each does after the next Write, or some
// seconds after it was committed.
func (s *Store) Lasting() uint64 { return s.lasting.Load() }

// noteLasting notes that a round, and all before it, outlast a loss of power.
func (s *Store) noteLasting(round uint64) {
	for {
		known := s.lasting.Load()
		if round <= known || s.lasting.CompareAndSwap(known, round) {
			return
		}
	}
}

// Commit commits what WriteLater wrote.
func (s *Store) Commit(ctx context.Context) error {
	round := s.open.Load()
	if round == 0 {
		return nil
	}
	c, err := s.take(ctx, s.writer)
	if err != nil {
		return fmt.Errorf("wait for the database writer: %w", err)
	}
	defer func() { s.writer <- c }()
	if s.later == nil || s.round != round {
		return nil // somebody else committed it
	}
	return s.commitLater(c)
}

// commitLater is called by who holds the writer. When it fails the next WriteLater says so too, to who can do it again.
func (s *Store) commitLater(c *conn) error {
	tx := s.later
	if tx == nil {
		return nil
	}
	defer s.endRound()
	err := c.guarded(tx.ctx, tx.finish)
	if err == nil {
		err = c.commit(tx.ctx)
	}
	if err != nil {
		s.undone = err
		return fmt.Errorf("%w: %w", ErrUndone, err)
	}
	s.committed.Store(s.round)
	s.tending.wake()
	return nil
}

func (s *Store) endRound() {
	s.later = nil
	s.open.Store(0)
}
