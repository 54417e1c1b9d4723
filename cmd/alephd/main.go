// Command alephd runs the daemons of the network: a core channel node or a compute resource node.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	"github.com/aleph-im/aleph-go/internal/build"
	"github.com/aleph-im/aleph-go/internal/config"
	"github.com/aleph-im/aleph-go/internal/logs"
)

const usage = `alephd runs nodes of the Aleph network.

  alephd ccn [options]         run a core node
  alephd ccn config [options]  print the options in force and where each comes from
  alephd ccn check [options]   verify the data of a core node, which may be running
  alephd ccn backup DEST       copy the data of a core node, which may be running
  alephd ccn restore SRC       fill an empty data folder from a backup
  alephd ccn import            take in the messages of another core node or of a file
  alephd crn [options]         run a compute node
  alephd crn config [options]  the same for a compute node
  alephd version               print the version

Each command lists its options with --help.
`

func main() {
	// A node makes much garbage beside little that it keeps: collecting half as often costs some 20 MiB.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
	// Signature checks and SQLite are C code, which occupies a processor of the Go scheduler while it runs. With as many
	// again, Go code need not wait for it: the kernel shares the cores out. A compute node runs little of it, and its calls go
	// through fewer threads without.
	if os.Getenv("GOMAXPROCS") == "" && slices.Contains(os.Args[1:], "ccn") {
		runtime.GOMAXPROCS(2 * runtime.GOMAXPROCS(0))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "alephd:", err)
		os.Exit(1)
	}
}

// ccnCommands are the commands below alephd ccn.
var ccnCommands = map[string]func(ctx context.Context, args []string, stdout, stderr io.Writer) error{
	"check":   runCheck,
	"backup":  runBackup,
	"restore": runRestore,
	"import":  runImport,
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		fmt.Fprint(stdout, usage)
		return errors.New("say what to run: ccn, crn or version")
	}
	switch args[0] {
	case "ccn":
		if len(args) > 1 {
			if command := ccnCommands[args[1]]; command != nil {
				return command(ctx, args[2:], stdout, stderr)
			}
		}
		return runCCN(ctx, args[1:], stdout, stderr)
	case "crn":
		return runCRN(ctx, args[1:], stdout, stderr)
	case "version", "--version":
		_, err := fmt.Fprintln(stdout, "alephd", build.Version())
		return err
	case "help", "--help", "-h":
		_, err := fmt.Fprint(stdout, usage)
		return err
	}
	return fmt.Errorf("unknown command %q: want ccn, crn or version", args[0])
}

// load reads the options of a daemon. With "config" before them they are printed, and that is all.
func load(name string, options any, args []string, stdout io.Writer) (done bool, err error) {
	set := config.New(name, "ALEPHD", options)
	show := len(args) > 0 && args[0] == "config"
	if show {
		args = args[1:]
	}
	if err := set.Load(args, os.LookupEnv, stdout); err != nil {
		return false, err
	}
	if show {
		return true, set.Print(stdout)
	}
	return false, nil
}

func newLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log level %q: want debug, info, warn or error", level)
	}
	options := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(logs.Bounded(slog.NewTextHandler(w, options))), nil
	case "json":
		return slog.New(logs.Bounded(slog.NewJSONHandler(w, options))), nil
	}
	return nil, fmt.Errorf("log format %q: want text or json", format)
}

// servePprof answers profiles on its own port until stop is called. An empty address: none.
func servePprof(address string, log *slog.Logger) (stop func(), err error) {
	if address == "" {
		return func() {}, nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for profiles on %s: choose another address with --pprof-listen: %w", address, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("profiles no longer served", "error", err)
		}
	}()
	return func() {
		_ = server.Close() // profiles being taken are cut off
		<-done
	}, nil
}
