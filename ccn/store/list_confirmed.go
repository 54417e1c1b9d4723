package store

import (
	"math"
	"strings"

	"github.com/aleph-im/aleph-go/message"
)

// listByConfirmation lists messages by the time of their first confirmation: those without one count as newest, in the
// order of their own time. Few are sorted; otherwise those with and those without are walked one after the other.
func (r *Reader) listByConfirmation(f MessageFilter, branches []branch) ([]MessageRow, error) {
	order := direction(f.Descending)
	byConfirmation := "CASE WHEN m.first_confirmed_at IS NULL THEN 1 ELSE 0 END" + order + ", m.first_confirmed_at" + order + ", m.time" + order + ", m.item_hash"
	few, err := r.fewLed(branches)
	if err != nil {
		return nil, err
	}
	if few || f.Limit <= 0 {
		ids := &where{}
		var parts []string
		for _, b := range branches {
			parts = append(parts, "SELECT m.id AS id, m.first_confirmed_at AS first_confirmed_at, m.time AS time, m.item_hash AS item_hash FROM "+b.from+b.String())
			ids.args = append(ids.args, b.args...)
		}
		page := "SELECT id FROM (" + strings.Join(parts, " UNION ALL ") + ") AS m ORDER BY " + byConfirmation + ids.limit(f.Limit, f.Offset)
		return r.messagesOf(&f, page, ids, byConfirmation)
	}
	type way struct {
		branch
		order string
	}
	e := r.conn.engine
	ways := []way{
		{f.along(e, "m.first_confirmed_at", "m.first_confirmed_at IS NOT NULL"), "m.first_confirmed_at" + order + ", m.time" + order + ", m.item_hash"},
		{f.along(e, "", "m.first_confirmed_at IS NULL"), "m.time" + order + ", m.item_hash"},
	}
	switch {
	case f.EndBlock != 0: // leaves out what has no confirmation
		ways = ways[:1]
	case f.Descending:
		ways[0], ways[1] = ways[1], ways[0]
	}
	first, err := r.messagePage(&f, ways[0].from, ways[0].where, ways[0].order, f.Limit, f.Offset)
	if err != nil || len(first) == f.Limit || len(ways) == 1 {
		return first, err
	}
	// The page reaches into the other part, or begins there.
	offset := int64(0)
	if len(first) == 0 && f.Offset > 0 {
		before, err := r.countBranches([]branch{ways[0].branch}, 0)
		if err != nil {
			return nil, err
		}
		offset = f.Offset - before
	}
	second, err := r.messagePage(&f, ways[1].from, ways[1].where, ways[1].order, f.Limit-len(first), offset)
	return append(first, second...), err
}

func sortConfirmed(list []PostListRow, descending bool) {
	sortRows(list, descending, func(p *PostListRow) (int64, float64, message.Hash) {
		if p.confirmed == nil {
			return math.MaxInt64, p.Created, p.Hash
		}
		return *p.confirmed, p.Created, p.Hash
	})
}

// listPostsByConfirmation does the same with posts: those without a confirmation are in the order of their content time.
func (r *Reader) listPostsByConfirmation(f PostFilter, branches []branch) ([]PostListRow, error) {
	order := direction(f.Descending)
	few, err := r.fewLed(branches)
	if err != nil {
		return nil, err
	}
	if few || f.Limit <= 0 {
		ids := &where{}
		var parts []string
		for _, b := range branches {
			b.add("o.id = p.id")
			parts = append(parts, "SELECT p.id AS id, p.item_hash AS item_hash, p.content_time AS content_time, o.first_confirmed_at AS first_confirmed_at FROM "+
				b.from+" CROSS JOIN messages o"+b.String())
			ids.args = append(ids.args, b.args...)
		}
		page := "SELECT id FROM (" + strings.Join(parts, " UNION ALL ") + ") AS all_posts ORDER BY CASE WHEN first_confirmed_at IS NULL THEN 1 ELSE 0 END" +
			order + ", first_confirmed_at" + order + ", content_time" + order + ", item_hash" + ids.limit(f.Limit, f.Offset)
		list, err := r.postsOf(page, ids)
		sortConfirmed(list, f.Descending)
		return list, err
	}
	e := r.conn.engine
	confirmed := f.along(e, "o.first_confirmed_at", "o.first_confirmed_at IS NOT NULL")
	confirmed.from, confirmed.time = "messages o CROSS JOIN posts p", "p.content_time"
	confirmed.add("p.id = o.id AND " + e.checked("o.type") + " = 'POST'")
	unconfirmed, err := r.unconfirmedPosts(&f)
	if err != nil {
		return nil, err
	}
	ways := []struct {
		branches []branch
		order    string
	}{
		{[]branch{confirmed}, "o.first_confirmed_at" + order + ", p.content_time" + order + ", p.item_hash"},
		{unconfirmed, "p.content_time" + order + ", p.item_hash"},
	}
	if f.Descending {
		ways[0], ways[1] = ways[1], ways[0]
	}
	page := func(part int, limit int, offset int64) ([]PostListRow, error) {
		ids := &where{}
		var parts []string
		for _, b := range ways[part].branches {
			parts = append(parts, "SELECT * FROM (SELECT p.id AS id, p.item_hash AS item_hash, p.content_time AS content_time, o.first_confirmed_at AS first_confirmed_at FROM "+
				b.from+b.String()+" ORDER BY "+strings.ReplaceAll(ways[part].order, "p.content_time", b.time)+atMost+") AS branch")
			ids.args = append(append(ids.args, b.args...), reach(limit, offset))
		}
		outer := strings.NewReplacer("o.", "", "p.", "").Replace(ways[part].order)
		list, err := r.postsOf("SELECT id FROM ("+strings.Join(parts, " UNION ALL ")+") AS branches ORDER BY "+outer+ids.limit(limit, offset), ids)
		sortConfirmed(list, f.Descending)
		return list, err
	}
	first, err := page(0, f.Limit, f.Offset)
	if err != nil || len(first) == f.Limit {
		return first, err
	}
	offset := int64(0)
	if len(first) == 0 && f.Offset > 0 {
		before, err := r.countBranches(ways[0].branches, 0)
		if err != nil {
			return nil, err
		}
		offset = f.Offset - before
	}
	second, err := page(1, f.Limit-len(first), offset)
	return append(first, second...), err
}

// unconfirmedPosts returns the branches of the original posts without a confirmation, in the order of their content time.
func (r *Reader) unconfirmedPosts(f *PostFilter) ([]branch, error) {
	e := r.conn.engine
	var n int64
	_, err := found(r.row("SELECT COUNT(*) FROM (SELECT 1 FROM messages WHERE first_confirmed_at IS NULL LIMIT ?) AS counted", r.few()), &n)
	if err != nil {
		return nil, err
	}
	if n < r.few() {
		b := f.along(e, "o.first_confirmed_at", "o.first_confirmed_at IS NULL")
		b.from, b.time = "messages o CROSS JOIN posts p", "p.content_time"
		b.add("p.id = o.id AND " + e.checked("o.type") + " = 'POST'")
		return []branch{b}, nil
	}
	// A post that was not amended was last updated when it was made.
	original, amended := f.along(e, "", "p.latest_id IS NULL"), f.along(e, "p.latest_id", "p.latest_id IS NOT NULL")
	amended.time = "p.content_time"
	for _, b := range []*branch{&original, &amended} {
		b.from = "posts p CROSS JOIN messages o"
		b.add("o.id = p.id AND " + e.checked("o.first_confirmed_at") + " IS NULL")
	}
	return []branch{original, amended}, nil
}
