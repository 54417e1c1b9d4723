package state

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// scope is what a grant may be restricted to.
type scope struct {
	typ      message.Type
	chain    message.Chain
	channel  *string
	postType string
	key      string
}

func scopeOf(m *message.Message, content message.Content) scope {
	sc := scope{typ: m.Type, chain: m.Chain, channel: m.Channel}
	switch c := content.(type) {
	case *message.Post:
		sc.postType = c.PostType
	case *message.Aggregate:
		sc.key = c.Key
	}
	return sc
}

// storedScope returns the scope of a message that was applied.
func storedScope(m *store.MessageRow) scope {
	sc := scope{typ: m.Message.Type, chain: m.Message.Chain, channel: m.Message.Channel}
	if content, err := message.ParseContent(m.Message.Type, m.Content); err == nil {
		return scopeOf(&m.Message, content)
	}
	return sc
}

// grant is an entry of the security aggregate (spec/ccn-core.md §4). An empty list restricts nothing.
type grant struct {
	text                                      string // as it is written
	who                                       string // its address, folded
	chain                                     string
	channels, types, postTypes, aggregateKeys []string
}

// readGrant reads an entry. Names count as they are written, not as encoding/json takes them; a list that is there must be one,
// as null restricts nothing only where there is no list at all.
func readGrant(raw json.RawMessage) (g grant, ok bool) {
	var address string
	entry, err := members(raw)
	if err != nil || json.Unmarshal(entry["address"], &address) != nil {
		return grant{}, false
	}
	g.text, g.who = string(raw), folded(address)
	if chain, has := entry["chain"]; has && json.Unmarshal(chain, &g.chain) != nil { // null is no chain
		return grant{}, false
	}
	for name, list := range map[string]*[]string{
		"channels": &g.channels, "types": &g.types, "post_types": &g.postTypes, "aggregate_keys": &g.aggregateKeys,
	} {
		if value, has := entry[name]; has && (json.Unmarshal(value, list) != nil || *list == nil) {
			return grant{}, false
		}
	}
	return g, true
}

func (g *grant) covers(sc scope) bool {
	within := func(list []string, s string) bool { return len(list) == 0 || slices.Contains(list, s) }
	switch {
	case g.chain != "" && g.chain != string(sc.chain),
		len(g.channels) > 0 && (sc.channel == nil || !slices.Contains(g.channels, *sc.channel)),
		!within(g.types, string(sc.typ)),
		sc.typ == message.TypePost && !within(g.postTypes, sc.postType),
		sc.typ == message.TypeAggregate && !within(g.aggregateKeys, sc.key):
		return false
	}
	return true
}

// The aggregate in which an owner grants rights, and its member with the grants.
const (
	securityKey    = "security"
	authorizations = "authorizations"
)

// allowed reports whether sender may act for owner: by the grants in force at the place, or by any that the owner published
// later. A message that comes before its grant is thus as good as one that comes after it, and one that comes long after
// the grant was withdrawn is judged as on the day it was made. Grants that were forgotten are in force until then, unless
// a delegate published them: those count no more. A malformed grant grants nothing, and no element grants anything to itself.
func (s *State) allowed(r *reader, sender, owner string, sc scope, at place) (bool, error) {
	if sameAddress(sender, owner) {
		return true, nil
	}
	if !s.merges(owner) {
		return false, nil
	}
	t, err := r.grants(owner)
	if err != nil {
		return false, err
	}
	read := t.read
	ok, err := t.allows(r.Reader, folded(sender), sc, at)
	r.granted.read += t.read - read
	return ok, err
}

// followGrants notes that the grants of an owner changed, from a content time on. What was done, and what was refused, on
// behalf of the owner is looked at again.
func (w *work) followGrants(owner string, since float64) {
	w.wake(message.WaitGrant(owner))
	if earlier, known := w.regranted[owner]; known {
		since = min(since, earlier)
	}
	put(&w.regranted, owner, since)
}

// judgeDelegated looks again at what was done on behalf of the owners whose grants changed.
func (w *work) judgeDelegated() error {
	for _, owner := range slices.Sorted(maps.Keys(w.regranted)) {
		since := w.regranted[owner]
		delete(w.regranted, owner)
		delegated, err := w.tx.DelegatedSince(owner, since)
		if err != nil {
			return err
		}
		w.judgeAgain(delegated...)
		if err := w.transferForgotten(owner); err != nil {
			return err
		}
	}
	return nil
}

// sameAddress compares addresses as the network does when it asks who acts: without regard to case, on every chain.
func sameAddress(a, b string) bool { return strings.EqualFold(a, b) }

// folded returns the same text for all spellings of an address that sameAddress takes for one.
func folded(address string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
			least = min(least, other)
		}
		return least
	}, address)
}

// permit refuses a message whose sender may not act for the owner of its content.
func (s *State) permit(r *reader, it *Item) error {
	return s.permitAs(r, it, it.Content.Base().Address, scopeOf(it.Message, it.Content))
}

func (s *State) permitAs(r *reader, it *Item, owner string, sc scope) error {
	if it.Accepted {
		return nil
	}
	ok, err := s.allowed(r, it.Message.Sender, owner, sc, placeOf(it))
	if err != nil || ok {
		return err
	}
	refusal := message.Errorf(message.ErrPermissionDenied, "%s is not allowed to act for %s: the owner must grant it in the aggregate %q",
		it.Message.Sender, owner, securityKey)
	return waitingFor(refusal, message.WaitGrant(owner))
}
