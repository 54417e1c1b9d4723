package state

import (
	"encoding/json"
	"math"
	"slices"
	"sort"
	"strings"

	"github.com/aleph-im/aleph-go/ccn/store"
)

// timeline is what an owner granted, in the order in which it was published. It is read from the newest element to the
// oldest, as far as it is asked for, so that a message of today costs one element, and many that are judged together cost
// each element once.
type timeline struct {
	owner  string
	there  published
	oldest place // of the elements that were read
	read   int   // elements that were read
	whole  bool  // no older element is left

	forgotten published
	steps     []step // which of the forgotten ones was in force when; the oldest first
}

// granted is what the messages of a transaction are judged by. Nobody else writes meanwhile, and what the transaction itself
// writes is dropped, so that many messages for one owner read what he granted once.
type granted struct {
	by   map[string]*timeline // owners
	read int                  // publications that were read for it
}

// maxGranted bounds the publications that are kept from message to message.
const maxGranted = 50_000

// reader returns what the next message of a transaction is judged by.
func (s *State) reader(tx *store.Tx) *reader {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tx != tx || s.granted.read > maxGranted {
		s.tx, s.granted = tx, &granted{by: map[string]*timeline{}}
	}
	return &reader{Reader: tx.Reader, granted: s.granted}
}

// step says that a publication was in force after a place, until the next step.
type step struct {
	after place
	in    *publication // nil: none
}

// grants returns the timeline of an owner.
func (r *reader) grants(owner string) (*timeline, error) {
	if t := r.granted.by[owner]; t != nil {
		return t, nil
	}
	list, err := r.ForgottenGrants(owner, securityKey)
	if err != nil {
		return nil, err
	}
	t := &timeline{owner: owner, oldest: place{time: math.Inf(1)}}
	for i := range list {
		g := &list[i]
		p := readPublication(place{g.ContentTime, g.Hash}, g.Grants)
		p.end = place{g.First.ContentTime, g.First.By}
		t.forgotten.add(p)
	}
	t.steps = t.forgotten.steps()
	r.granted.by[owner] = t
	r.granted.read += 1 + len(list)
	return t, nil
}

// dropGrants lets the grants of an owner be read again.
func (r *reader) dropGrants(owner string) { delete(r.granted.by, owner) }

// dropElement takes out what an element granted that is there no more.
func (r *reader) dropElement(e *store.Element) {
	if t := r.granted.by[e.Owner]; t != nil {
		t.there.remove(place{e.ContentTime, e.Hash})
	}
}

// allows reports whether sender, which is folded, may do something at a place.
func (t *timeline) allows(r *store.Reader, sender string, sc scope, at place) (bool, error) {
	if t.forgotten.after(at, sender, sc) {
		return true, nil
	}
	for !t.there.after(at, sender, sc) {
		in := t.there.before(at)
		if in == nil && !t.whole {
			if err := t.readOlder(r); err != nil {
				return false, err
			}
			continue
		}
		if f := t.forgottenAt(at); f != nil && (in == nil || in.at.before(f.at)) {
			in = f
		}
		return in != nil && in.allows(sender, sc), nil
	}
	return true, nil
}

// forgottenAt returns the newest forgotten publication that was in force at a place; nil when there was none.
func (t *timeline) forgottenAt(at place) *publication {
	n := sort.Search(len(t.steps), func(i int) bool { return !t.steps[i].after.before(at) })
	if n == 0 {
		return nil
	}
	return t.steps[n-1].in
}

// readOlder reads as many elements as were read so far.
func (t *timeline) readOlder(r *store.Reader) error {
	limit := max(1, t.read)
	list, err := r.OlderElements(t.owner, securityKey, t.oldest.time, t.oldest.hash, limit)
	if err != nil {
		return err
	}
	for i := range list {
		e := &list[i]
		t.oldest = place{e.ContentTime, e.Hash}
		document, err := members(e.Content)
		if err != nil {
			return err
		}
		if grants, has := document[authorizations]; has {
			t.there.add(readPublication(t.oldest, grants))
		}
	}
	t.read += len(list)
	t.whole = len(list) < limit
	return nil
}

// publication is what an owner granted in one element.
type publication struct {
	at     place
	end    place   // of a forgotten one: the first FORGET that took it
	grants []grant // by who may act
}

// readPublication reads a list of grants. What is none grants nothing.
func readPublication(at place, list json.RawMessage) *publication {
	p := &publication{at: at}
	var entries []json.RawMessage
	if json.Unmarshal(list, &entries) != nil {
		return p
	}
	for _, raw := range entries {
		if g, ok := readGrant(raw); ok {
			p.grants = append(p.grants, g)
		}
	}
	slices.SortStableFunc(p.grants, func(a, b grant) int { return strings.Compare(a.who, b.who) })
	return p
}

// allows reports whether the publication lets sender, which is folded, do something.
func (p *publication) allows(sender string, sc scope) bool {
	n, _ := slices.BinarySearchFunc(p.grants, sender, func(g grant, who string) int { return strings.Compare(g.who, who) })
	for ; n < len(p.grants) && p.grants[n].who == sender; n++ {
		if p.grants[n].covers(sc) {
			return true
		}
	}
	return false
}

// published are publications, the newest first.
type published struct {
	list   []*publication
	newest map[string][]dated // by who may act: each grant where it was published last, the newest first; nil: to be listed
	texts  map[string]bool    // of the grants in newest
}

type dated struct {
	*grant
	at place
}

// add adds a publication that is older than the others.
func (p *published) add(older *publication) {
	p.list = append(p.list, older)
	if p.newest != nil {
		p.index(older)
	}
}

func (p *published) index(older *publication) {
	for i := range older.grants {
		g := &older.grants[i]
		if !p.texts[g.text] {
			p.texts[g.text] = true
			p.newest[g.who] = append(p.newest[g.who], dated{g, older.at})
		}
	}
}

func (p *published) remove(at place) {
	if n := p.search(at); n > 0 && p.list[n-1].at == at {
		p.list = slices.Delete(p.list, n-1, n)
		p.newest = nil
	}
}

// search returns how many publications are not before a place.
func (p *published) search(at place) int {
	return sort.Search(len(p.list), func(i int) bool { return p.list[i].at.before(at) })
}

// before returns the newest publication before a place; nil when there is none.
func (p *published) before(at place) *publication {
	if n := p.search(at); n < len(p.list) {
		return p.list[n]
	}
	return nil
}

// after reports whether any publication after a place lets sender do something.
func (p *published) after(at place, sender string, sc scope) bool {
	if p.newest == nil {
		p.newest, p.texts = map[string][]dated{}, map[string]bool{}
		for _, older := range p.list {
			p.index(older)
		}
	}
	for _, g := range p.newest[sender] {
		if !at.before(g.at) {
			return false
		}
		if g.covers(sc) {
			return true
		}
	}
	return false
}

// steps lists which publication was in force when: the newest that no FORGET before the place had taken.
func (p *published) steps() []step {
	type event struct {
		at place
		of *publication // nil: an end
	}
	var events []event
	for _, of := range p.list {
		events = append(events, event{of.at, of}, event{at: of.end})
	}
	slices.SortFunc(events, func(a, b event) int {
		if a.at.before(b.at) {
			return -1
		}
		if b.at.before(a.at) {
			return 1
		}
		return 0
	})
	var steps []step
	var begun []*publication // the oldest first; those that ended and are not the newest are still among them
	for _, e := range events {
		if e.of != nil {
			begun = append(begun, e.of)
		}
		for len(begun) > 0 && !e.at.before(begun[len(begun)-1].end) {
			begun = begun[:len(begun)-1]
		}
		s := step{after: e.at}
		if len(begun) > 0 {
			s.in = begun[len(begun)-1]
		}
		steps = append(steps, s)
	}
	return steps
}
