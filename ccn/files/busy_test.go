package files

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// A peer that was silent gets one request at a time, and nobody waits for it, until it answers.
func TestASilentPeerGetsOneRequestAtATime(t *testing.T) {
	ps := newPeers(time.Hour)
	enter := func(want error) {
		t.Helper()
		if err := ps.enter(t.Context(), "a"); !errors.Is(err, want) {
			t.Fatalf("got %v, want %v", err, want)
		}
	}
	enter(nil)
	ps.leave(t.Context(), "a", fmt.Errorf("GET a: %w", errSilent))
	enter(nil)
	enter(errBusy)
	order := []string{"a", "b"}
	if ps.sort(order); order[0] != "b" {
		t.Errorf("it is asked before others: %v", order)
	}
	ps.leave(t.Context(), "a", nil)
	for range perPeer {
		enter(nil)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	ps.leave(over, "a", errSilent)
	enter(nil) // what was called off says nothing of the peer
}

// A peer with all its requests is waited for as long as it answers some.
func TestAPeerIsWaitedForWhileItAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ps := newPeers(10 * time.Second)
		for range perPeer {
			if err := ps.enter(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		got := make(chan error, 2)
		go func() { got <- ps.enter(t.Context(), "a") }()
		go func() { got <- ps.enter(t.Context(), "a") }()
		time.Sleep(9 * time.Second)
		ps.leave(t.Context(), "a", nil)
		if err := <-got; err != nil {
			t.Fatal(err)
		}
		if err := <-got; !errors.Is(err, errBusy) || time.Since(began) != 19*time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	})
}
