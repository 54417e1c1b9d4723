package guest

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// card is the host's end of a machine's network card: TCP in this process, with the guest's kernel at the other end and nothing
// beside the two. Calls to the program need no process of the guest but the program's own. Emulated, a guest pays for each change
// between processes with most of what the emulator had found out about its memory.
//
// Only connections to the program's port are made, and none is taken but those to the internet, where the program may have that
// (internet.go). What else the guest sends leads nowhere.
type card struct {
	conn  net.Conn
	stack *stack.Stack
	link  *link
	trip  trip

	receiving sync.WaitGroup
	life      context.Context // ends when the guest can be heard no more
	end       context.CancelFunc
}

const (
	cardNIC = 1
	// Bounds of what one connection may hold in this process, in bytes each way.
	cardBuffer    = 256 << 10
	cardMaxBuffer = 1 << 20
)

// newCard takes the end of a card that has the given addresses. The guest has a way to the internet unless that is nil.
func newCard(conn net.Conn, outside *Internet, addresses ...string) (_ *card, err error) {
	c := &card{conn: conn}
	c.life, c.end = context.WithCancel(context.Background())
	c.stack = stack.New(stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{
			// The program listens on its loopback, and answers from there.
			ipv4.NewProtocolWithOptions(ipv4.Options{AllowExternalLoopbackTraffic: true}),
		},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
	})
	defer func() {
		if err != nil {
			c.end()
			c.stack.Close()
		}
	}()
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4 << 10, Default: cardBuffer, Max: cardMaxBuffer}
	send := tcpip.TCPSendBufferSizeRangeOption{Min: 4 << 10, Default: cardBuffer, Max: cardMaxBuffer}
	for _, option := range []tcpip.SettableTransportProtocolOption{&receive, &send} {
		if err := c.stack.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return nil, fmt.Errorf("set up the network of a machine: %s", err)
		}
	}
	c.link = newLink(conn)
	if err := c.stack.CreateNIC(cardNIC, c.link); err != nil {
		return nil, fmt.Errorf("set up the network of a machine: %s", err)
	}
	for _, text := range addresses {
		own := tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddressWithPrefix{Address: address(text), PrefixLen: wire.CardBits}}
		if err := c.stack.AddProtocolAddress(cardNIC, own, stack.AddressProperties{}); err != nil {
			return nil, fmt.Errorf("set up the network of a machine: %s", err)
		}
	}
	c.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: cardNIC}})
	if outside != nil {
		if err := c.allowInternet(*outside); err != nil {
			return nil, err
		}
	}
	c.receiving.Go(c.receive)
	return c, nil
}

func address(text string) tcpip.Address { return tcpip.AddrFrom4(netip.MustParseAddr(text).As4()) }

// program is where the program listens.
var program = tcpip.FullAddress{NIC: cardNIC, Addr: tcpip.AddrFrom4([4]byte{127, 0, 0, 1}), Port: wire.ProgramPort}

// dialPatience bounds the wait for the guest's kernel, which a busy host may keep from running.
const dialPatience = 10 * time.Second

func (c *card) dial(ctx context.Context) (*cardConn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	stop := context.AfterFunc(c.life, cancel)
	defer stop()
	var events waiter.Queue
	end, err := c.stack.NewEndpoint(tcp.ProtocolNumber, ipv4.ProtocolNumber, &events)
	if err != nil {
		return nil, errors.New(err.String())
	}
	entry, writable := waiter.NewChannelEntry(waiter.WritableEvents)
	events.EventRegister(&entry)
	defer events.EventUnregister(&entry)
	err = end.Connect(program)
	if _, started := err.(*tcpip.ErrConnectStarted); started {
		select {
		case <-writable:
			err = end.LastError()
		case <-ctx.Done():
			end.Close()
			return nil, ctx.Err()
		}
	}
	if err != nil {
		end.Close()
		return nil, errors.New(err.String())
	}
	return &cardConn{TCPConn: gonet.NewTCPConn(&events, end), end: end, card: c}, nil
}

// receive hands what the guest sends to TCP, until the machine is gone or the card is closed.
func (c *card) receive() {
	reader := bufio.NewReaderSize(c.conn, 64<<10)
	var head [frameHead]byte
	for {
		if _, err := io.ReadFull(reader, head[:]); err != nil {
			break
		}
		length := int(binary.BigEndian.Uint32(head[:])) - header.EthernetMinimumSize
		if length < 0 || length > wire.CardMTU {
			break // not what QEMU sends
		}
		if header.Ethernet(head[4:]).Type() != header.IPv4ProtocolNumber {
			if _, err := reader.Discard(length); err != nil {
				break
			}
			continue
		}
		view := buffer.NewViewSize(length)
		if _, err := io.ReadFull(reader, view.AsSlice()); err != nil {
			break
		}
		if c.trip.isEcho(view.AsSlice()) {
			view.Release()
			continue
		}
		packet := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(view)})
		c.link.deliver(packet)
		packet.DecRef()
	}
	c.end()
	c.stack.Close() // breaks all connections
}

// close ends the use of the card. The machine's connection stays open, as a guest that is about to be copied must not see it close.
func (c *card) close() {
	if c == nil {
		return
	}
	_ = c.conn.SetDeadline(time.Unix(1, 0))
	c.receiving.Wait()
	c.stack.Wait()
}

// cardConn is a connection over the card.
type cardConn struct {
	*gonet.TCPConn
	end  tcpip.Endpoint // that of TCPConn
	card *card

	asked   atomic.Int64 // when the last bytes of the request were handed over, Unix nanoseconds; 0 when its answer has begun
	elapsed atomic.Int64
}

// Write passes bytes to the program.
func (c *cardConn) Write(b []byte) (int, error) {
	c.asked.Store(time.Now().UnixNano()) // before: the program may answer before this goroutine runs again
	return c.TCPConn.Write(b)
}

// Read returns bytes from the program.
func (c *cardConn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	if n > 0 {
		if asked := c.asked.Swap(0); asked != 0 {
			c.elapsed.Store(max(0, time.Now().UnixNano()-asked-c.card.trip.least.Load()))
			c.card.probe()
		}
	}
	var late net.Error
	if err != nil && !errors.Is(err, io.EOF) && !(errors.As(err, &late) && late.Timeout()) {
		err = io.ErrUnexpectedEOF // the program broke off; how is of no interest
	}
	return n, err
}

// Elapsed implements [Conn].
func (c *cardConn) Elapsed() time.Duration { return time.Duration(c.elapsed.Load()) }

// Quiet implements [Conn].
func (c *cardConn) Quiet() bool {
	return c.end.Readiness(waiter.ReadableEvents|waiter.EventHUp|waiter.EventErr) == 0
}

// frameHead is what precedes a packet on the way: the length of the frame, and the frame's own head.
const frameHead = 4 + header.EthernetMinimumSize

// link implements stack.LinkEndpoint over frames.
type link struct {
	conn net.Conn

	mu    sync.Mutex // guards writing
	frame []byte
	acks  *acks

	to atomic.Pointer[stack.NetworkDispatcher]
}

func newLink(conn net.Conn) *link {
	l := &link{conn: conn, frame: make([]byte, 0, frameHead+wire.CardMTU)}
	l.acks = &acks{send: l.send, ports: map[uint16]*ack{}}
	return l
}

func (l *link) deliver(p *stack.PacketBuffer) {
	if to := l.to.Load(); to != nil {
		(*to).DeliverNetworkPacket(ipv4.ProtocolNumber, p)
	}
}

var guestAddress, hostAddress = func() (guest, host tcpip.LinkAddress) {
	raw, _ := net.ParseMAC(wire.CardAddress)
	guest = tcpip.LinkAddress(raw)
	raw[5] ^= 1
	return guest, tcpip.LinkAddress(raw)
}()

// WritePackets waits where the machine does not take them: TCP above sends no more meanwhile.
func (l *link) WritePackets(packets stack.PacketBufferList) (int, tcpip.Error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, p := range packets.AsSlice() {
		l.pack(p.AsSlices()...)
		if !l.acks.pass(l.frame[frameHead:]) {
			continue
		}
		if err := l.write(); err != nil {
			return i, &tcpip.ErrClosedForSend{}
		}
	}
	return packets.Len(), nil
}

// send writes one packet that TCP does not wait for.
func (l *link) send(packet []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pack(packet)
	_ = l.write() // where the link is broken its reader finds out
}

// pack makes a frame of a packet. l.mu is held.
func (l *link) pack(parts ...[]byte) {
	l.frame = l.frame[:frameHead]
	header.Ethernet(l.frame[4:]).Encode(&header.EthernetFields{SrcAddr: hostAddress, DstAddr: guestAddress, Type: ipv4.ProtocolNumber})
	for _, part := range parts {
		l.frame = append(l.frame, part...)
	}
	binary.BigEndian.PutUint32(l.frame, uint32(len(l.frame)-4))
}

// write writes the frame. l.mu is held.
func (l *link) write() error {
	_, err := l.conn.Write(l.frame)
	return err
}

func (l *link) Attach(d stack.NetworkDispatcher) {
	if d == nil {
		l.to.Store(nil)
		return
	}
	l.to.Store(&d)
}

func (l *link) IsAttached() bool                             { return l.to.Load() != nil }
func (l *link) MTU() uint32                                  { return wire.CardMTU }
func (l *link) SetMTU(uint32)                                {}
func (l *link) MaxHeaderLength() uint16                      { return 0 }
func (l *link) LinkAddress() tcpip.LinkAddress               { return hostAddress }
func (l *link) SetLinkAddress(tcpip.LinkAddress)             {}
func (l *link) Capabilities() stack.LinkEndpointCapabilities { return 0 }
func (l *link) Wait()                                        {}
func (l *link) ARPHardwareType() header.ARPHardwareType      { return header.ARPHardwareNone }
func (l *link) AddHeader(*stack.PacketBuffer)                {}
func (l *link) ParseHeader(*stack.PacketBuffer) bool         { return true }
func (l *link) Close()                                       {}
func (l *link) SetOnCloseAction(func())                      {}

var _ stack.LinkEndpoint = (*link)(nil)
