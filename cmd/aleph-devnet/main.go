// Command aleph-devnet runs a whole network on this machine until it is interrupted: a development chain, three core
// nodes, two compute nodes, funded wallets.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"text/tabwriter"

	"github.com/aleph-im/aleph-go/devnet"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "aleph-devnet:", err)
		}
		os.Exit(1)
	}
}

func run(args []string, stdout, stderr io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the folder of this program: %w", err)
	}
	beside := filepath.Dir(self)
	flags := flag.NewFlagSet("aleph-devnet", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, "Run a whole Aleph network on this machine, until Ctrl-C.\n\n  aleph-devnet [flags]\n\n")
		flags.PrintDefaults()
	}
	var cfg devnet.Config
	flags.StringVar(&cfg.Dir, "dir", ".devnet", "folder of all data; a network found there goes on")
	flags.StringVar(&cfg.Alephd, "alephd", filepath.Join(beside, "alephd"), "path of the node program")
	flags.StringVar(&cfg.GuestDir, "guest-dir", filepath.Join(beside, "guest"), "folder of guest kernel and runtime image")
	flags.IntVar(&cfg.BasePort, "base-port", 4024, "port of the first core node; the others follow from it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cfg.Logger = slog.New(slog.NewTextHandler(stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	network, err := devnet.New(cfg)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- network.Run(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-network.Ready():
	}
	if err := describe(stdout, network.Info()); err != nil {
		return err
	}
	return <-ended
}

// describe prints what runs where.
func describe(w io.Writer, info devnet.Info) error {
	fmt.Fprintf(w, "\nThe network is up after %.1f s.\n\n", info.UpAfter)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "NODE\tADDRESS\tPROCESS\tREGISTERED AS\n")
	fmt.Fprintf(t, "chain %d\t%s\t%d\tALEPH token %s\n", info.ChainID, info.ChainRPC, os.Getpid(), info.Token)
	for _, node := range append(info.Core, info.Compute...) {
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\n", node.Name, node.URL, node.PID, node.Hash)
	}
	fmt.Fprintf(t, "\nWALLET\tKEY FILE\n")
	for _, wallet := range info.Wallets {
		fmt.Fprintf(t, "%s\t%s\n", wallet.Address, wallet.KeyFile)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print the network: %w", err)
	}
	_, err := fmt.Fprintf(w, "\nCtrl-C stops it.\n\n")
	return err
}
