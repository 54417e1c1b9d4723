package files

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// combined is one Store of two kinds of names.
type combined struct{ storage, ipfs Store }

// Combine returns a Store that keeps each file in the store for its kind of name. Put names files by their sha256.
// A nil ipfs holds nothing and takes nothing.
func Combine(storage, ipfs Store) Store {
	if ipfs == nil {
		return storage
	}
	return combined{storage, ipfs}
}

// of returns the store for h. A text that is no hash goes to the store of sha256, which refuses it.
func (c combined) of(h message.Hash) Store {
	if h.Kind() == message.ItemIPFS {
		return c.ipfs
	}
	return c.storage
}

func (c combined) Put(ctx context.Context, r io.Reader, limit int64) (message.Hash, int64, error) {
	return c.storage.Put(ctx, r, limit)
}

func (c combined) move(ctx context.Context, f *os.File, h message.Hash) error {
	return Move(ctx, c.of(h), f, h)
}

func (c combined) PutExpecting(ctx context.Context, h message.Hash, r io.Reader, limit int64) (int64, error) {
	return c.of(h).PutExpecting(ctx, h, r, limit)
}

func (c combined) Open(ctx context.Context, h message.Hash) (io.ReadSeekCloser, int64, error) {
	return c.of(h).Open(ctx, h)
}

func (c combined) Stat(ctx context.Context, h message.Hash) (Info, error) {
	return c.of(h).Stat(ctx, h)
}

func (c combined) Keep(ctx context.Context, h message.Hash) (Info, error) {
	return c.of(h).Keep(ctx, h)
}

func (c combined) Delete(ctx context.Context, h message.Hash) error { return c.of(h).Delete(ctx, h) }

func (c combined) Expire(ctx context.Context, h message.Hash, before time.Time) (bool, error) {
	return c.of(h).Expire(ctx, h, before)
}

func (c combined) Verify(ctx context.Context, h message.Hash) error { return c.of(h).Verify(ctx, h) }

func (c combined) Walk(ctx context.Context, f func(Info) error) error {
	if err := c.storage.Walk(ctx, f); err != nil {
		return err
	}
	return c.ipfs.Walk(ctx, f)
}
