package store

import (
	"database/sql"

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
}

// shownPost is the row number of the message that a post shows.
const shownPost = `CASE WHEN p.latest_amend IS NULL THEN p.id ELSE (SELECT l.id FROM messages l WHERE l.item_hash = p.latest_amend) END`

func (f *PostFilter) where() *where {
	w := &where{}
	w.add("p.amends IS NULL")
	w.in("p.owner", f.Owners)
	w.in("p.type", f.Types)
	w.in("p.ref", f.Refs)
	w.in("p.channel", f.Channels)
	if len(f.Hashes) > 0 {
		hashes := &where{}
		hashes.in("item_hash", f.Hashes)
		w.add("p.id IN (SELECT id FROM messages"+hashes.String()+")", hashes.args...)
	}
	if f.Start != 0 {
		w.add("p.last_updated >= ?", f.Start)
	}
	if f.End != 0 {
		w.add("p.last_updated < ?", f.End)
	}
	if len(f.Tags) > 0 {
		tags := &where{}
		tags.in("tag", f.Tags)
		tagged := "(SELECT message_id FROM message_tags" + tags.String() + ")"
		// The tags of an amendment replace those of the original, unless it has none.
		w.add("("+shownPost+" IN "+tagged+` OR p.latest_amend IS NOT NULL
			AND NOT EXISTS (SELECT 1 FROM message_tags t WHERE t.message_id = `+shownPost+`) AND p.id IN `+tagged+")",
			append(append([]any{}, tags.args...), tags.args...)...)
	}
	return w
}

// ListPosts lists original posts by the content time of what is shown, or by confirmation; ties go by ascending hash.
func (r *Reader) ListPosts(f PostFilter) ([]PostListRow, error) {
	order, past := "ASC", ">"
	if f.Descending {
		order, past = "DESC", "<"
	}
	w := f.where()
	if f.AfterHash != "" {
		// The time in a cursor is rounded; that of the post itself is exact.
		post, err := r.Post(f.AfterHash)
		if err != nil {
			return nil, err
		}
		if post != nil && message.TimeFromSeconds(post.LastUpdated) == message.TimeFromSeconds(f.AfterTime) {
			f.AfterTime = post.LastUpdated
		}
		w.add("p.last_updated "+past+"= ? AND (p.last_updated "+past+" ? OR p.item_hash > ?)", f.AfterTime, f.AfterTime, string(f.AfterHash))
	}
	by := " ORDER BY p.last_updated " + order + ", p.item_hash ASC"
	if f.ByConfirmation {
		by = " ORDER BY CASE WHEN o.first_confirmed_at IS NULL THEN 1 ELSE 0 END " + order + ", o.first_confirmed_at " + order +
			", p.content_time " + order + ", p.item_hash ASC"
	}
	query := `SELECT p.owner, p.type, p.ref, p.channel, p.content_time, p.last_updated, p.latest_amend IS NOT NULL, p.item_hash, o.chain, o.signature,
		s.item_hash, s.chain, s.sender, COALESCE(s.signature, ''), s.item_type, COALESCE(s.item_content, ''), COALESCE(s.item_content, s.content),
		s.time, s.size, s.first_confirmed_at
		FROM posts p JOIN messages o ON o.id = p.id JOIN messages s ON s.id = ` + shownPost
	rows, err := r.rows(query+w.String()+by+w.limit(f.Limit, f.Offset), w.args...)
	list, err := collect(rows, err, func(rows *sql.Rows, p *PostListRow) error {
		m := &p.Shown
		var confirmed *int64
		err := rows.Scan(&p.Owner, &p.Type, &p.Ref, &p.Channel, &p.Created, &p.LastUpdated, &p.Amended, &p.Hash, &p.Chain, &p.Signature,
			&m.Message.ItemHash, &m.Message.Chain, &m.Message.Sender, &m.Message.Signature, &m.Message.ItemType, &m.Message.ItemContent, &m.Content,
			&m.Message.Time, &m.Size, &confirmed)
		m.Message.Type = message.TypePost
		if confirmed != nil {
			m.Confirmations = []Confirmation{}
		}
		return err
	})
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

// CountPosts counts what ListPosts would list without its limit. It stops after most rows; 0 counts all.
func (r *Reader) CountPosts(f PostFilter, most int) (n int64, err error) {
	w := f.where()
	query := "SELECT COUNT(*) FROM posts p" + w.String()
	if most > 0 {
		query = "SELECT COUNT(*) FROM (SELECT 1 FROM posts p" + w.String() + " LIMIT ?) AS counted"
		w.args = append(w.args, most)
	}
	_, err = found(r.row(query, w.args...), &n)
	return n, wrap(err, "count posts")
}
