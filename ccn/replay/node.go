package replay

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Node is the API of a core node as a Source: messages.json walked by its cursor, the oldest message first
// (spec/ccn-api.md §1.8). What the node has forgotten has no content there and cannot be replayed.
type Node struct {
	url    string
	client *http.Client
}

// NewNode returns the source at a base URL. client is http.DefaultClient if nil; each request has its own deadline.
func NewNode(base string, client *http.Client) (*Node, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("address of a core node %q: want http://host:port or https://host", base)
	}
	if client == nil {
		client = http.DefaultClient
	}
	return &Node{url: strings.TrimRight(base, "/"), client: client}, nil
}

const (
	pageSize       = 200
	maxPage        = 256 << 20 // bytes of a page of the longest texts that travel inside messages; contents outside are fetched apart
	requestTimeout = time.Minute
	attempts       = 5
)

func (n *Node) Name() string { return n.url }

type page struct {
	Messages []json.RawMessage `json:"messages"`
	Next     *string           `json:"next_cursor"`
	Total    int64             `json:"pagination_total"`
}

func (n *Node) Total(ctx context.Context) (int64, error) {
	p, err := n.get(ctx, url.Values{"pagination": {"1"}})
	return p.Total, err
}

// Next takes a position that is the cursor of a page; "done:" before it says that the page was the last when it was read.
func (n *Node) Next(ctx context.Context, position string) (Batch, error) {
	cursor, done := strings.CutPrefix(position, "done:")
	if done {
		return Batch{}, io.EOF
	}
	p, err := n.get(ctx, url.Values{"contentFormat": {"none"}, "sortOrder": {"1"}, "pagination": {fmt.Sprint(pageSize)}, "cursor": {cursor}})
	if err != nil {
		return Batch{}, err
	}
	b := Batch{Envelopes: p.Messages, Position: "done:" + cursor}
	if p.Next != nil {
		b.Position = *p.Next
	}
	return b, nil
}

// get asks again, after a pause, when the node does not answer.
func (n *Node) get(ctx context.Context, query url.Values) (p page, err error) {
	for attempt := range attempts {
		if attempt > 0 {
			timer := time.NewTimer(time.Second << attempt)
			select {
			case <-ctx.Done():
				timer.Stop()
				return page{}, ctx.Err()
			case <-timer.C:
			}
		}
		var final bool
		if p, final, err = n.try(ctx, query); err == nil || final {
			return p, err
		}
	}
	return page{}, err
}

func (n *Node) try(ctx context.Context, query url.Values) (p page, final bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+"/api/v0/messages.json?"+query.Encode(), nil)
	if err != nil {
		return page{}, true, err
	}
	resp, err := n.client.Do(req)
	if err != nil {
		return page{}, false, fmt.Errorf("list messages: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return page{}, resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests, fmt.Errorf("list messages: %s", resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxPage)).Decode(&p); err != nil {
		return page{}, false, fmt.Errorf("list messages: %w", err)
	}
	return p, false, nil
}
