package p2p

import (
	"sync/atomic"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// counters counts what the node did and what pubsub gave up; pubsub reports the latter to a tracer only.
type counters struct {
	published, received atomic.Uint64
	refused             atomic.Uint64 // validation queue full
	unsent              atomic.Uint64 // a peer's outbound queue full
	unheard             atomic.Uint64 // no room to remember it
	seen                *seen
}

// ValidateMessage is told of each payload whose id pubsub has begun to remember.
func (c *counters) ValidateMessage(*pubsub.Message) { c.seen.add(time.Now()) }

func (c *counters) RejectMessage(_ *pubsub.Message, reason string) {
	if reason == pubsub.RejectValidationQueueFull || reason == pubsub.RejectValidationThrottled {
		c.refused.Add(1)
	}
}

func (c *counters) DropRPC(*pubsub.RPC, peer.ID) { c.unsent.Add(1) }

// The rest of pubsub.RawTracer, of no interest here.

func (*counters) OnNewOutboundStream(peer.ID, protocol.ID)             {}
func (*counters) OnClosedOutboundStream(peer.ID)                       {}
func (*counters) Join(string)                                          {}
func (*counters) Leave(string)                                         {}
func (*counters) Graft(peer.ID, string)                                {}
func (*counters) Prune(peer.ID, string)                                {}
func (*counters) DeliverMessage(*pubsub.Message)                       {}
func (*counters) DuplicateMessage(*pubsub.Message)                     {}
func (*counters) ThrottlePeer(peer.ID)                                 {}
func (*counters) RecvRPC(*pubsub.RPC)                                  {}
func (*counters) SendRPC(*pubsub.RPC, peer.ID)                         {}
func (*counters) SendRPCCompleted(*pubsub.RPC, peer.ID, time.Duration) {}
func (*counters) UndeliverableMessage(*pubsub.Message)                 {}
