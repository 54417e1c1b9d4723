package guest

import (
	"testing"
	"testing/synctest"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// segment is a packet to the program from one of our ports.
func segment(port uint16, flags header.TCPFlags, payload int) []byte {
	b := make([]byte, header.IPv4MinimumSize+header.TCPMinimumSize+payload)
	header.IPv4(b).Encode(&header.IPv4Fields{TotalLength: uint16(len(b)), TTL: 64, Protocol: uint8(header.TCPProtocolNumber),
		SrcAddr: tcpip.AddrFrom4([4]byte{169, 254, 0, 1}), DstAddr: program.Addr})
	header.TCP(b[header.IPv4MinimumSize:]).Encode(&header.TCPFields{SrcPort: port, DstPort: program.Port, DataOffset: header.TCPMinimumSize, Flags: flags})
	return b
}

func TestAcknowledgementsWaitForWhatCarriesThem(t *testing.T) {
	const port = 40000
	request := segment(port, header.TCPFlagAck|header.TCPFlagPsh, 10)
	bare := segment(port, header.TCPFlagAck, 0)
	type rig struct {
		*acks
		sent int // later
	}
	within := func(name string, test func(t *testing.T, r *rig)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &rig{acks: &acks{ports: map[uint16]*ack{}}}
				r.send = func([]byte) { r.sent++ }
				test(t, r)
			})
		})
	}
	wait := func() { time.Sleep(10 * ackDelay); synctest.Wait() }

	within("the next request", func(t *testing.T, r *rig) {
		for range 100 {
			if !r.pass(request) || r.pass(bare) {
				t.Fatal("a request waits, or what acknowledges its answer does not")
			}
		}
		if !r.pass(request) {
			t.Fatal("a request waits")
		}
		if wait(); r.sent != 0 {
			t.Errorf("%d were sent beside the requests that carried them", r.sent)
		}
	})
	within("nothing comes", func(t *testing.T, r *rig) {
		r.pass(request)
		r.pass(bare)
		if wait(); r.sent != 1 {
			t.Fatalf("%d were sent", r.sent)
		}
		for i := range atOnce {
			if r.pass(request); !r.pass(bare) {
				t.Fatalf("number %d waits, after one that waited in vain", i)
			}
		}
		if r.pass(request); r.pass(bare) {
			t.Error("from then on none waits")
		}
	})
	within("of two in a row the second goes", func(t *testing.T, r *rig) {
		r.pass(request)
		for i := range 10 {
			if went := r.pass(bare); went != (i%2 == 1) {
				t.Errorf("number %d: %v", i, went)
			}
		}
		if wait(); r.sent != 0 {
			t.Errorf("%d were sent once more", r.sent)
		}
	})
	within("each connection for itself", func(t *testing.T, r *rig) {
		r.pass(request)
		r.pass(bare)
		if r.pass(segment(port+1, header.TCPFlagAck|header.TCPFlagPsh, 10)); r.ports[port].waiting == nil {
			t.Error("another connection's request carries nothing of this one")
		}
	})
	within("the end of a connection", func(t *testing.T, r *rig) {
		r.pass(request)
		r.pass(bare)
		if !r.pass(segment(port, header.TCPFlagAck|header.TCPFlagFin, 0)) || !r.pass(bare) || len(r.ports) != 0 {
			t.Errorf("%d connections are left", len(r.ports))
		}
		if wait(); r.sent != 0 {
			t.Errorf("%d were sent afterwards", r.sent)
		}
	})
	within("what is no TCP", func(t *testing.T, r *rig) {
		echo := segment(port, 0, 0)
		header.IPv4(echo).Encode(&header.IPv4Fields{TotalLength: uint16(len(echo)), Protocol: uint8(header.ICMPv4ProtocolNumber)})
		if !r.pass(echo) || !r.pass(nil) || len(r.ports) != 0 {
			t.Error("it waits")
		}
	})
}
