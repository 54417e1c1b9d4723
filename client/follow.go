package client

import (
	"context"
	"errors"
	"iter"
	"math"
	"time"
)

// followOverlap is how far before the break of a connection the question for missed messages reaches back: a message carries
// its signer's time, and takes a while until the node has it.
const followOverlap = 2 * time.Minute

// followSeen is how many hashes are remembered to tell what was yielded before.
const followSeen = 16 << 10

// Follow yields the messages that match f whose time is since or later, those that the node has oldest first, and then new
// ones as the node processes them. When the connection breaks it connects again and asks for what came meanwhile; each message
// is yielded once. A failure is yielded too and the loop goes on, without the message if one was not what its sender signed; it
// ends with the context, or when the caller breaks it.
func (c *Client) Follow(ctx context.Context, f Filter, since time.Time) iter.Seq2[*StoredMessage, error] {
	return func(yield func(*StoredMessage, error) bool) {
		seen := newSeen(followSeen)
		pause := c.cfg.Backoff
		each := func(m *StoredMessage) bool {
			pause = c.cfg.Backoff
			if m.ItemType == "" { // the confirmation of a message that is known already
				return true
			}
			if err := c.check(m); err != nil {
				return yield(nil, err)
			}
			return !seen.add(string(m.ItemHash)) || yield(m, nil)
		}
		// The connection is there first, so that nothing falls between what is asked for and what is heard.
		catchUp := func(ctx context.Context) error {
			opened := time.Now()
			f.Since, f.OldestFirst = since, true
			for m, err := range c.unchecked(ctx, f) {
				if err != nil {
					return err
				}
				if !each(m) {
					return errStopped
				}
				since = earlier(timeOf(m), opened) // a break from here on need not begin anew
			}
			since = opened.Add(-followOverlap)
			return nil
		}
		for {
			err := c.watchOnce(ctx, f, 0, catchUp, func(m *StoredMessage) bool {
				since = time.Now().Add(-followOverlap)
				return each(m)
			})
			if errors.Is(err, errStopped) || ctx.Err() != nil || !yield(nil, err) {
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

func timeOf(m *StoredMessage) time.Time { return time.UnixMicro(int64(math.Round(m.Time * 1e6))) }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
