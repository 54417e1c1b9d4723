package files

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// perPeer is how many requests one peer gets at once.
const perPeer = 16

// slowest is how many bytes must come in a Timeout for a peer to be no silent one.
const slowest = 64 << 10

var (
	errSilent = errors.New("silent")
	errBusy   = errors.New("holds the requests that it has already")
)

// peers bounds what a peer can hold of the fetches, so that one that is slow keeps nobody from what others have. A peer that
// was silent gets one request at a time until it answers.
type peers struct {
	patience time.Duration // how long a peer that has all its requests, and answers none, is waited for

	mu    sync.Mutex
	known map[string]*peer // guarded by mu
}

// peer is guarded by peers.mu.
type peer struct {
	asked   int           // requests on their way
	moved   time.Time     // when one of them was answered, or the first of them began
	silent  bool          // the last that ended had no answer
	changed chan struct{} // closed when one ends
}

func (p *peer) full() bool { return p.asked >= perPeer || p.silent && p.asked > 0 }

func newPeers(patience time.Duration) *peers {
	return &peers{patience: patience, known: make(map[string]*peer)}
}

// sort puts those that would be waited for last.
func (ps *peers) sort(urls []string) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	last := func(url string) int {
		if p := ps.known[url]; p != nil && (p.silent || p.full()) {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(urls, func(a, b string) int { return last(a) - last(b) })
}

// enter waits for a place among the requests to a peer, while that answers others.
func (ps *peers) enter(ctx context.Context, url string) error {
	for {
		ps.mu.Lock()
		p := ps.known[url]
		if p == nil {
			p = &peer{changed: make(chan struct{})}
			ps.known[url] = p
		}
		if !p.full() {
			if p.asked++; p.asked == 1 {
				p.moved = time.Now()
			}
			ps.mu.Unlock()
			return nil
		}
		left, changed := ps.patience-time.Since(p.moved), p.changed
		if p.silent {
			left = 0
		}
		ps.mu.Unlock()
		if left <= 0 {
			return fmt.Errorf("%s %w", url, errBusy)
		}
		timer := time.NewTimer(left)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// leave gives a place back after a request that ended with err. What was called off says nothing of the peer.
func (ps *peers) leave(ctx context.Context, url string, err error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.known[url]
	p.asked--
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, errSilent):
		p.silent = true
	default:
		p.silent, p.moved = false, time.Now()
	}
	close(p.changed)
	p.changed = make(chan struct{})
}
