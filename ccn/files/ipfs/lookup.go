package ipfs

import (
	"context"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/ipfs/go-cid"
	"github.com/spaolacci/murmur3"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/message"
)

// Lookup returns the CID of what a folder has under a path such as "css/main.css", the folder's own for "". What is not there
// is files.ErrNotFound. Symbolic links are not followed.
func (n *Node) Lookup(ctx context.Context, folder message.Hash, path string) (message.Hash, error) {
	c, err := parseCID(folder)
	if err != nil {
		return "", err
	}
	for _, name := range strings.FieldsFunc(path, func(r rune) bool { return r == '/' }) {
		if c, err = n.entry(ctx, c, name); err != nil {
			return "", fmt.Errorf("look up %s in folder %s: %w", clip(path), folder, err)
		}
	}
	return message.Hash(c.String()), nil
}

// entry finds a name in a folder.
func (n *Node) entry(ctx context.Context, c cid.Cid, name string) (cid.Cid, error) {
	hash := murmur3.Sum64([]byte(name))
	for left := 64; ; {
		raw, err := n.read(ctx, c)
		if err != nil {
			return cid.Undef, err
		}
		b, err := decode(c, raw)
		if err != nil {
			return cid.Undef, err
		}
		if b.kind != kindFolder {
			return cid.Undef, files.ErrNotFound
		}
		place := "" // of the name in a shard, which the next bits of its hash tell
		if b.shard > 0 {
			taken := bits.Len(uint(b.width - 1))
			if left < taken {
				return cid.Undef, fmt.Errorf("block %s: %w: too deep", c, ErrMalformed)
			}
			left -= taken
			place = fmt.Sprintf("%0*X", b.shard, hash>>left&uint64(b.width-1))
		}
		if i := slices.IndexFunc(b.links, func(l link) bool { return l.name == place+name }); i >= 0 {
			return b.links[i].cid, nil
		}
		i := slices.IndexFunc(b.links, func(l link) bool { return b.shard > 0 && l.name == place })
		if i < 0 {
			return cid.Undef, files.ErrNotFound
		}
		c = b.links[i].cid
	}
}
