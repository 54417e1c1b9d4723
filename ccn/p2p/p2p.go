// Package p2p is the node's place in the gossip network: it publishes messages to the other core channel nodes and
// hands over what they publish. It speaks exactly what the reference daemon speaks (TCP, noise, yamux, gossipsub 1.1
// signed with an RSA identity), so nodes of both kinds form one mesh.
//
// The ccn package builds one Node: its API publishes with Publish, its intake receives through Config.Handle. Gossip is
// a fast path and promises nothing: what is lost here is healed by reconciliation and by the chain.
package p2p

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/multiformats/go-multiaddr"
)

// What reference peers require on the wire: the rows of the table in spec p2p.md §2.
const (
	maxFrame = 262_144          // bytes of one RPC; a larger frame makes a reference peer reset the stream
	seenTTL  = 30 * time.Minute // a payload seen within it is neither delivered nor forwarded again

	// A reference peer reads the first 100 messages of an RPC and ignores the rest. Publishing sends one message a
	// frame; answers to IWANT carry as many as our IHAVE offered, so the offer is what has to be bounded.
	maxOffered = 100
)

// MaxPayload is the largest payload that Publish accepts, in bytes: a frame less what the author's id, key and
// signature, the topic and the framing take.
const MaxPayload = maxFrame - 1024

// ErrTooLarge is returned by Publish for a payload above MaxPayload. Such a message reaches other nodes only by other
// ways: as a stored file, or through the chain.
var ErrTooLarge = errors.New("payload too large for gossip")

var gossipProtocols = []protocol.ID{pubsub.GossipSubID_v11, pubsub.GossipSubID_v10}

// Config is what a Node needs. KeyFile, Topics and Handle are required.
type Config struct {
	// KeyFile holds the node's identity: an unencrypted PKCS#8 private key in DER form, RSA of at least 2048 bits
	// or Ed25519. If absent it is created with mode 0600: RSA 2048, which is what reference nodes and their tools
	// expect, or Ed25519 if CreateEd25519 is set, with which publishing costs a tenth (about 0.1 ms instead of 1 ms).
	// Only a network without reference nodes can count on the latter.
	KeyFile       string
	CreateEd25519 bool

	// Listen lists the multiaddresses to accept connections on, such as /ip4/0.0.0.0/tcp/4025. Empty: dial only.
	Listen []string

	// Bootstrap lists the peers to stay connected to, as multiaddresses that end in /p2p/<peer id>.
	Bootstrap []string

	// KnownPeers, if set, is asked at each redial for further addresses worth dialling: peers that announced themselves.
	KnownPeers func(context.Context) []string

	// RedialEvery is the pause between attempts to reach absent peers. 60 s if zero. The first attempts come faster.
	RedialEvery time.Duration

	// Topics names the channels of the network.
	Topics Topics

	// Validate, if set, tells whether a payload of the message topic may be forwarded. It runs before delivery on the
	// few validation workers, for every new payload, so it must be cheap and must not block.
	Validate func(ctx context.Context, data []byte) bool

	// Handle receives every new payload of the message topic that somebody else published. It runs on Workers
	// goroutines at once, in no particular order; while all are busy payloads wait, and beyond the bounds of the
	// waiting room (4096 payloads, 64 MiB) they are dropped and counted.
	Handle  func(context.Context, Message)
	Workers int // 4 if zero

	// Alive, if set, makes the node announce itself and listen to the announcements of others.
	Alive *Alive

	Logger *slog.Logger // slog.Default() if nil
}

// Topics names the two gossip channels of a network (spec ccn-core.md §7.1).
type Topics struct {
	Messages string // signed messages; "ALEPH-TEST" on the main network
	Alive    string // host announcements; "ALIVE" on the main network; empty: none
}

// Message is a payload as it was published.
type Message struct {
	Topic  string
	Author string // peer id of the node that signed and published it, not of the one that forwarded it
	Data   []byte // see DecodeMessage
}

// Stats counts since the node was built.
type Stats struct {
	Peers     int    // connected now
	Published uint64 // payloads of this node that were handed to the mesh
	Received  uint64 // new payloads of others that were handed to Handle
	Dropped   uint64 // payloads that found the waiting room, the validation queue or the memory of ids full
	Unsent    uint64 // frames to peers too slow to take them
}

// Node is one member of the gossip network.
type Node struct {
	cfg       Config
	log       *slog.Logger
	host      host.Host
	pubsub    *pubsub.PubSub
	stop      context.CancelFunc // ends what pubsub started
	bootstrap []peer.AddrInfo

	messages, alive *pubsub.Topic // alive is nil without Config.Alive
	inbox, notices  *pubsub.Subscription
	room            *waitingRoom
	counts          counters

	connections event.Subscription
	lost        chan struct{} // tells stayConnected that a peer has gone; holds one
	closing     sync.Once
	closed      error
}

// New opens the node's port and joins the topics. Nothing is dialled or delivered before Run. A node that never runs
// must be closed.
func New(cfg Config) (_ *Node, err error) {
	if cfg.Topics.Messages == "" || cfg.Handle == nil {
		return nil, errors.New("p2p: a message topic and a handler are required")
	}
	if cfg.Workers == 0 {
		cfg.Workers = 4
	}
	if cfg.RedialEvery == 0 {
		cfg.RedialEvery = time.Minute
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	n := &Node{cfg: cfg, log: cfg.Logger, room: newWaitingRoom(4096, 64<<20), lost: make(chan struct{}, 1)}
	if n.bootstrap, err = parsePeers(cfg.Bootstrap); err != nil {
		return nil, fmt.Errorf("p2p: bootstrap peers: %w", err)
	}
	key, err := loadOrCreateKey(cfg.KeyFile, cfg.CreateEd25519)
	if err != nil {
		return nil, fmt.Errorf("p2p: node key: %w", err)
	}
	conns, err := connmgr.NewConnManager(96, 192)
	if err != nil {
		return nil, fmt.Errorf("p2p: connection manager: %w", err)
	}
	for _, p := range n.bootstrap {
		conns.Protect(p.ID, "bootstrap")
	}
	n.counts.seen = &seen{most: maxSeen, dropped: func(k int) { n.counts.unheard.Add(uint64(k)) }, log: n.log}
	n.host, err = libp2p.New(
		libp2p.Identity(key),
		libp2p.NoListenAddrs, // until everything is ready, below
		// Without sharing, a port that another process uses is an error and not half of the connections.
		libp2p.NoTransports, libp2p.Transport(tcp.NewTCPTransport, tcp.DisableReuseport()),
		libp2p.Security(noise.ID, noise.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		libp2p.ConnectionManager(conns),
		libp2p.UserAgent("aleph-go"),
		libp2p.DisableRelay(), libp2p.Ping(false), libp2p.DisableMetrics(),
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("p2p: build host: %w", err), conns.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	n.connections, err = n.host.EventBus().Subscribe(new(event.EvtPeerConnectednessChanged), eventbus.BufSize(256))
	if err != nil {
		return nil, fmt.Errorf("p2p: watch connections: %w", err)
	}
	if n.pubsub, err = pubsub.NewGossipSub(ctx, n.host, gossipOptions(&n.counts, n.log)...); err != nil {
		return nil, fmt.Errorf("p2p: start gossip: %w", err)
	}
	if n.messages, n.inbox, err = n.join(cfg.Topics.Messages, n.room.admit, cfg.Validate); err != nil {
		return nil, err
	}
	if cfg.Alive != nil && cfg.Topics.Alive != "" {
		if n.alive, n.notices, err = n.join(cfg.Topics.Alive, func(*pubsub.Message) bool { return true }, plausibleNotice); err != nil {
			return nil, err
		}
	}
	for _, addr := range cfg.Listen {
		m, err := multiaddr.NewMultiaddr(addr)
		if err != nil {
			return nil, fmt.Errorf("p2p: listen on %q (want a multiaddress such as /ip4/0.0.0.0/tcp/4025): %w", addr, err)
		}
		if err := n.host.Network().Listen(m); err != nil {
			return nil, fmt.Errorf("p2p: listen on %s (is another process using the port?): %w", addr, err)
		}
	}
	return n, nil
}

// gossipOptions sets what must match the reference peers. What is absent keeps the library's default, which is the same
// there and here: mesh sizes, heartbeat, history, back-offs, strict signing; scoring and peer exchange off.
func gossipOptions(counts *counters, log *slog.Logger) []pubsub.Option {
	params := pubsub.DefaultGossipSubParams()
	params.MaxIHaveLength = maxOffered
	return []pubsub.Option{
		pubsub.WithGossipSubProtocols(gossipProtocols, pubsub.GossipSubDefaultFeatures),
		pubsub.WithGossipSubParams(params),
		pubsub.WithMessageIdFn(messageID),
		pubsub.WithMaxMessageSize(maxFrame),
		pubsub.WithSeenMessagesTTL(seenTTL),
		pubsub.WithFloodPublish(true),
		// The library's queues of 32 overflow in any burst; these take some seconds of full load.
		pubsub.WithValidateQueueSize(2048),
		pubsub.WithPeerOutboundQueueSize(2048),
		pubsub.WithRawTracer(counts),
		pubsub.WithAppSpecificRpcInspector(counts.seen.inspect),
		pubsub.WithLogger(log),
	}
}

// join enters a topic. admit decides, on pubsub's own goroutine, whether a payload of another node enters the
// subscription's buffer.
func (n *Node) join(topic string, admit func(*pubsub.Message) bool, validate func(context.Context, []byte) bool) (*pubsub.Topic, *pubsub.Subscription, error) {
	if validate != nil {
		check := func(ctx context.Context, _ peer.ID, m *pubsub.Message) bool { return validate(ctx, m.Data) }
		if err := n.pubsub.RegisterTopicValidator(topic, check, pubsub.WithValidatorInline(true)); err != nil {
			return nil, nil, fmt.Errorf("p2p: validate topic %s: %w", topic, err)
		}
	}
	t, err := n.pubsub.Join(topic)
	if err != nil {
		return nil, nil, fmt.Errorf("p2p: join topic %s: %w", topic, err)
	}
	fromOthers := func(m *pubsub.Message) bool { return m.ReceivedFrom != n.host.ID() && admit(m) }
	sub, err := t.Subscribe(pubsub.WithBufferSize(n.room.slots), pubsub.WithMessageFilter(fromOthers))
	if err != nil {
		return nil, nil, fmt.Errorf("p2p: subscribe to topic %s: %w", topic, err)
	}
	return t, sub, nil
}

// Run delivers messages and keeps the node connected until the context ends, then closes the node and waits for
// everything it started.
func (n *Node) Run(ctx context.Context) error {
	var running sync.WaitGroup
	running.Go(func() { n.introduce(ctx) })
	running.Go(func() { n.stayConnected(ctx) })
	for range n.cfg.Workers {
		running.Go(func() { n.deliver(ctx) })
	}
	if n.alive != nil {
		running.Go(func() { n.announce(ctx) })
		running.Go(func() { n.listen(ctx) })
	}
	<-ctx.Done()
	running.Wait()
	return n.Close()
}

// Close leaves the network. Run does it by itself.
func (n *Node) Close() error {
	n.closing.Do(func() {
		n.stop()
		if n.connections != nil {
			n.closed = n.connections.Close()
		}
		n.closed = errors.Join(n.closed, n.host.Close())
	})
	return n.closed
}

// Publish sends a payload to the peers of a topic the node has joined; see EncodeMessage for the message topic. It
// returns once the payload is on its way, which does not mean that anybody has it. A payload that passed here within
// the last 30 minutes is not sent again, without error; neither is one that no peer would hear, which those who come
// later get by catching up. ErrTooLarge tells that it exceeds MaxPayload.
func (n *Node) Publish(ctx context.Context, topic string, data []byte) error {
	if len(data) > MaxPayload {
		return fmt.Errorf("publish on %s: %w: %d bytes, at most %d", topic, ErrTooLarge, len(data), MaxPayload)
	}
	var t *pubsub.Topic
	switch {
	case topic == n.cfg.Topics.Messages:
		t = n.messages
	case n.alive != nil && topic == n.cfg.Topics.Alive:
		t = n.alive
	default:
		return fmt.Errorf("publish on %s: not a topic of this node", topic)
	}
	// Signing costs more than all else that a message takes here, and nobody would hear it.
	if len(t.ListPeers()) == 0 {
		return nil
	}
	if err := t.Publish(ctx, data); err != nil {
		return fmt.Errorf("publish on %s: %w", topic, err)
	}
	n.counts.published.Add(1)
	return nil
}

// Connected reports whether any peer is there that could hear what is published.
func (n *Node) Connected() bool { return len(n.host.Network().Conns()) > 0 }

// PeerID is the node's identity in base58 ("Qm…" for an RSA key).
func (n *Node) PeerID() string { return n.host.ID().String() }

// Addrs lists the node's addresses in full, /p2p/<peer id> included, as Config.Bootstrap of another node takes them.
func (n *Node) Addrs() []string {
	addrs, err := peer.AddrInfoToP2pAddrs(host.InfoFromHost(n.host))
	if err != nil { // only for an id that cannot be encoded; ours was made by the host
		return nil
	}
	return texts(addrs)
}

// Peers lists the ids of the peers connected now.
func (n *Node) Peers() []string { return texts(n.host.Network().Peers()) }

// Stats reports the node's counters.
func (n *Node) Stats() Stats {
	return Stats{
		Peers:     len(n.host.Network().Peers()),
		Published: n.counts.published.Load(),
		Received:  n.counts.received.Load(),
		Dropped:   n.counts.refused.Load() + n.counts.unheard.Load() + n.room.dropped.Load(),
		Unsent:    n.counts.unsent.Load(),
	}
}

func texts[T fmt.Stringer](in []T) []string {
	out := make([]string, len(in))
	for i, v := range in {
		out[i] = v.String()
	}
	return out
}

func parsePeers(addrs []string) ([]peer.AddrInfo, error) {
	parsed := make([]multiaddr.Multiaddr, 0, len(addrs))
	for _, a := range addrs {
		m, err := multiaddr.NewMultiaddr(a)
		if err != nil {
			return nil, fmt.Errorf("address %q: %w", a, err)
		}
		if _, id := peer.SplitAddr(m); id == "" {
			return nil, fmt.Errorf("address %q must end in /p2p/<peer id>", a)
		}
		parsed = append(parsed, m)
	}
	return peer.AddrInfosFromP2pAddrs(parsed...)
}
