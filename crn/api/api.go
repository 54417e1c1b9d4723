// Package api is the HTTP side of a compute node: calls of programs, what the node says of itself, and the orders of the
// scheduler and of owners (spec/crn.md §2). crn wires it to crn/execution.
package api

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/crn/vm"
)

// Version is the release of the reference node whose behaviour this one follows. Scores and clients read it from the Server
// header (spec/crn.md §2.0).
const Version = "1.14.0"

// Config of the server.
type Config struct {
	Pool        *execution.Pool
	Instances   *instance.Pool // nil where instances cannot run
	Fingerprint vm.Fingerprint
	// DomainName is the host name that users reach the node by. Owners sign it; subdomains of it are programs.
	DomainName string
	NodeHash   string // of the message that created the node; empty when unknown
	CoreNode   string // base URL of the core node
	// AllocationSigners are the addresses whose allocations are followed, EIP-55.
	AllocationSigners []string
	// AllocationTokenHash is the hex SHA-256 of a token that is accepted instead of a signature; empty for none.
	AllocationTokenHash string
	// SkipDomainCheck accepts operations of owners that were signed for another name of the node.
	SkipDomainCheck bool
	HostIPv4        string       // reported to clients
	IPv6Pool        netip.Prefix // addresses of machines are derived from it
	VolumeDir       string       // the disk whose space is reported
	Registry        *prometheus.Registry
	Log             *slog.Logger
	Now             func() time.Time // the clock of signatures; time.Now when nil
}

// Server answers requests. It is an http.Handler.
type Server struct {
	cfg       Config
	control   http.Handler // everything but programs
	allocated *allocationAuth
	metrics   *metrics
}

// New checks the configuration and makes the handler.
func New(cfg Config) (*Server, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	allocated, err := newAllocationAuth(cfg.AllocationSigners, cfg.AllocationTokenHash, cfg.Now)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, allocated: allocated, metrics: newMetrics(cfg.Registry, cfg.Pool)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.index)
	mux.HandleFunc("GET /about/login", s.login)
	mux.HandleFunc("GET /about/executions/list", s.listV1)
	mux.HandleFunc("GET /v2/about/executions/list", s.listV2)
	mux.HandleFunc("GET /about/usage/system", s.usage)
	mux.HandleFunc("GET /status/config", s.status)
	mux.HandleFunc("POST /control/allocations", s.allocate)
	mux.HandleFunc("GET /control/machine/{ref}/logs", s.logs)
	mux.HandleFunc("POST /control/machine/{ref}/stop", s.operateInstance(stopInstance))
	mux.HandleFunc("POST /control/machine/{ref}/start", s.operateInstance(startInstance))
	mux.HandleFunc("POST /control/machine/{ref}/reboot", s.operateInstance(rebootInstance))
	mux.HandleFunc("POST /control/machine/{ref}/erase", s.operateInstance(eraseInstance))
	mux.HandleFunc("POST /control/machine/{ref}/reinstall", s.operateInstance(reinstallInstance))
	mux.HandleFunc("POST /control/machine/{ref}/update", s.updateInstance)
	mux.Handle("GET /metrics", s.metrics.handler)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fail(w, http.StatusNotFound, "404: Not Found") })
	s.control = withCORS(mux)
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", "aleph-vm/"+Version)
	if hash, ok := s.programOfHost(r); ok {
		s.call(w, r, hash, r.URL.EscapedPath())
		return
	}
	// Not through the mux, which redirects paths that it would write otherwise: they are the program's business.
	if rest, ok := strings.CutPrefix(r.URL.EscapedPath(), "/vm/"); ok {
		hash, path, _ := strings.Cut(rest, "/")
		s.call(w, r, hash, "/"+path)
		return
	}
	s.control.ServeHTTP(w, r)
}

// programOfHost recognises requests whose host name is a program's: its label below whatever domain (spec/crn.md §2.2).
func (s *Server) programOfHost(r *http.Request) (hash string, ok bool) {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if strings.EqualFold(host, s.cfg.DomainName) {
		return "", false
	}
	label, _, found := strings.Cut(host, ".")
	if !found {
		return "", false
	}
	h, ok := execution.ParseHostLabel(label)
	return string(h), ok
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
	raw, err := json.Marshal(v)
	if err != nil {
		status, raw = http.StatusInternalServerError, fmt.Appendf(nil, `{"error":%q}`, err)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(raw)
}
