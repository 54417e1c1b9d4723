package crn_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// quiet takes what is of no interest.
var quiet = log.New(io.Discard, "", 0)

// ticks are what guests send to addresses that begin with 45, as it leaves their network cards: a number each. No node needs to be there
// to see it.
type ticks struct {
	mu      sync.Mutex
	highest int
	cards   []int // indices of interfaces, in the order in which they began to send, one for each time
}

func watchTicks(t *testing.T) *ticks {
	t.Helper()
	const everyProtocol = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, everyProtocol)
	if err != nil {
		t.Fatal(err)
	}
	second := unix.NsecToTimeval(1e8)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &second); err != nil {
		t.Fatal(err)
	}
	k := &ticks{}
	end, ended := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(end); <-ended; unix.Close(fd) })
	go func() {
		defer close(ended)
		frame := make([]byte, 2048)
		for {
			select {
			case <-end:
				return
			default:
			}
			n, from, err := unix.Recvfrom(fd, frame, 0)
			link, ok := from.(*unix.SockaddrLinklayer)
			const header = 14 + 20
			if err != nil || !ok || link.Pkttype == unix.PACKET_OUTGOING || n < header || binary.BigEndian.Uint16(frame[12:]) != unix.ETH_P_IP || frame[30] != 45 {
				continue
			}
			k.add(link.Ifindex, int(frame[31])<<16|int(frame[32])<<8|int(frame[33]))
		}
	}()
	return k
}

func (k *ticks) add(card, number int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.highest = max(k.highest, number)
	if n := len(k.cards); n == 0 || k.cards[n-1] != card {
		k.cards = append(k.cards, card)
	}
}

// forget begins anew.
func (k *ticks) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.highest, k.cards = 0, nil
}

func (k *ticks) last() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.highest
}

// returned says which card sent again after another one had; empty when each guest that began was the last.
func (k *ticks) returned() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, card := range k.cards {
		if slices.Contains(k.cards[:i], card) {
			return fmt.Sprintf("interfaces sent in the order %v", k.cards)
		}
	}
	return ""
}
