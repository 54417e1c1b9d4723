package qemu

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestAClockThatStoodStillIsSet(t *testing.T) {
	const sync, get, set = "guest-sync", "guest-get-time", "guest-set-time"
	for name, test := range map[string]struct {
		off     time.Duration // of the guest's clock
		silent  bool          // nobody listens in the guest
		answer  string        // to being set
		deaf    bool          // it is not set, whatever the agent says
		want    []string
		behind  time.Duration
		failure bool
	}{
		"behind":                                {off: -time.Minute, answer: `{"return":{}}`, want: []string{sync, get, set, get}, behind: time.Minute},
		"right":                                 {off: -100 * time.Millisecond, want: []string{sync, get}},
		"ahead":                                 {off: time.Hour, want: []string{sync, get}},
		"behind, and the hardware's is not set": {off: -time.Minute, answer: `{"error":{"desc":"no hwclock"}}`, want: []string{sync, get, set, get}, behind: time.Minute},
		"behind, and it stays so":               {off: -time.Minute, answer: `{"error":{"desc":"not allowed"}}`, deaf: true, want: []string{sync, get, set, get}, failure: true},
		"without an agent":                      {silent: true, failure: true},
	} {
		t.Run(name, func(t *testing.T) {
			off := test.off
			g := newFakeGuest(t, func(command string, id json.Number) string {
				switch command {
				case get:
					return fmt.Sprintf(`{"return":%d}`+"\n", time.Now().Add(off).UnixNano())
				case set:
					if !test.deaf {
						off = 0
					}
					return test.answer + "\n"
				}
				return willing(command, id)
			})
			g.listen = !test.silent
			behind, err := g.m.CatchUp(t.Context())
			if (err != nil) != test.failure || test.silent && !errors.Is(err, ErrNoAgent) {
				t.Errorf("got %v", err)
			}
			if behind < test.behind || behind > test.behind+10*time.Second || test.behind == 0 && behind != 0 {
				t.Errorf("it was behind by %v", behind)
			}
			if !slices.Equal(g.said, test.want) {
				t.Errorf("said %v, want %v", g.said, test.want)
			}
		})
	}
}
