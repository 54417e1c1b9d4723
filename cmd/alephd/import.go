package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/aleph-im/aleph-go/ccn/backup"
	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/intake"
	"github.com/aleph-im/aleph-go/ccn/replay"
	"github.com/aleph-im/aleph-go/ccn/state"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/internal/config"
	"github.com/aleph-im/aleph-go/params"
	"github.com/aleph-im/aleph-go/signature"
)

type importOptions struct {
	ccnOptions
	From     string        `name:"from" doc:"base URL of a core node, or a file with one message a line, plain, gzip or zstd"`
	Restart  bool          `name:"restart" doc:"begin at the start instead of where the last import from the same source ended"`
	Patience time.Duration `name:"patience" doc:"how long to wait at the end for messages that lack a file or another message, when none of them gets further"`
	Output   string        `name:"output" short:"o" doc:"text or json"`
}

func runImport(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o := importOptions{ccnOptions: *defaultCCN(), Output: "text", Patience: 20 * time.Second}
	if err := config.New("alephd ccn import", "ALEPHD", &o).Load(args, os.LookupEnv, stdout); err != nil {
		return err
	}
	if o.From == "" {
		return errors.New("say where the messages come from: --from http://host:port or --from FILE")
	}
	if o.Output != "text" && o.Output != "json" {
		return fmt.Errorf("output %q: want text or json", o.Output)
	}
	if err := backup.Unfinished(o.DataDir); err != nil {
		return err
	}
	counts, err := o.replay(ctx, stderr)
	if o.Output == "json" {
		err = errors.Join(err, json.NewEncoder(stdout).Encode(counts))
	} else {
		fmt.Fprintf(stdout, "%d messages read: %d applied at once, %d known before, %d had to wait, %d refused; %d entries were no messages\n",
			counts.Read, counts.Processed, counts.Duplicates, counts.Pending, counts.Rejected, counts.Skipped)
		fmt.Fprintf(stdout, "%d messages of the node wait for a file or another message; it goes on with them when it runs\n", counts.Waiting)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("stopped: the same command goes on from here: %w", err)
	}
	return err
}

// replay opens the node's data, takes the messages in and closes it.
func (o *importOptions) replay(ctx context.Context, stderr io.Writer) (counts replay.Counts, err error) {
	network, err := params.Load(o.Network)
	if err != nil {
		return counts, err
	}
	log, err := newLogger(stderr, o.LogLevel, o.LogFormat)
	if err != nil {
		return counts, err
	}
	source, peers, err := o.source()
	if err != nil {
		return counts, err
	}
	if closer, ok := source.(io.Closer); ok {
		defer func() { err = errors.Join(err, closer.Close()) }()
	}
	if err := os.MkdirAll(o.DataDir, 0o755); err != nil {
		return counts, fmt.Errorf("create data folder: %w", err)
	}
	p := newProgress(stderr, time.Now)
	defer p.end()
	db, err := store.OpenMigrating(ctx, o.database(), func(percent int) { p.show("migrating the database, percent", int64(percent), 100) })
	if err != nil {
		return counts, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	data, err := o.openData(ctx)
	if err != nil {
		return counts, err
	}
	defer func() { err = errors.Join(err, data.Close()) }()
	fetcher := files.NewFetcher(files.FetcherConfig{
		Store: data.Store, IPFS: data.ipfs.Fetch, Peers: func() []string { return peers },
	})
	var journal string
	if !db.Shared() {
		journal = filepath.Join(o.DataDir, "journal")
	}
	pipeline, err := intake.New(intake.Config{
		Journal: journal,
		Params:  network, Store: db, State: state.New(state.Config{Params: network, Now: time.Now}), Files: data.Store,
		Fetch: fetcher.Fetch, Verify: signature.Default().Verify, Logger: log.With("part", "intake"),
	})
	if err != nil {
		return counts, err
	}
	// What was taken in is still settled when ctx ends.
	core, stop := context.WithCancel(context.WithoutCancel(ctx))
	applied := make(chan error, 1)
	go func() { applied <- pipeline.Run(core) }()
	defer func() {
		stop()
		err = errors.Join(err, <-applied)
	}()
	counts, err = replay.Run(ctx, replay.Config{
		Source: source, Store: db, Restart: o.Restart,
		Submit: func(ctx context.Context, envelope []byte) (intake.Outcome, error) {
			return pipeline.Submit(ctx, envelope, intake.OriginP2P)
		},
		Progress: func(c replay.Counts) { p.show("messages", c.Read, c.Total) },
		Rejected: func(out intake.Outcome) { log.Debug("message refused", "message", out.Hash, "error", out.Err) },
	})
	if err != nil {
		return counts, err
	}
	counts.Waiting, err = replay.Settle(ctx, db, o.Patience, func(n int64) { p.show("waiting", n, 0) })
	return counts, err
}

// source opens what --from names, and lists the nodes that files are fetched from.
func (o *importOptions) source() (replay.Source, []string, error) {
	if _, err := os.Stat(o.From); err == nil {
		dump, err := replay.OpenDump(o.From)
		return dump, o.HTTPPeers, err
	}
	node, err := replay.NewNode(o.From, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("%w; there is no file of that name either", err)
	}
	return node, append([]string{o.From}, o.HTTPPeers...), nil
}
