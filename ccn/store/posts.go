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
}

// idOf is the row number of the message with a hash.
const idOf = `(SELECT id FROM messages WHERE item_hash = ?)`

// Post returns a post, nil when there is none.
func (r *Reader) Post(h message.Hash) (*PostRow, error) {
	p := &PostRow{Hash: h}
	ok, err := found(r.row(`SELECT id, owner, type, ref, amends, channel, content_time, latest_amend, last_updated FROM posts WHERE id = `+idOf, string(h)),
		&p.ID, &p.Owner, &p.Type, &p.Ref, &p.Amends, &p.Channel, &p.ContentTime, &p.LatestAmend, &p.LastUpdated)
	if err != nil || !ok {
		return nil, wrap(err, "read post %s", h)
	}
	return p, nil
}

// InsertPost stores a post.
func (tx *Tx) InsertPost(p *PostRow) error {
	tx.inserts.posts = append(tx.inserts.posts, p.ID, string(p.Hash), p.Owner, p.Type, p.Ref, (*string)(p.Amends), p.Channel, p.ContentTime,
		(*string)(p.LatestAmend), p.LastUpdated)
	return nil
}

// Amendments lists the amendments of a post by hash.
func (r *Reader) Amendments(original message.Hash) ([]message.Hash, error) {
	list, err := r.hashes(`SELECT item_hash FROM posts WHERE amends = ? ORDER BY item_hash`, string(original))
	return list, wrap(err, "list amendments of %s", original)
}

// RefreshPost makes an original show its amendment with the greatest (content time, hash) among those that are newer than
// itself, or itself when there is none.
func (tx *Tx) RefreshPost(original message.Hash) error {
	var latest *string
	var updated float64
	h := string(original)
	ok, err := found(tx.row(`SELECT a.item_hash, a.content_time FROM posts a JOIN posts o ON o.id = `+idOf+`
		WHERE a.amends = ? AND a.content_time > o.content_time ORDER BY a.content_time DESC, a.item_hash DESC LIMIT 1`, h, h), &latest, &updated)
	if err == nil && ok {
		err = tx.exec(`UPDATE posts SET latest_amend = ?, last_updated = ? WHERE id = `+idOf, latest, updated, h)
	} else if err == nil {
		err = tx.exec(`UPDATE posts SET latest_amend = NULL, last_updated = content_time WHERE id = `+idOf, h)
	}
	return wrap(err, "refresh post %s", original)
}

// DeletePost deletes a post; its amendments stay.
func (tx *Tx) DeletePost(h message.Hash) error {
	return wrap(tx.exec(`DELETE FROM posts WHERE id = `+idOf, string(h)), "delete post %s", h)
}

// hashes runs a query of one column of hashes.
func (r *Reader) hashes(query string, args ...any) ([]message.Hash, error) {
	rows, err := r.rows(query, args...)
	return collect(rows, err, scanHash)
}
