package wire

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/yamux"
)

func TestHandshakeSkipsWhatCameBefore(t *testing.T) {
	host, guest := net.Pipe()
	defer host.Close()
	defer guest.Close()
	go func() {
		// Leftovers of an earlier life of the pipe: half a frame, and an answer to another epoch.
		_, _ = guest.Write(append([]byte("noise"), magic[:5]...))
		_ = writeHello(guest, Version, 1)
		if epoch, err := GuestHandshake(guest); err != nil || epoch != 2 {
			t.Errorf("guest: %d, %v", epoch, err)
		}
		_, _ = guest.Write([]byte("after"))
	}()
	if err := HostHandshake(deferred{host}, 2); err != nil {
		t.Fatal(err)
	}
	after := make([]byte, 5)
	if _, err := io.ReadFull(host, after); err != nil || string(after) != "after" {
		t.Errorf("what follows the greeting was eaten: %q, %v", after, err)
	}
}

// deferred writes from a goroutine, as a pipe with a buffer does.
type deferred struct{ net.Conn }

func (d deferred) Write(b []byte) (int, error) {
	b = bytes.Clone(b)
	go func() { _, _ = d.Conn.Write(b) }()
	return len(b), nil
}

func TestAParkedGuestIsToldToGoOnRightBehindTheGreeting(t *testing.T) {
	order := Resume{Time: time.Unix(1_700_000_000, 123), Entropy: [EntropySize]byte{1, EntropySize - 1: 9}}
	for _, answer := range []Resumed{{}, {Card: true}, {Error: "the program does not answer"}, {Error: strings.Repeat("x", 2*maxReason)}} {
		host, guest := net.Pipe()
		go func() {
			got, epoch, err := ReadResume(guest)
			if err != nil || epoch != 5 || !got.Time.Equal(order.Time) || got.Entropy != order.Entropy {
				t.Errorf("the guest was told %+v in epoch %d, %v", got, epoch, err)
			}
			_ = writeHello(guest, Version, 4) // an answer to an earlier greeting
			if err := answer.Write(guest, epoch); err != nil {
				t.Error(err)
			}
			_, _ = guest.Write([]byte("after"))
		}()
		got, err := HostResume(host, 5, order)
		answer.Error = answer.Error[:min(len(answer.Error), maxReason)]
		if err != nil || got != answer {
			t.Errorf("the host was told %+v, %v", got, err)
		}
		after := make([]byte, 5)
		if _, err := io.ReadFull(host, after); err != nil || string(after) != "after" {
			t.Errorf("what follows the answer was eaten: %q, %v", after, err)
		}
		host.Close()
		guest.Close()
	}
}

func TestHandshakeRefusesAnotherVersion(t *testing.T) {
	var answer bytes.Buffer
	if err := writeHello(&answer, Version+1, 7); err != nil {
		t.Fatal(err)
	}
	rw := struct {
		io.Reader
		io.Writer
	}{&answer, io.Discard}
	if err := HostHandshake(rw, 7); err == nil || !strings.Contains(err.Error(), "version") {
		t.Errorf("got %v", err)
	}
}

func TestHandshakeGivesUpOnNoise(t *testing.T) {
	rw := struct {
		io.Reader
		io.Writer
	}{zeros{}, io.Discard}
	if err := HostHandshake(rw, 7); err == nil {
		t.Error("noise without end was accepted")
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func FuzzHandshake(f *testing.F) {
	f.Add(magic[:])
	f.Add([]byte("ALEPHVM\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x07rest"))
	f.Fuzz(func(t *testing.T, input []byte) {
		rw := struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(input), io.Discard}
		_ = HostHandshake(rw, 7)
		rw.Reader = bytes.NewReader(input)
		_, _ = GuestHandshake(rw)
		rw.Reader = bytes.NewReader(input)
		_, _ = HostResume(rw, 7, Resume{})
		rw.Reader = bytes.NewReader(input)
		_, _, _ = ReadResume(rw)
	})
}

func TestParkingEndsTheSessionAndTheNextGreetingBeginsACleanOne(t *testing.T) {
	host, guest := net.Pipe()
	defer host.Close()
	defer guest.Close()
	mux, err := yamux.Client(held{host}, Mux())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = Parked(guest)
		if epoch, err := GuestHandshake(guest); err != nil || epoch != 3 {
			t.Errorf("guest: %d, %v", epoch, err)
		}
	}()
	select {
	case <-mux.CloseChan():
	case <-time.After(20 * time.Second):
		t.Fatal("the host did not notice that the session is over")
	}
	if err := host.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := HostHandshake(host, 3); err != nil {
		t.Error(err)
	}
}

// held keeps the connection when the session ends.
type held struct{ net.Conn }

func (h held) Close() error { return h.SetReadDeadline(time.Unix(1, 0)) }

func TestFrameHeaderRoundTrip(t *testing.T) {
	var b [FrameHeaderSize]byte
	for _, h := range []FrameHeader{{0, 0}, {1 << 20, 1500 * time.Microsecond}, {1<<32 - 1, (1<<32 - 1) * time.Microsecond}} {
		h.Put(b[:])
		if got := ParseFrameHeader(b[:]); got != h {
			t.Errorf("%+v became %+v", h, got)
		}
	}
	FrameHeader{1, 100 * time.Hour}.Put(b[:])
	if got := ParseFrameHeader(b[:]).Elapsed; got != (1<<32-1)*time.Microsecond {
		t.Errorf("a very long time became %v", got)
	}
}
