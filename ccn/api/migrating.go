package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/aleph-im/aleph-go/internal/listen"
)

// migratingGrace is for requests that are being answered when the API takes over.
const migratingGrace = time.Second

// ServeMigrating answers in place of the API, until ctx ends, while the database is brought to a newer schema: /health that
// the process lives, all else 503 with how much of it is done, from 0 to 100. The listener stays open for the API.
func ServeMigrating(ctx context.Context, listener *net.TCPListener, percent func() int, log *slog.Logger) error {
	limits := Limits{}.withDefaults()
	bounded := listen.Bound(lent{listener}, limits.Connections, limits.Silence)
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			status := http.StatusServiceUnavailable
			if r.URL.Path == "/health" {
				status = http.StatusOK
			}
			w.Header().Set("Retry-After", "5")
			_ = reply(w, status, map[string]string{"status": fmt.Sprintf("migrating, %d %%", percent())}) // is always JSON
		}),
		ReadTimeout:    limits.Header,
		MaxHeaderBytes: maxHeader,
		ConnState:      bounded.Turned,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	server.SetKeepAlivesEnabled(false) // the next request is for the API
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(bounded) }()
	select {
	case err := <-ended:
		return fmt.Errorf("answer while the database is migrated: %w", err)
	case <-ctx.Done():
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), migratingGrace)
	defer cancel()
	if err := server.Shutdown(late); errors.Is(err, context.DeadlineExceeded) {
		_ = server.Close() // who is left has asked nothing
	}
	<-ended
	return listener.SetDeadline(time.Time{})
}

// lent is a listener that stays open when a server is done with it.
type lent struct{ *net.TCPListener }

// Close ends only who waits in Accept.
func (l lent) Close() error { return l.SetDeadline(time.Unix(1, 0)) }
