// Package authority is what the account that a network trusts publishes: the token balances it read from the chain, and
// the registry of nodes that the operations of their owners add up to. One core node of a network runs it, with that
// account's key; every other node can replay the same messages and check what was published. Package ccn wires it.
package authority

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
	"github.com/aleph-im/aleph-go/registry"
)

// Config is what the registry publisher needs.
type Config struct {
	Params *params.Network
	Store  *store.Store
	Author *Author
	Logger *slog.Logger
}

// Registry publishes the aggregate of registered nodes whenever operations or balances changed it.
type Registry struct {
	cfg       Config
	rules     registry.Params
	wake      chan struct{}
	published []byte // last aggregate that was published; owned by the goroutine of Run
}

// New returns the registry publisher.
func New(cfg Config) (*Registry, error) {
	if cfg.Author == nil {
		return nil, fmt.Errorf("node registry: the account that publishes it is missing")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Registry{cfg: cfg, rules: Rules(cfg.Params), wake: make(chan struct{}, 1)}, nil
}

// Notify says that a message may have changed the registry. It never blocks.
func (r *Registry) Notify() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// retryAfter is how long a publication that failed waits.
const retryAfter = 2 * time.Second

// Run publishes until ctx ends.
func (r *Registry) Run(ctx context.Context) error {
	for {
		var retry <-chan time.Time
		if err := r.publish(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			r.cfg.Logger.Error("node registry not published, tried again soon", "error", err)
			retry = time.After(retryAfter)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		case <-retry:
		}
	}
}

func (r *Registry) publish(ctx context.Context) error {
	var events []registry.Event
	var current []byte
	key := r.cfg.Params.Corechannel.Keys[0]
	err := r.cfg.Store.Read(ctx, func(rd *store.Reader) error {
		var err error
		if events, err = Events(rd, r.cfg.Params); err != nil {
			return err
		}
		row, err := rd.Aggregate(r.cfg.Author.Account.Address(), key)
		if row != nil {
			current = row.Content
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("read operations on nodes: %w", err)
	}
	state := registry.New(r.rules)
	for _, e := range events {
		state.Apply(e)
	}
	content, err := encode(state.Aggregate())
	if err != nil {
		return fmt.Errorf("encode node registry: %w", err)
	}
	if bytes.Equal(content, r.published) || bytes.Equal(content, current) {
		r.published = content
		return nil
	}
	if err := r.cfg.Author.Aggregate(ctx, key, json.RawMessage(content)); err != nil {
		return err
	}
	r.published = content
	return nil
}

// Events returns what the registry is a fold of, in order: the operations of owners and the balances that were
// published, by content time and hash.
func Events(rd *store.Reader, p *params.Network) ([]registry.Event, error) {
	balanceType := p.Balances.PostTypes[0]
	posts, err := rd.PostsOfTypes(p.Nodes.OperationType, message.PostTypeAmend, balanceType)
	if err != nil {
		return nil, err
	}
	var events []registry.Event
	var clock heights
	for _, row := range posts {
		c, err := message.ParseContent(message.TypePost, row.Content)
		if err != nil {
			return nil, fmt.Errorf("content of processed message %s: %w", row.Message.ItemHash, err)
		}
		post := c.(*message.Post)
		if post.PostType == balanceType {
			if p.Balances.Trusts(post.Address) {
				if e, ok := clock.balances(post.Content); ok {
					events = append(events, e)
				}
			}
			continue
		}
		events = append(events, registry.Operation{
			Hash:        string(row.Message.ItemHash),
			Actor:       post.Address,
			Height:      clock.last,
			Time:        row.Message.Time.Seconds(),
			ContentTime: post.Time,
			Type:        post.PostType,
			Ref:         post.Ref,
			Content:     post.Content,
		})
	}
	return events, nil
}
