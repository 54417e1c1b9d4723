package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	wasmCalls     = 300
	wasmProcesses = 15
	noticed       = 200 * time.Millisecond // until the node knows that a process is gone
)

// webAssembly deploys the example and measures the two ways in which a call can be cold: with the compiled module in memory,
// where all that begins is an instance, as it does for each call; and with no process of the program, whose module is compiled on
// disk.
func webAssembly(ctx context.Context, o options) ([]Result, error) {
	module := filepath.Join(o.root, "build", "hello.wasm")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", module, "./examples/hello-wasm")
	build.Dir, build.Env = o.root, append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the module: %w: %s", err, out)
	}
	net, stop, err := startNetwork(ctx, o)
	if err != nil {
		return nil, err
	}
	defer stop()
	program, err := deploy(ctx, o.root, net.Info(), module)
	if err != nil {
		return nil, err
	}
	cold, err := medianCall(ctx, program, wasmCalls, func() error { return nil })
	if err != nil {
		return nil, err
	}
	anew, err := medianCall(ctx, program, wasmProcesses, func() error { return killRunner(program.Hash) })
	return []Result{{Name: "crn-wasm-cold-ms", Value: cold, Unit: "ms"}, {Name: "crn-wasm-process-ms", Value: anew, Unit: "ms"}}, err
}

// medianCall calls a program after each preparation.
func medianCall(ctx context.Context, program *deployed, calls int, prepare func() error) (float64, error) {
	took := make([]float64, calls)
	for i := range took {
		if err := prepare(); err != nil {
			return 0, err
		}
		var err error
		if took[i], _, err = program.call(ctx); err != nil {
			return 0, err
		}
	}
	slices.Sort(took)
	return took[calls/2], nil
}

// killRunner ends the process of a program and waits until it is gone.
func killRunner(hash string) error {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	for _, file := range lines {
		line, _ := os.ReadFile(file)
		if !bytes.HasPrefix(line, []byte("wasm-runner\x00")) || !bytes.Contains(line, []byte(hash)) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			return err
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			return fmt.Errorf("open process %d: %w", pid, err)
		}
		defer unix.Close(fd)
		if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
			return fmt.Errorf("kill process %d: %w", pid, err)
		}
		for {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 5000)
			if n == 1 {
				time.Sleep(noticed)
				return nil
			}
			if !errors.Is(err, unix.EINTR) {
				return fmt.Errorf("process %d does not end: %w", pid, err)
			}
		}
	}
	return fmt.Errorf("program %s has no process", hash)
}
