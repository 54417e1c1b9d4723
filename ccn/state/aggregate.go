package state

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// aggregate decides on an AGGREGATE (spec/ccn-core.md §3.2).
func (s *State) aggregate(r *store.Reader, it *Item, c *message.Aggregate) (*change, error) {
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
			if err := fold(w.tx, element, added); err != nil {
				return err
			}
		}
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
		if err := w.followGrants(c.Address, c.Time); err != nil {
			return err
		}
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

// keyForgottenBy lists the FORGETs of its key that come after an element. Only keys that look like hashes can be forgotten.
func (s *State) keyForgottenBy(r *store.Reader, owner string, sc scope, at place) ([]store.Forgetting, error) {
	if message.Hash(sc.key).Kind() == "" {
		return nil, nil
	}
	list, err := r.AggregateForgettings(owner, sc.key, at.time, at.hash)
	if err != nil {
		return nil, err
	}
	var by []store.Forgetting
	for _, f := range list {
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

// fold adds an element that is not stored yet to its document. Of every member, the element that comes last by (content
// time, hash) counts, so of an element that comes late only members are taken that no later element has.
func fold(tx *store.Tx, e *store.Element, added map[string]json.RawMessage) error {
	a, err := tx.Aggregate(e.Owner, e.Key)
	if err != nil {
		return err
	}
	if a == nil {
		return tx.PutAggregate(&store.AggregateRow{
			Owner: e.Owner, Key: e.Key, Content: object(added), Created: e.ContentTime, LastUpdated: e.ContentTime, LastRevision: e.Hash,
		})
	}
	if (place{a.LastUpdated, a.LastRevision}).before(place{e.ContentTime, e.Hash}) {
		a.LastUpdated, a.LastRevision = e.ContentTime, e.Hash
	} else if err := dropOverridden(tx, e, added); err != nil {
		return err
	}
	a.Created = min(a.Created, e.ContentTime)
	if len(added) > 0 {
		document, err := members(a.Content)
		if err != nil {
			return fmt.Errorf("read aggregate %s of %s: %w", e.Key, e.Owner, err)
		}
		for name, value := range added {
			document[name] = value
		}
		a.Content = object(document)
	}
	return tx.PutAggregate(a)
}

// dropOverridden removes from added the members that an element after e has.
func dropOverridden(tx *store.Tx, e *store.Element, added map[string]json.RawMessage) error {
	return tx.Elements(e.Owner, e.Key, func(later *store.Element) (bool, error) {
		if !(place{e.ContentTime, e.Hash}).before(place{later.ContentTime, later.Hash}) {
			return false, nil
		}
		overriding, err := members(later.Content)
		for name := range overriding {
			delete(added, name)
		}
		return len(added) > 0, err
	})
}

// foldElements builds a document from those of its elements that count; nil when there is none.
func foldElements(r *store.Reader, owner, key string, counts func(*store.Element) bool) (*store.AggregateRow, error) {
	var a *store.AggregateRow
	document := map[string]json.RawMessage{}
	err := r.Elements(owner, key, func(e *store.Element) (bool, error) {
		if !counts(e) {
			return true, nil
		}
		if a == nil {
			a = &store.AggregateRow{Owner: owner, Key: key, LastUpdated: e.ContentTime, LastRevision: e.Hash}
		}
		a.Created = e.ContentTime
		older, err := members(e.Content)
		for name, value := range older {
			if _, ok := document[name]; !ok {
				document[name] = value
			}
		}
		return true, err
	})
	if err != nil || a == nil {
		return nil, err
	}
	a.Content = object(document)
	return a, nil
}

// eraseElement deletes an element. Its document is folded again once, when all that is to go is gone.
func (w *work) eraseElement(h message.Hash) error {
	e, err := w.tx.Element(h)
	if err != nil || e == nil {
		return err
	}
	if w.stale == nil {
		w.stale = map[aggregateKey]bool{}
	}
	w.stale[aggregateKey{e.Owner, e.Key}] = true
	if w.state.movesPrices(e.Owner, e.Key) {
		claims, err := w.tx.ClaimsSince(e.ContentTime)
		if err != nil {
			return err
		}
		w.judgeAgain(claims...)
	}
	return w.tx.DeleteElement(h)
}

// refold folds the documents again that lost elements.
func (w *work) refold() error {
	for k := range w.stale {
		delete(w.stale, k)
		if !w.state.merges(k.owner) {
			continue
		}
		a, err := foldElements(w.tx.Reader, k.owner, k.key, func(*store.Element) bool { return true })
		if err != nil {
			return err
		}
		if a == nil {
			err = w.tx.DeleteAggregate(k.owner, k.key)
		} else {
			err = w.tx.PutAggregate(a)
		}
		if err != nil {
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

// object writes members in one order for all nodes: the shorter name first, as the reference node's database does.
func object(m map[string]json.RawMessage) []byte {
	names := make([]string, 0, len(m))
	size := 2
	for name, value := range m {
		names = append(names, name)
		size += len(name) + len(value) + 4
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	b := append(make([]byte, 0, size), '{')
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		quoted, err := json.Marshal(name)
		if err != nil { // a string is always JSON
			panic(err)
		}
		b = append(append(append(b, quoted...), ':'), m[name]...)
	}
	return append(b, '}')
}
