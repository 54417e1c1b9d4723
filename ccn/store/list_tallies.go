package store

import (
	"database/sql"
	"slices"
	"strings"

	"github.com/aleph-im/aleph-go/message"
)

// TallyMessages returns what the counters know about how many messages ListMessages would list without its limit: at most
// n, and exactly n if exact.
func (r *Reader) TallyMessages(f MessageFilter) (n int64, exact bool, err error) {
	applied, live := len(f.Statuses) == 0, false
	for _, s := range f.Statuses {
		applied = applied || s == string(message.StatusProcessed)
		live = live || s == string(message.StatusProcessed) || s == string(message.StatusRemoving)
	}
	if len(f.Statuses) > 0 && !live {
		return 0, true, nil
	}
	removing := len(f.Statuses) == 0 || slices.Contains(f.Statuses, string(message.StatusRemoving))

	// The least of what each counter allows; the one that covers all of the filter is exact.
	posts := len(f.Types) == 1 && f.Types[0] == string(message.TypePost)
	used := lists(f.Types, f.Senders, f.Owners, f.Refs, f.ContentHashes, f.ContentKeys, f.ContentTypes, f.Chains, f.Channels, f.Tags, f.Hashes, f.PaymentTypes)
	bounded := f.Start != 0 || f.End != 0 || f.StartBlock != 0 || f.EndBlock != 0
	n = -1
	least := func(covers bool, count func() (int64, error)) {
		if err != nil || exact {
			return
		}
		var m int64
		if m, err = count(); err == nil && (n < 0 || m < n || covers) {
			n = m
		}
		exact = covers && !bounded
	}
	least(used == lists(f.Types, f.Chains), func() (int64, error) { return r.sumTypes(f.Types, f.Chains) })
	if len(f.Channels) > 0 {
		least(used == 1, func() (int64, error) { return r.sumTerms([]string{""}, termChannel, f.Channels) })
	}
	if len(f.ContentTypes) > 0 {
		least(used == lists(f.ContentTypes, f.Types), func() (int64, error) { return r.sumContentTypes(f.ContentTypes, f.Types) })
	}
	if len(f.Senders) > 0 {
		least(used == lists(f.Senders, f.Types), func() (int64, error) { return r.sumSent(f.Senders, f.Types) })
		if len(f.Channels) > 0 {
			least(used == 2, func() (int64, error) { return r.sumTerms(f.Senders, termChannel, f.Channels) })
		}
		if len(f.ContentTypes) > 0 && posts {
			least(used == 3, func() (int64, error) { return r.sumTerms(f.Senders, termPostType, f.ContentTypes) })
		}
	}
	if len(f.Owners) > 0 && used == lists(f.Owners, f.Types) && err == nil {
		var alone bool
		if alone, err = r.ownAlone(f.Owners); alone {
			least(true, func() (int64, error) { return r.sumSent(f.Owners, f.Types) })
		}
	}
	if err != nil || !exact || applied && removing {
		return n, exact, wrap(err, "read counters of messages")
	}
	// The counters are of both statuses; those that are being removed are few.
	f.Statuses = []string{string(message.StatusRemoving)}
	gone, err := r.CountMessages(f, 0)
	if removing {
		return gone, true, err
	}
	return n - gone, true, err
}

// TallyHashes returns what the counters know about how many messages ListHashes would list without its limit: at most n, and
// exactly n if exact.
func (r *Reader) TallyHashes(f HashFilter) (n int64, exact bool, err error) {
	var messages MessageFilter
	if f.Status != "" {
		messages.Statuses = []string{f.Status}
	}
	n, exact, err = r.TallyMessages(messages)
	return n, exact && f.Start == 0 && f.End == 0, err
}

// sumTypes counts the messages of some types and some chains; nil stands for all.
func (r *Reader) sumTypes(types, chains []string) (n int64, err error) {
	w := &where{}
	w.add("address = ''")
	w.in("kind", []string{termType})
	if len(types) > 0 && len(chains) > 0 {
		var terms []string
		for _, t := range types {
			for _, c := range chains {
				terms = append(terms, typeTerm(t, c))
			}
		}
		w.in("term", terms)
		return r.sum("messages", "address_terms", w)
	}
	rows, err := r.rows("SELECT term, messages FROM address_terms"+w.String(), w.args...)
	type counted struct {
		term     string
		messages int64
	}
	list, err := collect(rows, err, func(rows *sql.Rows, c *counted) error { return rows.Scan(&c.term, &c.messages) })
	for _, c := range list {
		t, chain, _ := strings.Cut(c.term, " ")
		if (len(types) == 0 || slices.Contains(types, t)) && (len(chains) == 0 || slices.Contains(chains, chain)) {
			n += c.messages
		}
	}
	return n, err
}

// sumTerms counts the messages of some senders with some terms; the sender "" stands for all.
func (r *Reader) sumTerms(senders []string, kind string, terms []string) (int64, error) {
	w := &where{}
	w.in("address", senders)
	w.in("kind", []string{kind})
	w.in("term", terms)
	return r.sum("messages", "address_terms", w)
}

// sumContentTypes counts the messages with some content types, of some types or of all for nil.
func (r *Reader) sumContentTypes(contentTypes, types []string) (n int64, err error) {
	for t, kind := range map[message.Type]string{message.TypePost: termPostType, message.TypeProgram: termProgramType} {
		if len(types) > 0 && !slices.Contains(types, string(t)) {
			continue
		}
		some, err := r.sumTerms([]string{""}, kind, contentTypes)
		if err != nil {
			return 0, err
		}
		n += some
	}
	return n, nil
}

// sumSent counts the messages of some senders, of some types or of all for nil.
func (r *Reader) sumSent(senders, types []string) (n int64, err error) {
	if n, err = r.sumStats(senders, types); err != nil {
		return 0, err
	}
	// Those that are being removed are not in the statistics.
	removing, err := r.CountMessages(MessageFilter{Senders: senders, Types: types, Statuses: []string{string(message.StatusRemoving)}}, 0)
	return n + removing, err
}

// ownAlone reports whether addresses send only what they own, and own only what they send.
func (r *Reader) ownAlone(addresses []string) (bool, error) {
	for _, column := range []string{"sender", "owner"} {
		w := &where{}
		w.in(column, addresses)
		w.add("sender <> owner")
		var one int
		if ok, err := found(r.row("SELECT 1 FROM messages"+w.String()+" LIMIT 1", w.args...), &one); err != nil || ok {
			return false, err
		}
	}
	return true, nil
}

// sumStats counts the processed messages of some senders, of some types or of all for nil.
func (r *Reader) sumStats(senders, types []string) (int64, error) {
	columns := statColumns[0]
	if len(types) > 0 {
		var list []string
		for _, t := range unique(types) {
			if column := statColumn(message.Type(t)); column > 0 {
				list = append(list, statColumns[column])
			} else if t == string(message.TypeVProgram) { // counted in the total alone
				list = append(list, statColumns[0]+" - "+strings.Join(statColumns[1:], " - "))
			}
		}
		if list == nil {
			return 0, nil
		}
		columns = strings.Join(list, " + ")
	}
	w := &where{}
	w.in("address", senders)
	return r.sum(columns, "address_stats", w)
}

func (r *Reader) sum(columns, table string, w *where) (n int64, err error) {
	_, err = found(r.row("SELECT CAST(COALESCE(SUM("+columns+"), 0) AS BIGINT) FROM "+table+w.String(), w.args...), &n)
	return n, err
}
