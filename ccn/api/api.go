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
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/files/partial"
	"github.com/aleph-im/aleph-go/ccn/intake"
	"github.com/aleph-im/aleph-go/ccn/state"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/internal/listen"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

// Config is what the API needs.
type Config struct {
	Params *params.Network
	Store  *store.Store
	Files  files.Store
	// IPFS is nil when the node has none.
	IPFS IPFS
	// Uploads holds those that are not whole yet; nil when uploads cannot be resumed.
	Uploads *partial.Store
	// Fetch gets from elsewhere what the node lacks; nil when it gets nothing.
	Fetch  func(ctx context.Context, h message.Hash, limit int64) (size int64, err error)
	Intake *intake.Pipeline
	// Publish sends the text of an accepted message to the other nodes.
	Publish func(ctx context.Context, envelope []byte) error
	// Addresses lists the multiaddresses of the node's gossip port.
	Addresses func() []string
	// Gossip tells for /metrics how the gossip does; nil when there is none.
	Gossip  func() Gossip
	Version string
	Now     func() time.Time // time.Now if nil
	// Chain tells for /metrics how far chains were read; nil when none is.
	Chain func() ChainProgress
	// Fetches counts for /metrics what was fetched; nil when nothing is.
	Fetches func() Fetches
	// Stopping is closed when the node is about to stop; nil when it never is.
	Stopping <-chan struct{}
	// MaxSockets is how many WebSockets of messages are open at once at most, 10,000 if 0; a tenth as many of the metrics.
	MaxSockets int64
	// Costs are recomputed by Recalculate on behalf of who signs with RecalculateKey, a compressed secp256k1 key in hex.
	// Without a key nobody may.
	RecalculateKey string
	Recalculate    func(tx *store.Tx, h message.Hash) error
	// Covers tells whether the funds of its owner cover a STORE message whose file is known.
	Covers func(r *store.Reader, it *state.Item) (bool, error)
	// OperationsOnly leaves only the numbers and the health of the node: it serves no users.
	OperationsOnly bool
	Limits         Limits
	// Extra routes of other parts of the node, by pattern.
	Extra  map[string]http.Handler
	Logger *slog.Logger
}

// API is the handler of all routes.
type API struct {
	cfg        Config
	router     router
	website    endpoint
	totals     totals
	costTotals costTotals
	feed       feed
	parsing    chan struct{} // holds a token for the JSON value that is being rewritten
	limits     Limits
	memory     allowance // for bodies
	answers    allowance
	base       baseMetrics
	sockets    socketCounters
	// lasting counts the long handlers that run: a server that stops does not wait for those with a socket.
	lasting     sync.WaitGroup
	statusEvery time.Duration

	description func() (schema, error) // of all routes
}

// routes are handlers by pattern, as router.add takes it. Each file of handlers has a method that returns its own.
type routes map[string]handler

// handler answers requests of one route: plain, or a query.
type handler interface {
	answer(w http.ResponseWriter, r *http.Request) error
}

type plain func(w http.ResponseWriter, r *http.Request) error

func (h plain) answer(w http.ResponseWriter, r *http.Request) error { return h(w, r) }

// long is a handler that may take as long as its client: it moves files, or what comes to be.
type long struct{ handler }

// query is a handler that parameters tell what to answer. It reads all of them from q before it does anything else, and
// returns q.err when there is one: so it can be asked which it reads.
type query func(w http.ResponseWriter, r *http.Request, q *arguments) error

func (h query) answer(w http.ResponseWriter, r *http.Request) error {
	return h(w, r, &arguments{values: r.URL.Query()})
}

// New returns the handler.
func New(cfg Config) *API {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.MaxSockets == 0 {
		cfg.MaxSockets = 10_000
	}
	a := &API{cfg: cfg, parsing: make(chan struct{}, 1), limits: cfg.Limits.withDefaults(), statusEvery: statusEvery}
	a.memory.left.Store(a.limits.Bodies)
	a.answers.left.Store(a.limits.Answers)
	a.costTotals = costTotals{adding: make(chan struct{}, 1), kept: map[message.PaymentType]*allCosts{}}
	a.feed.intake = cfg.Intake
	a.website.handler = a.route(long{plain(a.serveWebsite)})
	all := a.routes()
	for pattern, h := range all {
		a.router.add(pattern, a.route(h))
	}
	a.description = sync.OnceValues(func() (schema, error) { return describe(all, cfg.Version) })
	return a
}

// routes returns all routes of the node.
func (a *API) routes() routes {
	lists := []routes{a.metricRoutes(), a.healthRoutes()}
	if !a.cfg.OperationsOnly {
		lists = append(lists, a.messageRoutes(), a.publishRoutes(), a.watchRoutes(), a.postRoutes(), a.aggregateRoutes(), a.authorizationRoutes(),
			a.aboutRoutes(), a.storageRoutes(), a.ipfsRoutes(), a.resumeRoutes(), a.addressRoutes(), a.creditRoutes(), a.balanceRoutes(), a.priceRoutes(),
			a.measurementRoutes(), a.descriptionRoutes())
		extra := routes{}
		for pattern, h := range a.cfg.Extra {
			extra[pattern] = plain(func(w http.ResponseWriter, r *http.Request) error { h.ServeHTTP(w, r); return nil })
		}
		lists = append(lists, extra)
	}
	all := routes{}
	for _, list := range lists {
		maps.Copy(all, list)
	}
	return all
}

// fault is an answer that is not a success: a status with a text.
type fault struct {
	status int
	text   string // "" for the standard one, "404: Not Found"
	json   bool   // the text is JSON
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

// route bounds how long a handler takes, and turns its error into an answer.
func (a *API) route(h handler) http.Handler {
	_, stays := h.(long)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		within := r
		if stays {
			a.lasting.Add(1)
			defer a.lasting.Done()
		} else {
			ctx, cancel := context.WithTimeout(r.Context(), a.limits.Answer)
			defer cancel()
			within = r.WithContext(ctx)
		}
		ctx, held := a.charging(within.Context())
		defer held.release()
		within = within.WithContext(ctx)
		err := h.answer(w, within)
		if err == nil {
			return
		}
		var tooLarge *http.MaxBytesError
		f := a.faultOf(r.Method, r.URL.Path, err)
		switch {
		case f != nil:
		case errors.As(err, &tooLarge):
			f = &fault{status: http.StatusRequestEntityTooLarge, text: fmt.Sprintf("Maximum request body size %d exceeded.", tooLarge.Limit)}
		case errors.Is(err, os.ErrDeadlineExceeded):
			w.Header().Set("Connection", "close")
			f = &fault{status: http.StatusRequestTimeout, text: "408: the body did not come in time"}
		case broken(r) != nil:
			w.Header().Set("Connection", "close")
			f = &fault{status: http.StatusBadRequest, text: fmt.Sprintf("400: the body is malformed or ends early: %v", broken(r))}
		case r.Context().Err() != nil:
			return // the client is gone
		case within.Context().Err() != nil:
			f = &fault{status: http.StatusServiceUnavailable, text: fmt.Sprintf("503: there was no answer within %v", a.limits.Answer)}
		default:
			f = a.trouble(r.Method, r.URL.Path, err)
		}
		f.write(w)
	})
}

// faultOf returns the answer that an error asks for whatever became of the request, nil when there is none.
func (a *API) faultOf(method, path string, err error) *fault {
	var f *fault
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, intake.ErrStopped):
		return &fault{status: http.StatusServiceUnavailable, text: err.Error()}
	case errors.Is(err, store.ErrFull), errors.Is(err, files.ErrFull):
		a.cfg.Logger.Error("request failed", "method", method, "path", path, "error", err)
		return &fault{status: http.StatusInsufficientStorage, text: "507: the node's disk is full: send it again later"}
	}
	return nil
}

// trouble tells the operator of an error that is not the client's, and returns the answer to it.
func (a *API) trouble(method, path string, err error) *fault {
	a.cfg.Logger.Error("request failed", "method", method, "path", path, "error", err)
	return &fault{status: http.StatusInternalServerError, text: "500 Internal Server Error\n\nServer got itself in trouble"}
}

func (f *fault) write(w http.ResponseWriter) {
	kind := "text/plain; charset=utf-8"
	if f.json {
		kind = "application/json; charset=utf-8"
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(f.status)
	_, _ = w.Write([]byte(f.body())) // a client that is gone needs no answer
}

// broken returns why the body of a request could not be read; nil when it could.
func broken(r *http.Request) error {
	if b, ok := r.Body.(*listen.Body); ok {
		return b.Err()
	}
	return nil
}

// Wait returns when no long handler runs any more, and nothing is counted. Those of subscribers end when Config.Stopping is
// closed, as counts do, all of them when the context of their request ends.
func (a *API) Wait() {
	a.lasting.Wait()
	a.totals.counters.Wait()
}

// ServeHTTP adds what all routes share: browsers of any origin may read every answer of a known path, errors included
// (ccn-api §1.2).
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	listen.Pace{Silence: a.limits.Silence, Rate: a.limits.Rate}.Keep(w, r)
	origin := r.Header.Get("Origin")
	found, allowed := a.find(r)
	if found == nil && len(allowed) == 0 {
		text(w, http.StatusNotFound, "404: Not Found")
		return
	}
	if r.Method == http.MethodOptions && (found == nil || r.Header.Get("Access-Control-Request-Method") != "") {
		preflight(w, r, origin, allowed)
		return
	}
	if origin != "" {
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Set("Access-Control-Expose-Headers", "Date,Content-Length")
	}
	if found == nil {
		w.Header().Set("Allow", allow(allowed))
		text(w, http.StatusMethodNotAllowed, "405: Method Not Allowed")
		return
	}
	found.handler.ServeHTTP(w, r)
}

// find returns the endpoint of a request: the pages of websites, of which nobody knows the paths, or one that the router has.
func (a *API) find(r *http.Request) (e *endpoint, allowed []string) {
	if _, ok := pageOf(r); !ok || a.cfg.OperationsOnly {
		return a.router.find(r)
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return &a.website, nil
	}
	return nil, []string{http.MethodGet}
}

// preflight tells a browser that it may ask. GET and POST may always be tried, other methods where they are known.
func preflight(w http.ResponseWriter, r *http.Request, origin string, known []string) {
	method := r.Header.Get("Access-Control-Request-Method")
	switch {
	case origin == "":
		text(w, http.StatusForbidden, "CORS preflight request failed: origin header is not specified in the request")
	case method != http.MethodGet && method != http.MethodPost && !slices.Contains(strings.Split(allow(known), ","), method):
		text(w, http.StatusForbidden, fmt.Sprintf("CORS preflight request failed: request method '%s' is not allowed for '%s' origin", method, origin))
	default:
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Set("Access-Control-Allow-Methods", method)
		if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
			w.Header().Set("Access-Control-Allow-Headers", strings.ToUpper(strings.ReplaceAll(asked, " ", "")))
		}
		text(w, http.StatusOK, "")
	}
}

func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // a client that is gone needs no answer
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
