package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/aleph-im/aleph-go/internal/listen"
)

// Limits bound what clients can hold of a node. A field that is zero takes its default.
type Limits struct {
	Header      time.Duration // until the header of a request is there: 10 s
	Silence     time.Duration // without progress of a body that is read, or an answer that is written: 30 s
	Rate        int64         // bytes a second at which a body must come after that, in all: 8 KiB
	Answer      time.Duration // until an answer from the database is there: 1 min
	Stat        time.Duration // until IPFS knows what a file is: 30 s
	Idle        time.Duration // between two requests of a connection: 2 min
	Grace       time.Duration // for requests that are being answered when the node stops: 5 s
	Connections int           // open at once, without WebSockets, which have limits of their own: 4,096
	Bodies      int64         // bytes of bodies held in memory at once: 256 MiB
	Answers     int64         // the same of answers from the database; one takes at most half of it: 512 MiB
}

func (l Limits) withDefaults() Limits {
	return Limits{
		Header:      cmp.Or(l.Header, 10*time.Second),
		Silence:     cmp.Or(l.Silence, 30*time.Second),
		Rate:        cmp.Or(l.Rate, 8<<10),
		Answer:      cmp.Or(l.Answer, time.Minute),
		Stat:        cmp.Or(l.Stat, 30*time.Second),
		Idle:        cmp.Or(l.Idle, 2*time.Minute),
		Grace:       cmp.Or(l.Grace, 5*time.Second),
		Connections: cmp.Or(l.Connections, 4096),
		Bodies:      cmp.Or(l.Bodies, 256<<20),
		Answers:     cmp.Or(l.Answers, 512<<20),
	}
}

// maxHeader bounds the header of a request, in bytes: long lists of hashes are asked for in its first line.
const maxHeader = 64 << 10

// Serve answers what comes to a listener until ctx ends, and then for the grace period what is being answered. It returns
// when nobody is served any more.
func (a *API) Serve(ctx context.Context, listener net.Listener) error {
	requests, endRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer a.Wait()
	defer endRequests()
	bounded := listen.Bound(listener, a.limits.Connections, a.limits.Silence)
	express := newExpress(requests, a, bounded)
	server := &http.Server{
		Handler:           a,
		ReadHeaderTimeout: a.limits.Header,
		IdleTimeout:       a.limits.Idle,
		MaxHeaderBytes:    maxHeader,
		ConnState:         express.turned,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ErrorLog:          slog.NewLogLogger(a.cfg.Logger.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 2)
	go func() { ended <- server.Serve(express) }()
	go func() { ended <- express.run() }()
	var failed error
	select {
	case err := <-ended:
		failed = fmt.Errorf("serve the API: %w", err)
		ended <- err
	case <-ctx.Done():
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.limits.Grace)
	defer cancel()
	_ = bounded.Close() // nobody else comes; the node closes it too
	express.stop(late)
	if err := server.Shutdown(late); errors.Is(err, context.DeadlineExceeded) {
		a.cfg.Logger.Warn("requests cut off", "after", a.limits.Grace)
		_ = server.Close() // the requests are cut off whatever it says
	}
	<-ended
	<-ended
	return failed
}
