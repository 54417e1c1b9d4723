package corenode

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/cockroachdb/apd/v3"

	"github.com/aleph-im/aleph-go/message"
)

// How old answers about accounts and messages may be (spec/crn.md §8, CACHE_TTL_*).
const (
	priceAge   = 300 * time.Second
	balanceAge = 30 * time.Second
	statusAge  = 30 * time.Second
)

// Workload is a message that a node runs, or a file of one. Its content hashes to Hash.
type Workload struct {
	Hash    message.Hash
	Sender  string // who signed it; who it belongs to is in the content
	Content message.Content
}

// Workload fetches a message, of any type. Like [Client.Program], it falls back on an earlier answer when the core node cannot
// be reached.
func (c *Client) Workload(ctx context.Context, hash message.Hash) (*Workload, error) {
	w, err := c.workload(ctx, hash)
	if err != nil {
		return nil, fmt.Errorf("message %s: %w", hash, err)
	}
	return w, nil
}

// Aggregate reads the value of one key of an address's aggregate into v, from an answer no older than age. The error is
// [ErrNotFound] when there is none.
func (c *Client) Aggregate(ctx context.Context, address, key string, age time.Duration, v any) error {
	path := "/api/v0/aggregates/" + url.PathEscape(address) + ".json?" + url.Values{"keys": {key}}.Encode()
	var answer struct {
		Data map[string]json.RawMessage `json:"data"`
	}
	if err := c.recent(ctx, path, age, &answer); err != nil {
		return fmt.Errorf("aggregate %s of %s: %w", key, address, err)
	}
	value, ok := answer.Data[key]
	if !ok {
		return fmt.Errorf("aggregate %s of %s: %w", key, address, ErrNotFound)
	}
	if err := json.Unmarshal(value, v); err != nil {
		return fmt.Errorf("aggregate %s of %s: %w", key, address, err)
	}
	return nil
}

// Balance is what an address has to pay with.
type Balance struct {
	Tokens, Credits *apd.Decimal
}

// Balance asks what an address has. The error is [ErrNotFound] when the core node never heard of it.
func (c *Client) Balance(ctx context.Context, address string) (Balance, error) {
	var answer struct {
		Balance json.Number `json:"balance"`
		Credits json.Number `json:"credit_balance"`
	}
	if err := c.recent(ctx, "/api/v0/addresses/"+url.PathEscape(address)+"/balance", balanceAge, &answer); err != nil {
		return Balance{}, fmt.Errorf("balance of %s: %w", address, err)
	}
	tokens, err := amount(answer.Balance)
	if err != nil {
		return Balance{}, fmt.Errorf("balance of %s: %w", address, err)
	}
	credits := new(apd.Decimal)
	if answer.Credits != "" {
		if credits, err = amount(answer.Credits); err != nil {
			return Balance{}, fmt.Errorf("credits of %s: %w", address, err)
		}
	}
	return Balance{tokens, credits}, nil
}

// Price is what a workload costs: tokens to hold, tokens a second or credits a second, by the way it is paid.
type Price struct {
	Cost        *apd.Decimal
	PaymentType message.PaymentType
}

// Price asks what a workload costs.
func (c *Client) Price(ctx context.Context, hash message.Hash) (Price, error) {
	var answer struct {
		Cost json.Number         `json:"cost"` // a text in JSON, which a Number takes as well
		Type message.PaymentType `json:"payment_type"`
	}
	if err := c.recent(ctx, "/api/v0/price/"+url.PathEscape(string(hash)), priceAge, &answer); err != nil {
		return Price{}, fmt.Errorf("price of %s: %w", hash, err)
	}
	cost, err := amount(answer.Cost)
	if err != nil {
		return Price{}, fmt.Errorf("price of %s: %w", hash, err)
	}
	return Price{cost, answer.Type}, nil
}

// Status asks what became of a message: pending, processed, rejected, forgotten, removing or removed.
func (c *Client) Status(ctx context.Context, hash message.Hash) (string, error) {
	var answer struct {
		Status string `json:"status"`
	}
	if err := c.recent(ctx, "/api/v0/messages/"+url.PathEscape(string(hash)), statusAge, &answer); err != nil {
		return "", fmt.Errorf("status of %s: %w", hash, err)
	}
	if answer.Status == "" {
		return "", fmt.Errorf("status of %s: %w sensibly: there is none in the answer", hash, ErrUnavailable)
	}
	return answer.Status, nil
}

// amount reads a decimal number. An absent one is no zero: it is an answer that says nothing.
func amount(text json.Number) (*apd.Decimal, error) {
	d, _, err := apd.NewFromString(string(text))
	if err != nil || d.Form != apd.Finite || d.Negative {
		return nil, fmt.Errorf("%w sensibly: %q is no amount", ErrUnavailable, text)
	}
	return d, nil
}

// maxRecent is how many answers are remembered at most; larger ones than maxRemembered, in bytes, are not.
const (
	maxRecent     = 1024
	maxRemembered = 256 << 10
)

// remembered is an answer of the core node: its bytes, or that it has nothing.
type remembered struct {
	at   time.Time
	body []byte
	err  error // ErrNotFound
}

// recent decodes the answer to a GET into v, from an earlier one no older than age where there is one. Who asks at the same
// time asks once, unless age is 0. Failures are not remembered.
func (c *Client) recent(ctx context.Context, path string, age time.Duration, v any) error {
	if c.cfg.AnswerAge > 0 {
		age = min(age, c.cfg.AnswerAge)
	}
	c.mu.Lock()
	known, ok := c.answers[path]
	c.mu.Unlock()
	if !ok || c.cfg.Now().Sub(known.at) >= age {
		ask := func() (remembered, error) {
			body, err := c.get(ctx, path)
			if err != nil && !errors.Is(err, ErrNotFound) {
				return remembered{}, err
			}
			fresh := remembered{c.cfg.Now(), body, err}
			c.remember(path, fresh)
			return fresh, nil
		}
		var err error
		if age > 0 {
			known, err = c.questions.Do(ctx, path, ask)
		} else {
			known, err = ask() // what was asked before is older than this question
		}
		if err != nil {
			return err
		}
	}
	if known.err != nil {
		return known.err
	}
	if err := json.Unmarshal(known.body, v); err != nil {
		return fmt.Errorf("%w sensibly: %w", ErrUnavailable, err)
	}
	return nil
}

func (c *Client) remember(path string, fresh remembered) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(fresh.body) > maxRemembered {
		return
	}
	for k := range c.answers {
		if len(c.answers) < maxRecent {
			break
		}
		delete(c.answers, k) // whichever: what is asked for often comes back at once
	}
	c.answers[path] = fresh
}
