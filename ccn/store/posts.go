package store

import "github.com/aleph-im/aleph-go/message"

// PostRow is a POST message in the tree of originals and amendments.
type PostRow struct {
	ID          int64 // of its message
	Hash        message.Hash
	Owner       string
	Type        string
	Ref         *string
	Amends      *message.Hash // the original, when this is an amendment
	Channel     *string
	ContentTime float64
	LatestAmend *message.Hash // of an original: the amendment that is shown; nil when it is itself shown
	LastUpdated float64       // content time of what is shown
	Tags        []string      // of an original that is inserted
}

// Post returns a post, nil when there is none.
func (r *Reader) Post(h message.Hash) (*PostRow, error) {
	p := &PostRow{Hash: h}
	ok, err := found(r.row(`SELECT id, owner, type, ref, amends, channel, content_time, latest_amend, last_updated FROM posts WHERE id = `+messageID, hashArgs(h)...),
		&p.ID, &p.Owner, &p.Type, &p.Ref, &p.Amends, &p.Channel, &p.ContentTime, &p.LatestAmend, &p.LastUpdated)
	if err != nil || !ok {
		return nil, wrap(err, "read post %s", h)
	}
	return p, nil
}

// InsertPost stores a post.
func (tx *Tx) InsertPost(p *PostRow) error {
	var tags []string
	if p.Amends == nil {
		tags = searched(p.Tags)
	}
	tagged, err := tagColumn(tags)
	if err != nil {
		return wrap(err, "list tags of post %s", p.Hash)
	}
	tx.inserts.posts = append(tx.inserts.posts, p.ID, string(p.Hash), p.Owner, p.Type, p.Ref, (*string)(p.Amends), p.Channel, p.ContentTime,
		p.LastUpdated, tagged)
	for _, tag := range tags {
		tx.inserts.postTags = append(tx.inserts.postTags, tag, p.LastUpdated, p.ID)
	}
	return nil
}

// Amendments lists the amendments of a post by hash.
func (r *Reader) Amendments(original message.Hash) ([]message.Hash, error) {
	list, err := r.hashes(`SELECT item_hash FROM posts WHERE amends = ? ORDER BY item_hash`, string(original))
	return list, wrap(err, "list amendments of %s", original)
}

// RefreshPost makes an original show its amendment with the greatest (content time, hash) among those that are newer than
// itself, or itself when there is none. The tags of an amendment replace those of the original, unless it has none.
func (tx *Tx) RefreshPost(original message.Hash) error {
	h := string(original)
	var id int64
	var latest *int64
	var created, was, updated float64
	var amends, amend, own, tagged, tags *string
	ok, err := found(tx.row(`SELECT o.id, o.content_time, o.last_updated, o.tags, o.amends, m.tags FROM posts o LEFT JOIN messages m ON m.id = o.id
		WHERE o.id = `+messageID, hashArgs(original)...), &id, &created, &was, &tagged, &amends, &own)
	if err != nil || !ok {
		return wrap(err, "refresh post %s", original)
	}
	if ok, err = found(tx.row(`SELECT a.id, a.item_hash, a.content_time, m.tags FROM posts a LEFT JOIN messages m ON m.id = a.id
		WHERE a.amends = ? AND a.content_time > ? ORDER BY a.content_time DESC, a.item_hash DESC LIMIT 1`, h, created), &latest, &amend, &updated, &tags); !ok {
		updated = created
	}
	if tags == nil {
		tags = own
	}
	if amends != nil { // what is no original is not found
		tags = nil
	}
	if err == nil {
		err = tx.untagPost(id, was, tagged)
	}
	if err == nil {
		err = tx.exec(`UPDATE posts SET latest_amend = ?, latest_id = ?, last_updated = ?, tags = ? WHERE id = ?`, amend, latest, updated, tags, id)
	}
	if err == nil {
		err = tx.tagPost(id, updated, tags)
	}
	return wrap(err, "refresh post %s", original)
}

// DeletePost deletes a post; its amendments stay.
func (tx *Tx) DeletePost(h message.Hash) error {
	var id int64
	var updated float64
	var tags *string
	ok, err := found(tx.row(`DELETE FROM posts WHERE id = `+messageID+` RETURNING id, last_updated, tags`, hashArgs(h)...), &id, &updated, &tags)
	if err == nil && ok {
		err = tx.untagPost(id, updated, tags)
	}
	return wrap(err, "delete post %s", h)
}

// hashes runs a query of one column of hashes.
func (r *Reader) hashes(query string, args ...any) ([]message.Hash, error) {
	rows, err := r.rows(query, args...)
	return collect(rows, err, scanHash)
}
