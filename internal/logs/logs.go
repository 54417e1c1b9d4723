// Package logs bounds what a node logs. A full disk, or who sends what fails, would have it log the same for each request, on a disk that
// may be the one that is full.
package logs

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	window  = 10 * time.Second
	most    = 20   // records of one message in a window
	maxKeys = 1024 // messages that are counted; of texts that are made up by what fails there may be more
)

// Bounded returns a handler that hands warnings and errors on to next, at most 20 with the same message in 10 s. The last of them says that the
// others are left out, and the next one after these 10 s how many they were (attribute left_out).
func Bounded(next slog.Handler) slog.Handler {
	return &bounded{next, &counts{of: map[string]*count{}}}
}

type bounded struct {
	next   slog.Handler
	counts *counts // of all handlers that come from one
}

type counts struct {
	mu sync.Mutex
	of map[string]*count
}

// count is how many records of one message there were since a time.
type count struct {
	since time.Time
	n     int
}

func (b *bounded) Enabled(ctx context.Context, level slog.Level) bool {
	return b.next.Enabled(ctx, level)
}

func (b *bounded) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &bounded{b.next.WithAttrs(attrs), b.counts}
}

func (b *bounded) WithGroup(name string) slog.Handler {
	return &bounded{b.next.WithGroup(name), b.counts}
}

func (b *bounded) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn {
		return b.next.Handle(ctx, r)
	}
	n, leftOut := b.counts.add(r.Message, r.Time)
	switch {
	case n > most:
		return nil
	case n == most:
		r = r.Clone()
		r.Add("more", "is left out for "+window.String())
	case leftOut > 0:
		r = r.Clone()
		r.Add("left_out", leftOut)
	}
	return b.next.Handle(ctx, r)
}

// add counts a record. It returns which one of its window it is, and how many of the last window were left out when it begins another.
func (c *counts) add(message string, at time.Time) (n, leftOut int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.of[message]
	if k == nil {
		if len(c.of) >= maxKeys {
			clear(c.of)
		}
		k = &count{since: at}
		c.of[message] = k
	}
	if at.Sub(k.since) >= window {
		leftOut = max(k.n-most, 0)
		k.since, k.n = at, 0
	}
	k.n++
	return k.n, leftOut
}
