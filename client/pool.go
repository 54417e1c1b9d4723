package client

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	probeTimeout = 3 * time.Second        // of one question for a node's health
	probeGrace   = 150 * time.Millisecond // how long slower nodes are waited for after the first that is well
	restMin      = 5 * time.Second        // a node that failed is asked last for this long, doubled with each failure
	restMax      = 2 * time.Minute
)

// pool knows the core nodes of a client and in which order to ask them: those that answered before those that failed, the
// quicker before the slower, otherwise as they were given. Once something was written, the node that took it comes first, as
// others may not have heard of it yet.
type pool struct {
	now func() time.Time

	nodes []*node // the list does not change

	mu     sync.Mutex
	writer *node // who took what was written last; nil before that; guarded by mu

	probe  sync.Mutex // held while the nodes are compared for the first time
	probed bool       // guarded by probe
}

// node is one of them. All but its address is guarded by the mutex of the pool.
type node struct {
	url      string
	latency  time.Duration // of the last answers, 0 before the first
	failures int           // in a row
	rest     time.Time     // asked after all others until then
	err      error         // the last failure
}

func newPool(urls []string) *pool {
	p := &pool{now: time.Now}
	for _, u := range urls {
		u = strings.TrimRight(u, "/")
		if u != "" && !slices.ContainsFunc(p.nodes, func(n *node) bool { return n.url == u }) {
			p.nodes = append(p.nodes, &node{url: u})
		}
	}
	if len(p.nodes) == 0 {
		p.nodes = []*node{{}} // every call fails with the name of what is missing
	}
	return p
}

// order returns the addresses of the nodes in the order in which they should be asked.
func (p *pool) order() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	sorted := slices.Clone(p.nodes)
	slices.SortStableFunc(sorted, func(a, b *node) int {
		if resting := boolOrder(now.Before(a.rest), now.Before(b.rest)); resting != 0 {
			return resting
		}
		if now.Before(a.rest) {
			return a.rest.Compare(b.rest)
		}
		if sticky := boolOrder(a != p.writer, b != p.writer); sticky != 0 {
			return sticky
		}
		if a.latency == 0 || b.latency == 0 {
			return 0
		}
		return cmp.Compare(a.latency, b.latency)
	})
	urls := make([]string, len(sorted))
	for i, n := range sorted {
		urls[i] = n.url
	}
	return urls
}

// first returns the address of the node to ask next.
func (p *pool) first() string { return p.order()[0] }

func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// answered notes that a node answered after some time; wrote, that it took something.
func (p *pool) answered(url string, after time.Duration, wrote bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.find(url)
	if n == nil {
		return
	}
	if n.latency == 0 {
		n.latency = after
	} else {
		n.latency += (after - n.latency) / 4
	}
	n.failures, n.rest, n.err = 0, time.Time{}, nil
	if wrote {
		p.writer = n
	}
}

// failed notes that a node did not answer, or asked not to be asked for some time.
func (p *pool) failed(url string, err error, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.find(url)
	if n == nil {
		return
	}
	rest := min(restMin<<min(n.failures, 8), restMax)
	n.failures++
	n.rest, n.err = p.now().Add(max(rest, wait)), err
}

func (p *pool) find(url string) *node {
	for _, n := range p.nodes {
		if n.url == url {
			return n
		}
	}
	return nil
}

// NodeHealth is what is known of one core node of a client.
type NodeHealth struct {
	URL     string
	Latency time.Duration // of its answers; 0 when it gave none yet
	Err     error         // why it is asked last; nil while it is well
}

// Health asks every core node for its public information and returns them in the order in which they are asked from now on.
func (c *Client) Health(ctx context.Context) []NodeHealth {
	c.probeAll(ctx, false)
	order := c.pool.order()
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	list := make([]NodeHealth, len(order))
	for i, url := range order {
		n := c.pool.find(url)
		list[i] = NodeHealth{url, n.latency, n.err}
	}
	return list
}

// compare finds out which node answers first, once in the life of a client of several nodes.
func (c *Client) compare(ctx context.Context) {
	if len(c.pool.nodes) < 2 {
		return
	}
	c.pool.probe.Lock()
	defer c.pool.probe.Unlock()
	if c.pool.probed || ctx.Err() != nil {
		return
	}
	c.probeAll(ctx, true)
	c.pool.probed = true
}

// probeAll asks all nodes at once. With hasty, those that are much slower than the first are not waited for: they are not
// known to be ill, only not first.
func (c *Client) probeAll(ctx context.Context, hasty bool) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var all sync.WaitGroup
	var first sync.Once
	var slow *time.Timer // set by the first that answers
	for _, n := range c.pool.nodes {
		all.Go(func() {
			began := time.Now()
			err := c.probe(ctx, n.url)
			switch {
			case err == nil:
				c.pool.answered(n.url, time.Since(began), false)
				if hasty {
					first.Do(func() { slow = time.AfterFunc(probeGrace, cancel) })
				}
			case ctx.Err() == context.Canceled:
				c.pool.answered(n.url, time.Since(began), false)
			default:
				c.pool.failed(n.url, err, 0)
			}
		})
	}
	all.Wait()
	if slow != nil {
		slow.Stop()
	}
}

func (c *Client) probe(ctx context.Context, base string) error {
	target := base + "/api/v0/info/public.json"
	req, err := c.request(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxError))
	if err != nil {
		return fmt.Errorf("GET %s: read answer: %w", target, err)
	}
	if resp.StatusCode != http.StatusOK {
		return httpError(http.MethodGet, target, answer{status: resp.StatusCode, body: raw})
	}
	return nil
}
