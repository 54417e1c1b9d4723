package p2p

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
)

const (
	dialTimeout    = 10 * time.Second // for one peer, over all its addresses
	firstRedial    = time.Second      // doubles up to Config.RedialEvery while a bootstrap peer is absent
	dialsAtOnce    = 8
	maxKnownDialed = 256 // of Config.KnownPeers, each round
)

// introduce tells pubsub that each newly connected peer speaks gossipsub. Pubsub opens its outgoing stream only to
// peers whose protocols it knows from identify, which the reference daemon does not speak: without this, such a peer
// would be heard and never answered. With a peer that speaks identify it changes nothing, with one that does not speak
// gossipsub the stream is refused.
func (n *Node) introduce(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e, open := <-n.connections.Out():
			if !open {
				return
			}
			switch e := e.(event.EvtPeerConnectednessChanged); e.Connectedness {
			case network.Connected:
				n.introducePeer(e.Peer)
			case network.NotConnected:
				select {
				case n.lost <- struct{}{}:
				default:
				}
			}
		}
	}
}

func (n *Node) introducePeer(id peer.ID) {
	emitter, err := n.host.EventBus().Emitter(new(event.EvtPeerProtocolsUpdated))
	if err != nil {
		n.log.Error("gossip cannot be started with a peer", "peer", id, "error", err)
		return
	}
	defer emitter.Close()
	if err := emitter.Emit(event.EvtPeerProtocolsUpdated{Peer: id, Added: []protocol.ID{gossipProtocols[0]}}); err != nil {
		n.log.Error("gossip cannot be started with a peer", "peer", id, "error", err)
	}
}

// stayConnected dials the bootstrap peers at once, and again those that are absent, along with the peers that
// announced themselves: soon after a connection was lost, ever more slowly while a peer stays away. Rounds are jittered
// so that a restarted network does not dial in step.
func (n *Node) stayConnected(ctx context.Context) {
	first := min(firstRedial, n.cfg.RedialEvery)
	for pause := first; ; pause = min(2*pause, n.cfg.RedialEvery) {
		if n.dialAll(ctx, n.bootstrap) {
			pause = n.cfg.RedialEvery
		}
		n.dialAll(ctx, n.knownPeers(ctx))
		n.introduceSilent()
		lost := n.lost
		for resting := true; resting; {
			select {
			case <-ctx.Done():
				return
			case <-lost:
				lost = nil // one loss shortens a rest, further ones do not prolong it
				pause = first
			case <-time.After(pause + rand.N(pause/4+1)):
				resting = false
			}
		}
	}
}

// introduceSilent repeats the introduction of connected peers with which pubsub has no stream: opening it failed, and
// pubsub does not try again.
func (n *Node) introduceSilent() {
	speaking := make(map[peer.ID]bool)
	for _, id := range n.pubsub.ListPeers("") {
		speaking[id] = true
	}
	for _, id := range n.host.Network().Peers() {
		if !speaking[id] {
			n.introducePeer(id)
		}
	}
}

func (n *Node) knownPeers(ctx context.Context) []peer.AddrInfo {
	if n.cfg.KnownPeers == nil {
		return nil
	}
	var known []peer.AddrInfo
	for _, addr := range n.cfg.KnownPeers(ctx) {
		p, err := peer.AddrInfoFromString(addr)
		if err != nil { // what a remote node announced about itself; nothing to be done here
			n.log.Debug("announced address ignored", "address", addr, "error", err)
			continue
		}
		if known = append(known, *p); len(known) == maxKnownDialed {
			break
		}
	}
	return known
}

// dialAll tells whether all of the peers are connected at the end.
func (n *Node) dialAll(ctx context.Context, peers []peer.AddrInfo) bool {
	var (
		dials   sync.WaitGroup
		slots   = make(chan struct{}, dialsAtOnce)
		mu      sync.Mutex
		missing int
	)
	for _, p := range peers {
		if p.ID == n.host.ID() || n.host.Network().Connectedness(p.ID) == network.Connected {
			continue
		}
		slots <- struct{}{}
		dials.Go(func() {
			defer func() { <-slots }()
			if err := n.dial(ctx, p); err != nil && ctx.Err() == nil {
				n.log.Warn("peer not reached, will retry", "peer", p.ID, "addresses", p.Addrs, "error", err)
				mu.Lock()
				missing++
				mu.Unlock()
			}
		})
	}
	dials.Wait()
	return missing == 0
}

func (n *Node) dial(ctx context.Context, p peer.AddrInfo) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	// The swarm's own back-off would refuse attempts that are already spaced here.
	if s, ok := n.host.Network().(*swarm.Swarm); ok {
		s.Backoff().Clear(p.ID)
	}
	if err := n.host.Connect(ctx, p); err != nil {
		return fmt.Errorf("dial %s: %w", p.ID, err)
	}
	return nil
}
