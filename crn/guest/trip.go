package guest

import (
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// trip is how long the way to the guest's kernel and back takes: the part of the time for an answer in which the program has no
// part. An echo is asked for now and then (ICMP), which the kernel answers by itself.
type trip struct {
	least atomic.Int64 // the shortest that was seen, in nanoseconds; 0 before the first
	asked atomic.Int64 // when the last echo was asked for, Unix nanoseconds
	due   atomic.Int64 // the same while its answer is awaited, else 0
	count atomic.Int64 // echoes that were asked for
}

// tripEvery is how often an echo is asked for, at most. The first ones follow each other sooner, twice the time apart each: a guest
// that answers for the first time takes longer, and what calls take cannot be told before.
const (
	tripEvery = time.Second
	tripFirst = 5 * time.Millisecond
)

// pause is the time between an echo and the next.
func (t *trip) pause() time.Duration {
	return min(tripFirst<<min(t.count.Load(), 10), tripEvery)
}

// probe asks for an echo, when the last was a while ago.
func (c *card) probe() {
	now, last := time.Now().UnixNano(), c.trip.asked.Load()
	if now-last < int64(c.trip.pause()) || !c.trip.asked.CompareAndSwap(last, now) {
		return
	}
	number := c.trip.count.Add(1)
	const length = header.IPv4MinimumSize + header.ICMPv4MinimumSize
	packet := make([]byte, length)
	ip := header.IPv4(packet)
	ip.Encode(&header.IPv4Fields{
		TotalLength: length, TTL: 1, Protocol: uint8(header.ICMPv4ProtocolNumber),
		SrcAddr: address(wire.CardHost), DstAddr: address(wire.CardGuest),
	})
	ip.SetChecksum(^ip.CalculateChecksum())
	echo := header.ICMPv4(ip.Payload())
	echo.SetType(header.ICMPv4Echo)
	echo.SetSequence(uint16(number)) // by which the answer is known: one that comes late would make the next look quick
	echo.SetChecksum(^checksum.Checksum(echo, 0))
	c.trip.due.Store(time.Now().UnixNano())
	c.link.send(packet) // without an answer nothing is known
}

// isEcho reports whether a packet is an echo, and takes note of its time.
func (t *trip) isEcho(packet []byte) bool {
	ip := header.IPv4(packet)
	if !ip.IsValid(len(packet)) || ip.TransportProtocol() != header.ICMPv4ProtocolNumber {
		return false
	}
	echo := header.ICMPv4(ip.Payload())
	if len(echo) < header.ICMPv4MinimumSize || echo.Type() != header.ICMPv4EchoReply {
		return false
	}
	if due := t.due.Load(); due != 0 && echo.Sequence() == uint16(t.count.Load()) && t.due.CompareAndSwap(due, 0) {
		took := time.Now().UnixNano() - due
		if least := t.least.Load(); least == 0 || took < least {
			t.least.Store(max(1, took)) // by the goroutine that reads, and no other
		}
	}
	return true
}
