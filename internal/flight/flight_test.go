package flight_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/aleph-im/aleph-go/internal/flight"
)

func TestCallersShareOneAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[string, int]
		var attempts atomic.Int32
		land := make(chan struct{})
		late := context.DeadlineExceeded // of something within: the attempt failed, and nobody gave it up
		answers := make(chan int, 3)
		for range 3 {
			go func() {
				got, err := g.Do(t.Context(), "key", func() (int, error) {
					<-land
					return int(attempts.Add(1)), late
				})
				if err != late {
					t.Error(err)
				}
				answers <- got
			}()
		}
		if got, err := g.Do(t.Context(), "another", func() (int, error) { return 7, nil }); got != 7 || err != nil {
			t.Errorf("for another key: %d, %v", got, err)
		}
		synctest.Wait()
		close(land)
		for range 3 {
			if got := <-answers; got != 1 {
				t.Errorf("attempt %d", got)
			}
		}
		broken := errors.New("broken")
		if _, err := g.Do(t.Context(), "key", func() (int, error) { return 0, broken }); !errors.Is(err, broken) {
			t.Errorf("a later call: %v", err)
		}
	})
}

func TestAnotherTakesOverFromWhoGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[string, string]
		call := func(ctx context.Context, name string) <-chan error {
			ended := make(chan error, 1)
			go func() {
				got, err := g.Do(ctx, "key", func() (string, error) {
					if name != "third" {
						<-ctx.Done()
						return "", ctx.Err()
					}
					return name, nil
				})
				if err == nil && got != "third" {
					t.Errorf("%s got %q", name, got)
				}
				ended <- err
			}()
			synctest.Wait() // it leads, or waits
			return ended
		}
		ctx, leave := context.WithCancel(t.Context())
		first := call(ctx, "first")
		impatient, end := context.WithCancel(t.Context())
		second := call(impatient, "second")
		end()
		if err := <-second; !errors.Is(err, context.Canceled) {
			t.Errorf("who no longer waits: %v", err)
		}
		third := call(t.Context(), "third")
		leave()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("who gave up: %v", err)
		}
		if err := <-third; err != nil {
			t.Errorf("who takes over: %v", err)
		}
	})
}

func TestAPanicLeavesNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[string, int]
		burst := make(chan struct{})
		go func() {
			defer func() { _ = recover() }()
			_, _ = g.Do(t.Context(), "key", func() (int, error) {
				<-burst
				panic("burst")
			})
		}()
		synctest.Wait()
		ended := make(chan error, 1)
		go func() {
			_, err := g.Do(t.Context(), "key", func() (int, error) { return 0, nil })
			ended <- err
		}()
		synctest.Wait()
		close(burst)
		if <-ended == nil {
			t.Error("an attempt that broke off counts as one that succeeded")
		}
	})
}
