package crn

import (
	"fmt"
	"testing"
)

func TestNameserversOfTheHostAloneAreNotTold(t *testing.T) {
	text := "# nameserver 192.0.2.1\nsearch example.org\nnameserver 127.0.0.53\nnameserver ::1\nnameserver fe80::1%eth0\nnameserver\nnameserver 10.0.0.1\nnameserver 2620:fe::fe # public\nnameserver nonsense\n"
	if got := fmt.Sprint(parseNameservers(text)); got != "[10.0.0.1 2620:fe::fe]" {
		t.Errorf("got %s", got)
	}
}
