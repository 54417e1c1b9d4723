package tap

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/message"
)

var pool = netip.MustParsePrefix("2001:db8:1:2::/64")

// inOwnNetwork runs the test again in network and mount namespaces of its own and reports whether this is that run.
func inOwnNetwork(t *testing.T) bool {
	t.Helper()
	if os.Getenv("TAP_TEST_NETWORK") != "" {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll("/run/netns", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", "/run/netns", "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("namespaces for this test need root")
	}
	child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	child.Env = append(os.Environ(), "TAP_TEST_NETWORK=1")
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	out, err := child.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	return false
}

func ip(t *testing.T, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", line, err, out)
		}
	}
}

// within runs do in a network namespace. Its thread is not used again.
func within(namespace string, do func() error) error {
	if namespace == "" {
		return do()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		f, err := os.Open("/run/netns/" + namespace)
		if err == nil {
			defer f.Close()
			err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			err = do()
		}
		done <- err
	}()
	return <-done
}

// serve answers on a TCP port of all addresses of a namespace with the address of who asks.
func serve(t *testing.T, namespace string, ports ...int) {
	t.Helper()
	for _, port := range ports {
		var l net.Listener
		err := within(namespace, func() (err error) { l, err = net.Listen("tcp", fmt.Sprintf(":%d", port)); return err })
		if err != nil {
			t.Fatal(err)
		}
		answering := make(chan struct{})
		go func() {
			defer close(answering)
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
				_, _ = io.WriteString(c, host)
				c.Close()
			}
		}()
		t.Cleanup(func() { l.Close(); <-answering })
	}
}

// ask returns what is answered at an address to a namespace; from may choose the source.
func ask(namespace, from, address string) (answer string, err error) {
	err = within(namespace, func() error {
		d := net.Dialer{Timeout: 400 * time.Millisecond}
		if from != "" {
			d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
		}
		c, err := d.Dial("tcp", address)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(2 * time.Second))
		raw, err := io.ReadAll(c)
		answer = strings.TrimPrefix(string(raw), "::ffff:")
		return err
	})
	return answer, err
}

// Guests are network namespaces here: to the rules, what is behind an interface makes no difference.
func TestGuestsReachTheWorldAndNothingElse(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	cfg := Config{Owner: t.TempDir(), Nameservers: []netip.Addr{netip.MustParseAddr("10.1.2.3")}, Uid: os.Getuid()}
	h, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ip(t, "link set lo up", "netns add world", "netns add a", "netns add b", "netns add c",
		"link add ext0 type veth peer name out0 netns world",
		"addr add 198.51.100.1/24 dev ext0", "addr add 2001:db8:ffff::1/64 dev ext0 nodad", "link set ext0 up",
		"-n world addr add 198.51.100.2/24 dev out0", "-n world addr add 2001:db8:ffff::2/64 dev out0 nodad",
		"-n world link set lo up", "-n world link set out0 up",
		"-n world addr add 169.254.169.254/32 dev lo", "-n world addr add 10.1.2.3/32 dev lo", "-n world addr add 203.0.113.9/32 dev lo",
		"route add 169.254.169.254 via 198.51.100.2", "route add 10.1.2.3 via 198.51.100.2", "route add 203.0.113.9 via 198.51.100.2",
		"-n world -6 route add 2001:db8:1:2::/64 via 2001:db8:ffff::1", "-n world route add 172.16.0.0/12 via 198.51.100.1",
	)
	var guests []Guest
	// The third came from another node, where it had the number that the first has here.
	elsewhere := AddressesOf(netip.MustParsePrefix("2001:db8:9:9::/64"), 2048, message.HashBytes([]byte("c")), KindInstance)
	for i, name := range []string{"a", "b", "c"} {
		slot := 2048 + i
		g := Guest{Slot: slot, Addresses: AddressesOf(pool, slot, message.HashBytes([]byte(name)), KindInstance), Forwards: []Forward{
			{GuestPort: 22, HostPort: uint16(24000 + i), TCP: true},
		}}
		own := g.Addresses
		if name == "c" {
			g.Inside, g.MAC = &elsewhere, "52:54:00:00:00:0c"
			own = elsewhere
		}
		guests = append(guests, g)
		ip(t, fmt.Sprintf("link add %s type veth peer name eth0 netns %s", Name(slot), name), "link set dev "+Name(slot)+" alias "+h.tag,
			fmt.Sprintf("-n %s link set lo up", name),
			fmt.Sprintf("-n %s link set eth0 address %s up", name, cmp.Or(g.MAC, MACOf(message.HashBytes([]byte(name))))),
			fmt.Sprintf("-n %s addr add %s/24 dev eth0", name, own.IPv4), fmt.Sprintf("-n %s addr add %s/124 dev eth0 nodad", name, own.IPv6))
	}
	if err := h.Apply(t.Context(), guests); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"a", "b", "c"} {
		own := guests[i].Addresses
		if guests[i].Inside != nil {
			own = *guests[i].Inside
		}
		ip(t, fmt.Sprintf("-n %s route add default via %s", name, own.IPv4Host), fmt.Sprintf("-n %s -6 route add default via %s", name, own.IPv6Network))
	}
	// A second address, for pretending.
	ip(t, "-n a addr add 172.24.1.99/32 dev lo", "-n a addr add 2001:db8:1:2:3::99/128 dev lo nodad")
	serve(t, "", 80, 24000)
	serve(t, "world", 53, 80)
	serve(t, "a", 22, 80)
	serve(t, "b", 22, 80)
	serve(t, "c", 22, 80)
	a, b, c := guests[0].Addresses, guests[1].Addresses, guests[2].Addresses
	bracket := func(a netip.Addr) string { return "[" + a.String() + "]" }

	for _, test := range []struct {
		name, namespace, from, address string
		want                           string // who the other side sees; empty when it must not be reached
	}{
		{"the world reaches a forwarded port", "world", "", "198.51.100.1:24000", "198.51.100.2"},
		{"and the one of another guest", "world", "", "198.51.100.1:24001", "198.51.100.2"},
		{"the host itself does, too", "", "", "198.51.100.1:24000", "198.51.100.1"},
		{"the world reaches no other port", "world", "", a.IPv4.String() + ":80", ""},
		{"nor a forwarded one past the host's address", "world", "", a.IPv4.String() + ":22", ""},
		{"the world reaches a guest's own IPv6 address", "world", "", bracket(a.IPv6) + ":22", "2001:db8:ffff::2"},
		{"a guest reaches the world as the host", "a", "", "203.0.113.9:80", "198.51.100.1"},
		{"a guest reaches the world as itself", "a", "", "[2001:db8:ffff::2]:80", a.IPv6.String()},
		{"a guest does not reach the host at its gateway", "a", "", a.IPv4Host.String() + ":80", ""},
		{"nor at its other addresses", "a", "", "198.51.100.1:80", ""},
		{"nor at its gateway's IPv6 address", "a", "", bracket(a.IPv6Network) + ":80", ""},
		{"nor at other IPv6 addresses", "a", "", "[2001:db8:ffff::1]:80", ""},
		{"nor at the gateway of another guest", "a", "", b.IPv4Host.String() + ":80", ""},
		{"a guest does not reach another guest", "a", "", b.IPv4.String() + ":80", ""},
		{"nor by IPv6", "a", "", bracket(b.IPv6) + ":22", ""},
		{"nor by the port that the host forwards", "a", "", "198.51.100.1:24001", ""},
		{"a guest does not reach metadata services", "a", "", "169.254.169.254:80", ""},
		{"nor private networks around the host", "a", "", "10.1.2.3:80", ""},
		{"but the name server there", "a", "", "10.1.2.3:53", "198.51.100.1"},
		{"a guest cannot pretend to be another", "a", "172.24.1.99", "203.0.113.9:80", ""},
		{"nor by IPv6", "a", "2001:db8:1:2:3::99", "[2001:db8:ffff::2]:80", ""},
		{"the world reaches a guest that keeps its addresses", "world", "", "198.51.100.1:24002", "198.51.100.2"},
		{"and at the IPv6 address that it has here", "world", "", bracket(c.IPv6) + ":22", "2001:db8:ffff::2"},
		{"that guest reaches the world as the host", "c", "", "203.0.113.9:80", "198.51.100.1"},
		{"and by IPv6 as what it is here", "c", "", "[2001:db8:ffff::2]:80", c.IPv6.String()},
		{"and not the host at its gateway", "c", "", elsewhere.IPv4Host.String() + ":80", ""},
		{"nor a guest that has its number here", "c", "", a.IPv4Host.String() + ":80", ""},
		{"nor another", "c", "", b.IPv4.String() + ":80", ""},
		{"the host itself reaches it", "", "", "198.51.100.1:24002", "198.51.100.1"},
		{"the host reaches its guests", "", "", a.IPv4.String() + ":80", a.IPv4Host.String()},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := ask(test.namespace, test.from, test.address)
			// The first packet may be lost while neighbours are looked for.
			for tries := 0; test.want != "" && err != nil && tries < 8; tries++ {
				got, err = ask(test.namespace, test.from, test.address)
			}
			if test.want == "" && err == nil {
				t.Errorf("%s was reached, as %s", test.address, got)
			} else if test.want != "" && (err != nil || got != test.want) {
				t.Errorf("got %q, %v; want %q", got, err, test.want)
			}
		})
	}

	t.Run("a guest is as fast as its rate, both ways", func(t *testing.T) {
		slow := cfg
		slow.Rate = 1 << 20
		limited, err := New(t.Context(), slow)
		if err == nil {
			err = limited.Apply(t.Context(), guests)
		}
		if err != nil {
			t.Fatal(err)
		}
		var echo net.Listener
		if err := within("world", func() (err error) { echo, err = net.Listen("tcp", ":81"); return err }); err != nil {
			t.Fatal(err)
		}
		defer echo.Close()
		heard := make(chan time.Duration, 1)
		go func() { // takes all, then gives all back
			conn, err := echo.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			begin := time.Now()
			all, _ := io.ReadAll(conn)
			heard <- time.Since(begin)
			_, _ = conn.Write(all)
		}()
		sent := make([]byte, 3<<20)
		var took time.Duration
		err = within("a", func() error {
			conn, err := net.Dial("tcp", "203.0.113.9:81")
			if err != nil {
				return err
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			if _, err := conn.Write(sent); err != nil {
				return err
			}
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				return err
			}
			there := <-heard
			begin := time.Now()
			got, err := io.ReadAll(conn)
			if took = min(there, time.Since(begin)); err == nil && len(got) != len(sent) {
				err = fmt.Errorf("%d bytes came back", len(got))
			}
			return err
		})
		if least := time.Second; err != nil || took < least { // three, but for what may go at once
			t.Errorf("took %v, at least %v is right: %v", took, least, err)
		}
		if err := h.Apply(t.Context(), guests); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("a guest that starts anew has the addresses that it has here", func(t *testing.T) {
		guests[2].Inside = nil
		for range 2 {
			if err := h.Apply(t.Context(), guests); err != nil {
				t.Fatal(err)
			}
		}
		out, err := exec.Command("sh", "-c", "ip address show dev "+Name(2050)+"; ip neighbour show dev "+Name(2050)+"; ip -6 neighbour show dev "+Name(2050)).CombinedOutput()
		if err != nil || !strings.Contains(string(out), c.IPv4Host.String()+"/24") || !strings.Contains(string(out), c.Prefix6().String()) {
			t.Errorf("%s, %v", out, err)
		}
		for _, other := range []netip.Addr{elsewhere.IPv4Host, elsewhere.IPv4, elsewhere.IPv6Network} {
			if strings.Contains(string(out), other.String()) {
				t.Errorf("%s is there still: %s", other, out)
			}
		}
	})

	t.Run("what is said again changes nothing, and what is left out is gone", func(t *testing.T) {
		for range 2 {
			if err := h.Apply(t.Context(), guests[1:2]); err != nil {
				t.Fatal(err)
			}
		}
		if Taken(2048) || !Taken(2049) {
			t.Error("interfaces are not those of the guests")
		}
		if _, err := ask("world", "", "198.51.100.1:24001"); err != nil {
			t.Errorf("the other guest: %v", err)
		}
		// Nobody's forward any more: the host's own program answers.
		if got, err := ask("world", "", "198.51.100.1:24000"); err != nil || got != "198.51.100.2" {
			t.Errorf("got %q, %v", got, err)
		}
	})

	t.Run("the next node on the same data leaves the rules in force until it knows its guests", func(t *testing.T) {
		before, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := New(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		if after, err := exec.Command("nft", "list", "ruleset").CombinedOutput(); err != nil || !bytes.Equal(after, before) {
			t.Errorf("got %s, %v; want %s", after, err, before)
		}
	})

	t.Run("another node's guests are let be", func(t *testing.T) {
		other, err := New(t.Context(), Config{Owner: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Apply(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if _, err := ask("world", "", "198.51.100.1:24001"); err != nil || !Taken(2049) {
			t.Errorf("got %v", err)
		}
	})

	t.Run("taps are made and removed", func(t *testing.T) {
		third := Guest{Slot: 2050, Addresses: AddressesOf(pool, 2050, message.HashBytes([]byte("c")), KindInstance)}
		if err := h.Apply(t.Context(), []Guest{third}); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("ip", "-details", "address", "show", "dev", Name(2050)).CombinedOutput()
		for _, want := range []string{"tun type tap", third.Addresses.IPv4Host.String() + "/24", third.Addresses.Prefix6().String()} {
			if err != nil || !strings.Contains(string(out), want) {
				t.Errorf("%s, %v; want %s", out, err, want)
			}
		}
		if err := h.Apply(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if left, _ := exec.Command("nft", "list", "ruleset").CombinedOutput(); Taken(2050) || len(left) > 0 {
			t.Errorf("left: %s", left)
		}
	})
}

func TestWithoutPrivilegesItSaysWhatIsMissing(t *testing.T) {
	if os.Getenv("TAP_TEST_NOBODY") != "" {
		_, err := New(t.Context(), Config{Owner: "x"})
		if err == nil || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
			t.Errorf("got %v", err)
		}
		return
	}
	child := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), "TAP_TEST_NOBODY=1")
	child.SysProcAttr = &syscall.SysProcAttr{}
	if os.Getuid() == 0 {
		child.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET // nothing here may reach the machine's own rules
		child.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestEveryInstanceHasAMACOfItsOwn(t *testing.T) {
	seen := map[string]bool{}
	for i := range 1000 {
		mac := MACOf(message.HashBytes([]byte{byte(i), byte(i >> 8)}))
		parsed, err := net.ParseMAC(mac)
		if err != nil || parsed[0]&3 != 2 || seen[mac] {
			t.Fatalf("%s: %v", mac, err) // unicast, locally administered, new
		}
		seen[mac] = true
	}
}
