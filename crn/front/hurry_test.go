package front

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// deadline is an answer that knows until when a part of it may be taken.
type deadline struct {
	*httptest.ResponseRecorder
	during, now time.Time
}

func (d *deadline) SetWriteDeadline(t time.Time) error { d.now = t; return nil }
func (d *deadline) Write(p []byte) (int, error)        { d.during = d.now; return d.ResponseRecorder.Write(p) }
func (d *deadline) FlushError() error                  { d.during = d.now; return nil }

func TestAnAnswerHasTimeBetweenItsParts(t *testing.T) {
	for name, part := range map[string]func(w http.ResponseWriter) error{
		"a write": func(w http.ResponseWriter) error { _, err := w.Write([]byte("part")); return err },
		"a flush": func(w http.ResponseWriter) error { return http.NewResponseController(w).Flush() },
	} {
		d := &deadline{ResponseRecorder: httptest.NewRecorder()}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.ProtoMajor = 2
		hurried(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if err := part(w); err != nil {
				t.Error(err)
			}
		}), time.Minute).ServeHTTP(d, r)
		if d.during.IsZero() || !d.now.IsZero() {
			t.Errorf("%s may be taken until %v, what follows until %v", name, d.during, d.now)
		}
	}
}

func TestRequestsOfOneConnectionAreBounded(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"of all sources": func(c *Config) { c.Connections = 3 },
		"of one source":  func(c *Config) { c.ConnectionsEach = 3 },
	} {
		t.Run(name, func(t *testing.T) { requestsAreBounded(t, change) })
	}
}

// requestsAreBounded asks for more than three answers at once, over one connection.
func requestsAreBounded(t *testing.T, change func(*Config)) {
	own := newIssuer(t)
	asked, answer := make(chan struct{}), make(chan struct{})
	f := run(t, certificates(t, own, "node.test"), func(c *Config) {
		change(c)
		c.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case asked <- struct{}{}:
			case <-answer:
			}
			<-answer
		})
	})
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, f.Addr().String())
		},
		TLSClientConfig: &tls.Config{RootCAs: own.pool}, ForceAttemptHTTP2: true,
	}
	defer transport.CloseIdleConnections()
	ask := func() int {
		response, err := (&http.Client{Transport: transport, Timeout: 20 * time.Second}).Get("https://node.test/")
		if err != nil {
			t.Error(err)
			return 0
		}
		response.Body.Close()
		return response.StatusCode
	}
	answers := make(chan int, 3)
	for range 3 {
		go func() { answers <- ask() }()
		<-asked
	}
	if got := ask(); got != http.StatusServiceUnavailable {
		t.Errorf("a fourth is answered %d", got)
	}
	close(answer)
	for range 3 {
		if got := <-answers; got != http.StatusOK {
			t.Errorf("one of the first is answered %d", got)
		}
	}
}

// Who asks and takes nothing of the answer is given up, in both versions of HTTP.
func TestWhoTakesNothingOverTLSIsGivenUp(t *testing.T) {
	own := newIssuer(t)
	for _, version := range []int{1, 2} {
		t.Run(fmt.Sprint("HTTP/", version), func(t *testing.T) {
			ended := make(chan error, 1)
			f := run(t, certificates(t, own, "node.test"), func(c *Config) {
				c.Silence = 100 * time.Millisecond
				c.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.ProtoMajor != version {
						t.Errorf("asked by %s", r.Proto)
					}
					for part := make([]byte, 64<<10); ; {
						if _, err := w.Write(part); err != nil {
							ended <- err
							return
						}
					}
				})
			})
			transport := &http.Transport{
				DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
					return (&net.Dialer{}).DialContext(ctx, network, f.Addr().String())
				},
				TLSClientConfig: &tls.Config{RootCAs: own.pool}, ForceAttemptHTTP2: version == 2,
			}
			defer transport.CloseIdleConnections()
			response, err := (&http.Client{Transport: transport}).Get("https://node.test/")
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			select {
			case <-ended:
			case <-time.After(20 * time.Second):
				t.Fatal("the answer goes on")
			}
			if n, err := io.Copy(io.Discard, response.Body); err == nil {
				t.Errorf("the client takes %d bytes for all of it", n)
			}
		})
	}
}
