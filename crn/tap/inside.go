package tap

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strings"
)

// A guest that came with its memory goes on with the addresses of the node that it left: nothing tells it of others. They are not
// this host's to give, and another guest here may have the same. So they are known at its tap alone: there the host answers for the
// gateway that the guest knows, and packets change their address before all other rules, or after them (rules.go).

// keepInside writes the orders for ip that make the tap of a guest what the guest takes it for.
func keepInside(g Guest, ipv6 bool, commands *strings.Builder) {
	if g.Inside == nil {
		return
	}
	name := Name(g.Slot)
	alone := func(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) } // a route would be in the way of other guests
	fmt.Fprintf(commands, "address replace %s dev %s\n", alone(g.Inside.IPv4Host), name)
	fmt.Fprintf(commands, "neighbour replace %s lladdr %s dev %s nud permanent\n", g.Inside.IPv4, g.MAC, name)
	if ipv6 {
		fmt.Fprintf(commands, "address replace %s dev %s nodad\n", alone(g.Inside.IPv6Network), name)
		fmt.Fprintf(commands, "neighbour replace %s lladdr %s dev %s nud permanent\n", g.Inside.IPv6, g.MAC, name)
	}
}

// addresses returns those of the host that it did not make up for itself, by the name of their interface.
func (h *Host) addresses(ctx context.Context) (map[string][]netip.Prefix, error) {
	out, err := h.output(ctx, "ip", "", "-json", "address", "show", "scope", "global")
	if err != nil {
		return nil, err
	}
	var links []struct {
		Ifname    string
		Addresses []struct {
			Local  netip.Addr
			Length int `json:"prefixlen"`
		} `json:"addr_info"`
	}
	if err := json.Unmarshal(out, &links); err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	list := map[string][]netip.Prefix{}
	for _, l := range links {
		for _, a := range l.Addresses {
			if p := netip.PrefixFrom(a.Local, a.Length); p.IsValid() { // ip lists others as empty
				list[l.Ifname] = append(list[l.Ifname], p)
			}
		}
	}
	return list, nil
}

// forgetInside writes the orders that take from a tap what an earlier machine of its guest took it for. have are its addresses.
func forgetInside(g Guest, have []netip.Prefix, commands *strings.Builder) {
	for _, prefix := range have {
		a := prefix.Addr()
		own := a == g.Addresses.IPv4Host || a == g.Addresses.IPv6Network
		if own || g.Inside != nil && (a == g.Inside.IPv4Host || a == g.Inside.IPv6Network) {
			continue
		}
		fmt.Fprintf(commands, "address delete %s dev %s\n", prefix, Name(g.Slot))
		fmt.Fprintf(commands, "neighbour flush dev %s nud permanent\n", Name(g.Slot))
	}
}

// heedInside has the kernel answer guests that look for their gateway from an address that leads elsewhere.
func heedInside(guests []Guest) error {
	for _, g := range guests {
		if g.Inside == nil {
			continue
		}
		if err := setSysctl("net/ipv4/conf/"+Name(g.Slot)+"/rp_filter", "1", "2"); err != nil {
			return err
		}
	}
	return nil
}

// strict reports whether this host drops, on all interfaces, what comes from an address that leads elsewhere.
func strict() bool {
	raw, _ := os.ReadFile("/proc/sys/net/ipv4/conf/all/rp_filter")
	return strings.TrimSpace(string(raw)) == "1"
}
