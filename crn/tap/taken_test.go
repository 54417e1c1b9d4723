package tap

import (
	"errors"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aleph-im/aleph-go/message"
)

// guestsAt are guests of these numbers.
func guestsAt(slots ...int) (list []Guest) {
	for _, slot := range slots {
		list = append(list, Guest{Slot: slot, Addresses: AddressesOf(pool, slot, message.HashBytes([]byte{byte(slot)}), KindInstance)})
	}
	return list
}

func TestATapOfAnotherProgramIsLeftAloneAndSaid(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	h, err := New(t.Context(), Config{Owner: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ip(t, "tuntap add dev "+Name(2049)+" mode tap")
	before, err := net.InterfaceByName(Name(2049))
	if err != nil {
		t.Fatal(err)
	}
	err = h.Apply(t.Context(), guestsAt(2048, 2049, 2050))
	var taken *TakenError
	if !errors.As(err, &taken) || !slices.Equal(taken.Slots, []int{2049}) {
		t.Fatalf("got %v", err)
	}
	if after, err := net.InterfaceByName(Name(2049)); err != nil || after.Index != before.Index || after.Flags&net.FlagUp != 0 {
		t.Errorf("the other program's tap was %v, and is %v, %v", before, after, err)
	}
	rules, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
	for _, name := range []string{Name(2048), Name(2050)} {
		made, lookErr := net.InterfaceByName(name)
		if lookErr != nil || made.Flags&net.FlagUp == 0 || err != nil || !strings.Contains(string(rules), name) {
			t.Errorf("%s: %v, %v", name, made, lookErr)
		}
	}
	if strings.Contains(string(rules), Name(2049)) {
		t.Errorf("rules are made for the other program's tap: %s", rules)
	}
	if _, err := net.InterfaceByName(h.tag); err == nil {
		t.Error("an unfinished tap is left")
	}

	ip(t, "link delete dev "+Name(2049))
	if err := h.Apply(t.Context(), guestsAt(2048, 2049, 2050)); err != nil || !Taken(2049) {
		t.Errorf("the name is free: %v", err)
	}
}

// Nodes of one host make taps of the same name at the same time.
func TestOfTwoNodesOneHasATap(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	slots := []int{2048, 2049, 2050, 2051, 2052, 2053}
	var nodes [2]*Host
	var lacks [2][]int
	for i := range nodes {
		var err error
		if nodes[i], err = New(t.Context(), Config{Owner: t.TempDir()}); err != nil {
			t.Fatal(err)
		}
	}
	var both sync.WaitGroup
	for i, h := range nodes {
		both.Go(func() {
			err := h.Apply(t.Context(), guestsAt(slots...))
			var taken *TakenError
			if errors.As(err, &taken) {
				lacks[i] = taken.Slots
			} else if err != nil {
				t.Errorf("node %d: %v", i, err)
			}
		})
	}
	both.Wait()
	for _, slot := range slots {
		if slices.Contains(lacks[0], slot) == slices.Contains(lacks[1], slot) {
			t.Errorf("of %d: the first node lacks %v, the second %v", slot, lacks[0], lacks[1])
		}
	}
	for _, h := range nodes {
		if err := h.Apply(t.Context(), nil); err != nil {
			t.Error(err)
		}
	}
	if left, err := net.Interfaces(); err != nil || len(left) != 1 {
		t.Errorf("interfaces that are left: %v, %v", left, err)
	}
}

func TestAnUnfinishedTapIsRemoved(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	h, err := New(t.Context(), Config{Owner: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for _, cut := range [][]string{
		{"tuntap add dev " + h.tag + " mode tap"},
		{"tuntap add dev " + h.tag + " mode tap", "link set dev " + h.tag + " alias " + h.tag},
	} {
		ip(t, cut...)
		if err := h.Apply(t.Context(), guestsAt(2048)); err != nil {
			t.Error(err)
		}
		if err := h.Apply(t.Context(), nil); err != nil {
			t.Error(err)
		}
		if left, err := net.Interfaces(); err != nil || len(left) != 1 {
			t.Errorf("interfaces that are left: %v, %v", left, err)
		}
	}
}
