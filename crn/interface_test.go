package crn

import (
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestClientsAreToldAnAddressThatOtherNetworksReach(t *testing.T) {
	for _, test := range []struct {
		addresses []string
		want      string
	}{
		{nil, ""},
		{[]string{"127.0.0.1/8", "2001:db8::1/64"}, ""},
		{[]string{"127.0.0.1/8", "10.0.0.5/24", "192.168.1.2/24"}, "10.0.0.5"},
		{[]string{"169.254.3.4/16", "10.0.0.5/24"}, "169.254.3.4"},
		{[]string{"172.16.4.1/24", "203.0.113.7/24", "198.51.100.1/24"}, "203.0.113.7"},
	} {
		var addresses []net.Addr
		for _, text := range test.addresses {
			ip, network, err := net.ParseCIDR(text)
			if err != nil {
				t.Fatal(err)
			}
			addresses = append(addresses, &net.IPNet{IP: ip, Mask: network.Mask})
		}
		if got := hostIPv4(addresses); got != test.want {
			t.Errorf("of %v it told %s, want %s", test.addresses, got, test.want)
		}
	}
}

func TestNeighboursAreAnsweredWhereTheWorldIs(t *testing.T) {
	const table = `20010db8000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 60 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth1
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000002 00000000 00000003     eth2
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
`
	if got := defaultRoute6(table); got != "eth2" {
		t.Errorf("the default route is that of %q", got)
	}
	if got := defaultRoute6(strings.ReplaceAll(table, "eth2", "lo")); got != "" {
		t.Errorf("without one it is that of %q", got)
	}
	public, private := netip.MustParsePrefix("2001:db8::/64"), netip.MustParsePrefix("fc00:1:2:3::/64")
	if got := neighbourhood("eth7", public); got != "eth7" {
		t.Errorf("got %q", got)
	}
	if got := neighbourhood("eth7", private); got != "" {
		t.Errorf("for addresses that nobody looks for, got %q", got)
	}
}
