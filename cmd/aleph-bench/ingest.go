package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aleph-im/aleph-go/ccn/authority"
	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/devnet"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

const (
	ingestMessages    = 30_000
	ingestConnections = 32
)

// ingest posts distinct signed messages to one core node over keep-alive connections, each answered when it is durable.
// The load generator shares the machine. The limit is what checking the same signatures alone reaches, on all cores.
func ingest(ctx context.Context, root string) ([]Result, error) {
	envelopes, err := signedPosts(ctx, ingestMessages)
	if err != nil {
		return nil, err
	}
	limit, err := verifyRate(envelopes)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "aleph-bench-")
	if err != nil {
		return nil, fmt.Errorf("create data folder: %w", err)
	}
	defer os.RemoveAll(dir)
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	node := devnet.NewProcess("ccn", fmt.Sprintf("http://127.0.0.1:%d", port), filepath.Join(dir, "ccn.log"),
		filepath.Join(root, "build", "alephd"), "ccn", "--network", "devnet", "--data-dir", filepath.Join(dir, "ccn"),
		"--http-listen", fmt.Sprintf("127.0.0.1:%d", port), "--p2p-listen", "/ip4/127.0.0.1/tcp/0")
	if err := node.Start(); err != nil {
		return nil, err
	}
	defer node.Stop()
	if err := node.AwaitHTTP(ctx, "/api/v0/version"); err != nil {
		return nil, err
	}
	bodies := make([][]byte, len(envelopes))
	for i, e := range envelopes {
		bodies[i] = fmt.Appendf(nil, `{"sync":true,"message":%s}`, e)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: ingestConnections, MaxConnsPerHost: ingestConnections}
	http := &http.Client{Transport: transport, Timeout: time.Minute}
	var next, failed atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for range ingestConnections {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(bodies) || ctx.Err() != nil {
					return
				}
				resp, err := http.Post(node.URL+"/api/v0/messages", "application/json", bytes.NewReader(bodies[i]))
				if err != nil {
					failed.Add(1)
					continue
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode != 200 {
					failed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(began).Seconds()
	if n := failed.Load(); n > 0 {
		return nil, fmt.Errorf("%d of %d posts were not processed", n, len(bodies))
	}
	api := client.New(client.Config{BaseURL: node.URL})
	if _, err := api.GetMessage(ctx, hashOf(envelopes[len(envelopes)-1])); err != nil {
		return nil, fmt.Errorf("read back the last post: %w", err)
	}
	return []Result{Result{Name: "ccn-ingest-http", Value: float64(len(bodies)) / elapsed, Unit: "messages/s"}.withLimit(limit)}, nil
}

// signedPosts makes n distinct signed POST messages.
func signedPosts(ctx context.Context, n int) ([][]byte, error) {
	account, err := ethereum.Generate()
	if err != nil {
		return nil, err
	}
	envelopes := make([][]byte, n)
	errs := make([]error, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for w := range errs {
		wg.Go(func() {
			for i := w; i < n && errs[w] == nil; i += len(errs) {
				author := &authority.Author{
					Account: account, Channel: "BENCH", MaxInline: 200_000,
					Submit: func(_ context.Context, envelope []byte) error { envelopes[i] = envelope; return nil },
				}
				errs[w] = author.Post(ctx, "bench", "", map[string]any{"number": i, "text": "a post of an ordinary length, as applications write them"})
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
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

func hashOf(envelope []byte) message.Hash {
	var head struct {
		Hash message.Hash `json:"item_hash"`
	}
	_ = json.Unmarshal(envelope, &head) // an empty hash is not found and reported
	return head.Hash
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
