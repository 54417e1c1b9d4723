package store

import (
	"context"
	"hash/maphash"
	"math/bits"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/aleph-im/aleph-go/message"
)

// known tells of most hashes that nothing is known of them, which else the database would be asked for each message that
// comes. Only a database of this process alone has filters: others may write to another.
type known struct {
	all     atomic.Pointer[filter] // what is not in it is unknown; nil: the database has to be asked
	growing atomic.Pointer[filter] // will replace all once it has everything

	learning sync.Mutex // one filter grows at a time
}

// add notes that something may be known of a hash, or waits for what a key says. The writer calls it.
func (k *known) add(hashOrKey string) {
	end := endOf(hashOrKey)
	growing, all := k.growing.Load(), k.all.Load() // in this order: the one that grew was all before it grew no more
	if growing != nil {
		growing.add(end)
	}
	if all != nil && all != growing {
		all.add(end)
	}
}

// unknown reports that nothing is known of a hash, and that nothing waits for it.
func (k *known) unknown(h message.Hash) bool {
	all := k.all.Load()
	return all != nil && !all.mayHave(endOf(string(h)))
}

// full reports that there is no filter, or that it has so much in it that it tells little.
func (k *known) full() bool {
	all := k.all.Load()
	return all == nil || all.added.Load() > all.room
}

// ends are what Foresee asks for, but for confirmations, with what is first in the index along which it is read.
var ends = []struct{ table, column string }{
	{"hash_ends", "hash_end"}, {"forgotten_messages", "item_hash"}, {"removed_messages", "item_hash"},
	{"pending_messages", "item_hash"}, {"rejected_messages", "item_hash"}, {"pending_waits", "wait_key"}, {"rejected_waits", "wait_key"},
}

// learn fills a filter with room for twice the messages that there are. A node that follows a chain has a confirmation of
// nearly each message, in a table that is long to read: it goes without.
func (s *Store) learn(ctx context.Context) error {
	if s.Shared() {
		return nil
	}
	s.known.learning.Lock()
	defer s.known.learning.Unlock()
	var newest int64
	var confirmed bool
	look := func(r *Reader) error {
		return r.row(`SELECT (SELECT COALESCE(MAX(id), 0) FROM messages), EXISTS (SELECT 1 FROM confirmations)`).Scan(&newest, &confirmed)
	}
	if err := s.ReadCommitted(ctx, look); err != nil || confirmed {
		return err
	}
	f := newFilter(max(minRoom, 2*newest))
	defer s.known.growing.Store(nil)
	if err := s.grow(ctx, f); err != nil {
		return err
	}
	err := s.ReadCommitted(ctx, func(r *Reader) error {
		if err := look(r); err != nil || confirmed { // the first may have come before the filter grew
			return err
		}
		for _, of := range ends {
			if err := r.eachEnd(of.table, of.column, f.add); err != nil {
				return wrap(err, "read the hashes of %s", of.table)
			}
		}
		return nil
	})
	if err == nil && !confirmed {
		s.known.all.Store(f)
	}
	return err
}

// minRoom is what the smallest filter has room for.
const minRoom = 1 << 16

// grow has the writer add to a filter from now on what it writes. What it wrote before is committed, for a reader to find.
func (s *Store) grow(ctx context.Context, f *filter) error {
	w, err := s.take(ctx, s.writer)
	if err != nil {
		return err
	}
	defer func() { s.writer <- w }()
	s.known.growing.Store(f)
	return s.commitLater(w)
}

// eachEnd calls add with the end of each value of a column, in few rows: a row costs more than what is in it.
func (r *Reader) eachEnd(table, column string, add func(end string)) error {
	const page = 4096
	query := "SELECT COUNT(*), COALESCE(string_agg(e, '\n'), ''), COALESCE(MAX(e), '') FROM (SELECT " + column + " AS e FROM " + table +
		" WHERE " + column + " > ? ORDER BY " + column + " LIMIT ?) AS page"
	for last, n := "", page; n == page; {
		var values string
		if err := r.row(query, last, page).Scan(&n, &values, &last); err != nil {
			return err
		}
		for value := range strings.Lines(values) {
			add(endOf(strings.TrimSuffix(value, "\n")))
		}
	}
	return nil
}

// filter is a Bloom filter in blocks: all bits of a text are in one line of the processor's cache.
type filter struct {
	seed  maphash.Seed
	words []atomic.Uint64
	room  int64 // texts up to which one in a hundred others is taken for one of them
	added atomic.Int64
}

const (
	blockWords  = 8  // 512 bits
	textBits    = 6  // that a text sets
	bitsPerText = 12 // that there are
)

func newFilter(room int64) *filter {
	blocks := room*bitsPerText/(64*blockWords) + 1
	return &filter{seed: maphash.MakeSeed(), words: make([]atomic.Uint64, blocks*blockWords), room: room}
}

// block returns the block of a text, and bits that choose those in it.
func (f *filter) block(text string) (block []atomic.Uint64, places uint64) {
	h := maphash.String(f.seed, text)
	n, _ := bits.Mul64(h, uint64(len(f.words)/blockWords))
	return f.words[n*blockWords:][:blockWords], h * 0x9e3779b97f4a7c15
}

func (f *filter) add(text string) {
	block, places := f.block(text)
	for range textBits {
		block[places>>6%blockWords].Or(1 << (places % 64))
		places >>= 9
	}
	f.added.Add(1)
}

func (f *filter) mayHave(text string) bool {
	block, places := f.block(text)
	for range textBits {
		if block[places>>6%blockWords].Load()&(1<<(places%64)) == 0 {
			return false
		}
		places >>= 9
	}
	return true
}
