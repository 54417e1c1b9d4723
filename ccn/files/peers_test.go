package files_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/message"
)

// silence is a peer that takes requests and never answers.
type silence struct {
	url       string
	came      chan struct{} // gets one for each request
	now, most atomic.Int32  // requests that it holds, and the most that it ever held
}

func silent(t *testing.T) *silence {
	s := &silence{came: make(chan struct{}, 1000)}
	s.url = serve(t, func(_ http.ResponseWriter, r *http.Request) {
		if n := s.now.Add(1); n > s.most.Load() {
			s.most.Store(n)
		}
		s.came <- struct{}{}
		<-r.Context().Done()
		s.now.Add(-1)
	})
	return s
}

const perPeer = 16

func nobodys(n int) message.Hash { return message.HashBytes(fmt.Appendf(nil, "nobody has this %d", n)) }

// A peer that holds all requests that it gets keeps no file from a node that another peer has.
func TestASlowPeerKeepsNothingFromOthers(t *testing.T) {
	slow := silent(t)
	peers := []string{slow.url, serve(t, raw)}
	f := files.NewFetcher(files.FetcherConfig{
		Store: open(t), Timeout: time.Hour, Hedge: time.Millisecond, Peers: func() []string { return peers },
	})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for n := range 4 * perPeer {
		wg.Go(func() {
			if _, err := f.Fetch(ctx, nobodys(n), 0); !errors.Is(err, context.Canceled) {
				t.Errorf("file %d: %v", n, err)
			}
		})
	}
	for range perPeer {
		<-slow.came
	}
	if _, err := f.Fetch(t.Context(), hash, 1000); err != nil {
		t.Fatal(err)
	}
	if most := slow.most.Load(); most != perPeer {
		t.Errorf("the slow peer held %d requests at once", most)
	}
}

// A peer that answers gets everything that it is asked for, however much that is.
func TestABusyPeerIsWaitedFor(t *testing.T) {
	var came atomic.Int32
	full := make(chan struct{})
	busy := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if came.Add(1) == perPeer {
			close(full)
		}
		<-full
		for n := range 4 * perPeer {
			if strings.HasSuffix(r.URL.Path, string(nobodys(n))) {
				fmt.Fprintf(w, "nobody has this %d", n)
			}
		}
	})
	f := files.NewFetcher(files.FetcherConfig{Store: open(t), Peers: func() []string { return []string{busy} }})
	var wg sync.WaitGroup
	for n := range 4 * perPeer {
		wg.Go(func() {
			if _, err := f.Fetch(t.Context(), nobodys(n), 0); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// Bytes that come one at a time do not make a peer one that answers.
func TestAPeerThatTricklesIsGivenUp(t *testing.T) {
	trickles := serve(t, func(w http.ResponseWriter, r *http.Request) {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for r.Context().Err() == nil {
			w.Write([]byte("x"))
			w.(http.Flusher).Flush()
			<-tick.C
		}
	})
	f := files.NewFetcher(files.FetcherConfig{Store: open(t), Peers: func() []string { return []string{trickles} }, Timeout: 100 * time.Millisecond})
	if _, err := f.Fetch(t.Context(), hash, 0); !errors.Is(err, files.ErrNotFound) {
		t.Fatalf("got %v", err)
	}
}
