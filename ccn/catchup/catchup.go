// Package catchup fetches the messages that gossip did not bring: those published while this node was away, or before its
// peers had met. It asks the core nodes that the operator named over their HTTP API, newest first, until it meets what it
// knew when it last had asked. Package ccn runs it beside the gossip.
package catchup

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/aleph-im/aleph-go/internal/redirect"
	"github.com/aleph-im/aleph-go/message"
)

// Config is what a Service needs.
type Config struct {
	Peers []string // base URLs of core nodes
	// Statuses says what this node knows of each of some messages, "" for nothing.
	Statuses func(ctx context.Context, list []message.Hash) ([]message.Status, error)
	// Submit takes a message in as if a peer had gossiped it.
	Submit func(ctx context.Context, envelope []byte) error
	Every  time.Duration // between two looks; 5 s when 0
	Client *http.Client  // one that stays on the host that it asks when nil; requests have their own deadline
	Logger *slog.Logger
}

const (
	defaultEvery   = 5 * time.Second
	firstEvery     = 200 * time.Millisecond // until a peer has answered once
	pageSize       = 200
	maxPages       = 5_000     // a million messages in one look
	maxPage        = 128 << 20 // bytes of a page of the longest texts that travel inside messages
	requestTimeout = 20 * time.Second
	inFlight       = time.Minute      // that a message may take from its signer to here
	ahead          = 10 * time.Minute // by which the clock of a signer may be fast
)

// Service asks peers for messages.
type Service struct {
	cfg Config

	// Of the goroutine of Run.
	began  time.Time
	looked map[string]time.Time // by peer: when the last look began that came to its end
}

// New returns a Service.
func New(cfg Config) *Service {
	if cfg.Every == 0 {
		cfg.Every = defaultEvery
	}
	if cfg.Client == nil {
		cfg.Client = &http.Client{CheckRedirect: redirect.SameHost}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Service{cfg: cfg, began: time.Now(), looked: map[string]time.Time{}}
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
//
// Gossip may be well again before a look succeeds, so the newest messages are known and those below are missing. What was there
// when the last look began is known for certain; before the first, that is what the process found when it started.
func (s *Service) look(ctx context.Context, peer string) (found int, err error) {
	now := time.Now()
	query := url.Values{"contentFormat": {"none"}, "pagination": {strconv.Itoa(pageSize)}, "cursor": {""}}
	since, again := s.looked[peer]
	if again {
		// Who signs for the year 9999 could otherwise make each look as long as he likes. It comes when it is due.
		query.Set("endDate", strconv.FormatInt(now.Add(ahead).Unix(), 10))
	} else {
		since = s.began.Add(-inFlight)
	}
	for range maxPages {
		page, err := s.page(ctx, peer, query)
		if err != nil {
			return found, err
		}
		unknown, oldest, err := s.take(ctx, page.Messages)
		if err != nil {
			return found, fmt.Errorf("messages of %s: %w", peer, err)
		}
		found += unknown
		if page.Next == "" || unknown == 0 && oldest.Before(since) {
			s.looked[peer] = now
			return found, nil
		}
		query.Set("cursor", page.Next)
	}
	return found, nil
}

// take takes in those of some messages, the newest first, that are not known. It returns how many they are, and the time of the
// oldest of all.
func (s *Service) take(ctx context.Context, envelopes []json.RawMessage) (unknown int, oldest time.Time, err error) {
	hashes := make([]message.Hash, len(envelopes))
	for i, envelope := range envelopes {
		var head struct {
			Hash message.Hash `json:"item_hash"`
			Time float64      `json:"time"`
		}
		if err := json.Unmarshal(envelope, &head); err != nil {
			return 0, oldest, err
		}
		hashes[i], oldest = head.Hash, message.TimeFromSeconds(head.Time).Std()
	}
	statuses, err := s.cfg.Statuses(ctx, hashes)
	if err != nil {
		return 0, oldest, err
	}
	for i, envelope := range slices.Backward(envelopes) { // oldest first: what others refer to is older
		switch statuses[i] {
		case "":
			unknown++
		case message.StatusRejected:
			// A peer accepted it: what it lacked here, a balance or a permission, may have come.
		default:
			continue
		}
		if err := s.cfg.Submit(ctx, envelope); err != nil {
			return unknown, oldest, fmt.Errorf("take in message %s: %w", hashes[i], err)
		}
	}
	return unknown, oldest, nil
}

// page is a part of the list of a peer's messages.
type page struct {
	Messages []json.RawMessage `json:"messages"`
	Next     string            `json:"next_cursor"` // "" behind the last
}

// page asks for messages without the contents that travel outside of them, of which one can be as large as a page may be.
func (s *Service) page(ctx context.Context, peer string, query url.Values) (*page, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, peer+"/api/v0/messages.json?"+query.Encode(), nil)
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
	answer := new(page)
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxPage)).Decode(answer); err != nil {
		return nil, fmt.Errorf("list messages of %s: %w", peer, err)
	}
	return answer, nil
}
