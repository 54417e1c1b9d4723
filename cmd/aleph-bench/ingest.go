package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aleph-im/aleph-go/devnet"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// ingestHTTP posts distinct signed messages to one core node over keep-alive connections, each answered when it is
// durable. The limit is what checking the same signatures alone reaches, on all cores; the peer gets the same load.
func ingestHTTP(ctx context.Context, o options) ([]Result, error) {
	envelopes, err := signedPosts(ctx, o.ingest)
	if err != nil {
		return nil, err
	}
	limit, err := verifyRate(envelopes)
	if err != nil {
		return nil, err
	}
	node, err := startNode(ctx, o, o.dir)
	if err != nil {
		return nil, err
	}
	rate, err := httpRate(ctx, node, envelopes)
	if err != nil {
		return nil, err
	}
	result := Result{Name: "ccn-ingest-http", Value: rate, Unit: "messages/s"}.withLimit(limit)
	peer, err := startPeer(ctx, o, o.dir)
	if err != nil || peer == nil {
		return []Result{result}, err
	}
	if rate, err = httpRate(ctx, peer, envelopes[:min(len(envelopes), o.peerMessages)]); err != nil {
		return nil, err
	}
	return []Result{result.withPeer(rate)}, nil
}

// httpRate loads a node and stops it.
func httpRate(ctx context.Context, node *devnet.Process, envelopes [][]byte) (float64, error) {
	defer node.Stop()
	l := &load{url: node.URL, sync: true}
	took, err := l.run(ctx, each(envelopes))
	if err != nil {
		return 0, err
	}
	if bad := l.failures(); bad != "" {
		return 0, fmt.Errorf("%s: %s", node.Name, bad)
	}
	last, _, err := message.Parse(envelopes[len(envelopes)-1])
	if err != nil {
		return 0, fmt.Errorf("parse own message: %w", err)
	}
	if err := readBack(ctx, node.URL, last.ItemHash); err != nil {
		return 0, fmt.Errorf("read back the last post from %s: %w", node.Name, err)
	}
	return float64(len(envelopes)) / took.Seconds(), nil
}

// readBack expects that a message was applied.
func readBack(ctx context.Context, url string, h message.Hash) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/api/v0/messages/"+string(h), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer struct{ Status message.Status }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return fmt.Errorf("%s: %w", resp.Status, err)
	}
	if answer.Status != message.StatusProcessed {
		return fmt.Errorf("it is %s", answer.Status)
	}
	return nil
}

// signedPosts makes n distinct signed POST messages of one new account.
func signedPosts(ctx context.Context, n int) ([][]byte, error) {
	account, err := ethereum.Generate()
	if err != nil {
		return nil, err
	}
	envelopes := make([][]byte, n)
	errs := make([]error, runtime.GOMAXPROCS(0))
	now := time.Now()
	var wg sync.WaitGroup
	for w := range errs {
		wg.Go(func() {
			channel := "BENCH"
			for i := w; i < n && errs[w] == nil; i += len(errs) {
				content := &message.Post{PostType: "bench", Content: fmt.Appendf(nil, `{"number":%d,"text":"a post of an ordinary length, as applications write them"}`, i)}
				m, _, err := message.Build(account.Address(), account.Chain(), message.TypePost, content, &channel, now)
				if err == nil {
					m.Signature, err = account.Sign(ctx, m.SigningPayload())
				}
				if errs[w] = err; err == nil {
					envelopes[i] = m.AppendJSON(nil)
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("sign posts: %w", err)
		}
	}
	return envelopes, nil
}

// verifyRate checks signatures and nothing else, on all cores.
func verifyRate(envelopes [][]byte) (float64, error) {
	messages := make([]*message.Message, len(envelopes))
	for i, e := range envelopes {
		m, _, err := message.Parse(e)
		if err != nil {
			return 0, fmt.Errorf("parse own message: %w", err)
		}
		messages[i] = m
	}
	verifier := signature.Default()
	var bad atomic.Int64
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	began := time.Now()
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(messages); i += workers {
				if verifier.Verify(messages[i]) != nil {
					bad.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := bad.Load(); n > 0 {
		return 0, fmt.Errorf("%d own signatures did not verify", n)
	}
	return float64(len(messages)) / time.Since(began).Seconds(), nil
}

// filled returns a data folder of a node that holds the first o.messages of the corpus. It is kept between runs; the
// figures of filling it are nil when it was there.
func filled(ctx context.Context, o options) (dir string, figures []Result, err error) {
	dir = filepath.Join(o.root, "build", "bench", fmt.Sprintf("store-%d", o.messages))
	if _, err := os.Stat(filepath.Join(dir, "complete")); err == nil {
		return dir, nil, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", nil, fmt.Errorf("remove a half-filled store: %w", err)
	}
	if figures, err = fill(ctx, o, dir); err != nil {
		return "", nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "complete"), nil, 0o644); err != nil {
		return "", nil, fmt.Errorf("mark the store as filled: %w", err)
	}
	return dir, figures, nil
}
