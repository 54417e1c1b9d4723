package p2p

import (
	"log/slog"
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
)

// seen bounds what pubsub remembers. For each new payload that anybody signs, whatever it says, it keeps an id for seenTTL, of which it
// has no bound itself. When there are too many, what others publish is dropped until the first of them go; it is got by catching up.
type seen struct {
	most    int
	dropped func(int) // is told how many payloads were
	log     *slog.Logger

	mu    sync.Mutex
	slots [seenSlots]int // payloads by minute, of the minutes up to last
	last  int64          // minutes since 1970
	all   int            // in slots
	full  bool           // as it was said last
}

const (
	// maxSeen is how many ids are remembered: 120 bytes each were seen, and as much again for those of payloads that are valid. It is as
	// if 2,300 came a second for half an hour.
	maxSeen   = 4 << 20
	seenSlots = int(seenTTL/time.Minute) + 2 // the minute that has begun, and the one until pubsub sweeps
)

// come forgets the minutes that are over. s.mu is held.
func (s *seen) come(now time.Time) {
	minute := now.Unix() / 60
	for range min(max(minute-s.last, 0), int64(seenSlots)) {
		s.last++
		s.all -= s.slots[s.last%int64(seenSlots)]
		s.slots[s.last%int64(seenSlots)] = 0
	}
	s.last = max(s.last, minute)
}

// add counts one payload more.
func (s *seen) add(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.come(now)
	s.slots[s.last%int64(seenSlots)]++
	s.all++
}

// hasRoom reports whether one more may come, and says in the log when that changes.
func (s *seen) hasRoom(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.come(now)
	full := s.all >= s.most
	if full != s.full {
		s.full = full
		if full {
			s.log.Warn("gossip brings more than is remembered; what comes now is dropped and got by catching up", "payloads", s.all, "within", seenTTL)
		} else {
			s.log.Info("gossip is taken in again")
		}
	}
	return !full
}

// inspect takes the payloads out of what a peer sends while there is no room. What it says of the mesh is heard all the same.
func (s *seen) inspect(_ peer.ID, rpc *pubsub.RPC) error {
	if len(rpc.Publish) > 0 && !s.hasRoom(time.Now()) {
		s.dropped(len(rpc.Publish))
		rpc.Publish = nil
	}
	return nil
}
