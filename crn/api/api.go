// Package api is the HTTP side of a compute node: calls of programs, what the node says of itself, and the orders of the
// scheduler and of owners (spec/crn.md §2). crn wires it to crn/execution.
package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aleph-im/aleph-go/crn/backup"
	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/crn/gpu"
	"github.com/aleph-im/aleph-go/crn/meter"
	"github.com/aleph-im/aleph-go/crn/vm"
	"github.com/aleph-im/aleph-go/internal/listen"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

// Version is the release of the reference node whose behaviour this one follows. Scores and clients read it from the Server
// header (spec/crn.md §2.0).
const Version = "1.14.0"

// Config of the server.
type Config struct {
	Pool        *execution.Pool
	Instances   Instances     // nil on a node that runs programs alone
	Backups     *backup.Store // of instances; nil with them
	Network     *corenode.Client
	Identity    *corenode.Identity
	Meter       *meter.Meter
	Fingerprint vm.Fingerprint
	// DomainName is the host name that users reach the node by. Owners sign it; subdomains of it are programs.
	DomainName string
	PublicURL  string // base URL that users reach the node by
	CoreNode   string // base URL of the core node
	Settings   string // the address that publishes the network's settings
	// AllocationSigners are the addresses, EIP-55, whose allocations are followed. When empty, the network's settings name them,
	// and when these do not, DefaultSigners are it.
	AllocationSigners, DefaultSigners []string
	// AllocationTokenHash is the hex SHA-256 of a token that is accepted instead of a signature; empty for none.
	AllocationTokenHash string
	// SkipDomainCheck accepts operations of owners that were signed for another name of the node.
	SkipDomainCheck bool
	// LoginToken lets the operator see more than others; empty: nobody does.
	LoginToken string
	Options    any // what the node was started with, shown to the operator as JSON

	Receiver        string // the address that streams of payment go to
	Streams         []params.StreamChain
	PaymentInterval time.Duration

	Diagnostics, LegacyDiagnostics message.Hash // programs whose answers tell whether the node is in order
	Connectivity                   Connectivity
	Resolver                       Resolver // that of the system when nil

	SEVCtl          string // program that exports certificates of the secure processor; empty without confidential computing
	CertificateFile string // where it does
	// Certificates are those of the secure processor that machines are given; nil without one. Those of SEVCtl take their place.
	Certificates []byte
	GPUModels    []gpu.Model // that are known while the network's settings name none

	HostIPv4       string       // reported to clients
	IPv6Pool       netip.Prefix // addresses of machines are derived from it
	NeighbourProxy bool         // the host answers its neighbours for them

	VolumeDir string // the disk whose space is reported
	HostRoot  string // below which the kernel tells of the machine; "/" when empty
	Registry  *prometheus.Registry
	Log       *slog.Logger
	Now       func() time.Time // the clock of signatures; time.Now when nil
}

// Server answers requests. It is an http.Handler. Close must follow when it is not used any more.
type Server struct {
	cfg         Config
	control     http.Handler // everything but programs
	allocated   *allocationAuth
	lastSigners atomic.Pointer[[]string] // that the network's settings named
	metrics     *metrics
	host        host
	named       *names
	instances   *http.Transport // to those that names of their owners lead to
	streams     *streams
	exporting   sync.Mutex  // one run of sevctl at a time
	buffers     buffers     // of answers on their way
	broken      *log.Logger // answers of programs that break off: no event, and they can make as many as they like
}

// maxBody bounds bodies of requests to the node itself, in bytes, but for uploads.
const maxBody = 1 << 20

// Bounds of how bodies come, but for those that a program or an instance takes.
const (
	stall    = 2 * time.Minute // without a byte
	bodyRate = 8 << 10         // bytes a second, in all
)

// New checks the configuration and makes the handler.
func New(cfg Config) (*Server, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Resolver == nil {
		cfg.Resolver = net.DefaultResolver
	}
	if cfg.HostRoot == "" {
		cfg.HostRoot = "/"
	}
	for _, signer := range cfg.AllocationSigners {
		if err := checkSigner(signer); err != nil {
			return nil, err
		}
	}
	s := &Server{
		cfg: cfg, metrics: newMetrics(cfg.Registry, cfg.Pool), host: host{cfg.HostRoot}, named: newNames(cfg.Resolver, cfg.Network, cfg.Now), instances: newInstanceTransport(),
		streams: newStreams(), broken: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	var err error
	if s.allocated, err = newAllocationAuth(s.signers, cfg.AllocationTokenHash, cfg.Now); err != nil {
		return nil, err
	}
	s.control = withCORS(s.routes())
	return s, nil
}

// routes are the node's own endpoints.
func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for pattern, handler := range map[string]http.HandlerFunc{
		"GET /{$}":                              s.index,
		"GET /about/login":                      s.login,
		"GET /about/config":                     s.operator(s.options),
		"GET /about/executions/list":            s.listV1,
		"GET /v2/about/executions/list":         s.listV2,
		"GET /about/executions/details":         s.operator(s.details),
		"GET /about/executions/records":         s.records,
		"GET /about/usage/system":               s.usage,
		"GET /about/capability":                 s.capability,
		"GET /about/certificates":               s.certificates,
		"GET /status/check/fastapi":             s.checkProgram(s.cfg.Diagnostics, false),
		"GET /status/check/fastapi/legacy":      s.checkProgram(s.cfg.LegacyDiagnostics, true),
		"GET /status/check/host":                s.checkHost,
		"GET /status/check/version":             s.checkVersion,
		"GET /status/check/ipv6":                s.checkIPv6,
		"GET /status/config":                    s.status,
		"POST /control/allocations":             s.allocate,
		"POST /control/allocation/notify":       s.notify,
		"POST /control/reserve_resources":       s.reserve,
		"POST /control/proxy/regenerate":        s.ordered(s.regenerate),
		"POST /control/network/recreate":        s.ordered(s.recreate),
		"POST /control/machine/{ref}/update":    s.update,
		"POST /control/{ref}/update":            s.update,
		"POST /control/machine/{ref}/expire":    s.operate(s.expire),
		"POST /control/machine/{ref}/stop":      s.operate(s.stop),
		"POST /control/machine/{ref}/start":     s.operate(s.start),
		"POST /control/machine/{ref}/reboot":    s.operate(s.reboot),
		"POST /control/machine/{ref}/erase":     s.operate(s.erase),
		"POST /control/machine/{ref}/reinstall": s.operate(s.reinstall),
		"GET /control/machine/{ref}/logs":       s.logs,

		"POST /control/machine/{ref}/backup":        s.operate(s.makeBackup),
		"GET /control/machine/{ref}/backup":         s.operate(s.showBackup),
		"GET /control/machine/{ref}/backup/{id}":    s.downloadBackup,
		"DELETE /control/machine/{ref}/backup/{id}": s.operate(s.deleteBackup),
		"POST /control/machine/{ref}/restore":       s.operate(s.restore),

		"POST /control/machine/{ref}/confidential/initialize":    s.operate(s.initialize),
		"GET /control/machine/{ref}/confidential/measurement":    s.operate(s.measurement),
		"POST /control/machine/{ref}/confidential/inject_secret": s.operate(s.injectSecret),

		"POST /control/machine/{ref}/migration/export":       s.ordered(s.leave),
		"GET /control/machine/{ref}/migration/export/status": s.ordered(s.left),
		"GET /control/machine/{ref}/migration/disk/{name}":   s.disk,
		"POST /control/machine/{ref}/migration/ahead":        s.ordered(s.offer),
		"GET /control/machine/{ref}/migration/pieces/{name}": s.pieces,
		"POST /control/machine/{ref}/migration/memory":       s.memory,
		"POST /control/machine/{ref}/migration/handover":     s.handOver,
		"POST /control/machine/{ref}/migration/cleanup":      s.ordered(s.forget),
		"POST /control/migrate":                              s.ordered(s.arrive),
		"GET /control/migrate/{ref}/status":                  s.ordered(s.arrived),
		"GET /control/migrate/{ref}/room":                    s.ordered(s.room),
		"POST /control/migrate/{ref}/ahead":                  s.ordered(s.fetchAhead),
		"GET /control/migrate/{ref}/ahead":                   s.ordered(s.ahead),

		"POST /control/machine/{ref}/replica":    replicating(s, s.replicate),
		"POST /control/replica/{ref}/hold":       replicating(s, s.hold),
		"POST /control/replica/{ref}/revive":     replicating(s, s.revive),
		"POST /control/replica/{ref}/drop":       replicating(s, s.drop),
		"GET /control/replica/{ref}":             s.holding(replicaState),
		"POST /control/replica/{ref}/renew":      s.holding(renewReplica),
		"POST /control/replica/{ref}/reset":      s.holding(resetReplica),
		"PUT /control/replica/{ref}/chunk/{id}":  s.holding(putChunk),
		"POST /control/replica/{ref}/generation": s.holding(commitReplica),

		"GET /control/machine/{ref}/stream_logs": s.streamLogs,
		"/":                                      func(w http.ResponseWriter, r *http.Request) { fail(w, http.StatusNotFound, "404: Not Found") },
	} {
		mux.HandleFunc(pattern, handler)
	}
	mux.Handle("GET /metrics", s.metrics.handler)
	return mux
}

// Close ends the WebSockets that are open and waits for them.
func (s *Server) Close() {
	s.streams.close()
	s.instances.CloseIdleConnections()
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", "aleph-vm/"+Version)
	listen.Pace{Silence: stall, Rate: bodyRate}.Keep(w, r)
	if to, ok := s.placeOfHost(r); ok {
		s.callByName(w, r, to)
		return
	}
	// Not through the mux, which redirects paths that it would write otherwise: they are the program's business.
	if rest, ok := strings.CutPrefix(r.URL.EscapedPath(), "/vm/"); ok {
		hash, path, _ := strings.Cut(rest, "/")
		s.call(w, r, hash, "/"+path)
		return
	}
	defer s.recover(w, r)
	s.control.ServeHTTP(w, r)
}

// recover answers for a handler that panicked. It is deferred.
func (s *Server) recover(w http.ResponseWriter, r *http.Request) {
	problem := recover()
	if problem == nil {
		return
	}
	if problem == http.ErrAbortHandler {
		panic(problem)
	}
	s.cfg.Log.Error("request not answered", "method", r.Method, "path", r.URL.Path, "error", problem, "stack", string(debug.Stack()))
	answer(w, http.StatusInternalServerError, map[string]string{"error": fmt.Sprint(problem), "error_type": fmt.Sprintf("%T", problem)})
}

// callByName calls what the request's host name leads to.
func (s *Server) callByName(w http.ResponseWriter, r *http.Request, to place) {
	if to.instance {
		s.reachInstance(w, r, to)
		return
	}
	if to.hash == "" && !s.cfg.Pool.Draining() {
		// The usual cause is a proxy in front that does not pass the name on, or a node that was told another one.
		fail(w, http.StatusNotFound, "404: Invalid message reference: no program answers to the name "+r.Host+", and this node's name is "+s.cfg.DomainName)
		return
	}
	s.call(w, r, string(to.hash), r.URL.EscapedPath())
}

// withCORS lets web pages of any origin use the node's own API. Programs decide for themselves.
func withCORS(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin := r.Header.Get("Origin")
		if origin == "" {
			next.ServeHTTP(w, r)
			return
		}
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Credentials", "true")
		h.Set("Access-Control-Expose-Headers", "*")
		h.Add("Vary", "Origin")
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			h.Set("Access-Control-Allow-Methods", r.Header.Get("Access-Control-Request-Method"))
			h.Set("Access-Control-Allow-Headers", r.Header.Get("Access-Control-Request-Headers"))
			w.WriteHeader(http.StatusOK)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// fail answers with an error in the form that all clients read.
func fail(w http.ResponseWriter, status int, text string) {
	answer(w, status, map[string]string{"error": text})
}

func answer(w http.ResponseWriter, status int, v any) {
	var raw bytes.Buffer
	encoder := json.NewEncoder(&raw)
	encoder.SetEscapeHTML(false) // texts pass as they are
	if err := encoder.Encode(v); err != nil {
		status = http.StatusInternalServerError
		raw.Reset()
		fmt.Fprintf(&raw, `{"error":%q}`, err)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(bytes.TrimSuffix(raw.Bytes(), []byte("\n")))
}
