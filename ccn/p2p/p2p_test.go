package p2p

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
)

var testTopics = Topics{Messages: "TEST", Alive: "TEST-ALIVE"}

// inbox collects what a node's handler receives.
type inbox struct {
	mu   sync.Mutex
	list []Message
}

func (b *inbox) handle(_ context.Context, m Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.list = append(b.list, m)
}

func (b *inbox) all() []Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.list)
}

func (b *inbox) count(data []byte) (n int) {
	for _, m := range b.all() {
		if bytes.Equal(m.Data, data) {
			n++
		}
	}
	return n
}

type testNode struct {
	*Node
	inbox
	listen string // the address it listens on, to start another there
}

// build makes a node on loopback that is not yet running.
func build(t *testing.T, adjust ...func(*Config)) *testNode {
	t.Helper()
	n := new(testNode)
	cfg := Config{
		KeyFile:     filepath.Join(t.TempDir(), "key"),
		Listen:      []string{"/ip4/127.0.0.1/tcp/0"},
		Topics:      testTopics,
		RedialEvery: 200 * time.Millisecond,
		Handle:      n.handle,
	}
	for _, a := range adjust {
		a(&cfg)
	}
	var err error
	if n.Node, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	n.listen, _, _ = strings.Cut(n.Addrs()[0], "/p2p/")
	t.Cleanup(func() { n.Close() })
	return n
}

// start runs the node until the test ends, or the returned function is called.
func (n *testNode) start(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Run did not end")
		}
	})
	t.Cleanup(stop)
	return stop
}

func run(t *testing.T, adjust ...func(*Config)) *testNode {
	t.Helper()
	n := build(t, adjust...)
	n.start(t)
	return n
}

func dialling(nodes ...*testNode) func(*Config) {
	return func(c *Config) {
		for _, n := range nodes {
			c.Bootstrap = append(c.Bootstrap, n.Addrs()...)
		}
	}
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// meshed waits until both nodes know that the other reads the message topic.
func meshed(t *testing.T, a, b *testNode) {
	t.Helper()
	until(t, "nodes know each other", func() bool {
		return slices.Contains(a.messages.ListPeers(), b.host.ID()) && slices.Contains(b.messages.ListPeers(), a.host.ID())
	})
}

// connected waits until what a publishes reaches c, over whatever is between them: a peer is in the mesh of its
// neighbour only from the neighbour's next heartbeat.
func connected(t *testing.T, a, c *testNode) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	probe := []byte("probe of " + a.PeerID())
	for i := range 400 {
		a.publish(t, fmt.Appendf(nil, "%s %04d", probe, i))
		<-tick.C
		if slices.ContainsFunc(c.all(), func(m Message) bool { return bytes.HasPrefix(m.Data, probe) }) {
			return
		}
	}
	t.Fatal("nothing arrives within 20 s")
}

func (n *testNode) publish(t *testing.T, data []byte) {
	t.Helper()
	if err := n.Publish(t.Context(), testTopics.Messages, data); err != nil {
		t.Fatal(err)
	}
}

func TestMessageIsForwardedOnceWithItsAuthor(t *testing.T) {
	a := run(t)
	b := run(t, dialling(a))
	c := run(t, dialling(b)) // knows b only
	meshed(t, a, b)
	meshed(t, b, c)
	connected(t, a, c)
	connected(t, c, a) // the node in the middle may have one neighbour in its mesh a heartbeat before the other

	data := []byte(`{"item_hash":"abc"}`)
	a.publish(t, data)
	for _, n := range []*testNode{b, c} {
		until(t, "delivery", func() bool { return n.count(data) > 0 })
	}

	// The same data again, from anybody, is not delivered again. What is published after it shows that it has passed.
	a.publish(t, data)
	c.publish(t, data)
	a.publish(t, []byte("after"))
	c.publish(t, []byte("after too"))
	for _, n := range []*testNode{b, c} {
		until(t, "later delivery", func() bool { return n.count([]byte("after")) > 0 })
	}
	for _, n := range []*testNode{a, b} {
		until(t, "later delivery", func() bool { return n.count([]byte("after too")) > 0 })
	}
	for _, n := range []*testNode{b, c} {
		if got := n.count(data); got != 1 {
			t.Errorf("delivered %d times", got)
		}
		for _, m := range n.all() {
			author := a.PeerID()
			if bytes.Equal(m.Data, []byte("after too")) || bytes.HasPrefix(m.Data, []byte("probe of "+c.PeerID())) {
				author = c.PeerID()
			}
			if m.Topic != testTopics.Messages || m.Author != author {
				t.Errorf("message %+v, want author %s", m, author)
			}
		}
	}
	if a.count(data) != 0 || a.count([]byte("after")) != 0 {
		t.Error("a node received what it published itself")
	}
	if s := b.Stats(); s.Peers != 2 || s.Received != uint64(len(b.all())) || s.Published != 0 || s.Dropped+s.Unsent != 0 {
		t.Errorf("stats of the node in the middle: %+v", s)
	}
}

func TestPeerWithoutIdentifyExchangesMessages(t *testing.T) {
	legacy := build(t)
	for _, id := range []string{identify.ID, identify.IDPush} {
		legacy.host.RemoveStreamHandler(protocolID(id))
	}
	legacy.start(t)
	modern := run(t, dialling(legacy))
	meshed(t, legacy, modern)
	for _, pair := range [][2]*testNode{{modern, legacy}, {legacy, modern}} {
		data := fmt.Appendf(nil, "from %s", pair[0].PeerID())
		pair[0].publish(t, data)
		until(t, "delivery", func() bool { return pair[1].count(data) == 1 })
	}
}

func TestSizeLimit(t *testing.T) {
	a := run(t)
	b := run(t, dialling(a))
	meshed(t, a, b)
	for _, size := range []int{250_000, MaxPayload} {
		data := bytes.Repeat([]byte{'x'}, size)
		a.publish(t, data)
		until(t, fmt.Sprintf("delivery of %d bytes", size), func() bool { return b.count(data) == 1 })
	}
	for _, size := range []int{MaxPayload + 1, maxFrame} {
		if err := a.Publish(t.Context(), testTopics.Messages, make([]byte, size)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestBurstArrivesWhole(t *testing.T) {
	const burst = 2000
	fast := func(c *Config) { c.CreateEd25519 = true }
	a := run(t, fast)
	b := run(t, dialling(a), fast)
	c := run(t, dialling(a, b), fast)
	meshed(t, a, b)
	meshed(t, a, c)
	meshed(t, b, c)
	began := time.Now()
	for i := range burst {
		a.publish(t, fmt.Appendf(nil, "%01000d", i))
	}
	for _, n := range []*testNode{b, c} {
		until(t, "delivery of all", func() bool { return len(n.all())+int(n.Stats().Dropped) == burst })
	}
	t.Logf("%d payloads of 1 kB from one node to two in %v", burst, time.Since(began))
	for _, n := range []*testNode{a, b, c} {
		if s := n.Stats(); s.Dropped+s.Unsent != 0 {
			t.Errorf("lost: %+v", s)
		}
	}
}

func TestUnknownTopicIsRefused(t *testing.T) {
	if err := build(t).Publish(t.Context(), "OTHER", nil); err == nil {
		t.Error("published on a topic that the node has not joined")
	}
}

func TestInvalidPayloadIsNeitherPublishedNorForwarded(t *testing.T) {
	even := func(_ context.Context, data []byte) bool { return len(data)%2 == 0 }
	strict := func(c *Config) { c.Validate = even }
	a := run(t) // does not check
	b := run(t, dialling(a), strict)
	c := run(t, dialling(b))
	meshed(t, a, b)
	meshed(t, b, c)
	connected(t, a, c)
	a.publish(t, []byte("odd"))
	a.publish(t, []byte("even"))
	until(t, "delivery", func() bool { return c.count([]byte("even")) == 1 })
	if b.count([]byte("odd"))+c.count([]byte("odd")) != 0 {
		t.Error("invalid payload passed")
	}
	if err := b.Publish(t.Context(), testTopics.Messages, []byte("odd one")); err == nil {
		t.Error("invalid payload published")
	}
}

func TestSlowHandlerLosesOnlyWhatExceedsTheWaitingRoom(t *testing.T) {
	const slots, published = 10, 100
	var open atomic.Bool
	release := make(chan struct{})
	slow := func(c *Config) {
		handle := c.Handle
		c.Workers = 2
		c.Handle = func(ctx context.Context, m Message) {
			if !open.Load() {
				<-release
			}
			handle(ctx, m)
		}
	}
	a := run(t)
	b := build(t, dialling(a), slow)
	b.room.slots = slots
	b.start(t)
	meshed(t, a, b)
	for i := range published {
		a.publish(t, fmt.Appendf(nil, "%d", i))
	}
	until(t, "everything accounted for", func() bool {
		return b.Stats().Dropped+uint64(b.room.waiting.Load())+b.Stats().Received == published
	})
	if s := b.Stats(); s.Received != 2 || s.Dropped != published-slots-2 {
		t.Errorf("with both workers busy and %d places: %+v", slots, s)
	}
	open.Store(true)
	close(release)
	until(t, "what waited is delivered", func() bool { return len(b.all()) == slots+2 })
	a.publish(t, []byte("last"))
	until(t, "the node goes on", func() bool { return b.count([]byte("last")) == 1 })
	if w, bytes := b.room.waiting.Load(), b.room.bytes.Load(); w != 0 || bytes != 0 {
		t.Errorf("empty room counts %d payloads, %d bytes", w, bytes)
	}
}

func TestWaitingRoomIsBoundedInBytes(t *testing.T) {
	r := newWaitingRoom(100, 1000)
	m := message(make([]byte, 400))
	first, second, third := r.admit(m), r.admit(m), r.admit(m)
	if !first || !second || third || r.dropped.Load() != 1 {
		t.Fatal("want two of 400 bytes in 1000, and the third counted")
	}
	r.leave(m)
	if !r.admit(m) {
		t.Error("a free place is not given away")
	}
}

func TestAbsentBootstrapPeerDelaysNothingAndIsReachedLater(t *testing.T) {
	late := build(t)
	addrs, key, listen := late.Addrs(), late.cfg.KeyFile, late.listen
	if err := late.Close(); err != nil {
		t.Fatal(err)
	}
	a := run(t)
	b := run(t, dialling(a), func(c *Config) {
		// Nobody answers at the first; connections to the second hang until the dial's own limit.
		c.Bootstrap = append(c.Bootstrap, addrs[0], "/ip4/198.51.100.1/tcp/4025/p2p/QmZkurbY2G2hWay59yiTgQNaQxHSNzKZFt2jbnwJhQcKgV")
	})
	meshed(t, a, b)
	late = run(t, func(c *Config) { c.KeyFile, c.Listen = key, []string{listen} })
	meshed(t, b, late)
}

func TestLostBootstrapPeerIsReachedAgain(t *testing.T) {
	a := build(t)
	stop := a.start(t)
	b := run(t, dialling(a), func(c *Config) { c.RedialEvery = time.Hour }) // a loss is not left to the periodic round
	meshed(t, a, b)
	stop()
	until(t, "loss is noticed", func() bool { return len(b.Peers()) == 0 })
	again := run(t, func(c *Config) {
		c.KeyFile, c.Listen = a.cfg.KeyFile, []string{a.listen}
	})
	meshed(t, again, b)
	if got := b.Peers(); len(got) != 1 || got[0] != a.PeerID() {
		t.Errorf("peers %v", got)
	}
}

func TestKnownPeersAreDialled(t *testing.T) {
	a := run(t)
	b := run(t, func(c *Config) {
		c.KnownPeers = func(context.Context) []string { return append([]string{"nonsense", "/ip4/127.0.0.1"}, a.Addrs()...) }
	})
	meshed(t, a, b)
}

func TestNodeDoesNotDialItself(t *testing.T) {
	n := build(t)
	n.bootstrap = []peer.AddrInfo{{ID: n.host.ID(), Addrs: n.host.Addrs()}}
	if !n.dialAll(t.Context(), n.bootstrap) || len(n.Peers()) != 0 {
		t.Error("dialled itself")
	}
}

func TestConfigErrorsSayWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		adjust func(*Config)
		want   string
	}{
		"no handler":            {func(c *Config) { c.Handle = nil }, "handler"},
		"no topic":              {func(c *Config) { c.Topics = Topics{} }, "topic"},
		"bootstrap without id":  {func(c *Config) { c.Bootstrap = []string{"/ip4/127.0.0.1/tcp/4025"} }, "must end in /p2p/"},
		"bootstrap no address":  {func(c *Config) { c.Bootstrap = []string{"127.0.0.1:4025"} }, "127.0.0.1:4025"},
		"listen address":        {func(c *Config) { c.Listen = []string{"4025"} }, "listen"},
		"key folder is missing": {func(c *Config) { c.KeyFile = filepath.Join(c.KeyFile, "absent", "key") }, "key"},
	} {
		cfg := Config{
			KeyFile: filepath.Join(t.TempDir(), "key"), Topics: testTopics,
			Handle: func(context.Context, Message) {},
		}
		c.adjust(&cfg)
		if n, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
			n.Close()
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	taken := build(t)
	_, err := New(Config{
		KeyFile: filepath.Join(t.TempDir(), "key"), Topics: testTopics, Handle: taken.handle,
		Listen: []string{taken.listen},
	})
	if err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("port in use: %v", err)
	}
}

func TestGossipParametersAreThoseOfReferencePeers(t *testing.T) {
	p := pubsub.DefaultGossipSubParams() // what gossipOptions starts from
	got := fmt.Sprint(p.D, p.Dlo, p.Dhi, p.Dout, p.Dlazy, p.Dscore, p.HeartbeatInterval, p.HistoryLength, p.HistoryGossip,
		p.GossipFactor, p.PruneBackoff, p.UnsubscribeBackoff, p.FanoutTTL, p.GossipRetransmission, p.IWantFollowupTime,
		p.GraftFloodThreshold, p.OpportunisticGraftTicks, p.OpportunisticGraftPeers, p.MaxIHaveMessages)
	if want := "6 5 12 2 6 4 1s 5 3 0.25 1m0s 10s 1m0s 3 3s 10s 60 2 10"; got != want {
		t.Errorf("library defaults changed:\n%s, want\n%s", got, want)
	}
}

func TestRunLeavesNothingBehind(t *testing.T) {
	exchange := func() {
		a := build(t)
		stopA := a.start(t)
		b := build(t, dialling(a))
		stopB := b.start(t)
		meshed(t, a, b)
		a.publish(t, []byte("x"))
		until(t, "delivery", func() bool { return b.count([]byte("x")) == 1 })
		stopB()
		stopA()
	}
	exchange() // what the libraries start once for a process
	before := runtime.NumGoroutine()
	exchange()
	until(t, "all goroutines end", func() bool { return runtime.NumGoroutine() <= before })
}

// BenchmarkPublish measures what a payload costs its publisher, nearly all of it the signature, for both kinds of key.
func BenchmarkPublish(b *testing.B) {
	for _, kind := range []string{"rsa2048", "ed25519"} {
		b.Run(kind, func(b *testing.B) {
			n, err := New(Config{
				KeyFile: filepath.Join(b.TempDir(), "key"), CreateEd25519: kind == "ed25519",
				Topics: testTopics, Handle: new(inbox).handle,
			})
			if err != nil {
				b.Fatal(err)
			}
			defer n.Close()
			data := make([]byte, 1000)
			for i := 0; b.Loop(); i++ {
				binary.LittleEndian.PutUint64(data, uint64(i))
				if err := n.Publish(b.Context(), testTopics.Messages, data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
