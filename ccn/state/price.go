package state

import (
	"bytes"
	"slices"

	"github.com/aleph-im/aleph-go/ccn/ledger"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// Keys of the aggregates that prices are read from.
const (
	pricingKey  = "pricing"
	settingsKey = "settings"
)

// priced is a price table and the aggregates that it was read from.
type priced struct {
	table             *ledger.Table
	pricing, settings []byte
}

// Prices returns the price table in force in a snapshot.
func (s *State) Prices(r *store.Reader) (*ledger.Table, error) {
	return s.prices(func(owner, key string) ([]byte, error) {
		row, err := r.Aggregate(owner, key)
		if err != nil || row == nil {
			return nil, err
		}
		return row.Content, nil
	})
}

// pricesAt returns the price table in force at a place.
func (s *State) pricesAt(r *store.Reader, at place) (*ledger.Table, error) {
	return s.prices(func(owner, key string) ([]byte, error) {
		row, err := r.Aggregate(owner, key)
		if err != nil || row == nil {
			return nil, err
		}
		if (place{row.LastUpdated, row.LastRevision}).before(at) {
			return row.Content, nil
		}
		return documentAt(r, owner, key, at)
	})
}

// prices returns the price table of the aggregates that read returns; nil when there are none.
func (s *State) prices(read func(owner, key string) ([]byte, error)) (*ledger.Table, error) {
	var texts [2][]byte
	if p := s.params.Pricing; len(p.Addresses) > 0 {
		for i, key := range []string{pricingKey, settingsKey} {
			var err error
			if texts[i], err = read(p.Addresses[0], key); err != nil {
				return nil, err
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.table; p.table != nil && bytes.Equal(texts[0], p.pricing) && bytes.Equal(texts[1], p.settings) {
		return p.table, nil
	}
	table, err := ledger.NewTable(s.params, texts[0], texts[1])
	if err != nil {
		return nil, err
	}
	s.table = priced{table, texts[0], texts[1]}
	return table, nil
}

// movesPrices reports whether an aggregate is one that prices are read from.
func (s *State) movesPrices(owner, key string) bool {
	p := s.params.Pricing.Addresses
	return len(p) > 0 && owner == p[0] && slices.Contains([]string{pricingKey, settingsKey}, key)
}

// sizesAt knows what references meant at a place.
type sizesAt struct {
	*store.Reader
	at place
}

// ReferencedFile implements ledger.FileSizer.
func (s sizesAt) ReferencedFile(ref message.Hash, latest bool) (message.Hash, int64, bool, error) {
	if latest {
		return s.VersionAt(string(ref), s.at.time, s.at.hash)
	}
	return s.Reader.ReferencedFile(ref, false)
}
