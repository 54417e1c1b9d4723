package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// outside is what a guest reaches: a fake internet, on the loopback of this machine. It notes who was asked for.
type outside struct {
	stream, datagrams string // addresses of servers that echo
	mu                sync.Mutex
	asked             []string
}

func (o *outside) dial(ctx context.Context, network, address string) (net.Conn, error) {
	o.mu.Lock()
	o.asked = append(o.asked, network+" "+address)
	o.mu.Unlock()
	if strings.HasSuffix(address, ":9") {
		return nil, errors.New("nobody listens")
	}
	var d net.Dialer
	if network == "tcp" {
		return d.DialContext(ctx, network, o.stream)
	}
	return d.DialContext(ctx, network, o.datagrams)
}

func (o *outside) wasAsked() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	asked := o.asked
	o.asked = nil
	return asked
}

// connected returns a guest with a way to the internet.
func connected(t *testing.T, bytesPerSecond int64) (*outside, *card) {
	t.Helper()
	o := &outside{}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.stream, o.datagrams = listener.Addr().String(), packets.LocalAddr().String()
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			})
		}
	})
	serving.Go(func() {
		datagram := make([]byte, 64<<10)
		for {
			n, from, err := packets.ReadFrom(datagram)
			if err != nil {
				return
			}
			_, _ = packets.WriteTo(bytes.ToUpper(datagram[:n]), from)
		}
	})
	t.Cleanup(func() { listener.Close(); packets.Close(); serving.Wait() })

	ours, theirs := net.Pipe()
	host, err := newCard(ours, &Internet{Nameservers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53")}, Rate: bytesPerSecond, Dial: o.dial}, wire.CardHost)
	if err != nil {
		t.Fatal(err)
	}
	guest, err := newCard(theirs, nil, wire.CardGuest)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { guest.close(); host.close(); ours.Close(); theirs.Close() })
	return o, guest
}

func target(address string) tcpip.FullAddress {
	a := netip.MustParseAddrPort(address)
	return tcpip.FullAddress{NIC: cardNIC, Addr: tcpip.AddrFrom4(a.Addr().As4()), Port: a.Port()}
}

func TestAProgramReachesTheInternet(t *testing.T) {
	o, guest := connected(t, 0)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<15)
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			conn, err := gonet.DialContextTCP(ctx, guest.stack, target("203.0.113.7:443"), ipv4.ProtocolNumber)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			go func() {
				_, _ = conn.Write(sent) // what is wrong shows in what comes back
				_ = conn.CloseWrite()
			}()
			if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%d of %d bytes came back, %v", len(got), len(sent), err)
			}
		})
	}
	asking.Wait()
	if asked := o.wasAsked(); len(asked) != 4 || asked[0] != "tcp 203.0.113.7:443" {
		t.Errorf("asked for %v", asked)
	}

	for address, want := range map[string]string{"203.0.113.7:123": "udp 203.0.113.7:123", wire.CardHost + ":53": "udp 192.0.2.53:53"} {
		to := target(address)
		conn, err := gonet.DialUDP(guest.stack, nil, &to, ipv4.ProtocolNumber)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"a question", "another"} {
			if _, err := conn.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
			answer := make([]byte, 100)
			if n, err := conn.Read(answer); err != nil || string(answer[:n]) != strings.ToUpper(text) {
				t.Errorf("%s answers %q, %v", address, answer[:n], err)
			}
		}
		conn.Close()
		if asked := o.wasAsked(); len(asked) != 1 || asked[0] != want {
			t.Errorf("%s: asked for %v", address, asked)
		}
	}
}

func TestTheInternetIsAllThatAProgramReaches(t *testing.T) {
	o, guest := connected(t, 0)
	host := ""
	if own, err := net.InterfaceAddrs(); err == nil {
		for _, a := range own {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() {
				host = p.Addr().String()
			}
		}
	}
	for _, address := range []string{"127.0.0.1", "10.1.2.3", "172.16.4.1", "192.168.1.1", "169.254.169.254", wire.CardHost, "100.64.1.1", "0.0.0.1", "198.18.0.1", "240.0.0.1", host} {
		if address == "" {
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		conn, err := gonet.DialContextTCP(ctx, guest.stack, target(address+":80"), ipv4.ProtocolNumber)
		cancel()
		if err == nil {
			conn.Close()
			t.Errorf("%s is reached", address)
		}
		to := target(address + ":80")
		if conn, err := gonet.DialUDP(guest.stack, nil, &to, ipv4.ProtocolNumber); err == nil {
			_, _ = conn.Write([]byte("a question"))
			conn.Close()
		}
	}
	// All that was sent before has been looked at when this is refused.
	if conn, err := gonet.DialContextTCP(t.Context(), guest.stack, target("203.0.113.7:9"), ipv4.ProtocolNumber); err == nil {
		conn.Close()
		t.Error("a port that nobody listens at is open")
	}
	if asked := o.wasAsked(); len(asked) != 1 || asked[0] != "tcp 203.0.113.7:9" {
		t.Errorf("asked for %v", asked)
	}
}

func TestAProgramIsAsFastAsItsRate(t *testing.T) {
	_, guest := connected(t, 256<<10)
	conn, err := gonet.DialContextTCP(t.Context(), guest.stack, target("203.0.113.7:80"), ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sent := make([]byte, 256<<10)
	begin := time.Now()
	go func() {
		_, _ = conn.Write(sent)
		_ = conn.CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if least := 700 * time.Millisecond; err != nil || len(got) != len(sent) || time.Since(begin) < least { // a second, but for what may go at once
		t.Errorf("%d bytes in %v, %v", len(got), time.Since(begin), err)
	}
}

func TestAProgramHasOnlySoManyConnections(t *testing.T) {
	_, guest := connected(t, 0)
	var open []net.Conn
	defer func() {
		for _, conn := range open {
			conn.Close()
		}
	}()
	for i := range maxFlows + 1 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		conn, err := gonet.DialContextTCP(ctx, guest.stack, target(fmt.Sprintf("203.0.113.7:%d", 1000+i)), ipv4.ProtocolNumber)
		cancel()
		if (err == nil) != (i < maxFlows) {
			t.Fatalf("connection %d: %v", i, err)
		}
		if err == nil {
			open = append(open, conn)
		}
	}
	open[0].Close()
	deadline := time.Now().Add(20 * time.Second)
	for { // the first has made place as soon as the other side has heard of its end
		conn, err := gonet.DialContextTCP(t.Context(), guest.stack, target("203.0.113.7:80"), ipv4.ProtocolNumber)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
