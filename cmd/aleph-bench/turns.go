package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

const (
	turnsEach   = 5      // of each store
	smallCorpus = 10_000 // messages of the small store
)

// turns posts the same number of messages by turns to copies of a small store and of a full one, and tells the median rate of
// each. A machine has faster and slower minutes, which growth takes for what the size of the store does.
func turns(ctx context.Context, o options) ([]Result, error) {
	sizes := []int{min(smallCorpus, o.messages), o.messages}
	stores, windows, rates := make([]string, len(sizes)), make([][][]byte, len(sizes)), make([][]float64, len(sizes))
	c, err := newCorpus()
	if err != nil {
		return nil, err
	}
	for i, size := range sizes {
		of := o
		of.messages = size
		if stores[i], _, err = filled(ctx, of); err != nil {
			return nil, err
		}
		if windows[i], err = c.some(ctx, size, size+min(growthWindow, o.messages)); err != nil {
			return nil, err
		}
	}
	for range turnsEach {
		for i := range sizes {
			rate, err := turn(ctx, o, stores[i], windows[i])
			if err != nil {
				return nil, err
			}
			rates[i] = append(rates[i], rate)
		}
	}
	for i := range rates {
		slices.Sort(rates[i])
		fmt.Printf("behind %d messages: %.0f messages/s\n", sizes[i], rates[i])
	}
	small, full := rates[0][turnsEach/2], rates[1][turnsEach/2]
	return []Result{
		{Name: "ccn-ingest-turns-10k", Value: small, Unit: "messages/s"},
		Result{Name: "ccn-ingest-turns-1m", Value: full, Unit: "messages/s"}.withLimit(small),
	}, nil
}

// turn posts messages to a copy of a store.
func turn(ctx context.Context, o options, store string, envelopes [][]byte) (float64, error) {
	dir := filepath.Join(o.dir, "turn")
	if err := os.CopyFS(dir, os.DirFS(store)); err != nil {
		return 0, fmt.Errorf("copy the store: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := syncFiles(dir); err != nil {
		return 0, err
	}
	node, err := startNode(ctx, o, dir)
	if err != nil {
		return 0, err
	}
	return httpRate(ctx, node, envelopes)
}

// syncFiles leaves nothing of a copy to be written while something else is measured.
func syncFiles(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}
