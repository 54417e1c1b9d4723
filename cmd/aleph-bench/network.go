package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/devnet"
)

const (
	benchBasePort = 24024
	warmCalls     = 200
	idleWait      = 10 * time.Second
)

// network starts a network and measures how long that took, what a core node weighs when nothing happens, and what a
// warm call costs beyond the program's own time, of Python and of a static binary.
func network(ctx context.Context, o options) ([]Result, error) {
	net, stop, err := startNetwork(ctx, o)
	if err != nil {
		return nil, err
	}
	defer stop()
	info := net.Info()
	results := []Result{{Name: "network-up-s", Value: info.UpAfter, Unit: "s"}}

	select { // an idle node is one that was left alone for a while
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(idleWait):
	}
	idle, err := residentMiB(info.Core[1].PID)
	if err != nil {
		return nil, err
	}
	results = append(results, Result{Name: "ccn-idle-mib", Value: idle, Unit: "MiB"})

	asgi, err := warmOverhead(ctx, o.root, info, filepath.Join(o.root, "examples", "hello-fastapi"))
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(o.root, "build", "hello-go")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(folder, "hello"), "./examples/hello-go")
	build.Dir, build.Env = o.root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the binary: %w: %s", err, out)
	}
	binary, err := warmOverhead(ctx, o.root, info, folder, "--entrypoint", "hello")
	if err != nil {
		return nil, err
	}
	return append(results,
		Result{Name: "crn-warm-overhead-asgi-ms", Value: asgi, Unit: "ms"},
		Result{Name: "crn-warm-overhead-binary-ms", Value: binary, Unit: "ms"}), nil
}

// startNetwork starts a network with empty data and waits until it is up. stop ends it and waits.
func startNetwork(ctx context.Context, o options) (net *devnet.Net, stop func(), err error) {
	dir := filepath.Join(o.dir, "net") // short: it holds sockets
	ctx, cancel := context.WithCancel(ctx)
	net, err = devnet.New(devnet.Config{
		Dir: dir, Alephd: filepath.Join(o.root, "build", "alephd"), GuestDir: filepath.Join(o.root, "build", "guest"),
		BasePort: benchBasePort, Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		cancel()
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	ended := make(chan error, 1)
	go func() { ended <- net.Run(ctx) }()
	stop = func() {
		cancel()
		<-ended
		os.RemoveAll(dir)
	}
	select {
	case err := <-ended:
		ended <- err
		stop()
		return nil, nil, fmt.Errorf("the network did not come up: %w", err)
	case <-net.Ready():
		return net, stop, nil
	}
}

// warmOverhead deploys a program and returns the median of what the way to it and back takes: the time of a call less what the
// guest measured of the program itself.
func warmOverhead(ctx context.Context, root string, info devnet.Info, path string, flags ...string) (float64, error) {
	p, err := deploy(ctx, root, info, path, flags...)
	if err != nil {
		return 0, err
	}
	var overheads []float64
	for range warmCalls {
		total, header, err := p.call(ctx)
		if err != nil {
			return 0, err
		}
		own, err := programTime(header.Get("Server-Timing"))
		if err != nil {
			return 0, err
		}
		overheads = append(overheads, total-own)
	}
	slices.Sort(overheads)
	return overheads[len(overheads)/2], nil
}

// deployed is a program that answers.
type deployed struct {
	Hash string `json:"item_hash"`
	URL  string `json:"url"`
}

// deploy puts a program on the network and waits for its first answer.
func deploy(ctx context.Context, root string, info devnet.Info, path string, flags ...string) (*deployed, error) {
	aleph := func(args ...string) ([]byte, error) {
		args = append([]string{"--network", "devnet", "--api", info.Core[0].URL, "--key-file", info.Wallets[0].KeyFile}, args...)
		out, err := exec.CommandContext(ctx, filepath.Join(root, "build", "aleph"), args...).Output()
		if err != nil {
			return nil, fmt.Errorf("aleph %s: %w: %s", strings.Join(args, " "), err, out)
		}
		return out, nil
	}
	out, err := aleph(append([]string{"-o", "json", "program", "deploy", path}, flags...)...)
	if err != nil {
		return nil, err
	}
	var d deployed
	if err := json.Unmarshal(out, &d); err != nil {
		return nil, fmt.Errorf("answer of deploy: %w", err)
	}
	_, err = aleph("program", "call", d.Hash, "/", "--timeout", "150s")
	return &d, err
}

// call calls the program and returns the milliseconds until its answer was read.
func (d *deployed) call(ctx context.Context) (took float64, header http.Header, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.URL, nil)
	if err != nil {
		return 0, nil, fmt.Errorf("address of the program: %w", err)
	}
	began := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("call the program: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	total := time.Since(began)
	if err != nil || resp.StatusCode != http.StatusOK {
		return 0, nil, fmt.Errorf("the program answered %s: %s", resp.Status, body)
	}
	return total.Seconds() * 1000, resp.Header, nil
}

// programTime reads the milliseconds that the node takes for the program's own.
func programTime(header string) (float64, error) {
	for entry := range strings.SplitSeq(header, ",") {
		name, duration, found := strings.Cut(strings.TrimSpace(entry), ";dur=")
		if found && name == "app" {
			return strconv.ParseFloat(duration, 64)
		}
	}
	return 0, fmt.Errorf("the answer does not say what the program took (Server-Timing: %q)", header)
}

// demo measures `make demo ONCE=1` without its set-up: from the start of the network to the program's answer and the
// orderly end, with an empty data folder.
func demo(ctx context.Context, o options) ([]Result, error) {
	if err := os.RemoveAll(filepath.Join(o.root, ".devnet")); err != nil {
		return nil, fmt.Errorf("remove the last demo's network: %w", err)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(o.root, "scripts", "demo.sh"), "--once")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("demo: %w\n%s", err, out)
	}
	match := regexp.MustCompile(`(?m)^ +after +([0-9.]+) s`).FindSubmatch(out)
	if match == nil {
		return nil, fmt.Errorf("the demo did not say when the program answered:\n%s", out)
	}
	seconds, err := strconv.ParseFloat(string(match[1]), 64)
	return []Result{{Name: "demo-answer-s", Value: seconds, Unit: "s"}}, err
}
