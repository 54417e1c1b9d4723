package tap

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/aleph-im/aleph-go/message"
)

// Kind of a workload, as its IPv6 address shows it (spec/crn.md §4.7).
type Kind uint16

const (
	KindProgram           Kind = 1
	KindPersistentProgram Kind = 2
	KindInstance          Kind = 3
)

// MaxSlot is the greatest number of a machine: its networks are cut out of 172.16.0.0/12.
const MaxSlot = 4095

// Addresses of a machine: each network has the host as its first address and the guest as the one after that.
type Addresses struct {
	IPv4Network, IPv4Host, IPv4 netip.Addr // a /24: .0, .1 and .2
	IPv6Network, IPv6           netip.Addr // a /124: ::0, which is also the host's, and ::1
}

// Prefix lengths of the networks.
const (
	bits4 = 24
	bits6 = 124
)

// Prefix4 and Prefix6 are the networks.
func (a Addresses) Prefix4() netip.Prefix { return netip.PrefixFrom(a.IPv4Network, bits4) }
func (a Addresses) Prefix6() netip.Prefix { return netip.PrefixFrom(a.IPv6Network, bits6) }

// AddressesOf derives them: IPv4 from the slot, 0 to [MaxSlot]; IPv6 from the pool, a prefix of at most 64 bits, from the kind
// and from the first 44 bits of the hash, so that anybody can compute it.
func AddressesOf(pool netip.Prefix, slot int, hash message.Hash, kind Kind) Addresses {
	network := netip.AddrFrom4([4]byte{172, byte(16 + slot/256), byte(slot), 0})
	a := Addresses{IPv4Network: network, IPv4Host: network.Next(), IPv4: network.Next().Next()}
	b := pool.Masked().Addr().As16()
	b[8], b[9] = byte(kind>>8), byte(kind)
	// A CID is no hexadecimal number: what runs under one has no address of its own.
	if len(hash) >= 11 {
		bits, _ := strconv.ParseUint(string(hash[:11])+"0", 16, 64)
		for i := range 6 {
			b[10+i] = byte(bits >> (8 * (5 - i)))
		}
	}
	a.IPv6Network = netip.AddrFrom16(b)
	a.IPv6 = a.IPv6Network.Next()
	return a
}

// MACOf is the hardware address of an instance's network card, locally administered and different for each.
func MACOf(hash message.Hash) string {
	sum := message.HashBytes([]byte(hash))
	return fmt.Sprintf("52:54:%s:%s:%s:%s", sum[0:2], sum[2:4], sum[4:6], sum[6:8])
}
