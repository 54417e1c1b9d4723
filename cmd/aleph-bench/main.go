// Command aleph-bench measures what docs/performance.md reports: it prints a table and writes build/bench.json.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
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

// benchmark measures one or more figures that share a set-up.
type benchmark struct {
	names []string
	run   func(ctx context.Context, root string) ([]Result, error)
}

var benchmarks = []benchmark{
	{[]string{"ccn-ingest-http"}, ingest},
	{[]string{"network-up-s", "ccn-idle-mib", "crn-warm-overhead-asgi-ms"}, network},
	{[]string{"demo-answer-s"}, demo},
}

func main() {
	only := flag.String("only", "", "measure the figure with this name alone")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only string) error {
	root, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("find the checkout: %w", err)
	}
	var results []Result
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
		measured, err := b.run(ctx, root)
		if err != nil {
			return fmt.Errorf("%s: %w", strings.Join(b.names, ", "), err)
		}
		for _, r := range measured {
			if only == "" || r.Name == only {
				r.Command = "make bench ONLY=" + r.Name
				results = append(results, r)
			}
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
	path := filepath.Join(root, "build", "bench.json")
	if err := os.WriteFile(path, append(raw, '\n'), 0o644); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}

func optional(v *float64) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%.4g", *v)
}
