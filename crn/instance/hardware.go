package instance

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aleph-im/aleph-go/crn/gpu"
	"github.com/aleph-im/aleph-go/message"
)

// hardware is what an instance needs of its host beside processors, memory and disk. Whose needs are so special was placed by its
// owner: a plan of the scheduler does not send it away (spec/crn.md §2.6.1).
type hardware struct {
	Confidential bool     `json:"confidential,omitempty"`
	GPUs         []string `json:"gpus,omitempty"`  // numbers of the cards that its message asks for
	Cards        []string `json:"cards,omitempty"` // places of those that it has, or had when it last ran
}

// hardwareOf is what a message asks for; nil when it is nothing.
func hardwareOf(m *message.Instance) *hardware {
	h := hardware{Confidential: m.Environment.TrustedExecution != nil}
	if m.Requirements != nil {
		for _, g := range m.Requirements.GPU {
			h.GPUs = append(h.GPUs, g.DeviceID)
		}
	}
	if !h.Confidential && len(h.GPUs) == 0 {
		return nil
	}
	return &h
}

func (r record) confidential() bool { return r.Hardware != nil && r.Hardware.Confidential }

// hasHardware refuses what this host has not, whoever else is here.
func (p *Pool) hasHardware(m *message.Instance) error {
	if t := m.Environment.TrustedExecution; t != nil {
		switch {
		case t.Mode != nil && *t.Mode != "sev":
			return fmt.Errorf("confidential execution in the mode %s is %w", *t.Mode, ErrUnsupported)
		case p.cfg.SEV == nil:
			return fmt.Errorf("confidential execution is %w: %w", ErrUnsupported, p.cfg.NoSEV)
		}
	}
	if h := hardwareOf(m); h != nil && len(h.GPUs) > 0 {
		have := p.cfg.Cards.Cards()
		for _, want := range h.GPUs {
			at := slices.IndexFunc(have, func(c gpu.Card) bool { return c.DeviceID == want })
			if at < 0 {
				return fmt.Errorf("a GPU %s is %w: this node has none, or not as many", want, ErrUnsupported)
			}
			have = slices.Delete(have, at, at+1)
		}
	}
	return nil
}

// chooseCards gives a record the cards that its instance may have now, beside the others. p.mu is held.
func (p *Pool) chooseCards(r *record) error {
	if r.Hardware == nil || len(r.Hardware.GPUs) == 0 {
		return nil
	}
	chosen, err := p.cfg.Cards.Choose(r.Owner, r.Hardware.GPUs, r.Hardware.Cards, p.cardsInUse(r.Hash))
	if err != nil {
		return fmt.Errorf("instance %s: %w: %w", r.Hash, ErrNoRoom, err)
	}
	changed := *r.Hardware
	changed.Cards = nil
	for _, card := range chosen {
		changed.Cards = append(changed.Cards, card.PCIHost)
	}
	r.Hardware = &changed
	return nil
}

// cardsInUse are the places of cards that instances have, but for one instance. p.mu is held.
func (p *Pool) cardsInUse(except message.Hash) map[string]bool {
	used := map[string]bool{}
	for hash, x := range p.instances {
		if hash == except || x.rec.Hardware == nil || x.memory() == 0 {
			continue
		}
		for _, place := range x.rec.Hardware.Cards {
			used[place] = true
		}
	}
	return used
}

// Cards are the graphics cards of this node, and those of them that nobody uses or has reserved.
func (p *Pool) Cards() (all, free []gpu.Card) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cfg.Cards.Cards(), p.cfg.Cards.Free(p.cardsInUse(""))
}

// ReserveCards keeps the cards that an instance asks for, all or none, for a user and a minute. It returns until when, or which is not
// to be had. The user's instance is given them when it starts.
func (p *Pool) ReserveCards(user string, m *message.Instance) (until time.Time, missing *message.GPURequirement) {
	var wanted []message.GPURequirement
	if m.Requirements != nil {
		wanted = m.Requirements.GPU
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cfg.Cards.Reserve(user, wanted, p.cardsInUse(""))
}

// takeCards takes the cards of a record from the host.
func (p *Pool) takeCards(r record) (cards []gpu.Card, err error) {
	if cards, err = p.cardsOf(r); err != nil {
		return nil, err
	}
	for _, card := range cards {
		if err := p.cfg.CardHost.Bind(card); err != nil {
			return nil, errors.Join(err, p.giveCardsBack(r))
		}
	}
	return cards, nil
}

// giveCardsBack lets the host have the cards of a record. Its machine has ended.
func (p *Pool) giveCardsBack(r record) error {
	cards, err := p.cardsOf(r)
	errs := []error{err}
	for _, card := range cards {
		errs = append(errs, p.cfg.CardHost.GiveBack(card))
	}
	return errors.Join(errs...)
}

func (p *Pool) cardsOf(r record) (cards []gpu.Card, err error) {
	if r.Hardware == nil {
		return nil, nil
	}
	all := p.cfg.Cards.Cards()
	for _, place := range r.Hardware.Cards {
		at := slices.IndexFunc(all, func(c gpu.Card) bool { return c.PCIHost == place })
		if at < 0 {
			err = errors.Join(err, fmt.Errorf("graphics card %s of instance %s is no more among those of this node", place, r.Hash))
			continue
		}
		cards = append(cards, all[at])
	}
	return cards, err
}

// giveOrphanedCardsBack lets the host have cards that a killed node took for machines that are gone. p.mu need not be held: nothing
// runs yet.
func (p *Pool) giveOrphanedCardsBack() error {
	used := map[string]bool{}
	for _, x := range p.instances {
		if x.machine != nil && x.rec.Hardware != nil {
			for _, place := range x.rec.Hardware.Cards {
				used[place] = true
			}
		}
	}
	var errs []error
	for _, card := range p.cfg.Cards.Cards() {
		if !used[card.PCIHost] {
			errs = append(errs, p.cfg.CardHost.GiveBack(card))
		}
	}
	return errors.Join(errs...)
}
