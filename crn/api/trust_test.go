package api

import (
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/corenode/corenodetest"
)

func TestTrustIsHeardSoonAndRemembered(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	core := corenodetest.New(t)
	s := serverOn(t, core, func(c *Config) {
		var err error
		if c.Network, err = corenode.New(corenode.Config{API: core.URL, Dir: t.TempDir(), Now: func() time.Time { return now }}); err != nil {
			t.Fatal(err)
		}
	})
	trust := func(addresses ...string) {
		list := []any{}
		for _, a := range addresses {
			list = append(list, map[string]any{"address": a})
		}
		core.Aggregate(corenodetest.Owner, map[string]any{"security": map[string]any{"authorizations": list}})
	}
	for _, step := range []struct {
		name   string
		list   []string
		after  time.Duration
		wanted bool
	}{
		{"nobody is trusted", nil, 0, false},
		{"a list that was just read stands", []string{"0xfriend"}, refusalAge - time.Second, false},
		{"and is read again soon", []string{"0xfriend"}, time.Second, true},
		{"who was trusted remains so", nil, securityAge - time.Second, true},
		{"for that time", nil, time.Second, false},
	} {
		trust(step.list...)
		now = now.Add(step.after)
		if got := s.trusts(t.Context(), corenodetest.Owner, "0xFriend"); got != step.wanted {
			t.Errorf("%s: got %v", step.name, got)
		}
	}
}
