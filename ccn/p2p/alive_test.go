package p2p

import (
	"context"
	"fmt"
	"sync"
	"testing"
)

func TestOnlyAnnouncementsOfListedNodesAreHeard(t *testing.T) {
	var (
		mu     sync.Mutex
		listed string
		asked  = map[string]bool{}
		heard  []string
	)
	listener := run(t, func(c *Config) {
		c.Alive = &Alive{
			Allowed: func(id string) bool {
				mu.Lock()
				defer mu.Unlock()
				asked[id] = true
				return id == listed
			},
			Heard: func(_ context.Context, id string, a Announcement) {
				mu.Lock()
				defer mu.Unlock()
				heard = append(heard, fmt.Sprint(id, a))
			},
		}
	})
	announcing := func(all ...Announcement) func(*Config) {
		return func(c *Config) {
			c.Alive = &Alive{
				Self: all, Allowed: func(string) bool { return false }, Heard: func(context.Context, string, Announcement) {},
			}
		}
	}
	good := Announcement{Address: "/ip4/1.2.3.4/tcp/4025/p2p/Qm", PeerType: PeerP2P, Version: "1.0"}
	member := build(t, dialling(listener), announcing(Announcement{PeerType: "OTHER"}, good))
	mu.Lock()
	listed = member.PeerID()
	mu.Unlock()
	member.start(t)
	stranger := run(t, dialling(listener), announcing(Announcement{Address: "http://5.6.7.8:4024", PeerType: PeerHTTP}))

	until(t, "both have spoken", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return asked[stranger.PeerID()] && len(heard) > 0
	})
	mu.Lock()
	defer mu.Unlock()
	if want := fmt.Sprint(listed, good); len(heard) != 1 || heard[0] != want {
		t.Errorf("heard %q, want %q", heard, want)
	}
}

func TestAnnouncementTextIsThatOfTheReference(t *testing.T) {
	a := Announcement{Address: "/ip4/1.2.3.4/tcp/4025/p2p/Qm", PeerType: PeerP2P, Version: "0.5"}
	want := `{"address": "/ip4/1.2.3.4/tcp/4025/p2p/Qm", "interests": null, "peer_type": "P2P", "version": "0.5"}`
	if got := string(a.encode()); got != want {
		t.Errorf("got %s", got)
	}
	back, err := decodeAnnouncement(a.encode())
	if err != nil || back != a {
		t.Errorf("read back %+v, %v", back, err)
	}
}

func TestMalformedAnnouncementsAreRefused(t *testing.T) {
	for _, text := range []string{``, `null`, `[]`, `{}`, `{"address":1,"peer_type":"P2P"}`, `{"address":"x"}`,
		`{"address":"x","peer_type":"FTP"}`, `{"peer_type":"P2P"}`, "\xff"} {
		if a, err := decodeAnnouncement([]byte(text)); err == nil {
			t.Errorf("%q read as %+v", text, a)
		}
	}
}
