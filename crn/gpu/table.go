package gpu

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// ReservationTime is how long a card is kept for who asked for it.
const ReservationTime = time.Minute

// Table is who has reserved which card. Which are in use its callers say. Safe for concurrent use.
type Table struct {
	cards []Card

	mu       sync.Mutex
	reserved map[string]reservation // by Card.PCIHost
}

type reservation struct {
	user  string // lower case
	until time.Time
}

// NewTable makes a table of cards that nobody has reserved.
func NewTable(cards []Card) *Table { return &Table{cards: cards, reserved: map[string]reservation{}} }

// Cards are all of them.
func (t *Table) Cards() []Card { return slices.Clone(t.cards) }

// Free are those that are neither in use nor reserved.
func (t *Table) Free(used map[string]bool) []Card {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.DeleteFunc(t.Cards(), func(c Card) bool { return used[c.PCIHost] || t.others(c.PCIHost, "") })
}

// others reports whether somebody else has reserved a card. t.mu is held.
func (t *Table) others(place, user string) bool {
	r, ok := t.reserved[place]
	return ok && r.until.After(time.Now()) && r.user != user
}

// Reserve keeps a card for each that is wanted, all or none, and returns until when, or which is not to be had. What the user had
// reserved before is given back.
func (t *Table) Reserve(user string, wanted []message.GPURequirement, used map[string]bool) (until time.Time, missing *message.GPURequirement) {
	t.mu.Lock()
	defer t.mu.Unlock()
	user, now := strings.ToLower(user), time.Now()
	until = now.Add(ReservationTime)
	chosen, missed := t.choose(user, devicesOf(wanted), nil, used)
	if missed >= 0 {
		return until, &wanted[missed]
	}
	for place, r := range t.reserved {
		if r.user == user || !r.until.After(now) {
			delete(t.reserved, place)
		}
	}
	for _, card := range chosen {
		t.reserved[card.PCIHost] = reservation{user, until}
	}
	return until, nil
}

// Choose picks a card for each that an owner's instance asks for: those that it had before, where they are to be had, then what the
// owner has reserved, then what is free.
func (t *Table) Choose(owner string, wanted, before []string, used map[string]bool) ([]Card, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	chosen, missed := t.choose(strings.ToLower(owner), wanted, before, used)
	if missed >= 0 {
		return nil, fmt.Errorf("no graphics card %s is free", wanted[missed])
	}
	return chosen, nil
}

// choose returns the cards, or the index of the first wish that cannot be met; -1 when all are. t.mu is held.
func (t *Table) choose(user string, wanted, before []string, used map[string]bool) (chosen []Card, missed int) {
	rank := func(c Card) int {
		switch {
		case slices.Contains(before, c.PCIHost):
			return 0
		case t.reserved[c.PCIHost].user == user:
			return 1
		}
		return 2
	}
	cards := t.Cards()
	slices.SortStableFunc(cards, func(a, b Card) int { return rank(a) - rank(b) })
	for n, want := range wanted {
		at := slices.IndexFunc(cards, func(c Card) bool { return c.DeviceID == want && !used[c.PCIHost] && !t.others(c.PCIHost, user) })
		if at < 0 {
			return nil, n
		}
		chosen = append(chosen, cards[at])
		cards = slices.Delete(cards, at, at+1)
	}
	return chosen, -1
}

// devicesOf are the numbers of the cards that are asked for.
func devicesOf(wanted []message.GPURequirement) []string {
	list := make([]string, 0, len(wanted))
	for _, w := range wanted {
		list = append(list, w.DeviceID)
	}
	return list
}
