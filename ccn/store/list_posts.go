package store

import (
	"database/sql"
	"slices"

	"github.com/aleph-im/aleph-go/message"
)

// PostFilter chooses original posts.
type PostFilter struct {
	Owners, Types, Refs, Channels, Hashes, Tags []string

	Start, End     float64 // Start ≤ time of what is shown < End, Unix seconds; 0 is no bound
	Descending     bool    // by the time of what is shown
	ByConfirmation bool    // by the first confirmation of the original instead: what has none counts as newest
	AfterTime      float64
	AfterHash      message.Hash // with AfterTime: only what follows that post
	Limit          int          // 0: no limit
	Offset         int64
}

// PostListRow is an original post with the messages of itself and of what is shown of it.
type PostListRow struct {
	Owner, Type          string
	Ref, Channel         *string
	Created, LastUpdated float64 // content times, Unix seconds
	Amended              bool
	Hash                 message.Hash // of the original
	Chain                message.Chain
	Signature            *string    // of the original
	Shown                MessageRow // the newest amendment, or the original
	confirmed            *int64     // when the original was first
}

// ListPosts lists original posts by the content time of what is shown, or by confirmation; ties go by ascending hash.
func (r *Reader) ListPosts(f PostFilter) ([]PostListRow, error) {
	list, err := r.listPosts(f)
	if err != nil {
		return nil, wrap(err, "list posts")
	}
	shown := make([]MessageRow, len(list))
	for i := range list {
		shown[i] = list[i].Shown
	}
	if err := r.addConfirmations(shown); err != nil {
		return nil, err
	}
	for i := range list {
		list[i].Shown = shown[i]
	}
	return list, nil
}

func (r *Reader) listPosts(f PostFilter) ([]PostListRow, error) {
	if n, _, err := r.TallyPosts(f); err != nil || n == 0 || f.Limit > 0 && n <= f.Offset {
		return nil, err
	}
	if f.AfterHash != "" {
		// The time in a cursor is rounded; that of the post itself is exact.
		post, err := r.Post(f.AfterHash)
		if err != nil {
			return nil, err
		}
		if post != nil && message.TimeFromSeconds(post.LastUpdated) == message.TimeFromSeconds(f.AfterTime) {
			f.AfterTime = post.LastUpdated
		}
	}
	branches, err := r.postBranches(f)
	if err != nil {
		return nil, err
	}
	if f.ByConfirmation {
		return r.listPostsByConfirmation(f, branches)
	}
	page, ids := mergedPage(branches, "p", f.Descending, f.Limit, f.Offset)
	list, err := r.postsOf(page, ids)
	sortRows(list, f.Descending, func(p *PostListRow) (int64, float64, message.Hash) { return 0, p.LastUpdated, p.Hash })
	return list, err
}

// postsOf reads the posts whose ids a query gives, in no order.
func (r *Reader) postsOf(ids string, w *where) ([]PostListRow, error) {
	rows, err := r.rows(`SELECT p.owner, p.type, p.ref, p.channel, p.content_time, p.last_updated, p.item_hash, p.latest_id,
		o.chain, o.signature, o.first_confirmed_at,
		s.item_hash, s.chain, s.sender, s.signature, s.item_type, s.item_content, s.content, s.time, s.size, s.first_confirmed_at
		FROM (`+ids+`) AS page CROSS JOIN posts p CROSS JOIN messages s LEFT JOIN messages o ON o.id = p.id AND p.latest_id IS NOT NULL
		WHERE p.id = page.id AND s.id = COALESCE(p.latest_id, p.id)`, w.args...)
	return collectFor(r, rows, err, func(rows *sql.Rows, p *PostListRow) error {
		m := &p.Shown
		var amended, confirmed *int64
		var chain, signature, text *string
		err := rows.Scan(&p.Owner, &p.Type, &p.Ref, &p.Channel, &p.Created, &p.LastUpdated, &p.Hash, &amended, &chain, &p.Signature, &p.confirmed,
			&m.Message.ItemHash, &m.Message.Chain, &m.Message.Sender, &signature, &m.Message.ItemType, &text, &m.Content,
			&m.Message.Time, &m.Size, &confirmed)
		m.Message.Type = message.TypePost
		m.Message.Signature, m.Message.ItemContent = value(signature), value(text)
		if p.Amended = amended != nil; p.Amended {
			p.Chain = message.Chain(value(chain))
		} else {
			p.Chain, p.Signature, p.confirmed = m.Message.Chain, signature, confirmed
		}
		if text != nil {
			m.Content = []byte(*text)
		}
		if confirmed != nil {
			m.Confirmations = []Confirmation{}
		}
		return err
	}, func(p *PostListRow) int { return messageText(&p.Shown) })
}

// along returns the branch of the posts that lead chooses from the index of a column; "" stands for the index of times.
func (f *PostFilter) along(e engine, column, lead string, args ...any) branch {
	b := branch{from: "posts p", time: "p.last_updated"}
	if column == "tag" {
		b.from, b.time = "post_tags t CROSS JOIN posts p", "t.last_updated"
		b.add("p.id = t.post_id")
	}
	b.add("p.amends IS NULL")
	if lead != "" {
		b.add(lead, args...)
		b.lead.add(lead, args...)
	}
	led := len(b.parts)
	for _, c := range []condition{{"p.type", f.Types}, {"p.owner", f.Owners}, {"p.channel", f.Channels}, {"p.ref", f.Refs}, {"p.item_hash", f.Hashes}} {
		if c.column != column {
			b.in(e.checked(c.column), c.values)
		}
	}
	time := b.time
	if column == "p.id" || column == "p.item_hash" || column == "p.latest_id" || column == "o.first_confirmed_at" {
		time = e.checked(time)
	}
	if f.Start != 0 {
		b.add(time+" >= ?", f.Start)
	}
	if f.End != 0 {
		b.add(time+" < ?", f.End)
	}
	if f.AfterHash != "" {
		past := ">"
		if f.Descending {
			past = "<"
		}
		b.add(time+" "+past+"= ? AND (p.last_updated "+past+" ? OR p.item_hash > ?)", f.AfterTime, f.AfterTime, string(f.AfterHash))
	}
	if len(f.Tags) > 0 && column != "tag" {
		tags := &where{}
		tags.in("x.tag", f.Tags)
		tags.add("x.last_updated = p.last_updated AND x.post_id = p.id")
		b.add("EXISTS (SELECT 1 FROM post_tags x"+tags.String()+")", tags.args...)
	}
	b.alone = column == "tag" && len(b.parts) == led
	return b
}

// postBranches chooses the index that leads to the rows of a filter over the fewest others.
func (r *Reader) postBranches(f PostFilter) (list []branch, err error) {
	e := r.conn.engine
	each := func(column string, values []string) (list []branch) {
		if len(values) > maxBranches {
			w := &where{}
			w.in(column, values)
			return []branch{f.along(e, column, w.parts[0], w.args...)} // to be sorted
		}
		for _, v := range unique(values) {
			list = append(list, f.along(e, column, column+" = ?", v))
		}
		return list
	}
	switch {
	case len(f.Hashes) > 0:
		w := &where{}
		w.hashes("p.id", f.Hashes)
		return []branch{f.along(e, "p.item_hash", w.parts[0], w.args...)}, nil
	case len(f.Refs) > 0:
		return each("p.ref", f.Refs), nil
	}
	channels := f.Channels
	if len(channels) > 0 { // those with many posts are found as fast in the index of times
		n, err := r.sumTerms([]string{""}, termChannel, channels)
		if err != nil {
			return nil, err
		}
		if n*5 > r.few() {
			channels = nil
		}
	}
	used := lists(f.Owners, f.Types, f.Tags, f.Channels)
	column, err := r.shortest([]way{
		{"p.owner", f.Owners, used == lists(f.Owners, f.Types), func() (int64, error) { return r.sumStats(f.Owners, []string{string(message.TypePost)}) }},
		{"p.type", f.Types, used == lists(f.Types, f.Channels), func() (int64, error) { return r.sumTerms([]string{""}, termPostType, f.Types) }},
		{"tag", f.Tags, used == 1, func() (int64, error) { return r.countSome("post_tags", "tag", f.Tags) }},
		{"p.channel", channels, false, func() (int64, error) { return r.sumTerms([]string{""}, termChannel, f.Channels) }},
	})
	if err != nil {
		return nil, err
	}
	switch column {
	case "":
		return []branch{f.along(e, "", "")}, nil
	case "tag":
		if tags := unique(f.Tags); len(tags) > maxBranches { // to be sorted
			f.Tags = nil
			w := &where{}
			w.in("x.tag", tags)
			return []branch{f.along(e, "p.id", "p.id IN (SELECT x.post_id FROM post_tags x"+w.String()+")", w.args...)}, nil
		}
		return taggedBranches(f.Tags, func(tag string) branch { return f.along(e, "tag", "t.tag = ?", tag) },
			"post_tags x", "x.last_updated = t.last_updated AND x.post_id = t.post_id"), nil
	case "p.channel":
		w := &where{}
		w.in("m.channel", f.Channels)
		return []branch{f.along(e, "p.id", "p.id IN (SELECT m.id FROM messages m"+w.String()+" AND "+e.checked("m.type")+" = 'POST')", w.args...)}, nil
	}
	if column == "p.owner" {
		return each(column, f.Owners), nil
	}
	return each(column, f.Types), nil
}

// CountPosts counts what ListPosts would list without its limit. It stops after most rows; 0 counts all.
func (r *Reader) CountPosts(f PostFilter, most int) (n int64, err error) {
	branches, err := r.postBranches(f)
	if len(f.Channels) > 0 && lists(f.Owners, f.Types, f.Refs, f.Hashes, f.Tags) == 0 && f.Start == 0 && f.End == 0 {
		// An index of messages tells.
		w := where{}
		w.in("channel", f.Channels)
		e := r.conn.engine
		w.add(e.checked("type")+" = 'POST' AND "+e.checked("content_type")+" <> ?", message.PostTypeAmend)
		branches = []branch{{where: w, from: "messages"}}
	}
	if err == nil {
		n, err = r.countBranches(branches, most)
	}
	return n, wrap(err, "count posts")
}

// TallyPosts returns what the counters know about how many posts ListPosts would list without its limit: at most n, and
// exactly n if exact.
func (r *Reader) TallyPosts(f PostFilter) (n int64, exact bool, err error) {
	exact = len(f.Owners)+len(f.Refs)+len(f.Channels)+len(f.Hashes)+len(f.Tags) == 0 && f.Start == 0 && f.End == 0
	amends := int64(0)
	if len(f.Types) == 0 {
		n, err = r.sumTypes([]string{string(message.TypePost)}, nil)
	} else {
		n, err = r.sumTerms([]string{""}, termPostType, f.Types)
	}
	if err == nil && (len(f.Types) == 0 || slices.Contains(f.Types, message.PostTypeAmend)) {
		amends, err = r.sumTerms([]string{""}, termPostType, []string{message.PostTypeAmend})
	}
	return n - amends, exact, wrap(err, "read counters of posts")
}
