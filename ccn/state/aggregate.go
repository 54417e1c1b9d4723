package state

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// aggregate decides on an AGGREGATE (spec/ccn-core.md §3.2).
func (s *State) aggregate(r *reader, it *Item, c *message.Aggregate) (*change, error) {
	if err := s.permit(r, it); err != nil {
		return nil, err
	}
	added, err := members(c.Content)
	if err != nil {
		return nil, message.Errorf(message.ErrInvalidFormat, "the content of an aggregate must be an object: %v", err)
	}
	forgottenBy, err := s.keyForgottenBy(r, c.Address, scopeOf(it.Message, c), placeOf(it))
	if err != nil {
		return nil, err
	}
	element := &store.Element{Hash: it.Message.ItemHash, Owner: c.Address, Key: c.Key, ContentTime: c.Time, Content: c.Content}
	ch := &change{columns: store.ContentColumns{Key: &c.Key}, forgottenBy: forgottenBy}
	ch.write = func(w *work) error {
		w.wake(message.WaitAggregate(c.Address, c.Key))
		if s.merges(c.Address) {
			if err := w.tx.MergeElement(element, added); err != nil {
				return err
			}
		}
		element.ID = w.row
		if err := w.tx.InsertElement(element); err != nil {
			return err
		}
		return w.follow(c)
	}
	return ch, nil
}

// follow looks at what depends on the documents of an owner: who may act for him, and what things cost.
func (w *work) follow(c *message.Aggregate) error {
	if c.Key == securityKey {
		w.read.dropGrants(c.Address)
		w.followGrants(c.Address, c.Time)
	}
	if w.state.movesPrices(c.Address, c.Key) {
		claims, err := w.tx.ClaimsSince(c.Time)
		if err != nil {
			return err
		}
		w.judgeAgain(claims...)
	}
	return nil
}

// keyForgottenBy lists the FORGETs of its key that come after an element, as many as are kept. Only keys that look like hashes can be forgotten.
func (s *State) keyForgottenBy(r *reader, owner string, sc scope, at place) ([]store.Forgetting, error) {
	if message.Hash(sc.key).Kind() == "" {
		return nil, nil
	}
	list, err := r.AggregateForgettings(owner, sc.key, at.time, at.hash)
	if err != nil {
		return nil, err
	}
	var by []store.Forgetting
	for _, f := range list {
		if len(by) == store.MaxForgettings {
			break
		}
		ok, err := s.allowed(r, f.Sender, owner, sc, place{f.ContentTime, f.By})
		if err != nil {
			return nil, err
		}
		if ok {
			by = append(by, f.Forgetting)
		}
	}
	return by, nil
}

// merges reports whether the elements of owner are added up.
func (s *State) merges(owner string) bool {
	return owner == "" || owner != s.params.UnmergedAggregateOwner
}

// documentAt returns what the elements of a key before a place add up to; nil when there is none.
func documentAt(r *store.Reader, owner, key string, at place) ([]byte, error) {
	var document map[string]json.RawMessage
	err := r.VisitOlderElements(owner, key, at.time, at.hash, func(e *store.Element) (bool, error) {
		older, err := members(e.Content)
		if document == nil {
			document = older
		}
		for name, value := range older {
			if _, ok := document[name]; !ok {
				document[name] = value
			}
		}
		return true, err
	})
	if err != nil || document == nil {
		return nil, err
	}
	return store.Object(document), nil
}

// eraseElement deletes an element. What older elements say where it had a say is looked for once, when all that is to go
// is gone.
func (w *work) eraseElement(h message.Hash) error {
	e, err := w.tx.Element(h)
	if err != nil || e == nil {
		return err
	}
	if err := w.tx.DeleteElement(h); err != nil {
		return err
	}
	if e.Key == securityKey {
		w.read.dropElement(e)
	}
	if w.state.merges(e.Owner) {
		if err := w.unmerge(e); err != nil {
			return err
		}
	}
	if !w.state.movesPrices(e.Owner, e.Key) {
		return nil
	}
	claims, err := w.tx.ClaimsSince(e.ContentTime)
	if err == nil {
		w.judgeAgain(claims...)
	}
	return err
}

// aggregateKey names a document.
type aggregateKey struct{ owner, key string }

func (w *work) unmerge(e *store.Element) error {
	own, err := members(e.Content)
	if err != nil {
		return fmt.Errorf("read element %s: %w", e.Hash, err)
	}
	lost, err := w.tx.UnmergeElement(e, own)
	if err != nil {
		return err
	}
	k := aggregateKey{e.Owner, e.Key}
	if w.stale[k] == nil {
		put(&w.stale, k, map[string]bool{})
	}
	for _, name := range lost {
		w.stale[k][name] = true
	}
	return nil
}

// refold gives documents what older elements have of the members that they lost.
func (w *work) refold() error {
	for k, lost := range w.stale {
		delete(w.stale, k)
		if err := w.tx.RefreshAggregate(k.owner, k.key); err != nil {
			return err
		}
		if err := w.tx.RestoreMembers(k.owner, k.key, slices.Sorted(maps.Keys(lost))); err != nil {
			return err
		}
	}
	return nil
}

// members returns the members of a JSON object with the exact text of their values.
func members(raw []byte) (map[string]json.RawMessage, error) {
	m := map[string]json.RawMessage{}
	err := json.Unmarshal(raw, &m)
	if m == nil {
		m = map[string]json.RawMessage{}
	}
	return m, err
}
