package client

import (
	"context"
	"fmt"
	"iter"
	"net/url"
	"strconv"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// CreditFilter selects changes of the credits of an address; empty members select everything.
type CreditFilter struct {
	Direction     string         // incoming or outgoing
	ResourceTypes []message.Type // of what was paid for
	Resource      string         // hash of what was paid for
	Since, Until  time.Time      // [Since, Until]
}

func (f CreditFilter) query() url.Values {
	q := url.Values{}
	set(q, "resourceTypes", f.ResourceTypes)
	for name, text := range map[string]string{"direction": f.Direction, "resource": f.Resource} {
		if text != "" {
			q.Set(name, text)
		}
	}
	if !f.Since.IsZero() {
		q.Set("startDate", strconv.FormatInt(f.Since.Unix(), 10))
	}
	if !f.Until.IsZero() {
		q.Set("endDate", strconv.FormatInt(f.Until.Unix(), 10))
	}
	return q
}

// FindCredits is [Client.CreditHistory] for a part of the history.
func (c *Client) FindCredits(ctx context.Context, address string, f CreditFilter) iter.Seq2[*CreditEntry, error] {
	list := walk[*CreditEntry](ctx, c, "/api/v0/addresses/"+url.PathEscape(address)+"/credit_history", "credit_history", f.query(), 0)
	return func(yield func(*CreditEntry, error) bool) {
		for e, err := range list {
			if err != nil && isNotFound(err) || !yield(e, err) {
				return
			}
		}
	}
}

// SumCredits is [Client.CreditSummary] for a part of the history.
func (c *Client) SumCredits(ctx context.Context, address string, f CreditFilter) (CreditSummary, error) {
	var s CreditSummary
	if err := c.get(ctx, "/api/v0/addresses/"+url.PathEscape(address)+"/credit_history/summary", f.query(), &s); err != nil {
		return s, fmt.Errorf("credits of %s: %w", address, err)
	}
	return s, nil
}
