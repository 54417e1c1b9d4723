// Package corenode is the core node that a compute node is linked to, as the compute node sees it: messages, files, accounts and
// the registry, asked over HTTP. Messages and files are checked against their hashes, whoever served them. Most of crn calls it.
package corenode

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aleph-im/aleph-go/crn/kept"
	"github.com/aleph-im/aleph-go/internal/flight"
	"github.com/aleph-im/aleph-go/internal/redirect"
	"github.com/aleph-im/aleph-go/message"
)

// What callers tell apart.
var (
	// ErrNotFound: the core node does not have it, or has it no longer.
	ErrNotFound = errors.New("not found on the network")
	// ErrNotProgram: the message exists, and is of another type.
	ErrNotProgram = errors.New("message is not a program")
	// ErrUnavailable: the core node does not answer.
	ErrUnavailable = errors.New("the core node does not answer")
	// ErrCorrupt: what was served does not hash to its name.
	ErrCorrupt = errors.New("the bytes served do not match their hash")
	// ErrTooLarge: the file exceeds the caller's bound.
	ErrTooLarge = errors.New("file is too large")
)

// Config of a client.
type Config struct {
	API string // base URL of a core node, for example "http://127.0.0.1:4024"
	Dir string // cache of files and messages
	// CacheLimit bounds the cached files, in bytes; 20 GiB when 0. Files in use are safe: a running machine holds them open.
	CacheLimit int64
	Metrics    prometheus.Registerer // nil for none
	Log        *slog.Logger          // discarded when nil
	// HTTP is the transport to use; one of the client's own when nil.
	HTTP http.RoundTripper
	// AnswerAge bounds how old answers about accounts, prices and the state of messages may be, below what is usual for each; no
	// bound when 0.
	AnswerAge time.Duration
	Now       func() time.Time // the clock of what is remembered; time.Now when nil
}

// Client fetches from one core node. Safe for concurrent use.
type Client struct {
	cfg       Config
	http      *http.Client
	files     *kept.Folder
	messages  *kept.Folder
	downloads flight.Group[wanted, struct{}]
	questions flight.Group[string, remembered] // by path

	mu       sync.Mutex
	verified map[message.Hash]stamp // files of the cache whose bytes this process has checked
	answers  map[string]remembered  // by path
}

// How long the core node may take. Files have no bound on the whole, only on how slowly they come: they may be large and lines slow.
const (
	callTimeout  = 30 * time.Second
	stallTimeout = 2 * time.Minute
	attempts     = 3
)

// maxMessage bounds an answer that holds messages, in bytes.
const maxMessage = 8 << 20

// Bounds of the cache. A node has one message or two for each file; both are of use while they are asked for again.
const (
	maxFiles        = 50_000
	maxMessages     = 20_000
	maxMessageBytes = 256 << 20
)

// New prepares the cache.
func New(cfg Config) (_ *Client, err error) {
	if u, err := url.Parse(cfg.API); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("address of the core node: %q is no http(s) URL", cfg.API)
	}
	cfg.API = strings.TrimRight(cfg.API, "/")
	if cfg.CacheLimit == 0 {
		cfg.CacheLimit = 20 << 30
	}
	// What a killed process left half written.
	parts, _ := filepath.Glob(filepath.Join(cfg.Dir, "*", ".part-*"))
	for _, part := range parts {
		os.Remove(part)
	}
	if cfg.HTTP == nil {
		cfg.HTTP = &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: callTimeout}).DialContext,
			ResponseHeaderTimeout: callTimeout, MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute,
		}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	c := &Client{
		cfg: cfg, http: &http.Client{Transport: cfg.HTTP, CheckRedirect: redirect.SameHost}, verified: map[message.Hash]stamp{}, answers: map[string]remembered{},
	}
	if c.files, err = kept.Open(kept.Config{
		Dir: filepath.Join(cfg.Dir, "files"), What: "files", Bytes: cfg.CacheLimit, Entries: maxFiles, Metrics: cfg.Metrics, Log: cfg.Log,
	}); err != nil {
		return nil, err
	}
	c.messages, err = kept.Open(kept.Config{
		Dir: filepath.Join(cfg.Dir, "messages"), What: "messages", Bytes: maxMessageBytes, Entries: maxMessages, Metrics: cfg.Metrics, Log: cfg.Log,
	})
	return c, err
}

// Program fetches the message of a program. Its content hashes to hash. The core node is asked each time, because messages are
// forgotten; when it cannot be reached, an earlier answer serves.
func (c *Client) Program(ctx context.Context, hash message.Hash) (*message.Program, error) {
	w, err := c.workload(ctx, hash)
	if err != nil {
		return nil, fmt.Errorf("program %s: %w", hash, err)
	}
	program, ok := w.Content.(*message.Program)
	if !ok {
		return nil, fmt.Errorf("program %s: %w but of type %s", hash, ErrNotProgram, w.Content.Type())
	}
	return program, nil
}

// workload returns a message, from the core node or else from the cache.
func (c *Client) workload(ctx context.Context, hash message.Hash) (*Workload, error) {
	cached := filepath.Join(c.cfg.Dir, "messages", string(hash)+".json")
	raw, err := c.envelope(ctx, url.Values{"hashes": {string(hash)}})
	switch {
	case errors.Is(err, ErrNotFound):
		os.Remove(cached)
		_, _ = c.messages.Note(filepath.Base(cached)) // less than before is within the bounds
		return nil, err
	case err != nil:
		stored, readErr := os.ReadFile(cached)
		if readErr != nil {
			return nil, err
		}
		raw = stored
	}
	w, parseErr := c.parse(ctx, hash, raw)
	if parseErr != nil {
		return nil, parseErr
	}
	if err == nil {
		err := writeAtomic(cached, raw)
		if err == nil {
			_, err = c.messages.Note(filepath.Base(cached))
		}
		if err != nil {
			return nil, fmt.Errorf("cache the message: %w", err)
		}
	}
	return w, nil
}

// envelope asks for the first message that the query finds.
func (c *Client) envelope(ctx context.Context, query url.Values) (json.RawMessage, error) {
	query.Set("pagination", "1")
	query.Set("page", "1")
	var answer struct {
		Messages []json.RawMessage `json:"messages"`
	}
	raw, err := c.get(ctx, "/api/v0/messages.json?"+query.Encode())
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, fmt.Errorf("%w sensibly: %w", ErrUnavailable, err)
	}
	if len(answer.Messages) == 0 {
		return nil, ErrNotFound
	}
	return answer.Messages[0], nil
}

// parse reads an envelope and checks that it is the message asked for, whose content it fetches where that is a file.
func (c *Client) parse(ctx context.Context, hash message.Hash, raw []byte) (*Workload, error) {
	m, content, err := message.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("message %s: %w", hash, err)
	}
	if m.ItemHash != hash {
		return nil, fmt.Errorf("message %s: %w: it is %s", hash, ErrCorrupt, m.ItemHash)
	}
	if content != nil {
		return &Workload{hash, m.Sender, content}, nil
	}
	file, err := c.fetch(ctx, m.ItemHash, maxMessage)
	if err != nil {
		return nil, fmt.Errorf("content of message %s: %w", hash, err)
	}
	body, err := os.ReadFile(file.Path)
	if err != nil {
		return nil, fmt.Errorf("content of message %s: %w", hash, err)
	}
	if content, _, err = m.ParseFetched(body); err != nil {
		return nil, fmt.Errorf("content of message %s: %w", hash, err)
	}
	return &Workload{hash, m.Sender, content}, nil
}

// get returns the body of a small answer, trying again while the core node is unreachable or overloaded.
func (c *Client) get(ctx context.Context, path string) ([]byte, error) {
	var body []byte
	err := retry(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		response, err := c.request(ctx, path)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		body, err = io.ReadAll(io.LimitReader(response.Body, maxMessage+1))
		if err == nil && len(body) > maxMessage {
			return ErrTooLarge
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		return nil
	})
	return body, err
}

// request sends a GET and sorts the refusals.
func (c *Client) request(ctx context.Context, path string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.cfg.API+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	response.Body.Close()
	switch {
	case response.StatusCode == http.StatusNotFound, response.StatusCode == http.StatusGone:
		return nil, ErrNotFound
	case response.StatusCode == http.StatusTooManyRequests:
		return nil, &busy{pauseOf(response.Header), fmt.Errorf("%w: %s answers %s", ErrUnavailable, c.cfg.API, response.Status)}
	default:
		return nil, fmt.Errorf("%w: %s answers %s", ErrUnavailable, c.cfg.API, response.Status)
	}
}
