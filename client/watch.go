package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
)

const (
	maxFrame   = maxAnswer        // bytes of one message in JSON: whoever sends a longer one than is read here stops every watch
	maxPause   = 10 * time.Second // between two attempts to connect
	pingPeriod = 30 * time.Second // the node pings as often; a watch that hears nothing for two periods is dead
)

// Watch yields messages that match f as the node processes them, after the newest history (0 … 199) that it already has.
// It connects again when the connection breaks, then asking for what it may have missed; each message is yielded once. The
// loop ends with the context, or with an error when the node refuses the first connection or sends a message that is not what its
// sender signed.
func (c *Client) Watch(ctx context.Context, f Filter, history int) iter.Seq2[*StoredMessage, error] {
	return func(yield func(*StoredMessage, error) bool) {
		seen := newSeen(followSeen)
		pause := c.cfg.Backoff
		began := time.Now()
		var heard time.Time // when a connection last stood; zero before the first
		each := func(m *StoredMessage) bool {
			pause = c.cfg.Backoff
			if m.ItemType == "" { // the confirmation of a message that is known already
				return true
			}
			if err := c.check(m); err != nil {
				yield(nil, err)
				return false
			}
			return !seen.add(string(m.ItemHash)) || yield(m, nil)
		}
		// The connection is there first, so that nothing falls between what is asked for and what is heard.
		catchUp := func(ctx context.Context) error {
			opened := time.Now()
			if !heard.IsZero() {
				missed := f
				missed.Since, missed.OldestFirst = later(f.Since, later(began, heard.Add(-followOverlap))), true
				for m, err := range c.unchecked(ctx, missed) {
					if err != nil {
						return err
					}
					if !each(m) {
						return errStopped
					}
				}
			}
			heard, history = opened, 0
			return nil
		}
		for {
			err := c.watchOnce(ctx, f, history, catchUp, func(m *StoredMessage) bool {
				heard = time.Now()
				return each(m)
			})
			if errors.Is(err, errStopped) || ctx.Err() != nil {
				return
			}
			if _, refused := err.(*dialError); refused && heard.IsZero() {
				yield(nil, err)
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			pause = min(2*pause, maxPause)
		}
	}
}

var errStopped = errors.New("the reader stopped")

type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// watchOnce watches over one connection. opened, unless nil, is called once it stands, before the first message is read.
func (c *Client) watchOnce(ctx context.Context, f Filter, history int, opened func(context.Context) error, each func(*StoredMessage) bool) error {
	q := f.query()
	q.Set("history", strconv.Itoa(history))
	if len(f.Types) == 1 { // the only form of the filter that reference nodes apply to new messages
		q.Set("msgType", string(f.Types[0]))
	}
	c.compare(ctx)
	base := c.pool.first()
	target := "ws" + strings.TrimPrefix(base, "http") + "/api/ws0/messages?" + q.Encode()
	dialCtx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	conn, _, err := websocket.Dial(dialCtx, target, &websocket.DialOptions{HTTPClient: c.http})
	cancel()
	if err != nil {
		if ctx.Err() == nil {
			c.pool.failed(base, err, 0)
		}
		return &dialError{fmt.Errorf("watch messages: %w", err)}
	}
	defer conn.CloseNow()
	conn.SetReadLimit(maxFrame)

	ctx, cancel = context.WithCancel(ctx)
	pinged := make(chan struct{})
	go func() {
		defer close(pinged)
		keepAlive(ctx, conn)
	}()
	defer func() { cancel(); <-pinged }()

	if opened != nil {
		if err := opened(ctx); err != nil {
			return err
		}
	}
	for {
		_, raw, err := conn.Read(ctx)
		if err != nil {
			return fmt.Errorf("watch messages: %w", err)
		}
		m := &StoredMessage{}
		if err := json.Unmarshal(raw, m); err != nil {
			return fmt.Errorf("watch messages: the node sent what is not a message: %w", err)
		}
		if !each(m) {
			return errStopped
		}
	}
}

// keepAlive closes a connection whose other end is gone without a word.
func keepAlive(ctx context.Context, conn *websocket.Conn) {
	tick := time.NewTicker(pingPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			pingCtx, cancel := context.WithTimeout(ctx, pingPeriod)
			err := conn.Ping(pingCtx)
			cancel()
			if err != nil {
				conn.CloseNow()
				return
			}
		}
	}
}

// seen remembers the last few texts it was given.
type seen struct {
	limit int
	set   map[string]struct{}
	order []string
}

func newSeen(limit int) *seen { return &seen{limit: limit, set: make(map[string]struct{})} }

// add reports whether s is new.
func (s *seen) add(text string) bool {
	if _, ok := s.set[text]; ok {
		return false
	}
	if len(s.order) == s.limit {
		delete(s.set, s.order[0])
		s.order = s.order[1:]
	}
	s.set[text] = struct{}{}
	s.order = append(s.order, text)
	return true
}
