package store

// Walk makes lists of this reader walk along all rows instead of sorting those of a filter, as they do when those are many.
func (r *Reader) Walk(walk bool) {
	r.conn.few = 0
	if walk {
		r.conn.few = 1
	}
}
