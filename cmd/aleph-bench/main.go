// Command aleph-bench measures what docs/performance.md reports: it prints a table and writes build/bench.json.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
)

// Result is one measured figure.
type Result struct {
	Name         string   `json:"name"`
	Value        float64  `json:"value"`
	Unit         string   `json:"unit"`
	Limit        *float64 `json:"limit"` // what the hardware allows, measured in the same run
	Peer         *float64 `json:"peer"`  // what the compared program reached, in the same run
	RatioToLimit *float64 `json:"ratio_to_limit"`
	RatioToPeer  *float64 `json:"ratio_to_peer"`
	Command      string   `json:"command"`
}

// withLimit adds a limit and the ratio to it.
func (r Result) withLimit(limit float64) Result {
	ratio := r.Value / limit
	r.Limit, r.RatioToLimit = &limit, &ratio
	return r
}

// withPeer adds what the compared program reached and the ratio to it.
func (r Result) withPeer(peer float64) Result {
	ratio := r.Value / peer
	r.Peer, r.RatioToPeer = &peer, &ratio
	return r
}

// options are what the command line and the environment say.
type options struct {
	root         string // of the checkout
	dir          string // for the data of one benchmark; empty at first
	peer         string // program that ours is compared with; "" when there is none
	messages     int    // in the store of the figures that need a full one
	peerMessages int    // at most so many go to the peer
	ingest       int    // messages of the figures of intake
	fileMiB      int64  // size of the file that is uploaded
	seconds      int    // for which messages go to the sockets
}

// benchmark measures one or more figures that share a set-up.
type benchmark struct {
	names []string
	run   func(ctx context.Context, o options) ([]Result, error)
}

var benchmarks = []benchmark{
	{[]string{"ccn-ingest-http"}, ingestHTTP},
	{[]string{"ccn-ingest-batch"}, ingestBatch},
	{[]string{"ccn-ingest-peak-mib", "ccn-ingest-at-10k", "ccn-ingest-at-100k", "ccn-ingest-at-1m"}, growth},
	{[]string{"ccn-ingest-http-10k", "ccn-ingest-http-100k", "ccn-ingest-http-1m"}, httpTurns},
	{[]string{"ccn-ingest-turns-10k", "ccn-ingest-turns-100k", "ccn-ingest-turns-1m"}, corpusTurns},
	{[]string{"ccn-query-messages-p50-ms", "ccn-query-messages-p99-ms"}, queryMessages},
	{[]string{"ccn-query-posts-p50-ms"}, queryPosts},
	{[]string{"ccn-start-1m-s"}, start},
	{[]string{"ccn-upload-1gib", "ccn-download-1gib", "ccn-upload-peak-mib", "aleph-upload-1gib", "aleph-upload-peak-mib"}, upload},
	{[]string{"ws-fanout-p99-ms", "ws-fanout-peak-mib"}, fanout},
	{[]string{"network-up-s", "ccn-idle-mib", "crn-warm-overhead-asgi-ms", "crn-warm-overhead-binary-ms"}, network},
	{[]string{"crn-throughput-warm"}, throughput},
	{[]string{"crn-cold-restore-ms", "crn-cold-8-at-once-s", "crn-idle-function-mib"}, cold},
	{[]string{"crn-boot-init-s", "crn-boot-small-init-s"}, bootInit},
	{[]string{"crn-restart-s", "crn-restart-lost"}, restart},
	{[]string{"crn-wasm-cold-ms", "crn-wasm-process-ms"}, webAssembly},
	{[]string{"demo-answer-s"}, demo},
}

func main() {
	only := flag.String("only", "", "measure the figure with this name, and those that come with it")
	o := options{peer: os.Getenv("ALEPH_BENCH_HEPH")}
	flag.IntVar(&o.messages, "messages", 1_000_000, "messages in the store of the figures that need a full one")
	flag.IntVar(&o.peerMessages, "peer-messages", 20_000, "at most so many messages are sent to the compared program")
	flag.IntVar(&o.ingest, "ingest", 60_000, "messages of the figures of intake")
	flag.Int64Var(&o.fileMiB, "file-mib", 1024, "size of the file that is uploaded")
	flag.IntVar(&o.seconds, "seconds", 10, "seconds for which messages go to the sockets")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(ctx, o, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// command does what the arguments say: they have one where this process is the child of a benchmark.
func command(ctx context.Context, o options, only string) (err error) {
	if o.root, err = os.Getwd(); err != nil {
		return fmt.Errorf("find the checkout: %w", err)
	}
	switch flag.Arg(0) {
	case batchCommand:
		return runBatch(ctx, flag.Args()[1:])
	case restartCommand:
		return inFolder(o, func(o options) error { return runRestart(ctx, o) })
	}
	return run(ctx, o, only)
}

// inFolder runs a benchmark with a folder of its own, which is removed after it.
func inFolder(o options, benchmark func(options) error) (err error) {
	if o.dir, err = os.MkdirTemp("", "aleph-bench-"); err != nil {
		return fmt.Errorf("create data folder: %w", err)
	}
	defer os.RemoveAll(o.dir)
	return benchmark(o)
}

func run(ctx context.Context, o options, only string) error {
	if o.peer == "" {
		fmt.Println("ALEPH_BENCH_HEPH does not name the program heph: nothing is compared with it.")
	}
	var results []Result
	var failed []error
	known := false
	for _, b := range benchmarks {
		wanted := only == ""
		for _, name := range b.names {
			wanted = wanted || name == only
			known = known || name == only
		}
		if !wanted {
			continue
		}
		var measured []Result
		err := inFolder(o, func(o options) (err error) {
			measured, err = b.run(ctx, o)
			return err
		})
		if err != nil { // the other figures are told all the same
			failed = append(failed, fmt.Errorf("%s: %w", strings.Join(b.names, ", "), err))
		}
		for _, r := range measured {
			r.Command = "make bench ONLY=" + r.Name
			results = append(results, r)
		}
	}
	if only != "" && !known {
		return fmt.Errorf("no figure is named %q", only)
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "FIGURE\tVALUE\tLIMIT\tOF LIMIT\tPEER\tOF PEER")
	for _, r := range results {
		fmt.Fprintf(t, "%s\t%.4g %s\t%s\t%s\t%s\t%s\n", r.Name, r.Value, r.Unit, optional(r.Limit), optional(r.RatioToLimit), optional(r.Peer), optional(r.RatioToPeer))
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print results: %w", err)
	}
	raw, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return fmt.Errorf("encode results: %w", err)
	}
	path := filepath.Join(o.root, "build", "bench.json")
	if err := os.WriteFile(path, append(raw, '\n'), 0o644); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return errors.Join(failed...)
}

func optional(v *float64) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%.4g", *v)
}
