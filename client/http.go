package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	maxAnswer     = 64 << 20         // bytes of a JSON answer
	maxError      = 64 << 10         // bytes of an error's body that are kept
	stall         = 60 * time.Second // a file transfer that moves no byte for this long is given up
	settling      = 31 * time.Minute // in which a node answers that has all of an upload: it may take half an hour to store it
	maxRetryAfter = 30 * time.Second // a node that wants to be left alone for longer is not waited for
)

// answer is an HTTP answer whose body has been read.
type answer struct {
	status int
	body   []byte
	url    string        // who answered
	wait   time.Duration // how long the node asks to be left alone; 0 when it does not say
}

// call sends a repeatable request to the core nodes, one after the other until one answers, and returns its answer, whatever
// the status. After a POST later calls go to the node that took it.
func (c *Client) call(ctx context.Context, method, path string, header http.Header, body []byte) (answer, error) {
	c.compare(ctx)
	return c.repeat(ctx, func() (answer, error) {
		base := c.pool.first()
		began := time.Now()
		a, err := c.try(ctx, method, base+path, header, body)
		c.note(ctx, base, began, a, err, method != http.MethodGet)
		return a, err
	}, len(c.pool.nodes))
}

// note tells the pool how a node did.
func (c *Client) note(ctx context.Context, base string, began time.Time, a answer, err error, wrote bool) {
	switch {
	case err != nil && ctx.Err() != nil: // nobody's fault but the caller's
	case err != nil:
		c.pool.failed(base, err, 0)
	case tryLater(a.status):
		c.pool.failed(base, httpError("", a.url, a), a.wait)
	default:
		c.pool.answered(base, time.Since(began), wrote && a.status < 300)
	}
}

// callAt sends a repeatable request to one address.
func (c *Client) callAt(ctx context.Context, method, url string, header http.Header, body []byte) (answer, error) {
	return c.repeat(ctx, func() (answer, error) { return c.try(ctx, method, url, header, body) }, 1)
}

// repeat makes attempts until one is answered with something other than "try later". A pause comes before each attempt after
// which all nodes have been tried, as long as nodes ask for, and never beyond the deadline of ctx.
func (c *Client) repeat(ctx context.Context, attempt func() (answer, error), nodes int) (answer, error) {
	wait := c.cfg.Backoff
	for n := 0; ; n++ {
		a, err := attempt()
		last := n+1 >= max(c.cfg.Attempts, nodes) || ctx.Err() != nil
		if last || err == nil && !tryLater(a.status) {
			return a, err
		}
		if (n+1)%nodes != 0 {
			continue // the pool has put another node first
		}
		// Half of the pause is random, so that clients which failed together do not come back together.
		pause := max(wait/2+rand.N(wait/2+1), a.wait)
		if deadline, ok := ctx.Deadline(); a.wait > maxRetryAfter || ok && time.Until(deadline) < pause {
			return a, err
		}
		timer := time.NewTimer(pause)
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
		// As if the node had said so: another attempt would end like this one.
		return answer{status: http.StatusRequestEntityTooLarge, body: fmt.Appendf(nil, "the answer is larger than %d bytes", maxAnswer), url: url}, nil
	}
	return answer{resp.StatusCode, raw, url, retryAfter(resp.Header, time.Now())}, nil
}

// retryAfter reads the header in both of its forms, seconds and a date (RFC 9110 §10.2.3).
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(text); err == nil {
		return max(date.Sub(now), 0)
	}
	return 0
}

func (c *Client) request(ctx context.Context, method, url string, body io.Reader) (*http.Request, error) {
	if strings.HasPrefix(url, "/") {
		return nil, errors.New("no node is named: set the address of a core node, such as http://127.0.0.1:4024")
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, url, err)
	}
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	return req, nil
}

func withQuery(path string, query url.Values) string {
	if len(query) == 0 {
		return path
	}
	return path + "?" + query.Encode()
}

// get reads path of a core node with the given query into dst.
func (c *Client) get(ctx context.Context, path string, query url.Values, dst any) error {
	a, err := c.call(ctx, http.MethodGet, withQuery(path, query), nil, nil)
	if err != nil {
		return err
	}
	return decode(http.MethodGet, a, dst)
}

// getFrom reads path of the server at base.
func (c *Client) getFrom(ctx context.Context, base, path string, query url.Values, dst any) error {
	a, err := c.callAt(ctx, http.MethodGet, base+withQuery(path, query), nil, nil)
	if err != nil {
		return err
	}
	return decode(http.MethodGet, a, dst)
}

// post sends body as JSON to path and reads the answer into dst.
func (c *Client) post(ctx context.Context, path string, body, dst any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("POST %s: encode body: %w", path, err)
	}
	a, err := c.call(ctx, http.MethodPost, path, jsonHeader(), raw)
	if err != nil {
		return err
	}
	return decode(http.MethodPost, a, dst)
}

func jsonHeader() http.Header { return http.Header{"Content-Type": {"application/json"}} }

func decode(method string, a answer, dst any) error {
	if a.status < 200 || a.status > 299 {
		return httpError(method, a.url, a)
	}
	if err := json.Unmarshal(a.body, dst); err != nil {
		return fmt.Errorf("%s %s: the answer is not what was expected: %w", method, a.url, err)
	}
	return nil
}
