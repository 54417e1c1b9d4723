package crn

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aleph-im/aleph-go/crn/front"
)

// openFront listens for TLS; nil when the operator wants none.
func (n *CRN) openFront() (*front.Front, error) {
	if n.cfg.TLSListen == "" {
		return nil, nil
	}
	certificates, err := front.NewCertificates(front.CertificateConfig{
		Files: n.cfg.TLSCertificates, Directory: n.cfg.ACMEDirectory, Email: n.cfg.ACMEEmail, Dir: filepath.Join(n.cfg.DataDir, "certificates"),
		DomainName: n.cfg.DomainName, Leads: n.api.ProgramOf, Log: n.cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	return front.New(front.Config{
		Listen: n.cfg.TLSListen, Certificates: certificates, Handler: n.api, Log: n.cfg.Log,
		Guest: func(ctx context.Context, name string) (netip.AddrPort, bool) {
			address, ok := n.api.InstanceOf(ctx, name)
			return netip.AddrPortFrom(address, front.GuestPort), ok
		},
	})
}

// findAddress finds the address that clients are told, unless the operator has named it. An interface that he has named must be
// there and have one (spec/crn.md §4.7).
func (c *Config) findAddress() error {
	addresses, err := net.InterfaceAddrs()
	if c.NetworkInterface != "" {
		var i *net.Interface
		if i, err = net.InterfaceByName(c.NetworkInterface); err != nil {
			return fmt.Errorf("network interface %s: %w: name one that `ip link` shows", c.NetworkInterface, err)
		}
		addresses, err = i.Addrs()
	}
	if err != nil {
		return fmt.Errorf("addresses of this host: %w", err)
	}
	if c.HostIPv4 != "" {
		return nil
	}
	c.HostIPv4 = hostIPv4(addresses)
	switch {
	case c.HostIPv4 == "" && c.NetworkInterface != "":
		return fmt.Errorf("network interface %s has no IPv4 address: name another one, or the address that clients are told with --host-ipv4", c.NetworkInterface)
	case c.HostIPv4 == "":
		c.HostIPv4 = "127.0.0.1"
		fallthrough
	case !reachable(c.HostIPv4):
		c.Log.Warn("clients are told an address that other networks do not reach; name another one with --host-ipv4", "address", c.HostIPv4)
	}
	return nil
}

// hostIPv4 is the address that clients are told: of those of the host the first that is not private, or else the first that is not
// a loopback; empty when there is none (spec/crn.md §4.7).
func hostIPv4(addresses []net.Addr) string {
	first := ""
	for _, a := range slices.Backward(addresses) {
		n, ok := a.(*net.IPNet)
		if !ok || n.IP.To4() == nil || n.IP.IsLoopback() {
			continue
		}
		if first == "" || !reachable(first) || reachable(n.IP.String()) {
			first = n.IP.String()
		}
	}
	return first
}

// reachable reports whether an IPv4 address may be reached from other networks.
func reachable(address string) bool {
	ip := net.ParseIP(address)
	return ip.IsGlobalUnicast() && !ip.IsPrivate()
}

// neighbourhood is the interface on which the host answers for the IPv6 addresses of instances: the one that the operator has named,
// or else that of the default route. Addresses that no other network uses are looked for by nobody.
func neighbourhood(named string, pool netip.Prefix) string {
	if pool.Addr().IsPrivate() {
		return ""
	}
	if named != "" {
		return named
	}
	raw, err := os.ReadFile("/proc/net/ipv6_route")
	if err != nil {
		return "" // a host without IPv6
	}
	return defaultRoute6(string(raw))
}

// defaultRoute6 returns the interface of the first default route in the kernel's table; empty when there is none. Its columns are
// destination, its length, source, its length, next hop, metric, two counters, flags and interface.
func defaultRoute6(table string) string {
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) == 10 && f[1] == "00" && strings.Trim(f[0], "0") == "" && f[9] != "lo" { // which is where the kernel has a route to nowhere
			return f[9]
		}
	}
	return ""
}
