// Package upkeep does what no message asks for but time: it looks at the accounts whose funds end or return, and deletes the
// files that nobody keeps any more. Package ccn runs it in every process that applies messages.
//
// Rules: spec/ccn-core.md §5.10 and §8.5. What is decided about accounts is decided by package state.
package upkeep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/state"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// Config is what a Service needs. Store, State and Files are required.
type Config struct {
	Store *store.Store
	State Settler
	Files Files
	// Collect deletes the blocks of IPFS that no pin reaches and that are older than before. Nil: there are none.
	Collect func(ctx context.Context, before time.Time) error

	Now    func() time.Time // time.Now if nil
	Logger *slog.Logger     // discarded if nil
}

// Settler decides what the funds of an account mean for what it pays for: *state.State.
type Settler interface {
	SettleAccount(tx *store.Tx, owner string, payment message.PaymentType) (*state.Effect, error)
}

// Files is what upkeep asks of a files.Store.
type Files interface {
	Walk(ctx context.Context, f func(files.Info) error) error
	Stat(ctx context.Context, h message.Hash) (files.Info, error)
	Expire(ctx context.Context, h message.Hash, before time.Time) (bool, error)
}

const (
	settleEvery  = 10 * time.Second
	collectEvery = time.Hour
	atOnce       = 100       // accounts or files of one look; the writer is free in between
	young        = time.Hour // files and blocks that are younger may belong to a message on its way
	sweepEvery   = 24 * time.Hour
	sweepAtOnce  = 1000 // files that are asked for in one look at the database
)

// Service keeps accounts and files up.
type Service struct {
	cfg   Config
	swept time.Time // when it was last looked for files that nobody knows; zero before the first time
}

// New returns a Service.
func New(cfg Config) (*Service, error) {
	if cfg.Store == nil || cfg.State == nil || cfg.Files == nil {
		return nil, errors.New("upkeep: Store, State and Files are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Service{cfg: cfg}, nil
}

// Run looks again and again until ctx ends. What fails is logged and tried at the next look.
func (s *Service) Run(ctx context.Context) error {
	settle, collect := time.NewTicker(settleEvery), time.NewTicker(collectEvery)
	defer settle.Stop()
	defer collect.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-settle.C:
			err = s.Settle(ctx)
		case <-collect.C:
			err = s.Collect(ctx)
		}
		if err != nil && ctx.Err() == nil {
			s.cfg.Logger.Error("upkeep failed, tried again later", "error", err)
		}
	}
}

// Settle looks at the accounts that are due. An account that stays due after a look waits for the next call.
func (s *Service) Settle(ctx context.Context) error {
	now := message.TimeFrom(s.cfg.Now())
	var due []store.AccountRow
	err := s.cfg.Store.Read(ctx, func(r *store.Reader) (err error) {
		due, err = r.AccountsDue(now, atOnce)
		return err
	})
	if err != nil {
		return err
	}
	var errs []error
	for _, a := range due {
		err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
			effect, err := s.cfg.State.SettleAccount(tx, a.Owner, a.PaymentType)
			if err != nil || len(effect.Wakes) == 0 {
				return err
			}
			_, err = tx.WakePending(effect.Wakes, now)
			return err
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("settle account %s: %w", a.Owner, err))
		}
	}
	return errors.Join(errs...)
}

// Collect deletes the files whose time is over, then what they leave behind in IPFS. A file is given up in the database
// before its bytes go: killed in between, the node keeps bytes that nobody asks for, and never promises bytes that are gone.
func (s *Service) Collect(ctx context.Context) error {
	now := s.cfg.Now()
	for {
		var due []message.Hash
		err := s.cfg.Store.Read(ctx, func(r *store.Reader) (err error) {
			due, err = r.FilesDue(message.TimeFrom(now), atOnce)
			return err
		})
		if err != nil {
			return err
		}
		if len(due) == 0 {
			break
		}
		if err := s.release(ctx, due, now); err != nil {
			return err
		}
	}
	if now.Sub(s.swept) >= sweepEvery {
		if err := s.sweep(ctx, now.Add(-young)); err != nil {
			return fmt.Errorf("look for files that nobody knows: %w", err)
		}
		s.swept = now
	}
	if s.cfg.Collect == nil {
		return nil
	}
	return s.cfg.Collect(ctx, now.Add(-young))
}

// sinceKey is where the database names since when it knows the files of its node, in microseconds.
const sinceKey = "files known since"

// sweep deletes the files that are older than before and that the database does not know: those of uploads that were refused or
// broke off, and of messages that a killed node had not judged. What was there before it first looked stays: it may be of a database
// that is being made anew.
func (s *Service) sweep(ctx context.Context, before time.Time) error {
	since, err := s.knownSince(ctx)
	if err != nil {
		return err
	}
	var old []message.Hash
	expire := func() error {
		defer func() { old = old[:0] }()
		var unknown []message.Hash
		err := s.cfg.Store.Read(ctx, func(r *store.Reader) error {
			for _, h := range old {
				row, err := r.File(h)
				if err != nil {
					return err
				}
				if row == nil {
					unknown = append(unknown, h)
				}
			}
			return nil
		})
		for _, h := range unknown {
			if _, failed := s.cfg.Files.Expire(ctx, h, before); failed != nil {
				err = errors.Join(err, fmt.Errorf("delete file %s: %w", h, failed))
			}
		}
		return err
	}
	err = s.cfg.Files.Walk(ctx, func(f files.Info) error {
		if !f.Stored.Before(before) || f.Stored.Before(since) {
			return nil
		}
		if old = append(old, f.Hash); len(old) < sweepAtOnce {
			return nil
		}
		return expire()
	})
	return errors.Join(err, expire())
}

// release gives up files, but for those that somebody is about to rely on: they are due again later.
func (s *Service) release(ctx context.Context, due []message.Hash, now time.Time) error {
	wanted := make(map[message.Hash]time.Time)
	for _, h := range due {
		// Of what cannot be looked at, as parts of it are missing, the rest may go.
		if info, err := s.cfg.Files.Stat(ctx, h); err == nil && !info.Stored.Before(now.Add(-young)) {
			wanted[h] = info.Stored.Add(young + time.Second)
		}
	}
	var garbage []message.Hash
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		for _, h := range due {
			if until, ok := wanted[h]; ok {
				if err := tx.KeepUntil(h, message.TimeFrom(now), message.TimeFrom(until)); err != nil {
					return err
				}
				continue
			}
			free, err := tx.ReleaseFile(h, message.TimeFrom(now))
			if err != nil {
				return err
			}
			if free {
				garbage = append(garbage, h)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	var errs []error
	for _, h := range garbage {
		if _, err := s.cfg.Files.Expire(ctx, h, now.Add(-young)); err != nil {
			errs = append(errs, fmt.Errorf("delete file %s: %w", h, err))
		}
	}
	return errors.Join(errs...)
}

// knownSince returns since when the database knows all files that are put, which begins with the first call.
func (s *Service) knownSince(ctx context.Context) (since time.Time, err error) {
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		text, err := tx.Get(sinceKey)
		if err != nil {
			return err
		}
		if text == "" {
			since = s.cfg.Now()
			return tx.Set(sinceKey, strconv.FormatInt(since.UnixMicro(), 10))
		}
		at, err := strconv.ParseInt(text, 10, 64)
		since = time.UnixMicro(at)
		return err
	})
	return since, err
}
