// Package check verifies the data of a core node: the database, every message in it, the files that messages refer to, and
// that the derived state is what the messages add up to. It changes nothing and may run beside the node. The command
// alephd ccn check calls it, and tests that kill nodes.
//
// Some things cannot be computed again and are taken as they are: whether a message was accepted, which depends on what
// was there when it came; reception times; grace periods of files; which copy of a pending message waits. Forgotten
// messages have no content any more: it is checked that a FORGET that is there names them and that nothing of them is left.
package check

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
	"github.com/aleph-im/aleph-go/signature"
)

// Config says what to check. Params and Database are required.
type Config struct {
	Params   *params.Network
	Database string      // as store.Open takes it; it must exist
	Files    files.Store // nil: files are not looked at

	// HashFiles reads every file that is referred to and compares it with its name; otherwise only its size is compared.
	HashFiles bool
	// SkipSignatures leaves out the verification of signatures, which takes most of the time.
	SkipSignatures bool
	// Verify checks a signature; signature.Default if nil.
	Verify func(*message.Message) error
	// Scratch is an existing folder for the database that the state is computed in; that of the system if "". It needs
	// about as much room as the database itself.
	Scratch string
	// Progress is called from time to time with what was done of a stage; nil: not.
	Progress func(stage string, done int64)
	Logger   *slog.Logger // discarded if nil
}

// Finding is one thing that is wrong.
type Finding struct {
	Check   string `json:"check"`   // database, message, signature, content, file, pin, forgotten, state
	Subject string `json:"subject"` // hash of a message or file, or what names a row
	Problem string `json:"problem"`
	Remedy  string `json:"remedy"`
}

// maxFindings bounds the findings that a report lists; the others are counted.
const maxFindings = 1000

// Report is what Run found.
type Report struct {
	Schema     int       `json:"schema_version"`
	Messages   int64     `json:"messages"`
	Signatures int64     `json:"signatures_verified"`
	Files      int64     `json:"files"`
	FileBytes  int64     `json:"file_bytes_hashed"`
	Forgotten  int64     `json:"forgotten_messages"`
	Problems   int64     `json:"problems"`
	Findings   []Finding `json:"findings"` // the first thousand
}

// Clean reports whether nothing is wrong.
func (r *Report) Clean() bool { return r.Problems == 0 }

// broken reports whether the engine finds the database damaged.
func (r *Report) broken() bool { return len(r.Findings) > 0 && r.Findings[0].Check == "database" }

func (r *Report) add(f Finding) {
	r.Problems++
	if len(r.Findings) < maxFindings {
		r.Findings = append(r.Findings, f)
	}
}

// What to do about findings.
const (
	restore  = "restore the newest backup that is clean and start the node; it catches up with the network from there"
	rebuild  = "restore a backup, or export the messages and import them into an empty data folder, which computes the state again"
	refetch  = "start the node with --http-peers or upload the file again; a damaged file must be deleted first"
	reimport = "import the message again from another node, or restore a backup"
)

// Run checks everything against one snapshot of the database. The error is not nil only when the check could not be made.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if cfg.Params == nil || cfg.Database == "" {
		return nil, errors.New("check: network parameters and a database are required")
	}
	if cfg.Verify == nil {
		cfg.Verify = signature.Default().Verify
	}
	if cfg.Progress == nil {
		cfg.Progress = func(string, int64) {}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	db, err := store.OpenReader(ctx, cfg.Database)
	if err != nil {
		return nil, err
	}
	report := &Report{Schema: store.SchemaVersion(), Findings: []Finding{}}
	err = db.Read(ctx, func(r *store.Reader) error {
		return db.Read(ctx, func(look *store.Reader) error {
			c := &checker{cfg: cfg, r: r, look: look, report: report}
			return c.run(ctx)
		})
	})
	err = errors.Join(err, db.Close())
	if err != nil && report.broken() {
		return report, nil // a broken database cannot even end a transaction
	}
	if err != nil {
		return nil, fmt.Errorf("check: %w", err)
	}
	return report, nil
}

// checker is one check at work.
type checker struct {
	cfg    Config
	r      *store.Reader // for lists
	look   *store.Reader // for single rows while a list is read, which one connection of PostgreSQL cannot
	report *Report
}

func (c *checker) run(ctx context.Context) error {
	broken, err := c.r.Integrity()
	if err != nil {
		broken = append(broken, err.Error())
	}
	for _, text := range broken {
		c.report.add(Finding{"database", "database", text, restore})
	}
	if len(broken) > 0 {
		return nil // what is read from a broken database says nothing
	}
	for _, step := range []func(context.Context) error{c.messages, c.ends, c.forgotten, c.files, c.state} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// workers is how many messages are verified at once.
func workers() int { return runtime.GOMAXPROCS(0) }

// every is how often progress is told, in messages or files.
const every = 1000
