package crn

import (
	"fmt"
	"net"
	"testing"
)

func TestNameserversOfTheHostAloneAreNotTold(t *testing.T) {
	text := "# nameserver 192.0.2.1\nsearch example.org\nnameserver 127.0.0.53\nnameserver ::1\nnameserver fe80::1%eth0\nnameserver\nnameserver 10.0.0.1\nnameserver 2620:fe::fe # public\nnameserver nonsense\n"
	if got := fmt.Sprint(parseNameservers(text)); got != "[10.0.0.1 2620:fe::fe]" {
		t.Errorf("got %s", got)
	}
}

func TestClientsAreToldAnAddressThatOtherNetworksReach(t *testing.T) {
	for _, test := range []struct {
		addresses []string
		want      string
	}{
		{nil, "127.0.0.1"},
		{[]string{"127.0.0.1/8", "2001:db8::1/64"}, "127.0.0.1"},
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
