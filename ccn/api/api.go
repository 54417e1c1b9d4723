// Package api answers users over HTTP: it hands what they send to intake and reads the store. Package ccn builds it.
//
// Every path, status and body is that of spec/ccn-api.md; the section is named at each handler.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/intake"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/params"
)

// Config is what the API needs.
type Config struct {
	Params *params.Network
	Store  *store.Store
	Files  files.Store
	Intake *intake.Pipeline
	// Publish sends the text of an accepted message to the other nodes.
	Publish func(ctx context.Context, envelope []byte) error
	// Addresses lists the multiaddresses of the node's gossip port.
	Addresses func() []string
	Version   string
	// Extra routes of other parts of the node, by ServeMux pattern.
	Extra  map[string]http.Handler
	Logger *slog.Logger
}

// API is the handler of all routes.
type API struct {
	cfg Config
	mux *http.ServeMux
}

// New returns the handler.
func New(cfg Config) *API {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	a := &API{cfg: cfg, mux: http.NewServeMux()}
	for pattern, handle := range map[string]func(http.ResponseWriter, *http.Request) error{
		"POST /api/v0/messages":                   a.postMessage,
		"GET /api/v0/messages.json":               a.listMessages,
		"GET /api/v0/messages/{hash}":             a.getMessage,
		"GET /api/v0/messages/{hash}/status":      a.getStatus,
		"GET /api/v0/aggregates/{file}":           a.getAggregates,
		"POST /api/v0/storage/add_file":           a.addFile,
		"POST /api/v0/storage/add_json":           a.addJSON,
		"GET /api/v0/storage/raw/{hash}":          a.rawFile,
		"GET /api/v0/storage/{hash}":              a.encodedFile,
		"GET /api/v0/addresses/{address}/balance": a.getBalance,
		"POST /api/v0/price/estimate":             a.estimatePrice,
		"GET /api/v0/price/{hash}":                a.getPrice,
		"GET /api/v0/info/public.json":            a.getInfo,
		"GET /version":                            a.getVersion,
		"GET /api/v0/version":                     a.getVersion,
		"GET /api/v0/posts.json":                  a.listPosts,
		"GET /api/ws0/messages":                   a.watchMessages,
		"GET /metrics":                            a.metrics,
		"GET /metrics.json":                       a.metricsJSON,
	} {
		a.mux.Handle(pattern, a.route(handle))
	}
	for pattern, handler := range cfg.Extra {
		a.mux.Handle(pattern, handler)
	}
	return a
}

// fault is an answer that is not a success: a status with a text.
type fault struct {
	status int
	text   string // "" for the standard one, "404: Not Found"
}

func (f *fault) Error() string { return f.body() }

func (f *fault) body() string {
	if f.text != "" {
		return f.text
	}
	return fmt.Sprintf("%d: %s", f.status, http.StatusText(f.status))
}

func refuse(status int, format string, args ...any) error {
	return &fault{status: status, text: fmt.Sprintf(format, args...)}
}

// invalid is an answer to a parameter that makes no sense (ccn-api §1.5, E4).
func invalid(kind, where, problem, input string) error {
	text, err := json.Marshal([]map[string]any{{"type": kind, "loc": []string{where}, "msg": problem, "input": input}})
	if err != nil {
		return err
	}
	return &fault{status: http.StatusUnprocessableEntity, text: string(text)}
}

// route turns the error of a handler into an answer.
func (a *API) route(handle func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := handle(w, r)
		if err == nil {
			return
		}
		var f *fault
		var tooLarge *http.MaxBytesError
		switch {
		case errors.As(err, &f):
		case errors.As(err, &tooLarge):
			f = &fault{status: http.StatusRequestEntityTooLarge, text: fmt.Sprintf("Maximum request body size %d exceeded.", tooLarge.Limit)}
		case errors.Is(err, intake.ErrStopped):
			f = &fault{status: http.StatusServiceUnavailable, text: err.Error()}
		case r.Context().Err() != nil:
			return // the client is gone
		default:
			a.cfg.Logger.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
			f = &fault{status: http.StatusInternalServerError, text: "500 Internal Server Error\n\nServer got itself in trouble"}
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(f.status)
		_, _ = w.Write([]byte(f.body())) // a client that is gone needs no answer
	})
}

// ServeHTTP adds what all routes share: browsers of any origin may read every answer, errors included (ccn-api §1.2).
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	origin := r.Header.Get("Origin")
	if r.Method == http.MethodOptions {
		a.preflight(w, r, origin)
		return
	}
	if _, pattern := a.mux.Handler(r); pattern != "" && origin != "" {
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Set("Access-Control-Expose-Headers", "Date,Content-Length")
	}
	a.mux.ServeHTTP(w, r)
}

func (a *API) preflight(w http.ResponseWriter, r *http.Request, origin string) {
	method := r.Header.Get("Access-Control-Request-Method")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	switch {
	case origin == "":
		http.Error(w, "CORS preflight request failed: origin header is not specified in the request", http.StatusForbidden)
	case method != http.MethodGet && method != http.MethodPost && method != http.MethodHead:
		http.Error(w, fmt.Sprintf("CORS preflight request failed: request method '%s' is not allowed for '%s' origin", method, origin), http.StatusForbidden)
	default:
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Set("Access-Control-Allow-Methods", method)
		if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
			w.Header().Set("Access-Control-Allow-Headers", strings.ToUpper(asked))
		}
		w.WriteHeader(http.StatusOK)
	}
}

func reply(w http.ResponseWriter, status int, body any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(raw) // a client that is gone needs no answer
	return nil
}
