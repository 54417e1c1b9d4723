package store

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/aleph-im/aleph-go/message"
)

// Kinds of terms that are counted for each sender.
const (
	termPostType = "post_type"
	termChannel  = "channel"
	// Of all senders together only:
	termProgramType = "program_type" // content.type of a PROGRAM
	termType        = "type"         // see typeTerm
)

// typeTerm is what messages of a type and a chain are counted as.
func typeTerm(t, chain string) string { return t + " " + chain }

// statColumns are the columns of address_stats; the first counts every type.
var statColumns = [...]string{"total", "aggregate", "forget", "instance", "post", "program", "store"}

func statColumn(t message.Type) int {
	for i, column := range statColumns {
		if strings.EqualFold(column, string(t)) {
			return i
		}
	}
	return 0
}

type term struct{ address, kind, text string }

func (t term) compare(other term) int {
	return cmp.Or(cmp.Compare(t.address, other.address), cmp.Compare(t.kind, other.kind), cmp.Compare(t.text, other.text))
}

// tallies are changes of counters that a transaction collects and writes at its end, once for each row: a group of
// messages of few senders changes few of them.
type tallies struct {
	stats map[string]*[len(statColumns)]int64
	terms map[term]*int64
}

// countStat counts a message that became processed, or with n = -1 is it no more.
func (t *tallies) countStat(sender string, typ message.Type, n int64) {
	if t.stats == nil {
		t.stats = map[string]*[len(statColumns)]int64{}
	}
	row := t.stats[sender]
	if row == nil {
		row = new([len(statColumns)]int64)
		t.stats[strings.Clone(sender)] = row // what is counted may be a part of a message, which shall not stay for it
	}
	row[0] += n
	if column := statColumn(typ); column > 0 {
		row[column] += n
	}
}

// countTerms counts a message that came to be applied, or with n = -1 is it no more.
func (t *tallies) countTerms(m *message.Message, contentType *string, n int64) {
	if t.terms == nil {
		t.terms = map[term]*int64{}
	}
	t.countTerm(term{"", termType, typeTerm(string(m.Type), string(m.Chain))}, n)
	if m.Channel != nil {
		t.countTerm(term{m.Sender, termChannel, *m.Channel}, n)
		t.countTerm(term{"", termChannel, *m.Channel}, n)
	}
	switch {
	case contentType == nil:
	case m.Type == message.TypePost:
		t.countTerm(term{m.Sender, termPostType, *contentType}, n)
		t.countTerm(term{"", termPostType, *contentType}, n)
	default:
		t.countTerm(term{"", termProgramType, *contentType}, n)
	}
}

func (t *tallies) countTerm(counted term, n int64) {
	count := t.terms[counted]
	if count == nil {
		count = new(int64)
		t.terms[term{strings.Clone(counted.address), counted.kind, strings.Clone(counted.text)}] = count
	}
	*count += n
}

// writeTallies brings the counters to what the transaction did.
func (tx *Tx) writeTallies() error {
	for address, row := range tx.tallies.stats {
		if err := tx.addStats(address, row[:]); err != nil {
			return wrap(err, "count messages of %s", address)
		}
	}
	return wrap(tx.addTerms(tx.tallies.terms), "count terms")
}

// addStats names only the columns that change, so that the other indexes stay untouched.
func (tx *Tx) addStats(address string, row []int64) error {
	columns, places, sets, args := "address", "?", "", []any{address}
	for i, n := range row {
		if n == 0 {
			continue
		}
		if sets != "" {
			sets += ", "
		}
		columns += ", " + statColumns[i]
		places += ",?"
		sets += statColumns[i] + " = address_stats." + statColumns[i] + " + excluded." + statColumns[i]
		args = append(args, n)
	}
	if sets == "" {
		return nil
	}
	err := tx.exec("INSERT INTO address_stats ("+columns+") VALUES ("+places+") ON CONFLICT (address) DO UPDATE SET "+sets, args...)
	if err != nil || row[0] >= 0 {
		return err
	}
	return tx.exec(`DELETE FROM address_stats WHERE address = ? AND total = 0`, address)
}

// addTerms writes terms in the order of the table, in which many of them share a page.
func (tx *Tx) addTerms(terms map[term]*int64) error {
	var rows []any
	var fewer []term
	for _, t := range slices.SortedFunc(maps.Keys(terms), term.compare) {
		n := *terms[t]
		if n != 0 {
			rows = append(rows, t.address, t.kind, t.text, n)
		}
		if n < 0 {
			fewer = append(fewer, t)
		}
	}
	if _, err := tx.bulk(intoTerms, rows); err != nil {
		return err
	}
	for _, t := range fewer {
		err := tx.exec(`DELETE FROM address_terms WHERE address = ? AND kind = ? AND term = ? AND messages = 0`, t.address, t.kind, t.text)
		if err != nil {
			return err
		}
	}
	return nil
}
