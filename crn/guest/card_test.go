package guest

import (
	"bytes"
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// cards returns both ends of a card: the host's, and one that stands for the guest's kernel, with what listens on its loopback.
func cards(t *testing.T) (host *card, listener net.Listener, guest *card) {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	host, err := newCard(ours, nil, wire.CardHost)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(host.close)
	if guest, err = newCard(theirs, nil, wire.CardGuest, "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(guest.close)
	if listener, err = gonet.ListenTCP(guest.stack, program, ipv4.ProtocolNumber); err != nil {
		t.Fatal(err)
	}
	return host, listener, guest
}

func TestProgramIsReachedAtTheCard(t *testing.T) {
	host, listener, _ := cards(t)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	served := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			defer conn.Close()
			first := make([]byte, 1)
			_, err = io.ReadFull(conn, first)
			time.Sleep(20 * time.Millisecond) // the program's own time, which begins with the request
			if err == nil {
				_, err = conn.Write(first)
			}
			if err == nil {
				_, err = io.CopyN(conn, conn, int64(len(sent)-1))
			}
		}
		served <- err
	}()
	conn, err := host.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() { _, _ = conn.Write(sent) }() // what is wrong shows in what comes back
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%d of %d bytes came back, %v", len(got), len(sent), err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if conn.Elapsed() < 10*time.Millisecond {
		t.Errorf("the program took %v", conn.Elapsed())
	}
}

func TestTimeOfTheWayIsTakenFromAnEcho(t *testing.T) {
	host, _, _ := cards(t)
	host.probe()
	deadline := time.Now().Add(10 * time.Second)
	for host.trip.least.Load() == 0 {
		if time.Now().After(deadline) {
			t.Fatal("no echo came back")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestAnswersToEarlierEchoesSayNothing(t *testing.T) {
	answer := func(number uint16) []byte {
		packet := make([]byte, header.IPv4MinimumSize+header.ICMPv4MinimumSize)
		ip := header.IPv4(packet)
		ip.Encode(&header.IPv4Fields{TotalLength: uint16(len(packet)), TTL: 1, Protocol: uint8(header.ICMPv4ProtocolNumber)})
		echo := header.ICMPv4(ip.Payload())
		echo.SetType(header.ICMPv4EchoReply)
		echo.SetSequence(number)
		return packet
	}
	var way trip
	way.count.Store(2)
	way.due.Store(time.Now().UnixNano())
	if !way.isEcho(answer(1)) || way.least.Load() != 0 {
		t.Errorf("an answer that came late was taken for %v", time.Duration(way.least.Load()))
	}
	if !way.isEcho(answer(2)) || way.least.Load() == 0 {
		t.Error("the answer was not taken")
	}
}

func TestEchoesAreSoonAskedForSeldom(t *testing.T) {
	var way trip
	var pauses []time.Duration
	for range 12 {
		pauses = append(pauses, way.pause())
		way.count.Add(1)
	}
	if pauses[0] != tripFirst || pauses[1] != 2*tripFirst || pauses[11] != tripEvery || !slices.IsSorted(pauses) {
		t.Errorf("echoes are asked for after %v", pauses)
	}
}

func TestGuestReachesNothingAtTheCard(t *testing.T) {
	_, _, guest := cards(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, port := range []uint16{22, 80, 4020, wire.ProgramPort} {
		conn, err := gonet.DialContextTCP(ctx, guest.stack, tcpip.FullAddress{NIC: cardNIC, Addr: address(wire.CardHost), Port: port}, ipv4.ProtocolNumber)
		if err == nil {
			conn.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("a connection to port %d of the host: %v", port, err)
		}
	}
}

func TestConnectionsEndWithTheMachine(t *testing.T) {
	host, listener, _ := cards(t)
	go func() { _, _ = listener.Accept() }()
	conn, err := host.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	host.conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("something was read from a machine that is gone")
	}
	host.receiving.Wait()
	began := time.Now()
	if _, err := host.dial(t.Context()); err == nil || time.Since(began) > dialPatience/2 {
		t.Errorf("dialling a machine that is gone: %v after %v", err, time.Since(began))
	}
}

// FuzzFrames sends what no kernel would.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1})
	f.Add(append([]byte{0, 0, 0, 34, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0x45, 0, 0, 20, 0, 0, 0, 0, 1, 6}, make([]byte, 10)...))
	f.Add(append([]byte{0, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 1, 1, 0, 0, 169, 254, 0, 2, 169, 254, 0, 1}, make([]byte, 8)...))
	f.Fuzz(func(t *testing.T, frames []byte) {
		ours, theirs := net.Pipe()
		defer ours.Close()
		c, err := newCard(ours, nil, wire.CardHost)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		_ = theirs.SetWriteDeadline(time.Now().Add(10 * time.Second))
		_, _ = theirs.Write(frames) // it may close in the middle
		theirs.Close()
		c.close()
	})
}
