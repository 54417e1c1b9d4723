// Package catchup fetches the messages that gossip did not bring: those published while this node was away, or before its
// peers had met. It asks the core nodes that the operator named over their HTTP API, newest first, until it meets what it
// knows. Package ccn runs it beside the gossip.
package catchup

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// Config is what a Service needs.
type Config struct {
	Peers []string // base URLs of core nodes
	// Status says what this node knows of a message, "" for nothing.
	Status func(ctx context.Context, h message.Hash) (message.Status, error)
	// Submit takes a message in as if a peer had gossiped it.
	Submit func(ctx context.Context, envelope []byte) error
	Every  time.Duration // between two looks; 5 s when 0
	Client *http.Client  // http.DefaultClient when nil; requests have their own deadline
	Logger *slog.Logger
}

const (
	defaultEvery   = 5 * time.Second
	firstEvery     = 200 * time.Millisecond // until a peer has answered once
	pageSize       = 100
	maxPages       = 10_000    // a million messages in one look
	maxPage        = 128 << 20 // bytes of a page of the longest texts that travel inside messages
	requestTimeout = 20 * time.Second
)

// Service asks peers for messages.
type Service struct{ cfg Config }

// New returns a Service.
func New(cfg Config) *Service {
	if cfg.Every == 0 {
		cfg.Every = defaultEvery
	}
	if cfg.Client == nil {
		cfg.Client = http.DefaultClient
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Service{cfg: cfg}
}

// Run looks at the peers again and again until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	wait := time.Duration(0)
	answered := false
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		for _, peer := range s.cfg.Peers {
			found, err := s.look(ctx, peer)
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				s.cfg.Logger.Debug("peer not asked for missing messages", "peer", peer, "error", err)
				continue
			}
			answered = true
			if found > 0 {
				s.cfg.Logger.Info("caught up with messages that gossip did not bring", "peer", peer, "messages", found)
			}
		}
		wait = s.cfg.Every
		if !answered {
			wait = firstEvery
		}
	}
}

// look fetches what peer has and this node lacks, and returns how many messages that were.
func (s *Service) look(ctx context.Context, peer string) (found int, err error) {
	for page := 1; page <= maxPages; page++ {
		envelopes, err := s.page(ctx, peer, page)
		if err != nil {
			return found, err
		}
		unknown := 0
		for _, envelope := range slices.Backward(envelopes) { // oldest first: what others refer to is older
			var head struct {
				Hash message.Hash `json:"item_hash"`
			}
			if err := json.Unmarshal(envelope, &head); err != nil {
				return found, fmt.Errorf("message of %s: %w", peer, err)
			}
			status, err := s.cfg.Status(ctx, head.Hash)
			if err != nil {
				return found, err
			}
			switch status {
			case "":
				unknown++
			case message.StatusRejected:
				// A peer accepted it: what it lacked here, a balance or a permission, may have come.
			default:
				continue
			}
			if err := s.cfg.Submit(ctx, envelope); err != nil {
				return found, fmt.Errorf("take in message %s of %s: %w", head.Hash, peer, err)
			}
		}
		found += unknown
		if unknown == 0 || len(envelopes) < pageSize {
			return found, nil
		}
	}
	return found, nil
}

// page asks for messages without the contents that travel outside of them, of which one can be as large as a page may be.
func (s *Service) page(ctx context.Context, peer string, number int) ([]json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	url := fmt.Sprintf("%s/api/v0/messages.json?contentFormat=none&pagination=%d&page=%d", peer, pageSize, number)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("address of peer %q: %w", peer, err)
	}
	resp, err := s.cfg.Client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("list messages: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("list messages of %s: %s", peer, resp.Status)
	}
	var answer struct {
		Messages []json.RawMessage `json:"messages"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxPage)).Decode(&answer); err != nil {
		return nil, fmt.Errorf("list messages of %s: %w", peer, err)
	}
	return answer.Messages, nil
}
