package main

import (
	"context"
	"slices"
	"time"
)

const startSamples = 5

// start measures the time from the start of the process to the first page of messages, with a filled store.
func start(ctx context.Context, o options) ([]Result, error) {
	dir, _, err := filled(ctx, o)
	if err != nil {
		return nil, err
	}
	took := make([]float64, startSamples)
	for i := range took {
		began := time.Now()
		node, err := startNode(ctx, o, dir)
		if err != nil {
			return nil, err
		}
		took[i] = time.Since(began).Seconds()
		if err := node.Stop(); err != nil {
			return nil, err
		}
	}
	slices.Sort(took)
	return []Result{{Name: "ccn-start-1m-s", Value: took[startSamples/2], Unit: "s"}}, nil
}
