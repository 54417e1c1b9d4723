package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/goccy/go-yaml"

	"github.com/aleph-im/aleph-go/client"
)

// Exit codes, a contract with scripts (sdk-cli §1.4).
const (
	exitOK           = 0
	exitFailed       = 1
	exitUsage        = 2
	exitNotFound     = 3
	exitRejected     = 4
	exitFunds        = 5
	exitKey          = 6
	exitNetwork      = 7
	exitPending      = 8
	exitInterrupted  = 130
	maxProgramAnswer = 64 << 20
)

type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

type keyError struct{ error }

func (e keyError) Unwrap() error { return e.error }

type pendingError struct{ error }

func (e pendingError) Unwrap() error { return e.error }

var errInterrupted = errors.New("interrupted")

// exitCode says what kind of failure err is, as a number and as a word.
func exitCode(err error) (int, string) {
	var (
		usage    usageError
		key      keyError
		pending  pendingError
		funds    *client.InsufficientFundsError
		rejected *client.RejectedError
		status   *client.HTTPError
		network  net.Error
		link     *url.Error
	)
	switch {
	case errors.Is(err, errInterrupted):
		return exitInterrupted, "interrupted"
	case errors.As(err, &usage):
		return exitUsage, "usage"
	case errors.As(err, &key):
		return exitKey, "key"
	case errors.As(err, &funds):
		return exitFunds, "insufficient_funds"
	case errors.As(err, &rejected):
		return exitRejected, "rejected"
	case errors.As(err, &pending):
		return exitPending, "pending"
	case errors.Is(err, client.ErrNotFound):
		return exitNotFound, "not_found"
	case errors.As(err, &status) && (status.Status == http.StatusUnauthorized || status.Status == http.StatusForbidden):
		return exitKey, "not_allowed"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network), errors.As(err, &link),
		errors.As(err, &status) && status.Status >= 500:
		return exitNetwork, "network"
	}
	return exitFailed, "failed"
}

// fail tells the error in the form that was asked for and returns the exit code.
func (a *app) fail(err error) int {
	code, kind := exitCode(err)
	var funds *client.InsufficientFundsError
	short := errors.As(err, &funds)
	text := err.Error()
	if short {
		text = "insufficient funds: " + funds.Error()
	}
	if a.output == "text" || a.output == "" {
		fmt.Fprintf(a.err, "aleph: %s\n", text)
		if code == exitUsage {
			fmt.Fprintln(a.err, "Run the command with --help to see how it is used.")
		}
		return code
	}
	type report struct {
		Kind      string `json:"kind"`
		ExitCode  int    `json:"exit_code"`
		Message   string `json:"message"`
		Required  string `json:"required,omitempty"`
		Available string `json:"available,omitempty"`
		Unit      string `json:"unit,omitempty"`
	}
	r := report{Kind: kind, ExitCode: code, Message: text}
	if short {
		r.Required, r.Available, r.Unit = funds.Required, funds.Available, funds.Unit
	}
	if raw, err := json.Marshal(map[string]report{"error": r}); err == nil {
		fmt.Fprintf(a.err, "%s\n", raw)
	}
	return code
}

// print writes a result: v in one of the machine's formats, or what text writes for people. With jsonl the members of a
// list are lines.
func print[T any](a *app, v T, text func(w io.Writer, v T)) error {
	if a.output == "text" {
		w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
		text(w, v)
		return w.Flush()
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if a.output == "json" {
		e.SetIndent("", "  ")
	}
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	switch a.output {
	case "yaml":
		y, err := yaml.JSONToYAML(b.Bytes())
		if err != nil {
			return fmt.Errorf("write the result: %w", err)
		}
		b.Reset()
		b.Write(y)
	case "jsonl":
		var items []json.RawMessage
		if json.Unmarshal(b.Bytes(), &items) == nil {
			b.Reset()
			for _, item := range items {
				b.Write(item)
				b.WriteByte('\n')
			}
		}
	}
	_, err := a.out.Write(b.Bytes())
	return err
}

// say tells people how the work goes; machines are not told.
func (a *app) say(format string, args ...any) {
	if a.output == "text" {
		fmt.Fprintf(a.err, format+"\n", args...)
	}
}

// confirm asks before something is destroyed.
func (a *app) confirm(question string) error {
	switch {
	case a.yes:
		return nil
	case a.noInput:
		return usageError{fmt.Errorf("%s Nothing is asked with --no-input; say --yes to go on", question)}
	}
	fmt.Fprintf(a.err, "%s [y/N] ", question)
	line, err := bufio.NewReader(a.in).ReadString('\n')
	if err != nil && line == "" {
		return usageError{fmt.Errorf("no answer; say --yes to go on without a question")}
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing was done")
}
