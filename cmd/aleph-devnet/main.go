// Command aleph-devnet runs a whole network on this machine until it is interrupted: a development chain, three core
// nodes, two compute nodes, funded wallets; or the chain alone.
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
	"github.com/aleph-im/aleph-go/devnet/chain"
)

// usualPort is that of the first core node, as the profile devnet says.
const usualPort = 4024

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
	flags.IntVar(&cfg.BasePort, "base-port", usualPort, "port of the first core node; the others follow from it")
	chainOnly := flags.Bool("chain-only", false, "run nothing but the development chain, in memory and on a free port")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cfg.Logger = slog.New(slog.NewTextHandler(stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *chainOnly {
		return runChain(ctx, stdout)
	}
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
	name := "devnet" // of the profile, which says the same of a network on the usual ports
	if cfg.BasePort != usualPort {
		if name, err = filepath.Abs(network.ParametersPath()); err != nil {
			return fmt.Errorf("find the network's parameters: %w", err)
		}
	}
	if err := describe(stdout, network.Info(), name); err != nil {
		return err
	}
	return <-ended
}

// runChain runs a chain for who tries contracts, and says where it is.
func runChain(ctx context.Context, stdout io.Writer) error {
	c, err := chain.New(chain.Config{})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-c.Ready():
	}
	_, err = fmt.Fprintf(stdout, "chain\t%s\ntoken\t%s\nsync\t%s\nstreams\t%s\n", c.Endpoint(), chain.TokenAddress, chain.SyncAddress, chain.FlowsAddress)
	if err != nil {
		return fmt.Errorf("print the chain: %w", err)
	}
	return <-ended
}

// describe prints what runs where, and how it is used. name is that of the network, as --network of every command takes it.
func describe(w io.Writer, info devnet.Info, name string) error {
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
	key, err := filepath.Abs(info.Wallets[0].KeyFile)
	if err != nil {
		return fmt.Errorf("find the first wallet: %w", err)
	}
	fmt.Fprintf(w, "\nTo use it with the first wallet, from aleph and the SDKs:\n\n")
	fmt.Fprintf(w, "export ALEPH_NETWORK=%s\nexport ALEPH_API_HOST=%s\nexport ALEPH_PRIVATE_KEY_FILE=%s\n", name, info.Core[0].URL, key)
	_, err = fmt.Fprintf(w, "\nCtrl-C stops it.\n\n")
	return err
}
