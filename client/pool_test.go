package client_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

// core stands in for a core node of several. status is what it answers to everything but the question for its health.
type core struct {
	*httptest.Server
	status  atomic.Int32
	ill     atomic.Bool
	reads   atomic.Int32
	writes  atomic.Int32
	waiting string // Retry-After
}

func newCore(t *testing.T) *core {
	t.Helper()
	n := &core{}
	n.status.Store(200)
	n.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch {
		case r.URL.Path == "/api/v0/info/public.json":
			if n.ill.Load() {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			_, _ = io.WriteString(w, `{"node_multi_addresses":[]}`)
			return
		case r.Method == http.MethodGet:
			n.reads.Add(1)
		default:
			n.writes.Add(1)
		}
		if n.waiting != "" {
			w.Header().Set("Retry-After", n.waiting)
		}
		w.WriteHeader(int(n.status.Load()))
		_, _ = io.WriteString(w, `{"version":"1","publication_status":{"failed":[]},"message_status":"processed"}`)
	}))
	t.Cleanup(n.Close)
	return n
}

func twoCores(t *testing.T) (a, b *core, c *client.Client) {
	t.Helper()
	a, b = newCore(t), newCore(t)
	return a, b, client.New(client.Config{BaseURL: a.URL, BaseURLs: []string{b.URL, a.URL + "/"}, Backoff: time.Millisecond, Timeout: 10 * time.Second})
}

func TestReadsGoToAnotherNodeWhenOneFails(t *testing.T) {
	a, b, c := twoCores(t)
	a.ill.Store(true)
	for range 3 {
		if _, err := c.Version(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if a.reads.Load() != 0 || b.reads.Load() != 3 {
		t.Errorf("%d reads of the node that is ill, %d of the other", a.reads.Load(), b.reads.Load())
	}
	b.Close()
	a.ill.Store(false)
	if _, err := c.Version(t.Context()); err != nil || a.reads.Load() != 1 {
		t.Errorf("%v; %d reads", err, a.reads.Load())
	}
	health := c.Health(t.Context())
	if len(health) != 2 || health[0].URL != a.URL || health[0].Err != nil || health[0].Latency <= 0 || health[1].Err == nil {
		t.Errorf("health %+v", health)
	}
}

func TestNodeThatTookAWriteIsAskedAfterIt(t *testing.T) {
	a, b, c := twoCores(t)
	a.status.Store(503)
	m, _, err := client.Sign(t.Context(), account(t), message.TypePost, &message.Post{PostType: "note"}, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.PublishMessage(t.Context(), m, true); err != nil {
		t.Fatal(err)
	}
	a.status.Store(200)
	for range 3 {
		if _, err := c.Version(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if b.writes.Load() != 1 || b.reads.Load() != 3 || c.BaseURL() != b.URL {
		t.Errorf("%d writes and %d reads of the node that took the message", b.writes.Load(), b.reads.Load())
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	for _, test := range []struct {
		header string
		budget time.Duration
		least  time.Duration
		calls  int
	}{
		{"3", time.Minute, 3 * time.Second, 2},
		{"3600", time.Hour, 0, 1},       // too long to wait
		{"5", 2 * time.Second, 0, 1},    // beyond the deadline
		{"nonsense", time.Minute, 0, 2}, // the node says nothing
		{"", time.Minute, time.Duration(0), 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			calls := 0
			transport := roundTrip(func(r *http.Request) (*http.Response, error) {
				calls++
				w := httptest.NewRecorder()
				if calls == 1 {
					w.Header().Set("Retry-After", test.header)
					w.WriteHeader(http.StatusTooManyRequests)
				} else {
					_, _ = io.WriteString(w, `{"version":"1"}`)
				}
				return w.Result(), nil
			})
			c := client.New(client.Config{BaseURL: "http://node", HTTPClient: &http.Client{Transport: transport}, Backoff: time.Millisecond})
			ctx, cancel := context.WithTimeout(t.Context(), test.budget)
			defer cancel()
			began := time.Now()
			_, err := c.Version(ctx)
			if calls != test.calls || time.Since(began) < test.least || time.Since(began) > test.least+time.Second {
				t.Errorf("%q: %d calls in %v", test.header, calls, time.Since(began))
			}
			var limited *client.HTTPError
			if test.calls == 1 && (!errors.As(err, &limited) || limited.RetryAfter == 0 || client.KindOf(err) != client.KindRateLimited || !client.Retryable(err)) {
				t.Errorf("%q: %v", test.header, err)
			}
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
