// Command aleph is what a user of the network does from a terminal: accounts, files, programs, messages. It speaks to a core
// node through package client and holds no node code. One file a command group; this one holds what they share.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/internal/build"
	"github.com/aleph-im/aleph-go/params"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends what does not heed the first
	t := terminal{
		in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv,
		outIsTerminal: term.IsTerminal(int(os.Stdout.Fd())), errIsTerminal: term.IsTerminal(int(os.Stderr.Fd())),
	}
	if columns, _, err := term.GetSize(int(os.Stdout.Fd())); err == nil {
		t.columns = columns
	}
	os.Exit(run(ctx, os.Args[1:], t))
}

// terminal is what the tool has of the world besides files and the network.
type terminal struct {
	in                           io.Reader
	out, err                     io.Writer
	getenv                       func(string) string
	outIsTerminal, errIsTerminal bool
	columns                      int // of the terminal; 0 when there is none
}

// app is one run of the tool.
type app struct {
	terminal
	api, network, output string
	account, keyFile     string
	channel, owner       string
	timeout              time.Duration
	yes, noInput         bool
	wait, wide           bool
	started              bool // the command line was understood
	params               *params.Network
	endpoint             endpoint
	interrupted          <-chan struct{} // closed when the user wants the tool to end
}

const defaultChannel = "ALEPH-CLOUDSOLUTIONS"

// run executes one command line and returns the exit code (see [exitCode]).
func run(ctx context.Context, args []string, t terminal) int {
	a := &app{terminal: t, interrupted: ctx.Done()}
	root := a.command()
	root.SetArgs(args)
	root.SetIn(t.in)
	root.SetOut(t.out)
	root.SetErr(t.err)
	command, err := root.ExecuteContextC(ctx)
	var status commandStatus
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &status):
		return int(status)
	}
	if !a.started {
		err = usageError{err}
	}
	if ctx.Err() != nil {
		err = interruption(err)
	}
	return a.fail(command, err)
}

// interruption is what a run says that the user ended: that it was, and what broke off where that tells more.
func interruption(err error) error {
	var link *url.Error
	errors.As(err, &link)
	if errors.Is(err, errInterrupted) || err.Error() == context.Canceled.Error() || err == error(link) {
		return errInterrupted
	}
	text := err.Error()
	if link != nil { // which call it was tells nobody anything
		text = strings.Replace(text, ": "+link.Error(), "", 1)
	}
	return fmt.Errorf("%w: %s", errInterrupted, text)
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "aleph",
		Short: "Use the Aleph network from a terminal",
		Long: `Use the Aleph network from a terminal: accounts, files, websites, programs, instances, messages, nodes.

Results go to standard output, everything else to standard error. Long hashes are shortened in tables; a command takes the
beginning of a hash as well, when it is one of the account's own messages.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 rejected by the network, 5 insufficient funds,
6 key or signature, 7 network or timeout, 8 still pending when the time was up, 130 interrupted.`,
		Example:           "  aleph account create\n  aleph program deploy ./my-app",
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              cobra.ArbitraryArgs, // one that is left is no command, as in a group
		RunE:              holds,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			if err := errors.Join(c.ValidateRequiredFlags(), c.ValidateFlagGroups()); err != nil {
				return err
			}
			return a.start()
		},
	}
	f := root.PersistentFlags()
	f.StringVar(&a.api, "api", a.getenv("ALEPH_API_HOST"), "core node to talk to, a `URL` (env ALEPH_API_HOST)")
	f.StringVar(&a.network, "network", a.getenv("ALEPH_NETWORK"), "`name` of a network, or a parameter file (env ALEPH_NETWORK); default what `aleph network use` chose, or mainnet")
	f.StringVarP(&a.output, "output", "o", "text", "text, json, jsonl or yaml")
	f.BoolVarP(&a.wide, "wide", "w", false, "do not shorten tables")
	f.StringVar(&a.account, "account", a.getenv("ALEPH_ACCOUNT"), "`name` of a stored account (env ALEPH_ACCOUNT)")
	f.StringVar(&a.keyFile, "key-file", "", "`file` with a private key, - for standard input (env ALEPH_PRIVATE_KEY_FILE; the key itself ALEPH_PRIVATE_KEY)")
	f.StringVar(&a.owner, "on-behalf-of", "", "`address` or alias that what is sent belongs to, and that pays; it must have authorized the account")
	f.StringVar(&a.channel, "channel", defaultChannel, "channel of the messages that are sent")
	f.DurationVar(&a.timeout, "timeout", 5*time.Minute, "give up after this time")
	f.BoolVar(&a.wait, "wait", true, "wait until what was sent is processed; =false returns at once")
	f.BoolVarP(&a.yes, "yes", "y", false, "answer every question with yes")
	f.BoolVar(&a.noInput, "no-input", false, "ask nothing; fail where a question would be asked")
	root.AddCommand(a.accountCommand(), a.fileCommand(), a.websiteCommand(), a.programCommand(), a.instanceCommand(), a.domainCommand(),
		a.messageCommand(), a.postCommand(), a.aggregateCommand(), a.authorizationCommand(), a.nodeCommand(), a.priceCommand(),
		a.creditCommand(), a.networkCommand(), a.configCommand(), a.completionCommand(), a.docsCommand(), a.versionCommand())
	a.completeArguments(root)
	tellArguments(root)
	root.SuggestionsMinimumDistance = 2
	root.SetFlagErrorFunc(flagMistake)
	root.SetHelpFunc(func(c *cobra.Command, _ []string) { a.writeHelp(c.OutOrStdout(), c) })
	return root
}

// start checks the flags that all commands share.
func (a *app) start() error {
	switch a.output {
	case "text", "json", "jsonl", "yaml":
	default:
		wrong := a.output
		a.output = "text"
		return fmt.Errorf("--output %s: want text, json, jsonl or yaml", wrong)
	}
	if a.timeout <= 0 {
		return fmt.Errorf("--timeout %v: want a time that is not over yet, such as 5m", a.timeout)
	}
	if err := a.chooseNetwork(); err != nil {
		return err
	}
	a.started = true
	if a.owner == "" {
		return nil
	}
	var err error
	a.owner, err = a.resolve(a.owner)
	return err
}

// client returns a client of the node that the flags name.
func (a *app) client() *client.Client {
	return client.New(client.Config{BaseURL: a.endpoint.api, BaseURLs: a.endpoint.others, Scheduler: a.endpoint.scheduler, UserAgent: "aleph/" + build.Version()})
}

// bounded is the signature of a command whose context ends after --timeout.
type bounded func(ctx context.Context, args []string) error

func (a *app) within(do bounded) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), a.timeout)
		defer cancel()
		return do(ctx, args)
	}
}
