package tap

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/message"
)

// The pool is on the link here: the world asks its neighbours for each address in it.
func TestNeighboursFindGuests(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	ip(t, "link set lo up", "netns add world", "netns add a", "netns add b",
		"link add ext0 type veth peer name out0 netns world", "addr add 2001:db8:1:2::1/64 dev ext0 nodad", "link set ext0 up",
		"-n world addr add 2001:db8:1:2::2/64 dev out0 nodad", "-n world link set lo up", "-n world link set out0 up",
		"neigh add proxy 2001:db8:1:2::77 dev ext0", // another program's
	)
	host := func(owner, iface string) *Host {
		h, err := New(t.Context(), Config{Owner: owner, Uid: os.Getuid(), Interface: iface})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	h := host("one", "ext0")
	var guests []Guest
	for i, name := range []string{"a", "b"} {
		g := Guest{Slot: 2048 + i, Addresses: AddressesOf(pool, 2048+i, message.HashBytes([]byte(name)), KindInstance)}
		guests = append(guests, g)
		ip(t, fmt.Sprintf("link add %s type veth peer name eth0 netns %s", Name(g.Slot), name), "link set dev "+Name(g.Slot)+" alias "+h.tag,
			fmt.Sprintf("-n %s link set eth0 up", name), fmt.Sprintf("-n %s addr add %s/124 dev eth0 nodad", name, g.Addresses.IPv6),
			fmt.Sprintf("-n %s -6 route add default via %s", name, g.Addresses.IPv6Network))
	}
	serve(t, "a", 22)
	serve(t, "b", 22)
	const world = "2001:db8:1:2::2"
	reached := func(g Guest) bool {
		answer := ""
		// The kernel answers for others after up to 0.8 s, so that they may answer first.
		for tries := 0; answer == "" && tries < 8; tries++ {
			answer, _ = ask("world", "", "["+g.Addresses.IPv6.String()+"]:22")
		}
		return answer == world
	}
	proxied := func() string {
		out, err := exec.Command("ip", "-6", "neigh", "show", "proxy").Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	has := func(g Guest) bool { return strings.Contains(proxied(), g.Addresses.IPv6.String()+" ") }

	if err := host("one", "").Apply(t.Context(), guests); err != nil {
		t.Fatal(err)
	}
	if answer, err := ask("world", "", "["+guests[0].Addresses.IPv6.String()+"]:22"); err == nil {
		t.Fatalf("a guest for which nobody answers was reached: %s", answer)
	}
	for range 2 {
		if err := h.Apply(t.Context(), guests); err != nil {
			t.Fatal(err)
		}
	}
	if !reached(guests[0]) || !reached(guests[1]) {
		t.Errorf("the world does not find its neighbours: %s", proxied())
	}
	// The next node on the same folder knows what this one has said.
	if err := host("one", "ext0").Apply(t.Context(), guests[1:]); err != nil {
		t.Fatal(err)
	}
	if has(guests[0]) || !has(guests[1]) {
		t.Errorf("one guest is left, and the host answers for %s", proxied())
	}
	if err := host("another", "ext0").Apply(t.Context(), nil); err != nil || !has(guests[1]) {
		t.Errorf("another node without guests: %v, the host answers for %s", err, proxied())
	}
	if err := h.Apply(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if left := proxied(); strings.Count(left, "\n") != 1 || !strings.Contains(left, "2001:db8:1:2::77") {
		t.Errorf("left: %s", left)
	}
	if err := host("one", "ext9").Apply(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "ext9") {
		t.Errorf("an interface that is not there: %v", err)
	}
}
