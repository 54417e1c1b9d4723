// Package client is the Go SDK: the calls of a core node's HTTP and WebSocket API and of the compute nodes that run
// programs, typed. The aleph command, the devnet and the compute node use it.
//
// Every call takes a context first. Calls that can be repeated without harm are, after a connection that failed or an
// answer that says "try later"; publishing is one of them, because a message is known by its hash.
package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// Account signs messages. The accounts of package signature are such.
type Account interface {
	Chain() message.Chain
	Address() string
	Sign(ctx context.Context, payload []byte) (string, error)
}

// Config says which node to talk to and how. Zero values stand for the defaults.
type Config struct {
	BaseURL    string        // of a core node, such as http://127.0.0.1:4024
	Scheduler  string        // base URL of who says where workloads run; default BaseURL, as every core node of ours knows
	HTTPClient *http.Client  // default: a client of its own with bounded dialling
	Timeout    time.Duration // of one attempt of a call that is not a file transfer; default 45 s, above the node's own 30 s
	Attempts   int           // of a repeatable call, the first included; default 4
	Backoff    time.Duration // before the second attempt, doubled for each further one; default 100 ms
	UserAgent  string        // default "aleph-go"
}

// Client talks to one core node. It is safe for concurrent use.
type Client struct {
	base string
	http *http.Client
	cfg  Config
}

const (
	maxAnswer = 64 << 20         // bytes of a JSON answer
	maxError  = 64 << 10         // bytes of an error's body that are kept
	stall     = 60 * time.Second // a file transfer that moves no byte for this long is given up
)

// New returns a client of the node at cfg.BaseURL.
func New(cfg Config) *Client {
	cfg.Timeout = cmp.Or(cfg.Timeout, 45*time.Second)
	cfg.Attempts = cmp.Or(cfg.Attempts, 4)
	cfg.Backoff = cmp.Or(cfg.Backoff, 100*time.Millisecond)
	cfg.UserAgent = cmp.Or(cfg.UserAgent, "aleph-go")
	if cfg.HTTPClient == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.MaxIdleConnsPerHost = 16
		cfg.HTTPClient = &http.Client{Transport: transport}
	}
	cfg.Scheduler = strings.TrimRight(cmp.Or(cfg.Scheduler, cfg.BaseURL), "/")
	return &Client{base: strings.TrimRight(cfg.BaseURL, "/"), http: cfg.HTTPClient, cfg: cfg}
}

// BaseURL returns the address of the node, without a slash at its end.
func (c *Client) BaseURL() string { return c.base }

// answer is an HTTP answer whose body has been read.
type answer struct {
	status int
	body   []byte
}

// call sends a repeatable request and returns its answer, whatever the status.
func (c *Client) call(ctx context.Context, method, url string, header http.Header, body []byte) (answer, error) {
	wait := c.cfg.Backoff
	for attempt := 1; ; attempt++ {
		a, err := c.try(ctx, method, url, header, body)
		last := attempt >= c.cfg.Attempts || ctx.Err() != nil
		if last || err == nil && !tryLater(a.status) {
			return a, err
		}
		// Half of the pause is random, so that clients which failed together do not come back together.
		timer := time.NewTimer(wait/2 + rand.N(wait/2+1))
		select {
		case <-ctx.Done():
			timer.Stop()
			return a, errors.Join(err, ctx.Err())
		case <-timer.C:
		}
		wait = min(2*wait, 5*time.Second)
	}
}

func tryLater(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

func (c *Client) try(ctx context.Context, method, url string, header http.Header, body []byte) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	req, err := c.request(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return answer{}, fmt.Errorf("%s %s: read answer: %w", method, url, err)
	}
	if len(raw) > maxAnswer {
		return answer{}, fmt.Errorf("%s %s: the answer is larger than %d bytes", method, url, maxAnswer)
	}
	return answer{resp.StatusCode, raw}, nil
}

func (c *Client) request(ctx context.Context, method, url string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, url, err)
	}
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	return req, nil
}

// get reads path with the given query into dst.
func (c *Client) get(ctx context.Context, path string, query url.Values, dst any) error {
	return c.getFrom(ctx, c.base, path, query, dst)
}

func (c *Client) getFrom(ctx context.Context, base, path string, query url.Values, dst any) error {
	target := base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	a, err := c.call(ctx, http.MethodGet, target, nil, nil)
	if err != nil {
		return err
	}
	return decode(http.MethodGet, target, a, dst)
}

// post sends body as JSON to path and reads the answer into dst.
func (c *Client) post(ctx context.Context, path string, body, dst any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("POST %s: encode body: %w", path, err)
	}
	target := c.base + path
	a, err := c.call(ctx, http.MethodPost, target, jsonHeader(), raw)
	if err != nil {
		return err
	}
	return decode(http.MethodPost, target, a, dst)
}

func jsonHeader() http.Header { return http.Header{"Content-Type": {"application/json"}} }

func decode(method, url string, a answer, dst any) error {
	if a.status < 200 || a.status > 299 {
		return httpError(method, url, a)
	}
	if err := json.Unmarshal(a.body, dst); err != nil {
		return fmt.Errorf("%s %s: the answer is not what was expected: %w", method, url, err)
	}
	return nil
}

// Version returns what the node says it runs.
func (c *Client) Version(ctx context.Context) (string, error) {
	var v struct {
		Version string `json:"version"`
	}
	err := c.get(ctx, "/api/v0/version", nil, &v)
	return v.Version, err
}

// PublicAddresses returns the peer-to-peer addresses under which the node can be reached, as multiaddrs.
func (c *Client) PublicAddresses(ctx context.Context) ([]string, error) {
	var v struct {
		Addresses []string `json:"node_multi_addresses"`
	}
	err := c.get(ctx, "/api/v0/info/public.json", nil, &v)
	return v.Addresses, err
}
