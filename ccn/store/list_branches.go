package store

import (
	"slices"
	"strings"

	"github.com/aleph-im/aleph-go/message"
)

// A list is read along an index that gives rows in the order of the list, until the page is full. A filter is cut into
// branches that exclude each other and have such an index each; their rows are merged. What an index does not give is
// checked row by row: there, a filter that nearly all rows fit costs nothing, and one that few rows fit has an index.

// branch is the part of a filter's rows that lies together in one index.
type branch struct {
	where
	from  string // the tables
	time  string // the column of times that the index is ordered by
	lead  where  // the conditions that the index of the first table decides alone
	alone bool   // there are no others
}

// first is the table whose index chooses.
func (b *branch) first() string {
	table, _, _ := strings.Cut(b.from, " CROSS JOIN ")
	return table
}

// maxBranches is how many values of a column are looked up one by one, each in the order of its index.
const maxBranches = 16

// fewRows are so few that sorting them costs less than a walk along all rows.
const fewRows = 10_000

func (r *Reader) few() int64 {
	if r.conn.few > 0 { // tests have few rows
		return r.conn.few
	}
	return fewRows
}

// along returns the branch of the rows that lead chooses from the index of a column; "" stands for the index of times.
func (f *MessageFilter) along(e engine, column, lead string, args ...any) branch {
	b := branch{from: "messages m", time: "m.time"}
	if column == "tag" {
		b.from, b.time = "message_tags t CROSS JOIN messages m", "t.time"
		b.add("m.id = t.message_id")
	}
	if lead != "" {
		b.add(lead, args...)
		b.lead.add(lead, args...)
	}
	led := len(b.parts)
	for _, c := range f.conditions() {
		if column == "tag" && c.column == "m.type" {
			c.column = "t.type"
		}
		if c.column != column {
			b.in(e.checked(c.column), c.values)
		}
	}
	time := b.time
	if column == "m.item_hash" || column == "m.id" || column == "m.first_confirmed_at" {
		time = e.checked(time)
	}
	if f.Start != 0 {
		b.add(time+" >= ?", int64(f.Start))
	}
	if f.End != 0 {
		b.add(time+" < ?", int64(f.End))
	}
	if f.AfterHash != "" {
		past := ">"
		if f.Descending {
			past = "<"
		}
		b.add(time+" "+past+"= ? AND (m.time "+past+" ? OR m.item_hash > ?)", int64(f.AfterTime), int64(f.AfterTime), string(f.AfterHash))
	}
	if f.StartBlock != 0 {
		b.add("(m.first_confirmed_height IS NULL OR m.first_confirmed_height >= ?)", f.StartBlock)
	}
	if f.EndBlock != 0 {
		b.add("m.first_confirmed_height < ?", f.EndBlock)
	}
	if len(f.Tags) > 0 && column != "tag" {
		tags := &where{}
		tags.in("x.tag", f.Tags)
		tags.add("x.time = m.time AND x.message_id = m.id")
		b.add("EXISTS (SELECT 1 FROM message_tags x"+tags.String()+")", tags.args...)
	}
	b.alone = lead != "" && len(b.parts) == led
	return b
}

// condition is a column and the values that it may have; any when there are none.
type condition struct {
	column string
	values []string
}

func (f *MessageFilter) conditions() []condition {
	return []condition{
		{"m.type", f.Types}, {"m.chain", f.Chains}, {"m.sender", f.Senders}, {"m.content_type", f.ContentTypes}, {"m.status", f.Statuses},
		{"m.owner", f.Owners}, {"m.content_ref", f.Refs}, {"m.content_item_hash", f.ContentHashes}, {"m.content_key", f.ContentKeys},
		{"m.channel", f.Channels}, {"m.item_hash", f.Hashes}, {"m.payment_type", f.PaymentTypes},
	}
}

// messageBranches returns the branches of a filter that have rows; at least one.
func (r *Reader) messageBranches(f MessageFilter) ([]branch, error) {
	list, err := r.messageWays(f)
	if err != nil || len(list) == 1 {
		return list, err
	}
	return r.filledBranches(list)
}

// filledBranches leaves out the branches whose index has nothing for them; of none it keeps one.
func (r *Reader) filledBranches(list []branch) (filled []branch, err error) {
	for i, b := range list {
		if len(b.lead.parts) > 0 {
			var one int
			ok, err := found(r.row("SELECT 1 FROM "+b.first()+b.lead.String()+" LIMIT 1", b.lead.args...), &one)
			if err != nil {
				return nil, err
			}
			if !ok && (i < len(list)-1 || len(filled) > 0) {
				continue
			}
		}
		filled = append(filled, b)
	}
	return filled, nil
}

// messageWays chooses the index that leads to the rows of a filter over the fewest others.
func (r *Reader) messageWays(f MessageFilter) ([]branch, error) {
	e := r.conn.engine
	// each looks the values of a column up in its indexes, of which each has the rows of one more condition.
	each := func(column string, values []string, parts ...string) (list []branch) {
		values = unique(values)
		for _, part := range parts {
			if len(values) > maxBranches { // to be sorted
				w := &where{}
				w.in(column, values)
				list = append(list, f.along(e, column, w.parts[0]+part, w.args...))
				continue
			}
			for _, v := range values {
				list = append(list, f.along(e, column, column+" = ?"+part, v))
			}
		}
		return list
	}
	switch {
	case len(f.Hashes) > 0:
		w := &where{}
		w.hashes("m.id", f.Hashes)
		return []branch{f.along(e, "m.item_hash", w.parts[0], w.args...)}, nil
	case len(f.Statuses) == 1 && f.Statuses[0] == string(message.StatusRemoving):
		return []branch{f.along(e, "m.status", "m.status = 'removing'")}, nil
	case len(f.ContentHashes) > 0:
		return each("m.content_item_hash", f.ContentHashes, ""), nil
	case len(f.Refs) > 0:
		return each("m.content_ref", f.Refs, ""), nil
	case len(f.ContentKeys) > 0:
		return each("m.content_key", f.ContentKeys, ""), nil
	}
	way, err := r.shortestWay(&f)
	if err != nil {
		return nil, err
	}
	switch way {
	case "senders":
		return each("m.sender", f.Senders, " AND COALESCE(m.sender = m.owner, FALSE)", " AND m.sender <> m.owner"), nil
	case "owners":
		list := each("m.sender", f.Owners, " AND COALESCE(m.sender = m.owner, FALSE)")
		for i := range list { // the owner is the sender: what is asked of it must hold as well
			list[i].in(e.checked("m.sender"), f.Senders)
			list[i].alone = list[i].alone && len(f.Senders) == 0
		}
		return append(list, each("m.owner", f.Owners, " AND m.sender <> m.owner")...), nil
	case "content types":
		return each("m.content_type", f.ContentTypes, ""), nil
	case "channels":
		return each("m.channel", f.Channels, ""), nil
	case "payment types":
		return each("m.payment_type", f.PaymentTypes, ""), nil
	case "chains":
		return each("m.chain", f.Chains, " AND m.chain <> 'ETH'"), nil
	case "tags":
		if tags := unique(f.Tags); len(tags) > maxBranches { // to be sorted
			f.Tags = nil
			w := &where{}
			w.in("x.tag", tags)
			return []branch{f.along(e, "m.id", "m.id IN (SELECT x.message_id FROM message_tags x"+w.String()+")", w.args...)}, nil
		}
		return taggedBranches(f.Tags, func(tag string) branch { return f.along(e, "tag", "t.tag = ?", tag) },
			"message_tags x", "x.time = t.time AND x.message_id = t.message_id"), nil
	case "types":
		var list []branch
		for _, t := range unique(f.Types) {
			if t == string(message.TypePost) {
				f := f
				f.Types = []string{t}
				list = append(list, f.along(e, "", ""))
			} else {
				list = append(list, f.along(e, "m.type", "m.type = ? AND m.type <> 'POST'", t))
			}
		}
		return list, nil
	}
	return []branch{f.along(e, "", "")}, nil
}

// taggedBranches gives what has several tags to the first of them. Others of its tags are rows of x that are the same.
func taggedBranches(tags []string, along func(tag string) branch, x, same string) (list []branch) {
	tags = unique(tags)
	for i, tag := range tags {
		b := along(tag)
		if i > 0 {
			w := &where{}
			w.in("x.tag", tags[:i])
			b.add("NOT EXISTS (SELECT 1 FROM "+x+w.String()+" AND "+same+")", w.args...)
			b.alone = false
		}
		list = append(list, b)
	}
	return list
}

// mergedPage is the query for the ids of a page of all branches, by time and between equal times by hash; table is the
// short name of the table that has both.
func mergedPage(branches []branch, table string, descending bool, limit int, offset int64) (page string, ids *where) {
	order := direction(descending)
	ids = &where{}
	var parts []string
	for _, b := range branches {
		part := "SELECT " + table + ".id AS id, " + b.time + " AS time, " + table + ".item_hash AS item_hash FROM " + b.from + b.String()
		ids.args = append(ids.args, b.args...)
		if limit > 0 {
			part = "SELECT * FROM (" + part + " ORDER BY " + b.time + order + ", " + table + ".item_hash" + atMost + ") AS branch"
			ids.args = append(ids.args, reach(limit, offset))
		}
		parts = append(parts, part)
	}
	return "SELECT id FROM (" + strings.Join(parts, " UNION ALL ") + ") AS branches ORDER BY time" + order + ", item_hash" + ids.limit(limit, offset), ids
}

// shortestWay names the list of a filter whose values have the fewest rows, "" when all rows are to be walked.
func (r *Reader) shortestWay(f *MessageFilter) (string, error) {
	used := lists(f.Senders, f.Owners, f.Channels, f.ContentTypes, f.Tags, f.PaymentTypes, f.Chains, f.Types)
	return r.shortest([]way{
		{"senders", f.Senders, used == lists(f.Senders, f.Types, f.ContentTypes), func() (int64, error) { return r.sumStats(f.Senders, nil) }},
		// Who owns messages mostly sends them.
		{"owners", f.Owners, used == lists(f.Owners, f.Types, f.ContentTypes), func() (int64, error) { return r.sumStats(f.Owners, nil) }},
		{"channels", f.Channels, used == lists(f.Channels, f.Types, f.ContentTypes), func() (int64, error) { return r.sumTerms([]string{""}, termChannel, f.Channels) }},
		{"content types", f.ContentTypes, used == 1, func() (int64, error) { return r.sumContentTypes(f.ContentTypes, nil) }},
		{"tags", f.Tags, used == lists(f.Tags, f.Types), func() (int64, error) { return r.countSome("message_tags", "tag", f.Tags) }},
		{"payment types", f.PaymentTypes, used == 1, func() (int64, error) { return r.countSome("messages", "payment_type", f.PaymentTypes) }},
		{"chains", except(f.Chains, message.ChainETH), used == lists(f.Chains, f.Types), func() (int64, error) { return r.sumTypes(nil, f.Chains) }},
		{"types", f.Types, used == lists(f.Chains, f.Types), func() (int64, error) { return r.sumTypes(f.Types, nil) }},
	})
}

// way is a list of values of a filter that an index may be read along.
type way struct {
	name   string
	values []string
	whole  bool // the index also holds all else that the filter asks for
	size   func() (int64, error)
}

// seekCost is how many rows of an index are read in the time in which a row of the table is fetched to check it.
const seekCost = 10

// shortest names the way that costs the least, "" when there is none.
func (r *Reader) shortest(ways []way) (best string, err error) {
	least := int64(-1)
	for _, w := range ways {
		if len(w.values) == 0 {
			continue
		}
		n, err := w.size()
		if err != nil {
			return "", err
		}
		if len(w.values) > maxBranches && n > r.few() {
			continue
		}
		if !w.whole {
			n *= seekCost
		}
		if least < 0 || n < least {
			best, least = w.name, n
		}
	}
	return best, nil
}

// lists counts the lists that are not empty.
func lists(all ...[]string) (n int) {
	for _, list := range all {
		if len(list) > 0 {
			n++
		}
	}
	return n
}

// except returns the values, or none when one of them is v.
func except[T ~string](values []string, v T) []string {
	if slices.Contains(values, string(v)) {
		return nil
	}
	return values
}

// countSome counts rows with some values of an indexed column; more than few are as many as few.
func (r *Reader) countSome(table, column string, values []string) (n int64, err error) {
	w := &where{}
	w.in(column, values)
	w.args = append(w.args, r.few())
	_, err = found(r.row("SELECT COUNT(*) FROM (SELECT 1 FROM "+table+w.String()+" LIMIT ?) AS counted", w.args...), &n)
	return n, err
}

// countBranches counts the rows of branches. It stops after most rows; 0 counts all.
func (r *Reader) countBranches(branches []branch, most int) (n int64, err error) {
	all := &where{}
	var parts []string
	for _, b := range branches {
		from, w := b.from, &b.where
		if b.alone {
			from, w = b.first(), &b.lead
		}
		all.args = append(all.args, w.args...)
		if most > 0 {
			parts = append(parts, "SELECT 1 AS one FROM "+from+w.String())
		} else {
			parts = append(parts, "(SELECT COUNT(*) FROM "+from+w.String()+")")
		}
	}
	query := "SELECT " + strings.Join(parts, " + ")
	if most > 0 {
		query = "SELECT COUNT(*) FROM (" + strings.Join(parts, " UNION ALL ") + " LIMIT ?) AS counted"
		all.args = append(all.args, most)
	}
	_, err = found(r.row(query, all.args...), &n)
	return n, err
}

// fewLed reports whether the indexes of branches choose few rows.
func (r *Reader) fewLed(branches []branch) (bool, error) {
	all := &where{}
	var parts []string
	for _, b := range branches {
		if len(b.lead.parts) == 0 {
			return false, nil
		}
		all.args = append(all.args, b.lead.args...)
		parts = append(parts, "SELECT 1 AS one FROM "+b.first()+b.lead.String())
	}
	var n int64
	_, err := found(r.row("SELECT COUNT(*) FROM ("+strings.Join(parts, " UNION ALL ")+" LIMIT ?) AS counted", append(all.args, r.few())...), &n)
	return n < r.few(), err
}

func unique(values []string) []string {
	var list []string
	seen := make(map[string]bool, len(values))
	for _, v := range values {
		if !seen[v] {
			seen[v] = true
			list = append(list, v)
		}
	}
	return list
}
