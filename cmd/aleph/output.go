package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
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

// absent is the error of what is not there, where more can be said than that the node does not know it.
type absent string

func (e absent) Error() string        { return string(e) }
func (e absent) Is(target error) bool { return target == client.ErrNotFound }

func absentf(format string, args ...any) error { return absent(fmt.Sprintf(format, args...)) }

// commandStatus is the exit code of what the user had run elsewhere, which has said itself what was wrong.
type commandStatus int

func (s commandStatus) Error() string { return fmt.Sprintf("exit code %d", int(s)) }

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
		file     *fs.PathError
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
	case errors.As(err, &file): // its number looks like a failure of a network
		return exitFailed, "failed"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network), errors.As(err, &link),
		errors.As(err, &status) && status.Status >= 500:
		return exitNetwork, "network"
	}
	return exitFailed, "failed"
}

// report is an error in the forms for machines. A contract with scripts: members are added, never changed.
type report struct {
	Kind      string          `json:"kind"`
	ExitCode  int             `json:"exit_code"`
	Message   string          `json:"message"`
	Advice    string          `json:"advice,omitempty"`
	ItemHash  message.Hash    `json:"item_hash,omitempty"` // of a message that was rejected
	Code      *int            `json:"code,omitempty"`      // why it was
	Details   json.RawMessage `json:"details,omitempty"`
	Required  string          `json:"required,omitempty"`
	Available string          `json:"available,omitempty"`
	Unit      string          `json:"unit,omitempty"`
}

// fail tells the error of a command in the form that was asked for and returns the exit code.
func (a *app) fail(command *cobra.Command, err error) int {
	code, kind := exitCode(err)
	r := report{Kind: kind, ExitCode: code, Message: err.Error()}
	var rejected *client.RejectedError
	if errors.As(err, &rejected) {
		r.ItemHash, r.Code = rejected.Hash, new(int(rejected.Code))
		if string(rejected.Details) != "null" {
			r.Details = rejected.Details
		}
		r.Advice = advice(rejected.Code)
		r.Message = strings.Replace(r.Message, rejected.Error(), rejection(rejected), 1)
	}
	var funds *client.InsufficientFundsError
	if errors.As(err, &funds) {
		r.Message, r.Required, r.Available, r.Unit = "insufficient funds: "+funds.Error(), funds.Required, funds.Available, funds.Unit
		r.Advice = fundsAdvice(funds)
	}
	r.Message = strings.ReplaceAll(r.Message, context.DeadlineExceeded.Error(), fmt.Sprintf("no answer within %v", a.timeout))
	switch {
	case code == exitUsage && !a.started && command.HasParent():
		r.Advice = fmt.Sprintf("Usage: %s; more: %s --help", usageLine(command), command.CommandPath())
	case code == exitUsage:
		r.Advice = fmt.Sprintf("How it is used: %s --help", command.CommandPath())
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		r.Advice = "There is no room left there: make some, and run the command again. Temporary files go where TMPDIR says."
	case code == exitNotFound && r.Advice == "" && !errors.As(err, new(absent)):
		r.Advice = "The node that was asked does not know it: check the hash or name, and which network is in use with: aleph network show"
	case errors.Is(err, context.DeadlineExceeded) && r.Advice == "":
		r.Advice = "The time was up: a longer --timeout waits longer, and --api asks another node."
	case code == exitNetwork && a.ofChain(err):
		r.Advice = "That is the node of a chain, as the parameters of the network name it. A file of other ones: aleph network add NAME URL --parameters FILE"
	case code == exitNetwork && r.Advice == "":
		r.Advice = "Is the node up, and --api or --network right? Nodes that answer are in: aleph node core"
	}
	if a.output == "text" || a.output == "" {
		fmt.Fprintf(a.err, "%s %s\n", a.paint(a.errIsTerminal, red, "aleph:"), a.clean(r.Message))
		if r.Advice != "" {
			fmt.Fprintln(a.err, r.Advice)
		}
		return code
	}
	if raw, err := json.Marshal(map[string]report{"error": r}); err == nil {
		fmt.Fprintf(a.err, "%s\n", raw)
	}
	return code
}

// ofChain reports whether an error is of a call to the node of a chain.
func (a *app) ofChain(err error) bool {
	var link *url.Error
	return a.params != nil && errors.As(err, &link) &&
		slices.ContainsFunc(a.params.Streams, func(c params.StreamChain) bool { return c.RPC == link.URL })
}

// print writes a result: v in one of the machine's formats, or what text writes for people. With jsonl the members of a
// list are lines.
func print[T any](a *app, v T, text func(w io.Writer, v T)) error {
	if a.output == "text" {
		w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
		text(w, v)
		return w.Flush()
	}
	raw, err := encode(v, "", a.output == "json")
	if err != nil {
		return err
	}
	switch a.output {
	case "yaml":
		if raw, err = yaml.JSONToYAML(raw); err != nil {
			return fmt.Errorf("write the result: %w", err)
		}
	case "jsonl":
		var items []json.RawMessage
		if json.Unmarshal(raw, &items) == nil {
			raw = raw[:0:0]
			for _, item := range items {
				raw = append(append(raw, item...), '\n')
			}
		}
	}
	_, err = a.out.Write(raw)
	return err
}

// encode writes v as JSON with a line's end, prefix before each further line.
func encode(v any, prefix string, indent bool) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if indent {
		e.SetIndent(prefix, "  ")
	}
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("write the result: %w", err)
	}
	return b.Bytes(), nil
}

// say tells people how the work goes; machines are not told.
func (a *app) say(format string, args ...any) {
	if a.output == "text" {
		fmt.Fprintln(a.err, a.clean(fmt.Sprintf(format, args...)))
	}
}

// confirm asks before something is destroyed or paid for.
func (a *app) confirm(question string) error {
	switch {
	case a.yes:
		return nil
	case a.noInput:
		return usageError{fmt.Errorf("%s Nothing is asked with --no-input; say --yes to go on", question)}
	case a.output != "text": // a question between the lines of a program's output would break it
		return usageError{fmt.Errorf("%s Nothing is asked with --output %s; say --yes to go on", question, a.output)}
	}
	fmt.Fprintf(a.err, "%s [y/N] ", a.clean(question))
	line, err := bufio.NewReader(a.stdin()).ReadString('\n')
	if err != nil || !a.inIsTerminal() { // no Enter has ended the line of the question
		fmt.Fprintln(a.err)
	}
	switch {
	case errors.Is(err, errInterrupted):
		return err
	case err != nil && line == "":
		return usageError{fmt.Errorf("no answer; say --yes to go on without a question")}
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing was done")
}
