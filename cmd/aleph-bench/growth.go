package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/aleph-im/aleph-go/devnet"
)

// growthWindow is how many messages the rate of intake is told over. It is the same at each size, and large enough for the store
// to do among them what it puts off: commits, and copies out of its log.
const growthWindow = 50_000

// growthMarks are the sizes from which on the rate is told; the last one is that of all messages but the window.
var growthMarks = []struct {
	name string
	rows int64
}{
	{"ccn-ingest-at-10k", 10_000}, {"ccn-ingest-at-100k", 100_000}, {"ccn-ingest-at-1m", 1_000_000 - growthWindow},
}

// growth fills a store anew and tells how the rate changes with its size and what memory the node took.
func growth(ctx context.Context, o options) ([]Result, error) {
	dir := filepath.Join(o.root, "build", "bench", fmt.Sprintf("store-%d", o.messages))
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("remove the last store: %w", err)
	}
	_, figures, err := filled(ctx, o)
	return figures, err
}

// fill posts the corpus to a new node with its data in dir.
func fill(ctx context.Context, o options, dir string) ([]Result, error) {
	node, err := startNode(ctx, o, dir)
	if err != nil {
		return nil, err
	}
	defer node.Stop()
	l, err := postCorpus(ctx, o, node, o.messages)
	if err != nil {
		return nil, err
	}
	if bad := l.failures(); bad != "" {
		return nil, fmt.Errorf("the node refused messages of the corpus: %s", bad)
	}
	peak, err := peakMiB(node.PID())
	if err != nil {
		return nil, err
	}
	figures := []Result{{Name: "ccn-ingest-peak-mib", Value: peak, Unit: "MiB"}}
	for i, mark := range growthMarks {
		if mark.rows+growthWindow > int64(o.messages) {
			break
		}
		rate := growthWindow / l.times[2*i+1].Sub(l.times[2*i]).Seconds()
		figure := Result{Name: mark.name, Value: rate, Unit: "messages/s"}
		if i > 0 { // what the store took when it was small
			figure = figure.withLimit(figures[1].Value)
		}
		figures = append(figures, figure)
	}
	return figures, node.Stop()
}

// postCorpus uploads the files of the corpus and posts its first n messages.
func postCorpus(ctx context.Context, o options, node *devnet.Process, n int) (*load, error) {
	c, err := newCorpus()
	if err != nil {
		return nil, err
	}
	path, err := c.file(ctx, o.root, n)
	if err != nil {
		return nil, err
	}
	if err := uploadCorpusFiles(ctx, node.URL); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open signed messages: %w", err)
	}
	defer f.Close()
	l := &load{url: node.URL, sync: true}
	for _, mark := range growthMarks {
		l.marks = append(l.marks, mark.rows, mark.rows+growthWindow)
	}
	_, err = l.run(ctx, lines(f))
	return l, err
}

// uploadCorpusFiles puts the files that STOREs of the corpus name on the node, as contents that nobody signed for.
func uploadCorpusFiles(ctx context.Context, url string) error {
	for i := range corpusFiles {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/api/v0/storage/add_json", bytes.NewReader(corpusFile(i)))
		if err != nil {
			return fmt.Errorf("upload file %d: %w", i, err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return fmt.Errorf("upload file %d: %w", i, err)
		}
		answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			return fmt.Errorf("upload file %d: %s %s (%v)", i, resp.Status, answer, err)
		}
	}
	return nil
}
