package tap_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/crn/tap"
	"github.com/aleph-im/aleph-go/message"
)

func TestAddressesFollowTheNetworksRule(t *testing.T) {
	for _, test := range []struct {
		pool    string
		slot    int
		hash    message.Hash
		kind    tap.Kind
		v6, ip6 string
		v4, ip4 string
	}{
		{"1111:2222:3333:4444::/64", 4, "8920215b2e961a4d4c59a8ceb2803af53f91530ff53d6704273ab4d380bc6446", 1, "1111:2222:3333:4444:1:8920:215b:2e90/124", "1111:2222:3333:4444:1:8920:215b:2e91", "172.16.4.0/24", "172.16.4.2"},
		{"2001:db8:1:2::/64", 300, "d2b74aa29898457bde0560e47f7cdd4e77287e9f1f7a1456161d2fd7d5c855d7", 3, "2001:db8:1:2:3:d2b7:4aa2:9890/124", "2001:db8:1:2:3:d2b7:4aa2:9891", "172.17.44.0/24", "172.17.44.2"},
		{"fc00:1:2:3::/64", 3, message.Hash(strings.Repeat("deca", 16)), 3, "fc00:1:2:3:3:deca:deca:dec0/124", "fc00:1:2:3:3:deca:deca:dec1", "172.16.3.0/24", "172.16.3.2"},
	} {
		a := tap.AddressesOf(netip.MustParsePrefix(test.pool), test.slot, test.hash, test.kind)
		if a.Prefix6().String() != test.v6 || a.IPv6.String() != test.ip6 || a.Prefix4().String() != test.v4 || a.IPv4.String() != test.ip4 {
			t.Errorf("got %+v", a)
		}
	}
}
