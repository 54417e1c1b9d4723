package p2p

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Alive is the node's part in host announcements (spec ccn-core.md §7.3): each node says now and then where it is
// reached, and those that are listed in the registry are believed.
type Alive struct {
	// Self lists what this node announces, every Every (2 min if zero). The first time is when a peer is there to hear
	// it, as a repetition within 30 minutes is dropped by the mesh as already seen.
	Self  []Announcement
	Every time.Duration

	// Allowed tells whether announcements of this peer id count: a bootstrap peer, or one that a registered node names
	// in its multiaddress.
	Allowed func(peerID string) bool

	// Heard receives the announcements that count, one at a time.
	Heard func(ctx context.Context, peerID string, a Announcement)
}

// Announcement says where a node is reached. The order of the fields is that on the wire.
type Announcement struct {
	Address   string // a multiaddress for P2P and IPFS, a URL for HTTP
	Interests *string
	PeerType  PeerType
	Version   string // of the node's software
}

// PeerType is the kind of service that an Announcement locates.
type PeerType string

// The kinds of service.
const (
	PeerP2P  PeerType = "P2P"
	PeerHTTP PeerType = "HTTP"
	PeerIPFS PeerType = "IPFS"
)

const maxNotice = 4096 // bytes; announcements take about 150

func plausibleNotice(_ context.Context, data []byte) bool { return len(data) <= maxNotice }

func (n *Node) announce(ctx context.Context) {
	every := n.cfg.Alive.Every
	if every == 0 {
		every = 2 * time.Minute
	}
	heard := time.NewTicker(time.Second)
	defer heard.Stop()
	for len(n.alive.ListPeers()) == 0 {
		select {
		case <-ctx.Done():
			return
		case <-heard.C:
		}
	}
	again := time.NewTicker(every)
	defer again.Stop()
	for {
		for _, a := range n.cfg.Alive.Self {
			if err := n.Publish(ctx, n.cfg.Topics.Alive, a.encode()); err != nil && ctx.Err() == nil {
				n.log.Warn("announcement not published", "type", a.PeerType, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
	}
}

func (n *Node) listen(ctx context.Context) {
	for {
		m, err := n.notices.Next(ctx)
		if err != nil {
			return
		}
		author := m.GetFrom().String()
		if !n.cfg.Alive.Allowed(author) {
			continue
		}
		a, err := decodeAnnouncement(m.Data)
		if err != nil {
			n.log.Debug("announcement ignored", "peer", author, "error", err)
			continue
		}
		n.cfg.Alive.Heard(ctx, author, a)
	}
}

// encode writes the text as the reference does, blanks included: equal texts are recognised as repetitions.
func (a Announcement) encode() []byte {
	quote := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil { // not for strings
			panic(err)
		}
		return b
	}
	return fmt.Appendf(nil, `{"address": %s, "interests": %s, "peer_type": %s, "version": %s}`,
		quote(a.Address), quote(a.Interests), quote(a.PeerType), quote(a.Version))
}

func decodeAnnouncement(data []byte) (Announcement, error) {
	var wire struct {
		Address  *string  `json:"address"`
		PeerType PeerType `json:"peer_type"`
		Version  string   `json:"version"`
	}
	var err error
	for _, text := range DecodeMessage(data) {
		if err = json.Unmarshal(text, &wire); err == nil {
			break
		}
	}
	switch {
	case err != nil:
		return Announcement{}, fmt.Errorf("decode announcement: %w", err)
	case wire.Address == nil:
		return Announcement{}, fmt.Errorf("announcement without address")
	case wire.PeerType != PeerP2P && wire.PeerType != PeerHTTP && wire.PeerType != PeerIPFS:
		return Announcement{}, fmt.Errorf("announcement of unknown type %q", wire.PeerType)
	}
	return Announcement{Address: *wire.Address, PeerType: wire.PeerType, Version: wire.Version}, nil
}
