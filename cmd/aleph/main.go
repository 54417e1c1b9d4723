// Command aleph is what a user of the network does from a terminal: accounts, files, programs, messages. It speaks to a core
// node through package client and holds no node code. One file a command group; this one holds what they share.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/params"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], terminal{os.Stdin, os.Stdout, os.Stderr, os.Getenv}))
}

// terminal is what the tool has of the world besides files and the network.
type terminal struct {
	in       io.Reader
	out, err io.Writer
	getenv   func(string) string
}

// app is one run of the tool.
type app struct {
	terminal
	api, network, output string
	account, keyFile     string
	channel              string
	timeout              time.Duration
	yes, noInput         bool
	started              bool // the command line was understood
	params               *params.Network
}

const defaultChannel = "ALEPH-CLOUDSOLUTIONS"

// The nodes that are asked when the user names none.
const (
	devnetAPI        = "http://127.0.0.1:4024"
	mainnetAPI       = "https://api2.aleph.im"
	mainnetScheduler = "https://scheduler.api.aleph.cloud"
)

// run executes one command line and returns the exit code (see [exitCode]).
func run(ctx context.Context, args []string, t terminal) int {
	a := &app{terminal: t}
	root := a.command()
	root.SetArgs(args)
	root.SetIn(t.in)
	root.SetOut(t.out)
	root.SetErr(t.err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if !a.started {
		err = usageError{err}
	}
	if ctx.Err() != nil {
		err = errors.Join(errInterrupted, err)
	}
	return a.fail(err)
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "aleph",
		Short: "Use the Aleph network from a terminal",
		Long: `Use the Aleph network from a terminal: accounts, files, programs, instances, messages, nodes.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 rejected by the network, 5 insufficient funds,
6 key or signature, 7 network or timeout, 8 still pending when the time was up, 130 interrupted.`,
		Example:           "  aleph account create\n  aleph program deploy ./my-app",
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.start() },
	}
	f := root.PersistentFlags()
	f.StringVar(&a.api, "api", a.getenv("ALEPH_API_HOST"), "core node to talk to, a `URL` (env ALEPH_API_HOST)")
	f.StringVar(&a.network, "network", cmp.Or(a.getenv("ALEPH_NETWORK"), "mainnet"), "mainnet, devnet or a parameter `file` (env ALEPH_NETWORK)")
	f.StringVarP(&a.output, "output", "o", "text", "text, json, jsonl or yaml")
	f.StringVar(&a.account, "account", a.getenv("ALEPH_ACCOUNT"), "`name` of a stored account (env ALEPH_ACCOUNT)")
	f.StringVar(&a.keyFile, "key-file", "", "`file` with a private key, - for standard input")
	f.StringVar(&a.channel, "channel", defaultChannel, "channel of the messages that are sent")
	f.DurationVar(&a.timeout, "timeout", 5*time.Minute, "give up after this time")
	f.BoolVarP(&a.yes, "yes", "y", false, "answer every question with yes")
	f.BoolVar(&a.noInput, "no-input", false, "ask nothing; fail where a question would be asked")
	root.AddCommand(a.accountCommand(), a.programCommand(), a.instanceCommand(), a.messageCommand(), a.fileCommand(), a.nodeCommand(), a.versionCommand())
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
	var err error
	if a.params, err = params.Load(a.network); err != nil {
		return fmt.Errorf("--network: %w", err)
	}
	a.started = true
	return nil
}

// client returns a client of the node that the flags name.
func (a *app) client() *client.Client {
	cfg := client.Config{BaseURL: a.api, UserAgent: "aleph/" + buildVersion()}
	if a.params.Name == "mainnet" {
		cfg.Scheduler = mainnetScheduler
	}
	if a.api == "" {
		cfg.BaseURL = mainnetAPI
		if a.params.Name == "devnet" {
			cfg.BaseURL = devnetAPI
		}
	}
	return client.New(cfg)
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

// group is a command that only holds others.
func group(use, short, example string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Example: example, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(commands...)
	return c
}
