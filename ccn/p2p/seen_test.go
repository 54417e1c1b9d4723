package p2p

import (
	"crypto/rand"
	"log/slog"
	"testing"
	"time"

	pubsub_pb "github.com/libp2p/go-libp2p-pubsub/pb"
)

func TestWhatIsRememberedEndsWithItsTime(t *testing.T) {
	s := &seen{most: 100, log: slog.New(slog.DiscardHandler)}
	at := time.Unix(1_800_000_000, 0)
	for range 60 {
		s.add(at)
	}
	for range 40 {
		if at = at.Add(30 * time.Second); !s.hasRoom(at) {
			t.Fatal("there is room for one hundred")
		}
		s.add(at)
	}
	if s.hasRoom(at) || s.hasRoom(at.Add(-time.Hour)) {
		t.Error("there is room for more than a hundred")
	}
	if at = at.Add(9 * time.Minute); s.hasRoom(at) {
		t.Error("the first are forgotten before pubsub forgets them")
	}
	if at = at.Add(4 * time.Minute); !s.hasRoom(at) || s.all < 30 || s.all > 40 {
		t.Errorf("after their time %d are counted", s.all)
	}
	if s.hasRoom(at.Add(24 * time.Hour)); s.all != 0 {
		t.Errorf("after a day %d are counted", s.all)
	}
}

// A peer that signs payload after payload is heard until so many are remembered, and the mesh goes on.
func TestAPeerCannotHaveTheNodeRememberWithoutEnd(t *testing.T) {
	const most, more = 50, 100
	a := build(t)
	a.counts.seen.most = most
	a.start(t)
	p := newRawPeer(t, a)
	send := func(n int) {
		for range n {
			p.send(t, &pubsub_pb.RPC{Publish: []*pubsub_pb.Message{p.signed(t, rand.Text())}})
		}
	}
	send(most)
	until(t, "all that there is room for arrives", func() bool { return a.Stats().Received == most })
	send(more)
	until(t, "everything is accounted for", func() bool { s := a.Stats(); return s.Received+s.Dropped == most+more })
	if s := a.Stats(); s.Received != most {
		t.Errorf("with room for %d: %+v", most, s)
	}
	b := run(t, dialling(a))
	meshed(t, a, b)
}
