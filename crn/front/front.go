// Package front is the way of TLS into a compute node, for one without a proxy in front of it. crn.New makes it.
//
// Of each connection it reads the first message, which names the host that is asked for. A name that leads to an instance goes to
// port 443 of that as it is: the node neither holds the key nor sees what is said (spec/crn.md §4.9). Of all others TLS ends here,
// with a certificate from a file or from an authority (certificates.go), and the node's own server answers.
package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Config of a front.
type Config struct {
	Listen string // host:port; TLS is on port 443 as clients look for it
	// Guest returns where TLS of a host name is ended, if it leads to an instance of this node. It is asked for each connection.
	Guest func(ctx context.Context, name string) (guest netip.AddrPort, ok bool)
	// Handler answers what is not for a guest.
	Handler http.Handler
	// Certificates are for that.
	Certificates *Certificates
	Log          *slog.Logger // discarded when nil

	// Bounds, for tests; the usual ones when 0.
	HelloTimeout, IdleTimeout    time.Duration
	Silence                      time.Duration
	Connections, ConnectionsEach int
}

// Bounds of what strangers can make the node hold. Those of time are HAProxy's in the reference, but for the first message, for which
// it waits as long as for any other.
const (
	helloTimeout    = 10 * time.Second
	idleTimeout     = 5 * time.Minute // of a connection to a guest, in both directions
	dialTimeout     = 5 * time.Second
	silence         = 2 * time.Minute // that a client may take nothing of an answer, as where there is no TLS
	connections     = 4096            // and as many requests
	connectionsEach = 512             // of one IPv4 address, or of the same /64
	maxHello        = 32 << 10        // bytes; those of browsers have two thousand
)

// GuestPort is where instances end the TLS of names that lead to them.
const GuestPort = 443

// Front is a listener for TLS.
type Front struct {
	cfg      Config
	listener net.Listener
	server   *http.Server
	ended    *handover // connections whose TLS ends here
	count    *counter

	life    context.Context // of the connections to guests
	end     context.CancelFunc
	running sync.WaitGroup
}

// New listens. Run must follow, or Close.
func New(cfg Config) (*Front, error) {
	setDefault(&cfg.HelloTimeout, helloTimeout)
	setDefault(&cfg.IdleTimeout, idleTimeout)
	setDefault(&cfg.Silence, silence)
	setDefault(&cfg.Connections, connections)
	setDefault(&cfg.ConnectionsEach, connectionsEach)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for TLS: %w: stop the program that has the port, or choose another address", err)
	}
	f := &Front{cfg: cfg, listener: l, count: newCounter(cfg.Connections, cfg.ConnectionsEach)}
	f.ended = newHandover(l.Addr())
	f.life, f.end = context.WithCancel(context.Background())
	f.server = &http.Server{
		Handler: counting(newCounter(cfg.Connections, cfg.ConnectionsEach), hurried(cfg.Handler, cfg.Silence)), TLSConfig: cfg.Certificates.config(), ReadHeaderTimeout: 15 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	return f, nil
}

func setDefault[T comparable](v *T, usual T) {
	var zero T
	if *v == zero {
		*v = usual
	}
}

// Addr is where it listens.
func (f *Front) Addr() net.Addr { return f.listener.Addr() }

// Run takes connections until Shutdown, and returns when none is left.
func (f *Front) Run() error {
	defer f.running.Wait()
	f.running.Go(func() { _ = f.server.ServeTLS(f.ended, "", "") })
	defer f.ended.Close()
	for pause := time.Duration(0); ; {
		c, err := f.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			// Out of file descriptors, as a rule. Connections that end give some back.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			f.cfg.Log.Warn("a connection for TLS was not taken", "error", err, "again_in", pause)
			select {
			case <-time.After(pause):
				continue
			case <-f.life.Done():
				return nil
			}
		}
		pause = 0
		source := sourceOf(c.RemoteAddr())
		if !f.count.enter(source) {
			c.Close()
			continue
		}
		c = &counted{Conn: c, leave: sync.OnceFunc(func() { f.count.leave(source) })}
		f.running.Go(func() { f.take(c) })
	}
}

// Shutdown takes no more connections and lets answers in progress come to their end until ctx does. Connections to guests end with it.
func (f *Front) Shutdown(ctx context.Context) {
	f.listener.Close()
	if f.server.Shutdown(ctx) != nil {
		f.server.Close()
	}
	f.Close()
}

// Close ends everything at once.
func (f *Front) Close() {
	f.listener.Close()
	f.end()
	f.server.Close()
}

// take finds out what a connection is for.
func (f *Front) take(c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(f.cfg.HelloTimeout))
	stop := context.AfterFunc(f.life, func() { c.Close() })
	name, said, err := readHello(c)
	if !stop() || err != nil {
		c.Close()
		return
	}
	ctx, cancel := context.WithTimeout(f.life, f.cfg.HelloTimeout)
	defer cancel()
	if guest, ok := f.cfg.Guest(ctx, name); ok {
		f.pass(c, said, guest)
		return
	}
	// The server sets its own deadlines; until it does, this one holds.
	if !f.ended.give(&replayed{Conn: c, said: said, silence: f.cfg.Silence}) {
		c.Close()
	}
}

// pass carries a connection to a guest, from its first byte on.
func (f *Front) pass(c net.Conn, said []byte, guest netip.AddrPort) {
	defer c.Close()
	dialer := net.Dialer{Timeout: dialTimeout}
	g, err := dialer.DialContext(f.life, "tcp", guest.String())
	if err != nil {
		return // the caller sees what it would of a machine that does not listen
	}
	defer g.Close()
	defer context.AfterFunc(f.life, func() { c.Close(); g.Close() })()
	_ = c.SetDeadline(time.Time{})
	_ = g.SetWriteDeadline(time.Now().Add(f.cfg.HelloTimeout))
	if _, err := g.Write(said); err != nil {
		return
	}
	_ = g.SetWriteDeadline(time.Time{})
	carry(c, g, f.cfg.IdleTimeout)
}
