package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/intake"
	"github.com/aleph-im/aleph-go/ccn/state"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
	"github.com/aleph-im/aleph-go/signature"
)

// batchCommand makes this program its own child, so that what it measures has a process for itself.
const batchCommand = "ingest-batch"

// submitters hand messages to intake at once, as many as gossip and imports do: enough to fill group commits.
const submitters = 1024

// ingestBatch submits messages straight to intake, the way that gossip and imports take: they are parsed, verified,
// applied and durable, but nobody waits for each over HTTP. The limit is as for ccn-ingest-http.
func ingestBatch(ctx context.Context, o options) ([]Result, error) {
	envelopes, err := signedPosts(ctx, o.ingest)
	if err != nil {
		return nil, err
	}
	limit, err := verifyRate(envelopes)
	if err != nil {
		return nil, err
	}
	list := filepath.Join(o.dir, "messages.jsonl")
	var text []byte
	for _, e := range envelopes {
		text = append(append(text, e...), '\n')
	}
	if err := os.WriteFile(list, text, 0o644); err != nil {
		return nil, fmt.Errorf("write messages for the child: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, batchCommand, filepath.Join(o.dir, "ccn"), list)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("run intake: %w", err)
	}
	rate, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	if err != nil {
		return nil, fmt.Errorf("rate of intake: %w", err)
	}
	return []Result{Result{Name: "ccn-ingest-batch", Value: rate, Unit: "messages/s"}.withLimit(limit)}, nil
}

// runBatch is the child: it submits the messages of a file to intake in a new folder and prints the rate.
func runBatch(ctx context.Context, args []string) (err error) {
	if len(args) != 2 {
		return fmt.Errorf("%s needs a data folder and a file of messages", batchCommand)
	}
	raw, err := os.ReadFile(args[1])
	if err != nil {
		return fmt.Errorf("read messages: %w", err)
	}
	if err := os.MkdirAll(args[0], 0o755); err != nil {
		return fmt.Errorf("create data folder: %w", err)
	}
	db, err := store.Open(ctx, "sqlite:"+filepath.Join(args[0], "aleph.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	disk, err := files.OpenDisk(filepath.Join(args[0], "files"))
	if err != nil {
		return err
	}
	network := params.Devnet()
	pipeline, err := intake.New(intake.Config{
		Params: network, Store: db, State: state.New(state.Config{Params: network, Now: time.Now}), Files: disk,
		Verify: signature.Default().Verify, Journal: filepath.Join(args[0], "journal"), Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- pipeline.Run(running) }()
	defer func() { stop(); err = errors.Join(err, <-ended) }()

	envelopes := strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n")
	errs := make([]error, submitters)
	var wg sync.WaitGroup
	began := time.Now()
	for w := range errs {
		wg.Go(func() {
			for i := w; i < len(envelopes) && errs[w] == nil; i += submitters {
				out, err := pipeline.Submit(ctx, []byte(envelopes[i]), intake.OriginP2P)
				if err == nil && out.Status != message.StatusProcessed {
					err = fmt.Errorf("message %s is %s: %v", out.Hash, out.Status, out.Err)
				}
				errs[w] = err
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	fmt.Println(float64(len(envelopes)) / took.Seconds())
	return nil
}
