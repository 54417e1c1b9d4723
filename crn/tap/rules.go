package tap

import (
	"fmt"
	"net/netip"
	"strings"
)

// table is the text for nft that replaces our table. All that differs between guests is in sets and maps, so that a packet costs
// the same however many there are.
//
// What holds: a guest sends from its own addresses only; it reaches neither an address of the host, nor another guest, nor the
// private and link-local networks around the host, but for name servers; from outside it is reached on forwarded ports and on
// its own IPv6 address; what it asks of the world comes back; it exchanges no more with the world than its rate.
func (h *Host) table(guests []Guest) string {
	var taps, own4, own6, forwards []string
	var inside4, inside6, outside4, outside6 []string
	for _, g := range guests {
		name := Name(g.Slot)
		taps = append(taps, name)
		own4 = append(own4, fmt.Sprintf("%s . %s", name, g.Addresses.IPv4))
		own6 = append(own6, fmt.Sprintf("%s . %s", name, g.Addresses.IPv6))
		if in := g.Inside; in != nil {
			inside4 = append(inside4, fmt.Sprintf("%s . %s : %s", name, g.Addresses.IPv4, in.IPv4))
			inside6 = append(inside6, fmt.Sprintf("%s . %s : %s", name, g.Addresses.IPv6, in.IPv6))
			outside4 = append(outside4, fmt.Sprintf("%s . %s : %s", name, in.IPv4, g.Addresses.IPv4))
			outside6 = append(outside6, fmt.Sprintf("%s . %s : %s", name, in.IPv6, g.Addresses.IPv6))
		}
		for _, f := range g.Forwards {
			for protocol, open := range map[string]bool{"tcp": f.TCP, "udp": f.UDP} {
				if open {
					forwards = append(forwards, fmt.Sprintf("%s . %d : %s . %d", protocol, f.HostPort, g.Addresses.IPv4, f.GuestPort))
				}
			}
		}
	}
	name := h.tag
	var b strings.Builder
	// Naming it first makes that the deletion succeeds also the first time.
	fmt.Fprintf(&b, "table inet %s\ndelete table inet %s\n", name, name)
	if len(guests) == 0 {
		return b.String()
	}
	fmt.Fprintf(&b, "table inet %s {\n", name)
	fmt.Fprintf(&b, "set taps { type ifname; %s }\n", elements(taps))
	fmt.Fprintf(&b, "set own4 { type ifname . ipv4_addr; %s }\n", elements(own4))
	fmt.Fprintf(&b, "set own6 { type ifname . ipv6_addr; %s }\n", elements(own6))
	fmt.Fprintf(&b, "set nameservers4 { type ipv4_addr; %s }\n", elements(family(h.cfg.Nameservers, netip.Addr.Is4)))
	fmt.Fprintf(&b, "set nameservers6 { type ipv6_addr; %s }\n", elements(family(h.cfg.Nameservers, netip.Addr.Is6)))
	fmt.Fprintf(&b, "map forwards { type inet_proto . inet_service : ipv4_addr . inet_service; %s }\n", elements(forwards))
	fmt.Fprintf(&b, "map inside4 { type ifname . ipv4_addr : ipv4_addr; %s }\n", elements(inside4))
	fmt.Fprintf(&b, "map outside4 { type ifname . ipv4_addr : ipv4_addr; %s }\n", elements(outside4))
	fmt.Fprintf(&b, "map inside6 { type ifname . ipv6_addr : ipv6_addr; %s }\n", elements(inside6))
	fmt.Fprintf(&b, "map outside6 { type ifname . ipv6_addr : ipv6_addr; %s }\n", elements(outside6))
	if h.cfg.Rate > 0 {
		burst := max(h.cfg.Rate/4, leastBurst)
		b.WriteString(fmt.Sprintf(rates, h.cfg.Rate, burst))
	}
	b.WriteString(chains)
	return b.String()
}

func family(addresses []netip.Addr, is func(netip.Addr) bool) (list []string) {
	for _, a := range addresses {
		if is(a) {
			list = append(list, a.String())
		}
	}
	return list
}

// elements of a set; nft takes no empty list.
func elements(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return "elements = { " + strings.Join(list, ", ") + " }"
}

// leastBurst is what a guest may send or get at once besides what a second allows, in bytes, however low its rate: a few packets of TCP.
const leastBurst = 64 << 10

// rates drop what a guest sends or gets beyond them: TCP slows down by that.
const rates = `
set sending { type ifname; size 65535; flags dynamic; }
set getting { type ifname; size 65535; flags dynamic; }
chain rates {
	type filter hook forward priority filter - 1; policy accept;
	iifname @taps update @sending { iifname limit rate over %[1]d bytes/second burst %[2]d bytes } drop
	oifname @taps update @getting { oifname limit rate over %[1]d bytes/second burst %[2]d bytes } drop
}
`

const chains = `
chain source {
	type filter hook prerouting priority raw; policy accept;
	iifname != @taps accept
	ip saddr set iifname . ip saddr map @outside4
	ip6 saddr set iifname . ip6 saddr map @outside6
	iifname . ip saddr @own4 accept
	iifname . ip6 saddr @own6 accept
	ip6 saddr fe80::/10 icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept
	drop
}
chain input {
	type filter hook input priority filter; policy accept;
	iifname != @taps accept
	ct state established,related accept
	icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
	drop
}
chain forward {
	type filter hook forward priority filter; policy accept;
	iifname @taps jump leaving
	oifname @taps jump entering
}
chain leaving {
	oifname @taps drop
	ct state established,related accept
	ip daddr @nameservers4 meta l4proto { tcp, udp } th dport 53 accept
	ip6 daddr @nameservers6 meta l4proto { tcp, udp } th dport 53 accept
	ip daddr { 10.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16 } drop
	ip6 daddr { fc00::/7, fe80::/10 } drop
}
chain entering {
	ct state established,related accept
	ct status dnat accept
	meta nfproto ipv6 accept
	drop
}
chain incoming {
	type nat hook prerouting priority dstnat; policy accept;
	iifname != @taps fib daddr type local dnat ip to meta l4proto . th dport map @forwards
}
chain outgoing {
	type nat hook output priority -100; policy accept;
	ip daddr != 127.0.0.0/8 fib daddr type local dnat ip to meta l4proto . th dport map @forwards
}
chain destination {
	type filter hook postrouting priority 300; policy accept;
	ip daddr set oifname . ip daddr map @inside4
	ip6 daddr set oifname . ip6 daddr map @inside6
}
chain source_nat {
	type nat hook postrouting priority srcnat; policy accept;
	iifname @taps oifname != @taps meta nfproto ipv4 masquerade
}
}
`
