package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aleph-im/aleph-go/crn/image"
)

const (
	warmConnections = 8
	warmRounds      = 5
	warmRound       = 4 * time.Second
)

// throughput calls one warm function over connections that stay open, through the node. The limit is the same server in a machine of
// the same make, at a port of the loopback that QEMU forwards to it. Both machines are there all the time and are called in turn.
func throughput(ctx context.Context, o options) ([]Result, error) {
	dir := filepath.Join(o.root, "build", "bench", "throughput")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return nil, fmt.Errorf("create data folder: %w", err)
	}
	defer os.RemoveAll(dir)
	server := filepath.Join(dir, "server")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", server, "./cmd/aleph-bench/warmserver")
	build.Dir, build.Env = o.root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the server: %w: %s", err, out)
	}
	net, stop, err := startNetwork(ctx, o)
	if err != nil {
		return nil, err
	}
	defer stop()
	program, err := deploy(ctx, o.root, net.Info(), server)
	if err != nil {
		return nil, err
	}
	direct, stopDirect, err := directMachine(ctx, o, dir, server)
	if err != nil {
		return nil, err
	}
	defer stopDirect()

	var through, limit []float64
	for round := range warmRounds + 1 {
		for url, rates := range map[string]*[]float64{program.URL: &through, direct: &limit} {
			rate, err := callRate(ctx, url)
			if err != nil {
				return nil, err
			}
			if round > 0 { // the first warms up
				*rates = append(*rates, rate)
			}
		}
	}
	slices.Sort(through)
	slices.Sort(limit)
	return []Result{Result{Name: "crn-throughput-warm", Value: through[warmRounds/2], Unit: "calls/s"}.withLimit(limit[warmRounds/2])}, nil
}

// callRate calls an address over all connections for one round and returns the calls a second.
func callRate(ctx context.Context, url string) (float64, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: warmConnections}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	var calls atomic.Int64
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for range warmConnections {
		group.Go(func() error {
			for time.Since(began) < warmRound {
				if err := answers(ctx, client, url); err != nil {
					return err
				}
				calls.Add(1)
			}
			return nil
		})
	}
	err := group.Wait()
	return float64(calls.Load()) / time.Since(began).Seconds(), err
}

// answers asks for an address and reads the whole answer.
func answers(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("call %s: %w", url, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("call %s: %s (%v)", url, resp.Status, err)
	}
	return nil
}

// directMachine starts the server as the only process of a machine like those of programs, but with a network card, and returns
// the address at which it answers. stop ends the machine and waits.
func directMachine(ctx context.Context, o options, dir, server string) (url string, stop func(), err error) {
	_, _, print, err := machines(ctx, o, filepath.Join(o.root, "build", "guest"), dir)
	if err != nil {
		return "", nil, err
	}
	accelerator, cpu, timers := "kvm", "host", ""
	if print.Accelerator == "tcg" { // as crn/vm/qemu has it for 256 MiB
		accelerator, cpu, timers = "tcg,tb-size=32", "max", " highres=off"
	}
	kernel, initrd, err := directGuest(ctx, o, dir, server)
	if err != nil {
		return "", nil, err
	}
	port, err := freePort()
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	machine := exec.CommandContext(ctx, "qemu-system-x86_64", "-machine", "pc,usb=off,graphics=off,hpet=off", "-accel", accelerator, "-cpu", cpu,
		"-smp", "1", "-m", "256M", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-netdev", fmt.Sprintf("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:%d-10.0.2.15:8080", port), "-device", "virtio-net-pci,netdev=net",
		"-kernel", kernel, "-initrd", initrd,
		"-append", "console=ttyS0 quiet panic=-1 reboot=t tsc=reliable no_timer_check mitigations=off cryptomgr.notests random.trust_cpu=on net.ifnames=0"+timers)
	var console bytes.Buffer
	machine.Stdout, machine.Stderr = &console, &console
	if err := machine.Start(); err != nil {
		cancel()
		return "", nil, fmt.Errorf("start the machine that is reached directly: %w", err)
	}
	stop = func() {
		cancel()
		_ = machine.Wait() // it was killed
	}
	url = fmt.Sprintf("http://127.0.0.1:%d/", port)
	client := &http.Client{Timeout: time.Second}
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if err = answers(ctx, client, url); err == nil {
			return url, stop, nil
		}
		if time.Now().After(deadline) {
			stop()
			return "", nil, fmt.Errorf("the machine that is reached directly does not answer: %w: %s", err, console.Bytes())
		}
	}
}

// directGuest makes what the machine boots. Machines of programs have no driver for network cards; the small instance has.
func directGuest(ctx context.Context, o options, dir, server string) (kernel, initrd string, err error) {
	guest := filepath.Join(o.root, "build", "guest")
	script := `crn/image/build-instance.sh small "$1" && cd "$2" && mcopy -n -i "$1/instance-small.img@@1M" ::/vmlinuz ::/initrd . &&
		gzip -dc initrd | cpio -id --quiet 'modules/*'`
	unpack := exec.CommandContext(ctx, "sh", "-c", script, "sh", guest, dir)
	unpack.Dir = o.root
	if out, err := unpack.CombinedOutput(); err != nil {
		return "", "", fmt.Errorf("unpack the small instance: %w: %s", err, out)
	}
	list, err := os.ReadFile(filepath.Join(dir, "modules", "list"))
	if err != nil {
		return "", "", fmt.Errorf("unpack the small instance: %w", err)
	}
	k := image.Kernel{Path: filepath.Join(dir, "vmlinuz")}
	for name := range strings.FieldsSeq(string(list)) {
		if strings.HasPrefix(name, "virtio") || strings.HasSuffix(name, "failover") {
			k.Modules = append(k.Modules, filepath.Join(dir, "modules", name+".ko"))
		}
	}
	program, err := os.ReadFile(server)
	if err != nil {
		return "", "", fmt.Errorf("read the server: %w", err)
	}
	initrd, err = image.Initramfs(dir, program, k)
	return k.Path, initrd, err
}
