package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/aleph-im/aleph-go/devnet"
)

// startNode starts the core node that is measured, as a process of its own with its data in dir.
func startNode(ctx context.Context, o options, dir string, args ...string) (*devnet.Process, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create data folder: %w", err)
	}
	args = append([]string{"ccn", "--network", "devnet", "--data-dir", filepath.Join(dir, "ccn"), "--http-listen", fmt.Sprintf("127.0.0.1:%d", port),
		"--p2p-listen", "/ip4/127.0.0.1/tcp/0", "--log-level", "warn"}, args...)
	node := devnet.NewProcess("ccn", fmt.Sprintf("http://127.0.0.1:%d", port), filepath.Join(dir, "ccn.log"),
		filepath.Join(o.root, "build", "alephd"), args...)
	return node, startAndAwait(ctx, node)
}

// startPeer starts the program that ours is compared with, or returns nil when the environment names none.
func startPeer(ctx context.Context, o options, dir string) (*devnet.Process, error) {
	if o.peer == "" {
		return nil, nil
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create data folder: %w", err)
	}
	peer := devnet.NewProcess("heph", fmt.Sprintf("http://127.0.0.1:%d", port), filepath.Join(dir, "heph.log"),
		o.peer, "--host", "127.0.0.1", "--port", strconv.Itoa(port), "--data-dir", filepath.Join(dir, "heph"), "--log-level", "error")
	return peer, startAndAwait(ctx, peer)
}

func startAndAwait(ctx context.Context, p *devnet.Process) error {
	if err := p.Start(); err != nil {
		return err
	}
	if err := p.AwaitHTTP(ctx, "/api/v0/messages.json?pagination=1"); err != nil {
		return errors.Join(err, p.Stop())
	}
	return nil
}

// residentMiB reads how much memory a process holds, peakMiB how much it held at most.
func residentMiB(pid int) (float64, error) { return statusMiB(pid, "VmRSS") }
func peakMiB(pid int) (float64, error)     { return statusMiB(pid, "VmHWM") }

func statusMiB(pid int, field string) (float64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("read memory of process %d: %w", pid, err)
	}
	match := regexp.MustCompile(field + `:\s+(\d+) kB`).FindSubmatch(raw)
	if match == nil {
		return 0, fmt.Errorf("process %d has no %s", pid, field)
	}
	kib, err := strconv.ParseFloat(string(match[1]), 64)
	return kib / 1024, err
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
