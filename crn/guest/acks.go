package guest

import (
	"slices"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// Acknowledgements that carry nothing else wait a moment for the next request of their connection, which carries them too: to an
// emulated guest a packet is a good part of what a call costs. gVisor itself sends each at once.
//
// A program that writes its answer in two small pieces, without TCP_NODELAY, has its kernel keep the second back until the first is
// acknowledged. So where none came that could carry it, a connection's next ones go at once.
const (
	ackDelay = 2 * time.Millisecond
	atOnce   = 16 // acknowledgements of a connection after one that waited in vain
)

// acks are the acknowledgements that wait, one for each connection, by the port on our side.
type acks struct {
	send func(packet []byte) // called with nothing locked

	mu    sync.Mutex
	ports map[uint16]*ack
}

type ack struct {
	waiting []byte // the packet, nil when none waits
	timer   *time.Timer
	atOnce  int
}

// pass reports whether a packet is to be sent now, and keeps it otherwise.
func (a *acks) pass(packet []byte) bool {
	ip := header.IPv4(packet)
	if len(packet) < header.IPv4MinimumSize || ip.TransportProtocol() != header.TCPProtocolNumber {
		return true
	}
	segment := header.TCP(packet[ip.HeaderLength():])
	if segment.DestinationPort() != wire.ProgramPort || ip.SourceAddress() != address(wire.CardHost) { // one that the guest opened
		return true
	}
	port, flags := segment.SourcePort(), segment.Flags()
	carries := len(segment.Payload()) > 0
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.ports[port]
	switch {
	case flags.Intersects(header.TCPFlagSyn | header.TCPFlagRst | header.TCPFlagFin):
		a.forget(port)
		return true
	case c == nil && !carries: // nothing was asked yet, or all was
		return true
	case c == nil:
		c = &ack{}
		c.timer = time.AfterFunc(time.Hour, func() { a.expire(c) })
		c.timer.Stop()
		a.ports[port] = c
		return true
	case carries || c.waiting != nil: // what waits is in this one; and of two in a row the second goes, as ever with TCP
		c.timer.Stop()
		c.waiting = nil
		return true
	case c.atOnce > 0:
		c.atOnce--
		return true
	}
	c.waiting = slices.Clone(packet)
	c.timer.Reset(ackDelay)
	return false
}

// expire sends what nothing came to carry.
func (a *acks) expire(c *ack) {
	a.mu.Lock()
	packet := c.waiting
	c.waiting, c.atOnce = nil, atOnce
	a.mu.Unlock()
	if packet != nil {
		a.send(packet)
	}
}

// forget ends a connection. a.mu is held.
func (a *acks) forget(port uint16) {
	if c := a.ports[port]; c != nil {
		c.timer.Stop()
		delete(a.ports, port)
	}
}
