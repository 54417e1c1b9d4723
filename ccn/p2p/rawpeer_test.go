package p2p

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pubsub_pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
	"github.com/libp2p/go-msgio"
	"google.golang.org/protobuf/proto"
)

func protocolID(s string) protocol.ID { return protocol.ID(s) }

func message(data []byte) *pubsub.Message {
	return &pubsub.Message{Message: &pubsub_pb.Message{Data: data}}
}

// rawPeer speaks gossipsub frame by frame, like a reference daemon: an RSA identity and no identify protocol.
type rawPeer struct {
	host host.Host
	key  crypto.PrivKey
	out  network.Stream

	mu       sync.Mutex
	received []*pubsub_pb.RPC
}

func newRawPeer(t *testing.T, target *testNode) *rawPeer {
	t.Helper()
	key, _, err := crypto.GenerateKeyPairWithReader(crypto.RSA, 2048, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	h, err := libp2p.New(libp2p.Identity(key), libp2p.NoListenAddrs, libp2p.DisableMetrics())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	h.RemoveStreamHandler(identify.ID)
	h.RemoveStreamHandler(identify.IDPush)
	p := &rawPeer{host: h, key: key}
	h.SetStreamHandler("/meshsub/1.1.0", p.read)
	info := peer.AddrInfo{ID: target.host.ID(), Addrs: target.host.Addrs()}
	if err := h.Connect(t.Context(), info); err != nil {
		t.Fatal(err)
	}
	if p.out, err = h.NewStream(t.Context(), info.ID, "/meshsub/1.1.0"); err != nil {
		t.Fatal(err)
	}
	topic := testTopics.Messages
	p.send(t, &pubsub_pb.RPC{Subscriptions: []*pubsub_pb.RPC_SubOpts{{Subscribe: proto.Bool(true), Topicid: &topic}}})
	return p
}

func (p *rawPeer) read(s network.Stream) {
	r := msgio.NewVarintReaderSize(s, maxFrame)
	for {
		frame, err := r.ReadMsg()
		if err != nil {
			return
		}
		rpc := new(pubsub_pb.RPC)
		if err := proto.Unmarshal(frame, rpc); err != nil {
			return
		}
		p.mu.Lock()
		p.received = append(p.received, rpc)
		p.mu.Unlock()
	}
}

// got tells whether a frame that satisfies the condition has arrived.
func (p *rawPeer) got(holds func(*pubsub_pb.RPC) bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, rpc := range p.received {
		if holds(rpc) {
			return true
		}
	}
	return false
}

func (p *rawPeer) send(t *testing.T, rpc *pubsub_pb.RPC) {
	t.Helper()
	body, err := proto.Marshal(rpc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.out.Write(append(binary.AppendUvarint(nil, uint64(len(body))), body...)); err != nil {
		t.Fatal(err)
	}
}

// signed builds a message as a reference daemon does, field by field.
func (p *rawPeer) signed(t *testing.T, data string) *pubsub_pb.Message {
	t.Helper()
	topic := testTopics.Messages
	m := &pubsub_pb.Message{From: []byte(p.host.ID()), Data: []byte(data), Seqno: make([]byte, 8), Topic: &topic}
	if _, err := rand.Read(m.Seqno); err != nil {
		t.Fatal(err)
	}
	unsigned, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if m.Signature, err = p.key.Sign(append([]byte("libp2p-pubsub:"), unsigned...)); err != nil {
		t.Fatal(err)
	}
	if m.Key, err = crypto.MarshalPublicKey(p.key.GetPublic()); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestUnsignedOrWronglySignedMessagesGoNowhere(t *testing.T) {
	a := run(t)
	b := run(t, dialling(a))
	meshed(t, a, b)
	p := newRawPeer(t, a)

	for name, spoil := range map[string]func(m *pubsub_pb.Message){
		"unsigned":          func(m *pubsub_pb.Message) { m.Signature, m.Key = nil, nil },
		"without author":    func(m *pubsub_pb.Message) { m.From, m.Signature, m.Key = nil, nil, nil },
		"without key":       func(m *pubsub_pb.Message) { m.Key = nil },
		"without seqno":     func(m *pubsub_pb.Message) { m.Seqno = nil },
		"wrong signature":   func(m *pubsub_pb.Message) { m.Signature[0] ^= 1 },
		"changed data":      func(m *pubsub_pb.Message) { m.Data = append(m.Data, '!') },
		"of somebody else":  func(m *pubsub_pb.Message) { m.From = []byte(b.host.ID()) },
		"of the node asked": func(m *pubsub_pb.Message) { m.From = []byte(a.host.ID()) },
	} {
		m := p.signed(t, name)
		spoil(m)
		p.send(t, &pubsub_pb.RPC{Publish: []*pubsub_pb.Message{m}})
	}
	// Good ones follow until one has gone all the way, which the bad ones would have gone before it.
	sent := 0
	until(t, "a good one arrives", func() bool {
		if sent++; sent%20 == 1 {
			p.send(t, &pubsub_pb.RPC{Publish: []*pubsub_pb.Message{p.signed(t, fmt.Sprint("good ", sent))}})
		}
		return len(b.all()) > 0
	})
	for _, m := range append(a.all(), b.all()...) {
		if !bytes.HasPrefix(m.Data, []byte("good ")) || m.Author != p.host.ID().String() {
			t.Errorf("received %q of %s", m.Data, m.Author)
		}
	}
}

func TestReferencePeerIsSpokenTo(t *testing.T) {
	a := run(t)
	p := newRawPeer(t, a)
	until(t, "our subscriptions reach it", func() bool {
		return p.got(func(rpc *pubsub_pb.RPC) bool {
			for _, s := range rpc.Subscriptions {
				if s.GetSubscribe() && s.GetTopicid() == testTopics.Messages {
					return true
				}
			}
			return false
		})
	})
	until(t, "it is seen as a reader", func() bool { return len(a.messages.ListPeers()) == 1 })
	a.publish(t, []byte("hello"))
	until(t, "our message reaches it", func() bool {
		return p.got(func(rpc *pubsub_pb.RPC) bool {
			for _, m := range rpc.Publish {
				if string(m.Data) != "hello" {
					continue
				}
				if m.From == nil || len(m.Seqno) != 8 || m.Key == nil || m.Signature == nil {
					t.Errorf("message lacks what strict peers require: %v", m)
				}
				return true
			}
			return false
		})
	})
}

func TestMalformedFramesAreSurvived(t *testing.T) {
	a := run(t)
	for _, frame := range [][]byte{
		{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		append(binary.AppendUvarint(nil, maxFrame+1), make([]byte, 100)...),
		append(binary.AppendUvarint(nil, 5), "\xff\xff\xff\xff\xff"...),
	} {
		p := newRawPeer(t, a)
		if _, err := p.out.Write(frame); err != nil {
			t.Fatal(err)
		}
	}
	p := newRawPeer(t, a)
	p.send(t, &pubsub_pb.RPC{Publish: []*pubsub_pb.Message{p.signed(t, "still there")}})
	until(t, "the node goes on", func() bool { return a.count([]byte("still there")) == 1 })
}
