package corenode

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"
)

// busy is a core node that has too much to do, and says for how long.
type busy struct {
	pause time.Duration
	error
}

func (e *busy) Unwrap() error { return e.error }

// Pauses that a core node may ask for (spec/crn.md §3.1).
const (
	usualPause = time.Second
	maxPause   = time.Minute
)

// pauseOf reads how long a core node wants to be left alone: x-retry-in with a unit or in seconds, else Retry-After in seconds,
// else the usual pause.
func pauseOf(h http.Header) time.Duration {
	for _, text := range []string{h.Get("X-Retry-In"), h.Get("Retry-After")} {
		pause, err := time.ParseDuration(text)
		if err != nil {
			pause, err = time.ParseDuration(text + "s")
		}
		if err == nil && pause >= 0 {
			return min(pause, maxPause)
		}
	}
	return usualPause
}

// retry repeats what failed for want of a core node, with growing pauses, or with those that it asks for and up to half as much
// again, so that not all come back at once.
func retry(ctx context.Context, do func() error) error {
	pause := 100 * time.Millisecond
	for attempt := 1; ; attempt++ {
		err := do()
		if err == nil || attempt == attempts || !errors.Is(err, ErrUnavailable) || ctx.Err() != nil {
			return err
		}
		wait := pause
		var later *busy
		if errors.As(err, &later) {
			wait = later.pause + rand.N(later.pause/2+1)
		}
		select {
		case <-time.After(wait):
			pause *= 4
		case <-ctx.Done():
			return err
		}
	}
}
