package authority

import (
	"context"

	"github.com/aleph-im/aleph-go/ccn/store"
)

// Cursor keeps the position of a reader of the chain in the node's own state. It implements anchor.State.
type Cursor struct {
	Store *store.Store
	Key   string
}

// Load returns nil when nothing was saved yet.
func (c Cursor) Load(ctx context.Context) ([]byte, error) {
	var value string
	err := c.Store.Read(ctx, func(r *store.Reader) (err error) {
		value, err = r.Get(c.Key)
		return err
	})
	if err != nil || value == "" {
		return nil, err
	}
	return []byte(value), nil
}

// Save replaces what was saved.
func (c Cursor) Save(ctx context.Context, cursor []byte) error {
	return c.Store.Write(ctx, func(tx *store.Tx) error { return tx.Set(c.Key, string(cursor)) })
}
