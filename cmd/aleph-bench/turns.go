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

const turnsEach = 7 // of each store

// turnStores are the sizes of the stores that take turns; the last one is that of the full corpus.
var turnStores = []struct {
	suffix string
	rows   int
}{{"-10k", 10_000}, {"-100k", 100_000}, {"-1m", 0}}

// httpTurns is turns with the messages of ingestHTTP.
func httpTurns(ctx context.Context, o options) ([]Result, error) {
	envelopes, err := signedPosts(ctx, min(growthWindow, o.messages))
	if err != nil {
		return nil, err
	}
	return turns(ctx, o, "ccn-ingest-http", envelopes)
}

// corpusTurns is turns with messages like those of the corpus. Documents and accounts grow with what their owners send, which is not what
// the size of the store does: these senders have sent nothing before.
func corpusTurns(ctx context.Context, o options) ([]Result, error) {
	c, err := corpusAfter(o.messages)
	if err != nil {
		return nil, err
	}
	envelopes, err := c.some(ctx, o.messages, o.messages+min(growthWindow, o.messages))
	if err != nil {
		return nil, err
	}
	return turns(ctx, o, "ccn-ingest-turns", envelopes)
}

// turns posts the same messages by turns to copies of stores of several sizes, and tells the median rate of each. A machine has faster
// and slower minutes, so a store is compared with the smallest in the same round: the ratio is the median of those.
func turns(ctx context.Context, o options, name string, envelopes [][]byte) ([]Result, error) {
	var stores []string
	for _, s := range turnStores {
		of := o
		if s.rows > 0 {
			of.messages = min(s.rows, o.messages)
		}
		store, _, err := filled(ctx, of)
		if err != nil {
			return nil, err
		}
		stores = append(stores, store)
	}
	rates, ratios := make([][]float64, len(stores)), make([][]float64, len(stores))
	for round := range turnsEach {
		for i, store := range stores {
			rate, err := turn(ctx, o, store, envelopes)
			if err != nil {
				return nil, err
			}
			rates[i] = append(rates[i], rate)
			ratios[i] = append(ratios[i], rate/rates[0][round])
		}
	}
	var figures []Result
	for i, s := range turnStores {
		figure := Result{Name: name + s.suffix, Unit: "messages/s"}
		fmt.Printf("%s: %.0f messages/s, %.2f of the smallest\n", figure.Name, rates[i], ratios[i])
		if figure.Value = median(rates[i]); i > 0 {
			figure = figure.withLimit(figures[0].Value)
			*figure.RatioToLimit = median(ratios[i])
		}
		figures = append(figures, figure)
	}
	return figures, nil
}

func median(values []float64) float64 { return slices.Sorted(slices.Values(values))[len(values)/2] }

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
