package store

// Get returns a value of this node's own, "" when it was never set.
func (r *Reader) Get(key string) (string, error) {
	var v string
	_, err := found(r.row(`SELECT value FROM node_state WHERE key = ?`, key), &v)
	return v, wrap(err, "read node state %s", key)
}

// Set stores a value of this node's own: a cursor, an identity.
func (tx *Tx) Set(key, v string) error {
	return wrap(tx.exec(`INSERT INTO node_state (key, value) VALUES (?,?) ON CONFLICT (key) DO UPDATE SET value = excluded.value`, key, v),
		"store node state %s", key)
}

// SetAtCommit stores a value when the transaction is committed: the last one that is given for a key.
func (tx *Tx) SetAtCommit(key, v string) {
	if tx.atCommit == nil {
		tx.atCommit = map[string]string{}
	}
	tx.atCommit[key] = v
}
