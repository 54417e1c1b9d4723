package p2p

import (
	"context"
	"sync/atomic"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
)

// deliver hands payloads to the handler, one at a time, until the context ends.
func (n *Node) deliver(ctx context.Context) {
	for {
		m, err := n.inbox.Next(ctx)
		if err != nil { // the context ended, or pubsub did
			return
		}
		n.room.leave(m)
		n.counts.received.Add(1)
		n.cfg.Handle(ctx, Message{Topic: m.GetTopic(), Author: m.GetFrom().String(), Data: m.Data})
	}
}

// waitingRoom bounds what waits between pubsub and the handler, in payloads and in bytes. Pubsub must not block and
// drops silently when its channel is full; the room refuses just before that, and counts. As payloads are counted out
// only after they left the channel, a payload that was let in always finds a place there.
type waitingRoom struct {
	slots    int
	capacity int64 // bytes

	waiting atomic.Int64
	bytes   atomic.Int64
	dropped atomic.Uint64
}

func newWaitingRoom(slots int, capacity int64) *waitingRoom {
	return &waitingRoom{slots: slots, capacity: capacity}
}

// admit is called by pubsub's loop only, hence never concurrently with itself.
func (r *waitingRoom) admit(m *pubsub.Message) bool {
	if r.waiting.Load() >= int64(r.slots) || r.bytes.Load()+int64(len(m.Data)) > r.capacity {
		r.dropped.Add(1)
		return false
	}
	r.waiting.Add(1)
	r.bytes.Add(int64(len(m.Data)))
	return true
}

func (r *waitingRoom) leave(m *pubsub.Message) {
	r.bytes.Add(-int64(len(m.Data)))
	r.waiting.Add(-1)
}
