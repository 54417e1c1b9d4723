// Package guestapi is what the node offers to the programs in its machines over plain HTTP (spec/crn.md §3.5): a cache, a signing
// key of each program, and the core node's API. crn/execution has it served to programs whose message has environment.aleph_api;
// the requests come through the channel of their machine, so that nothing in them says, or could forge, which program asks.
//
// It leads to the core node and nowhere else: environment.internet has no part in it.
package guestapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// Config of the guest API of a node.
type Config struct {
	CoreNode string // base URL of the core node
	Dir      string // caches of programs, and the secret that their keys derive from
	Metrics  prometheus.Registerer
	Log      *slog.Logger // discarded when nil
}

// API serves all programs of a node.
type API struct {
	cfg      Config
	core     *url.URL
	http     *http.Client
	secret   []byte
	cache    *cache
	requests *prometheus.CounterVec

	mu       sync.Mutex
	programs map[message.Hash]*program
}

// program is one program's view. It outlives its machines, while they leave a mark on it: what it may still send must not grow by a
// restart.
type program struct {
	api     *API
	hash    message.Hash
	names   []string // that stand for the address of its key
	account *ethereum.Account
	sending *bucket
	asking  chan struct{} // a token for each request to the core node
}

// How much a program may send to the network: so many messages at once, and so many a second in the long run.
const (
	sendBurst = 60
	sendRate  = 1.0
)

// maxAsking is how many requests to the core node a program may have in progress; more wait. A program that reads slowly holds
// up no other.
const maxAsking = 8

// Silence of the core node that ends a request, and how long one may take altogether.
const (
	answerTimeout  = time.Minute
	requestTimeout = 10 * time.Minute
)

// New reads the caches, and makes the secret where there is none.
func New(cfg Config) (*API, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	core, err := url.Parse(cfg.CoreNode)
	if err != nil || core.Host == "" {
		return nil, fmt.Errorf("address of the core node: %q is no URL", cfg.CoreNode)
	}
	core.Path = strings.TrimRight(core.Path, "/")
	a := &API{
		cfg: cfg, core: core, programs: map[message.Hash]*program{},
		http: &http.Client{
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, ResponseHeaderTimeout: answerTimeout, MaxIdleConnsPerHost: 8,
				IdleConnTimeout: time.Minute, DisableCompression: true,
			},
			// A program gets the core node's answer and not what that points to.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "aleph_crn_guest_api_requests_total", Help: "Requests of programs to the guest API by route and class of status.",
		}, []string{"route", "outcome"}),
	}
	if cfg.Metrics != nil {
		cfg.Metrics.MustRegister(a.requests)
	}
	if a.cache, err = openCache(filepath.Join(cfg.Dir, "cache")); err != nil {
		return nil, err
	}
	if a.secret, err = readSecret(filepath.Join(cfg.Dir, "secret")); err != nil {
		return nil, err
	}
	return a, nil
}

// Run removes what has expired, now and every hour, until ctx ends.
func (a *API) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		a.cache.expire()
		a.forgetIdle()
		select {
		case <-ctx.Done():
			a.http.CloseIdleConnections()
			return nil
		case <-tick.C:
		}
	}
}

// forgetIdle drops what is kept of programs that are as if they had never been there.
func (a *API) forgetIdle() {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.programs, func(_ message.Hash, p *program) bool { return p.sending.full() && len(p.asking) == 0 })
}

// remember keeps a program that asks for something: its machine may have been idle for long.
func (a *API) remember(p *program) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.programs[p.hash] == nil {
		a.programs[p.hash] = p
	}
}

// Forget removes what the node keeps for a program.
func (a *API) Forget(hash message.Hash) {
	a.mu.Lock()
	delete(a.programs, hash)
	a.mu.Unlock()
	if err := a.cache.drop(hash); err != nil {
		a.cfg.Log.Error("cache of a forgotten program not removed", "hash", hash, "error", err)
	}
}

// For returns the API as one program sees it. names are what the program may call itself besides its hash.
func (a *API) For(hash message.Hash, names ...string) http.Handler {
	p := a.program(hash, names)
	mux := http.NewServeMux()
	handle := func(pattern, route string, h http.HandlerFunc) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			a.remember(p)
			counted := &counter{ResponseWriter: w, status: http.StatusOK}
			ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
			defer cancel()
			h(counted, r.WithContext(ctx))
			a.requests.WithLabelValues(route, strconv.Itoa(counted.status/100)+"xx").Inc()
		})
	}
	handle("GET /cache/{$}", "cache", p.listKeys)
	handle("GET /cache/{key}", "cache", p.getKey)
	handle("PUT /cache/{key}", "cache", p.putKey)
	handle("DELETE /cache/{key}", "cache", p.deleteKey)
	handle("GET /properties", "sign", p.properties)
	handle("POST /sign", "sign", p.sign)
	handle("POST /api/v0/messages", "send", p.sendMessage)
	handle("POST /api/v0/ipfs/pubsub/pub", "send", p.sendLegacy)
	handle("POST /api/v0/p2p/pubsub/pub", "send", p.sendLegacy)
	for _, path := range []string{"storage/add_json", "storage/add_file", "ipfs/add_json", "ipfs/add_file"} {
		handle("POST /api/v0/"+path, "send", p.upload)
	}
	handle("GET /api/", "read", p.read) // and HEAD
	handle("OPTIONS /api/", "read", p.read)
	return mux
}

// program returns the state that is shared by all machines that a program has had.
func (a *API) program(hash message.Hash, names []string) *program {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.programs[hash]; p != nil {
		return p
	}
	p := &program{api: a, hash: hash, names: append(names, string(hash), ""), account: deriveAccount(a.secret, hash), sending: newBucket(sendBurst, sendRate), asking: make(chan struct{}, maxAsking)}
	a.programs[hash] = p
	return p
}

// counter notes the status.
type counter struct {
	http.ResponseWriter
	status int
}

func (c *counter) WriteHeader(status int) {
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

func (c *counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// bucket lets so many through at once, and rate a second in the long run.
type bucket struct {
	size, rate float64

	mu   sync.Mutex
	left float64
	at   time.Time
}

func newBucket(size, rate float64) *bucket {
	return &bucket{size: size, rate: rate, left: size, at: time.Now()}
}

func (b *bucket) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.left = min(b.size, b.left+max(0, now.Sub(b.at).Seconds())*b.rate)
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// full reports whether as much is let through at once as ever.
func (b *bucket) full() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.left+max(0, time.Since(b.at).Seconds())*b.rate >= b.size
}

// answer writes JSON.
func answer(w http.ResponseWriter, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(raw)
}

// refuse answers with a text, as the reference does.
func refuse(w http.ResponseWriter, status int, text string) { http.Error(w, text, status) }

// refuseBody answers for a body that could not be read.
func refuseBody(w http.ResponseWriter, err error) {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		refuse(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("The body has more than %d bytes", tooLarge.Limit))
		return
	}
	refuse(w, http.StatusBadRequest, "The body could not be read: "+err.Error())
}
