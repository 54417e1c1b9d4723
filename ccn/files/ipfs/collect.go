package ipfs

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/message"
)

// Collect deletes the blocks that no pin reaches and that were neither put nor kept since before, which should lie longer
// back than an upload may take. It returns how many blocks and bytes went. It holds 8 bytes of memory for each block that
// stays.
func (n *Node) Collect(ctx context.Context, before time.Time) (blocks int, bytes int64, err error) {
	reached, err := n.reached(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("collect garbage of IPFS: %w", err)
	}
	err = n.blocks.Walk(ctx, func(b files.Info) error {
		if !b.Stored.Before(before) {
			return nil
		}
		if _, ok := slices.BinarySearch(reached, short(b.Hash)); ok {
			return nil
		}
		deleted, err := n.blocks.Expire(ctx, b.Hash, before)
		if deleted {
			blocks++
			bytes += b.Size
		}
		return err
	})
	if err != nil {
		return blocks, bytes, fmt.Errorf("collect garbage of IPFS: %w", err)
	}
	return blocks, bytes, nil
}

// Size returns how many bytes the blocks take, garbage included.
func (n *Node) Size(ctx context.Context) (total int64, err error) {
	err = n.blocks.Walk(ctx, func(b files.Info) error {
		total += b.Size
		return nil
	})
	return total, err
}

// short is the beginning of a block's hash. Two blocks with the same one are kept or not together.
func short(h message.Hash) uint64 {
	var b [8]byte
	_, _ = hex.Decode(b[:], []byte(h[:16])) // names of blocks are hexadecimal
	return binary.BigEndian.Uint64(b[:])
}

// reached lists, sorted, the blocks below all pins. A DAG that has lost blocks protects those that it has.
func (n *Node) reached(ctx context.Context) ([]uint64, error) {
	var all []uint64
	inner := make(map[uint64]struct{}) // blocks with links, gone through once
	var follow func(c cid.Cid, depth int) error
	follow = func(c cid.Cid, depth int) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		s := short(blockName(c))
		if _, done := inner[s]; done {
			return nil
		}
		all = append(all, s)
		if c.Prefix().Codec == cid.Raw || depth > maxDepth {
			return nil
		}
		raw, err := n.read(ctx, c)
		if errors.Is(err, files.ErrNotFound) || errors.Is(err, files.ErrWrongHash) {
			return nil
		} else if err != nil {
			return err
		}
		b, err := decode(c, raw)
		if err != nil || len(b.links) == 0 {
			return nil // what is no UnixFS has no pin
		}
		inner[s] = struct{}{}
		for _, l := range b.links {
			if err := follow(l.cid, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	err := n.pins.walk(ctx, func(p files.Info) error {
		c, err := parseCID(p.Hash)
		if err != nil {
			return nil
		}
		return follow(c, 0)
	})
	slices.Sort(all)
	return all, err
}
