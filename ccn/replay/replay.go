// Package replay takes the messages of another core node, or of a dump file, into a node: every one of them through
// intake, which verifies it as if it came from a stranger. The command alephd ccn import calls it on a node that is
// stopped. What was done is kept in the database, so that a replay that was cut short goes on where it was.
package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aleph-im/aleph-go/ccn/intake"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// Batch is a few messages of a source.
type Batch struct {
	Envelopes []json.RawMessage
	Position  string // from which the source goes on after this batch
	Skipped   int    // entries that are no messages
}

// Source gives messages, the oldest first where it can.
type Source interface {
	// Name tells the source from others; a position is kept under it.
	Name() string
	// Next returns what follows position, "" being the start, or io.EOF when nothing does.
	Next(ctx context.Context, position string) (Batch, error)
	// Total is about how many messages there are; 0 when that is not known.
	Total(ctx context.Context) (int64, error)
}

// Config is what a replay needs. Source, Store and Submit are required.
type Config struct {
	Source Source
	Store  *store.Store // of the node; keeps the position
	// Submit takes one envelope in and returns after it is durable: Submit of an intake.Pipeline that runs.
	Submit   func(ctx context.Context, envelope []byte) (intake.Outcome, error)
	Restart  bool                 // begin at the start, whatever was done before
	Progress func(c Counts)       // called after each batch; nil: not
	Rejected func(intake.Outcome) // called for each message that is refused; nil: not
	Now      func() time.Time     // time.Now if nil
}

// Counts is how far a replay is.
type Counts struct {
	Read       int64 `json:"read"`
	Total      int64 `json:"total"` // of the source; 0: unknown
	Processed  int64 `json:"processed"`
	Duplicates int64 `json:"duplicates"`
	Pending    int64 `json:"pending"` // could not be applied at once: they lack a file or another message
	Waiting    int64 `json:"waiting"` // messages of the node that still wait at the end, from wherever; set by the caller of Settle
	Rejected   int64 `json:"rejected"`
	Skipped    int64 `json:"skipped"` // entries of the source that are no messages
}

const (
	inFlight      = 1024 // messages at once
	batchesAhead  = 16   // read and not finished
	positionPause = time.Second
)

// replay is one replay at work.
type replay struct {
	cfg    Config
	counts struct{ read, processed, duplicates, pending, rejected, skipped atomic.Int64 }
	total  int64
}

// job is a batch on its way.
type job struct {
	batch Batch
	done  chan struct{} // closed when all its messages are settled
}

// Run replays the source until its end or until ctx ends, and returns what it did. After an error or the end of ctx
// another Run goes on after the last batch that was finished.
func Run(ctx context.Context, cfg Config) (Counts, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	r := &replay{cfg: cfg}
	err := r.run(ctx)
	if err != nil {
		err = fmt.Errorf("replay %s: %w", cfg.Source.Name(), err)
	}
	return r.current(), err
}

func (r *replay) current() Counts {
	c := &r.counts
	return Counts{
		Read: c.read.Load(), Total: r.total, Processed: c.processed.Load(), Duplicates: c.duplicates.Load(),
		Pending: c.pending.Load(), Rejected: c.rejected.Load(), Skipped: c.skipped.Load(),
	}
}

func (r *replay) key() string { return "replay/" + r.cfg.Source.Name() }

func (r *replay) run(ctx context.Context) error {
	var position string
	if !r.cfg.Restart {
		err := r.cfg.Store.Read(ctx, func(rd *store.Reader) (err error) {
			position, err = rd.Get(r.key())
			return err
		})
		if err != nil {
			return err
		}
	}
	var err error
	if r.total, err = r.cfg.Source.Total(ctx); err != nil {
		return err
	}
	group, inside := errgroup.WithContext(ctx)
	jobs := make(chan *job, batchesAhead)
	group.Go(func() error {
		defer close(jobs)
		return r.read(inside, position, jobs)
	})
	group.Go(func() error { return r.finish(inside, jobs) })
	return group.Wait()
}

// read starts the messages of each batch and hands the batch on.
func (r *replay) read(ctx context.Context, position string, jobs chan<- *job) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(inFlight)
	for {
		batch, err := r.cfg.Source.Next(ctx, position)
		if errors.Is(err, io.EOF) {
			return group.Wait()
		} else if err != nil {
			return errors.Join(err, group.Wait())
		}
		position = batch.Position
		j := &job{batch: batch, done: make(chan struct{})}
		left := new(atomic.Int64)
		left.Store(int64(len(batch.Envelopes)))
		if len(batch.Envelopes) == 0 {
			close(j.done)
		}
		select {
		case jobs <- j:
		case <-ctx.Done():
			return errors.Join(group.Wait(), ctx.Err())
		}
		for _, envelope := range batch.Envelopes {
			group.Go(func() error {
				if err := r.submit(ctx, envelope); err != nil {
					return err
				}
				if left.Add(-1) == 0 {
					close(j.done)
				}
				return nil
			})
		}
	}
}

func (r *replay) submit(ctx context.Context, envelope []byte) error {
	out, err := r.cfg.Submit(ctx, envelope)
	if err != nil {
		return err
	}
	c := &r.counts
	switch {
	case out.Duplicate:
		c.duplicates.Add(1)
	case out.Status == message.StatusProcessed:
		c.processed.Add(1)
	case out.Status == message.StatusPending:
		c.pending.Add(1)
	default:
		c.rejected.Add(1)
		if r.cfg.Rejected != nil {
			r.cfg.Rejected(out)
		}
	}
	return nil
}

// finish waits for the batches in their order and keeps the position behind the last one that is done.
func (r *replay) finish(ctx context.Context, jobs <-chan *job) (err error) {
	var position string
	saved := r.cfg.Now()
	save := func(ctx context.Context) error {
		if position == "" {
			return nil
		}
		saved = r.cfg.Now()
		return r.cfg.Store.Write(ctx, func(tx *store.Tx) error { return tx.Set(r.key(), position) })
	}
	defer func() { err = errors.Join(err, save(context.WithoutCancel(ctx))) }()
	for j := range jobs {
		select {
		case <-j.done:
		case <-ctx.Done():
			select { // what is done counts all the same
			case <-j.done:
			default:
				return ctx.Err()
			}
		}
		position = j.batch.Position
		r.counts.read.Add(int64(len(j.batch.Envelopes)))
		r.counts.skipped.Add(int64(j.batch.Skipped))
		if r.cfg.Progress != nil {
			r.cfg.Progress(r.current())
		}
		if r.cfg.Now().Sub(saved) >= positionPause {
			if err := save(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}
