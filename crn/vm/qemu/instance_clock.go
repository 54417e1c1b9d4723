package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// A guest's clock stands still while its guest does, and nothing in a guest without an agent notices. One with an agent is told the time.

const (
	// clockSlack is how far a guest's clock may be behind without being set.
	clockSlack = 500 * time.Millisecond
	// clockLimit bounds the talk with the guest's agent about it.
	clockLimit = 30 * time.Second
)

// CatchUp has the guest's agent set a clock that stood still with its guest, and returns by how much it was behind; 0 when it need not
// be set. One that is ahead of the host's is left alone. The error is [ErrNoAgent] when nobody in the guest listens.
func (m *Instance) CatchUp(ctx context.Context) (behind time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, clockLimit)
	defer cancel()
	m.freezing.Lock()
	defer m.freezing.Unlock()
	err = m.withAgent(ctx, func(a *agent) error {
		if behind, err = a.behind(); err != nil {
			return err
		}
		if behind < clockSlack {
			behind = 0
			return nil
		}
		// Some agents cannot set the hardware's clock as well, and complain when they have set the guest's.
		_, refusal := a.ask("guest-set-time", with{"time": time.Now().UnixNano()})
		left, err := a.behind()
		if err == nil && left > clockSlack {
			err = errors.Join(errors.New("it is behind as before"), refusal)
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("set the guest's clock: %w", err)
	}
	return behind, nil
}

// behind is by how much the guest's clock is behind the host's, negative when it is ahead.
func (a *agent) behind() (time.Duration, error) {
	raw, err := a.ask("guest-get-time", nil)
	if err != nil {
		return 0, err
	}
	var nanoseconds int64
	if err := json.Unmarshal(raw, &nanoseconds); err != nil {
		return 0, fmt.Errorf("read the guest agent's answer to guest-get-time: %w", err)
	}
	return time.Since(time.Unix(0, nanoseconds)), nil
}
