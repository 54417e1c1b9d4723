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
func (s *State) aggregate(tx *store.Tx, it *Item, c *message.Aggregate) (*change, error) {
	if err := permit(tx.Reader, it); err != nil {
		return nil, err
	}
	added, err := members(c.Content)
	if err != nil {
		return nil, message.Errorf(message.ErrInvalidFormat, "the content of an aggregate must be an object: %v", err)
	}
	element := &store.Element{Hash: it.Message.ItemHash, Owner: c.Address, Key: c.Key, ContentTime: c.Time, Content: c.Content}
	return &change{
		columns: store.ContentColumns{Key: &c.Key},
		write: func(e *Effect) error {
			e.Wakes = append(e.Wakes, message.WaitAggregate(c.Address, c.Key))
			if s.merges(c.Address) {
				if err := fold(tx, element, added); err != nil {
					return err
				}
			}
			return tx.InsertElement(element)
		},
	}, nil
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
	if laterThan(e.ContentTime, e.Hash, a.LastUpdated, a.LastRevision) {
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
		if !laterThan(later.ContentTime, later.Hash, e.ContentTime, e.Hash) {
			return false, nil
		}
		overriding, err := members(later.Content)
		for name := range overriding {
			delete(added, name)
		}
		return len(added) > 0, err
	})
}

// refold builds a document from all its elements.
func refold(tx *store.Tx, owner, key string) error {
	var a *store.AggregateRow
	document := map[string]json.RawMessage{}
	err := tx.Elements(owner, key, func(e *store.Element) (bool, error) {
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
	if err != nil {
		return err
	}
	if a == nil {
		return tx.DeleteAggregate(owner, key)
	}
	a.Content = object(document)
	return tx.PutAggregate(a)
}

func (f *forgetting) forgetElement(h message.Hash) error {
	e, err := f.tx.Element(h)
	if err != nil || e == nil {
		return err
	}
	if err := f.tx.DeleteElement(h); err != nil {
		return err
	}
	if !f.state.merges(e.Owner) {
		return nil
	}
	return refold(f.tx, e.Owner, e.Key)
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
