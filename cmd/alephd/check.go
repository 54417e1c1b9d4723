package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/aleph-im/aleph-go/ccn/backup"
	"github.com/aleph-im/aleph-go/ccn/check"
	"github.com/aleph-im/aleph-go/internal/config"
	"github.com/aleph-im/aleph-go/params"
)

type checkOptions struct {
	ccnOptions
	HashFiles      bool   `name:"hash-files" doc:"read every file and compare it with its name, not only its size"`
	SkipSignatures bool   `name:"skip-signatures" doc:"do not verify the signatures again"`
	Scratch        string `name:"scratch" doc:"folder for the state that is computed again; needs as much room as the database; that of the system when empty"`
	Output         string `name:"output" short:"o" doc:"text or json"`
}

// errFindings is the result of a check that found something: exit code 1.
var errFindings = errors.New("the node's data is not as it should be")

func runCheck(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o := checkOptions{ccnOptions: *defaultCCN(), Output: "text"}
	if err := config.New("alephd ccn check", "ALEPHD", &o).Load(args, os.LookupEnv, stdout); err != nil {
		return err
	}
	if o.Output != "text" && o.Output != "json" {
		return fmt.Errorf("output %q: want text or json", o.Output)
	}
	network, err := params.Load(o.Network)
	if err != nil {
		return err
	}
	if err := backup.Unfinished(o.DataDir); err != nil {
		return err
	}
	data, err := o.openData(ctx)
	if err != nil {
		return err
	}
	progress := newProgress(stderr, time.Now)
	report, err := check.Run(ctx, check.Config{
		Params: network, Database: o.database(), Files: data.Store, HashFiles: o.HashFiles, SkipSignatures: o.SkipSignatures,
		Scratch: o.Scratch, Progress: func(stage string, done int64) { progress.show(stage, done, 0) },
	})
	progress.end()
	if err := errors.Join(err, data.Close()); err != nil {
		return err
	}
	if err := printReport(stdout, o.Output, report); err != nil {
		return err
	}
	if !report.Clean() {
		return errFindings
	}
	return nil
}

func printReport(w io.Writer, form string, r *check.Report) error {
	if form == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	for _, f := range r.Findings {
		fmt.Fprintf(w, "%s %s: %s\n  what to do: %s\n", f.Check, f.Subject, f.Problem, f.Remedy)
	}
	if more := r.Problems - int64(len(r.Findings)); more > 0 {
		fmt.Fprintf(w, "… and %d more\n", more)
	}
	_, err := fmt.Fprintf(w, "schema %d, %d messages, %d signatures verified, %d files, %d bytes of files hashed, %d forgotten messages: %d problems\n",
		r.Schema, r.Messages, r.Signatures, r.Files, r.FileBytes, r.Forgotten, r.Problems)
	return err
}
