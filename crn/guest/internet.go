package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// Internet is the way out of a program that may reach the internet: what its guest opens by TCP or UDP over IPv4 is opened by this
// process. Name servers are at port 53 of the other end of its card. Nobody gets in that way.
//
// Not reached are private and other special networks and the host itself, as from instances (crn/tap).
type Internet struct {
	Nameservers []netip.AddrPort // that the host uses
	Rate        int64            // bytes a second each way, of one machine; 0 is no bound
	// Dial opens a connection of "tcp" or "udp"; that of a net.Dialer when nil.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

const (
	maxFlows    = 128 // connections and exchanges of datagrams of one machine at the same time
	maxOpening  = 32  // of these, connections that are being opened
	flowBuffer  = 64 << 10
	openLimit   = 30 * time.Second // until a connection stands
	quietLimit  = time.Minute      // without a datagram either way
	nameService = 53
)

// internet is that of one card.
type internet struct {
	Internet
	life             context.Context
	sending, getting *rate.Limiter // nil without a bound
	next             atomic.Uint32 // name server
	flows            chan struct{} // a token for each
}

// allowInternet takes what the guest sends anywhere. To be called before anything comes.
func (c *card) allowInternet(i Internet) error {
	if i.Dial == nil {
		i.Dial = new(net.Dialer).DialContext
	}
	n := &internet{Internet: i, life: c.life, flows: make(chan struct{}, maxFlows)}
	if i.Rate > 0 {
		burst := int(max(i.Rate/4, flowBuffer)) // no datagram is longer
		n.sending, n.getting = rate.NewLimiter(rate.Limit(i.Rate), burst), rate.NewLimiter(rate.Limit(i.Rate), burst)
	}
	if err := c.stack.SetPromiscuousMode(cardNIC, true); err != nil {
		return fmt.Errorf("open the way to the internet: %s", err)
	}
	if err := c.stack.SetSpoofing(cardNIC, true); err != nil {
		return fmt.Errorf("open the way to the internet: %s", err)
	}
	c.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, tcp.NewForwarder(c.stack, 0, maxOpening, n.connect).HandlePacket)
	c.stack.SetTransportProtocolHandler(udp.ProtocolNumber, udp.NewForwarder(c.stack, n.exchange).HandlePacket)
	return nil
}

// special are networks that are not the internet, beside those that netip knows.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("240.0.0.0/4"),
}

// target is where a guest is to be led that sends to an address; false when nowhere.
func (n *internet) target(id stack.TransportEndpointID) (to netip.AddrPort, ok bool) {
	to = netip.AddrPortFrom(netip.AddrFrom4(id.LocalAddress.As4()), id.LocalPort)
	a := to.Addr()
	if a == netip.MustParseAddr(wire.CardHost) {
		if to.Port() != nameService || len(n.Nameservers) == 0 {
			return to, false
		}
		return n.Nameservers[int(n.next.Add(1))%len(n.Nameservers)], true // who has no answer asks again
	}
	if !a.IsGlobalUnicast() || a.IsPrivate() || slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(a) }) {
		return to, false
	}
	return to, !isHost(a)
}

// isHost reports whether an address is the host's own, and when that cannot be known.
func isHost(a netip.Addr) bool {
	own, err := net.InterfaceAddrs()
	return err != nil || slices.ContainsFunc(own, func(address net.Addr) bool {
		p, err := netip.ParsePrefix(address.String())
		return err == nil && p.Addr().Unmap() == a
	})
}

// enter reports whether there is room for one more.
func (n *internet) enter() bool {
	select {
	case n.flows <- struct{}{}:
		return true
	default:
		return false
	}
}

func (n *internet) leave() { <-n.flows }

// connect leads a connection that the guest opens. What cannot be reached refuses it.
func (n *internet) connect(r *tcp.ForwarderRequest) {
	to, ok := n.target(r.ID())
	if !ok || !n.enter() {
		r.Complete(true)
		return
	}
	defer n.leave()
	ctx, cancel := context.WithTimeout(n.life, openLimit)
	out, err := n.Dial(ctx, "tcp", to.String())
	cancel()
	if err != nil {
		r.Complete(true)
		return
	}
	defer out.Close()
	var events waiter.Queue
	end, refusal := r.CreateEndpoint(&events)
	r.Complete(refusal != nil)
	if refusal != nil {
		return
	}
	end.SocketOptions().SetReceiveBufferSize(flowBuffer, true)
	end.SocketOptions().SetSendBufferSize(flowBuffer, true)
	in := gonet.NewTCPConn(&events, end)
	defer in.Close()
	hangUp := func() { in.Close(); out.Close() }
	defer context.AfterFunc(n.life, hangUp)()
	var back sync.WaitGroup
	back.Go(func() { pass(in, n.slowed(out, n.getting), hangUp) })
	pass(out, n.slowed(in, n.sending), hangUp)
	back.Wait()
}

// slowed reads no faster than a limit, if there is one.
func (n *internet) slowed(from io.Reader, limit *rate.Limiter) io.Reader {
	if limit == nil {
		return from
	}
	return &slow{from, limit, n.life}
}

type slow struct {
	from  io.Reader
	limit *rate.Limiter
	life  context.Context
}

func (s *slow) Read(b []byte) (int, error) {
	n, err := s.from.Read(b[:min(len(b), flowBuffer)])
	if n > 0 {
		if ended := s.limit.WaitN(s.life, n); ended != nil {
			return 0, ended
		}
	}
	return n, err
}

// pass copies until one side has said all, which it tells the other.
func pass(to net.Conn, from io.Reader, hangUp func()) {
	_, err := io.Copy(to, from)
	half, ok := to.(interface{ CloseWrite() error })
	if err != nil || !ok || half.CloseWrite() != nil {
		hangUp()
	}
}

// exchange leads datagrams between a port of the guest and one elsewhere. It reports false for what is unreachable.
func (n *internet) exchange(r *udp.ForwarderRequest) bool {
	to, ok := n.target(r.ID())
	if !ok {
		return false
	}
	if !n.enter() {
		return true // lost, as datagrams may be
	}
	var events waiter.Queue
	end, refusal := r.CreateEndpoint(&events)
	if refusal != nil {
		n.leave()
		return true
	}
	end.SocketOptions().SetReceiveBufferSize(flowBuffer, true)
	in := gonet.NewUDPConn(&events, end)
	go func() {
		defer n.leave()
		defer in.Close()
		out, err := n.Dial(n.life, "udp", to.String())
		if err != nil {
			return
		}
		defer out.Close()
		hangUp := func() { in.Close(); out.Close() }
		defer context.AfterFunc(n.life, hangUp)()
		quiet := time.AfterFunc(quietLimit, hangUp)
		defer quiet.Stop()
		var back sync.WaitGroup
		back.Go(func() { passDatagrams(in, out, n.getting, quiet) })
		passDatagrams(out, in, n.sending, quiet)
		hangUp()
		back.Wait()
	}()
	return true
}

// passDatagrams copies until a side is closed. Where nobody listens at a port the next call fails, which is no end. What exceeds the
// limit is lost.
func passDatagrams(to, from net.Conn, limit *rate.Limiter, quiet *time.Timer) {
	datagram := make([]byte, 64<<10)
	for {
		count, err := from.Read(datagram)
		if err == nil {
			quiet.Reset(quietLimit)
			if limit != nil && !limit.AllowN(time.Now(), count) {
				continue
			}
			_, err = to.Write(datagram[:count])
		}
		if err != nil && !errors.Is(err, unix.ECONNREFUSED) {
			return
		}
	}
}
