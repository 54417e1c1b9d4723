// Package official holds a core node and a compute node to the clients that users have: the TypeScript SDK, the Python SDK and the
// Python command line, as they were published. run.sh installs and runs them; each prints a line for every step of its calls.
// This package compares the lines with the table of calls (calls.json) and with the exceptions (exceptions.json), each of
// which says why a published client cannot succeed. The end-to-end tests call it.
package official

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

//go:embed calls.json
var callsJSON []byte

//go:embed exceptions.json
var exceptionsJSON []byte

// Config names the node and what was prepared on it.
type Config struct {
	Dir      string // of this package
	API      string // base URL of the node
	Other    string // and of another one of its network
	KeyA     string // hex; a wallet with tokens and credits, used by the SDKs
	KeyB     string // hex; another one, used by the command line and as delegate
	Runtime  string // item hash of a STORE message with a runtime image
	Settings string // address whose aggregates pricing, settings and runtimes are set
	Machines Machines
}

// Machines are what the clients operate on a compute node.
type Machines struct {
	Key          string // hex; the wallet that all of them belong to, with credits, which the other calls do not use
	Node         string // base URL of the node
	List         string // URL of a list of compute nodes with this one, in the form of the public network's
	Instance     string // paid with credits, for this node; its output ends with "small guest: up"
	Confidential string // an instance for a machine that this node does not offer
	Program      string // crn/testdata/probe
}

// Call is one entry of the table. Up to 45 the numbers are those of the list of calls in the specification; the others are of
// who operates machines.
type Call struct {
	Number   int    `json:"number"`
	Client   string `json:"client"`   // ts, py, cli, rust, raw
	Machines bool   `json:"machines"` // needs Config.Machines
	Text     string `json:"call"`
}

// Exception explains one step that cannot succeed, whatever the node does, or a call that is not run at all.
type Exception struct {
	Number int    `json:"number"`
	Client string `json:"client"`
	Step   string `json:"step"` // "" for the whole call
	Reason string `json:"reason"`
}

// Result is what came of one step of a call.
type Result struct {
	Number int
	Client string
	Step   string
	OK     bool
	Reason string // of a failure
}

// Calls returns the table.
func Calls() ([]Call, error) {
	var calls []Call
	if err := json.Unmarshal(callsJSON, &calls); err != nil {
		return nil, fmt.Errorf("decode calls.json: %w", err)
	}
	return calls, nil
}

// Exceptions returns the explained steps. The Rust command line is run where the environment variable ALEPH_RUST_CLI names it.
func Exceptions() ([]Exception, error) {
	var exceptions []Exception
	if err := json.Unmarshal(exceptionsJSON, &exceptions); err != nil {
		return nil, fmt.Errorf("decode exceptions.json: %w", err)
	}
	if os.Getenv("ALEPH_RUST_CLI") != "" {
		exceptions = slices.DeleteFunc(exceptions, func(e Exception) bool { return e.Client == "rust" })
	}
	return exceptions, nil
}

// Run runs the clients and returns what they printed, read into results. What else they said is in log. That a client
// ended badly is no error here: the steps that it did not reach are missing in the results.
func Run(ctx context.Context, cfg Config) (results []Result, log []byte, err error) {
	cmd := exec.CommandContext(ctx, filepath.Join(cfg.Dir, "run.sh"))
	cmd.Env = append(os.Environ(), "ALEPH_API="+cfg.API, "ALEPH_OTHER_API="+cfg.Other, "ALEPH_PRIVATE_KEY="+cfg.KeyA, "ALEPH_PRIVATE_KEY_B="+cfg.KeyB,
		"ALEPH_RUNTIME="+cfg.Runtime, "ALEPH_SETTINGS_ADDRESS="+cfg.Settings)
	if m := cfg.Machines; m.Node != "" {
		cmd.Env = append(cmd.Env, "ALEPH_OPERATOR_KEY="+m.Key, "ALEPH_CRN="+m.Node, "ALEPH_CRN_LIST_URL="+m.List,
			"ALEPH_INSTANCE="+m.Instance, "ALEPH_CONFIDENTIAL="+m.Confidential, "ALEPH_PROGRAM="+m.Program)
	}
	log, err = cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, log, fmt.Errorf("run the published clients: %w", err)
	}
	results, err = parse(log)
	return results, log, err
}

// line is `<number> <client> ok <step>` or `<number> <client> FAIL <step>: <reason>`.
var line = regexp.MustCompile(`^(\d+) (ts|py|cli|rust|raw) (?:ok (.+)|FAIL ([^:]+): (.*))$`)

func parse(log []byte) ([]Result, error) {
	var results []Result
	scanner := bufio.NewScanner(bytes.NewReader(log))
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		m := line.FindStringSubmatch(scanner.Text())
		if m == nil {
			continue
		}
		number, err := strconv.Atoi(m[1])
		if err != nil {
			return nil, fmt.Errorf("number of a call: %w", err)
		}
		results = append(results, Result{Number: number, Client: m[2], Step: m[3] + m[4], OK: m[3] != "", Reason: m[5]})
	}
	return results, scanner.Err()
}

// Report is the matrix of calls and clients.
type Report struct {
	Rows     []Row
	Problems []string // failures that nobody explained, calls that nobody ran, exceptions that hold no more
}

// Row is one call. Steps that pass or are explained are counted, the others are in Report.Problems.
type Row struct {
	Call
	Passed, Explained, Failed int
	LeftOut                   bool     // not run, for a reason
	Reasons                   []string // of the explained steps, or of leaving all of it out
}

// Judge compares results with the table.
func Judge(calls []Call, exceptions []Exception, results []Result) *Report {
	report := &Report{}
	rows := make(map[int]*Row, len(calls))
	for _, c := range calls {
		rows[c.Number] = &Row{Call: c}
	}
	used := make([]bool, len(exceptions))
	for _, r := range results {
		row := rows[r.Number]
		if row == nil || row.Client != r.Client {
			report.Problems = append(report.Problems, fmt.Sprintf("call %d of %s is not in the table", r.Number, r.Client))
			continue
		}
		at := slices.IndexFunc(exceptions, func(e Exception) bool {
			return e.Number == r.Number && e.Client == r.Client && e.Step == r.Step
		})
		if at >= 0 {
			used[at] = true
		}
		switch {
		case r.OK && at >= 0:
			row.Passed++
			report.Problems = append(report.Problems, fmt.Sprintf("call %d %s, %s: passes now, so its exception must go", r.Number, r.Client, r.Step))
		case r.OK:
			row.Passed++
		case at >= 0:
			row.Explained++
			row.Reasons = append(row.Reasons, exceptions[at].Step+": "+exceptions[at].Reason)
		default:
			row.Failed++
			report.Problems = append(report.Problems, fmt.Sprintf("call %d %s, %s: %s", r.Number, r.Client, r.Step, r.Reason))
		}
	}
	for i, e := range exceptions {
		row := rows[e.Number]
		switch {
		case e.Step == "" && row != nil && row.Passed+row.Explained+row.Failed == 0:
			row.LeftOut = true
			row.Reasons = append(row.Reasons, "not run: "+e.Reason)
		case e.Step == "":
			report.Problems = append(report.Problems, fmt.Sprintf("call %d %s: is run now, so its exception must go", e.Number, e.Client))
		case !used[i]:
			report.Problems = append(report.Problems, fmt.Sprintf("call %d %s, %s: excepted, but was not run", e.Number, e.Client, e.Step))
		}
	}
	for _, c := range calls {
		row := rows[c.Number]
		if row.Passed+row.Explained+row.Failed == 0 && !row.LeftOut {
			report.Problems = append(report.Problems, fmt.Sprintf("call %d %s was not run", c.Number, c.Client))
		}
		report.Rows = append(report.Rows, *row)
	}
	return report
}

var columns = []string{"ts", "py", "cli", "rust", "raw"}

// Write prints the matrix: a row for each call, a column for each client, steps that passed of steps that were run.
func (r *Report) Write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "CALL\t%s\tWHAT\n", strings.ToUpper(strings.Join(columns, "\t")))
	var passed, explained, leftOut, failed int
	for _, row := range r.Rows {
		cells := make([]string, len(columns))
		for i := range cells {
			cells[i] = "-"
		}
		cells[slices.Index(columns, row.Client)] = row.verdict()
		fmt.Fprintf(t, "%d\t%s\t%s\n", row.Number, strings.Join(cells, "\t"), row.Text)
		switch {
		case row.LeftOut:
			leftOut++
		case row.Failed > 0 || row.Passed+row.Explained == 0:
			failed++
		case row.Explained > 0:
			explained++
		default:
			passed++
		}
	}
	fmt.Fprintf(t, "\n%d calls pass, %d pass but for what is explained, %d are not run for a reason, %d fail\n", passed, explained, leftOut, failed)
	for _, row := range r.Rows {
		for _, reason := range row.Reasons {
			fmt.Fprintf(t, "explained: call %d %s, %s\n", row.Number, row.Client, reason)
		}
	}
	return t.Flush()
}

func (r Row) verdict() string {
	total := r.Passed + r.Explained + r.Failed
	switch {
	case total == 0:
		return "not run"
	case r.Failed > 0:
		return fmt.Sprintf("FAIL %d/%d", r.Passed, total)
	case r.Explained > 0:
		return fmt.Sprintf("explained %d/%d", r.Passed, total)
	}
	return fmt.Sprintf("pass %d/%d", r.Passed, total)
}
