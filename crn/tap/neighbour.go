package tap

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Where the pool of IPv6 addresses is on the link of a provider instead of being routed to the host, the provider's router looks for
// guests among its neighbours there. The host answers for them (RFC 4861, §7.2.8): the kernel does, for each address that it is told.

// proxy writes the orders for ip that make the host answer for these guests on the interface of Config, and for none that have gone.
func (h *Host) proxy(ctx context.Context, guests []Guest, commands *strings.Builder) error {
	if h.cfg.Interface == "" {
		return nil
	}
	have, err := h.proxied(ctx)
	if err != nil {
		return err
	}
	if len(guests) > 0 {
		if err := setSysctl("net/ipv6/conf/"+h.cfg.Interface+"/proxy_ndp", "0", "1"); err != nil {
			return err
		}
	}
	for _, g := range guests {
		if address := g.Addresses.IPv6; have[address] {
			delete(have, address)
		} else {
			fmt.Fprintf(commands, "neighbour replace proxy %s dev %s protocol %d\n", address, h.cfg.Interface, h.mark)
		}
	}
	for address := range have {
		fmt.Fprintf(commands, "neighbour delete proxy %s dev %s\n", address, h.cfg.Interface)
	}
	return nil
}

// proxied returns the addresses that the host answers for because this node, or an earlier one on its data folder, said so.
func (h *Host) proxied(ctx context.Context) (map[netip.Addr]bool, error) {
	out, err := h.output(ctx, "ip", "", "-6", "-json", "-N", "neighbour", "show", "proxy", "dev", h.cfg.Interface)
	if err != nil {
		return nil, err
	}
	var entries []struct {
		Dst      netip.Addr
		Protocol string
	}
	if err := json.Unmarshal(out, &entries); err != nil {
		return nil, fmt.Errorf("list neighbours: %w", err)
	}
	ours := map[netip.Addr]bool{}
	for _, e := range entries {
		if e.Protocol == strconv.Itoa(int(h.mark)) {
			ours[e.Dst] = true
		}
	}
	return ours, nil
}
