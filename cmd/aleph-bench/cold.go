package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aleph-im/aleph-go/crn/image"
	"github.com/aleph-im/aleph-go/crn/vm"
	"github.com/aleph-im/aleph-go/crn/vm/qemu"
	"github.com/aleph-im/aleph-go/devnet"
	"github.com/aleph-im/aleph-go/guest/wire"
)

const (
	coldBoots    = 3  // calls of a program that boots
	coldRestores = 20 // calls of a program that is restored
	coldAtOnce   = 8  // programs that are called at the same time
	coldRounds   = 3  // times that they are
	bootSamples  = 5
)

// cold measures the first call of the Python example on a compute node whose machines end soon after their last answer: booting,
// restored from its snapshot, and with others at the same time; then what such machines hold in memory while nobody calls.
func cold(ctx context.Context, o options) ([]Result, error) {
	net, stop, err := startNetwork(ctx, o)
	if err != nil {
		return nil, err
	}
	defer stop()
	info := net.Info()
	var programs []string
	for i := range coldAtOnce {
		// The same code in programs of their own: each has its machine and its snapshot.
		d, err := deploy(ctx, o.root, info, filepath.Join(o.root, "examples", "hello-fastapi"), "-e", fmt.Sprint("COPY=", i))
		if err != nil {
			return nil, err
		}
		programs = append(programs, d.Hash)
	}

	booted, err := coldBoot(ctx, o, filepath.Join(o.dir, "booting"), info, programs[0])
	if err != nil {
		return nil, err
	}
	copies := filepath.Join(o.dir, "copying")
	restored, atOnce, err := coldRestore(ctx, o, copies, info, programs)
	if err != nil {
		return nil, err
	}
	idle, err := idleMemory(ctx, o, copies, info, programs)
	if err != nil {
		return nil, err
	}
	return []Result{
		Result{Name: "crn-cold-restore-ms", Value: 1000 * restored, Unit: "ms"}.withPeer(1000 * booted),
		{Name: "crn-cold-8-at-once-s", Value: atOnce, Unit: "s"},
		{Name: "crn-idle-function-mib", Value: idle, Unit: "MiB"},
	}, nil
}

// computeNode starts a compute node of the network that nobody allocates to.
func computeNode(ctx context.Context, o options, dir string, info devnet.Info, args ...string) (*devnet.Process, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create data folder: %w", err)
	}
	args = append([]string{"crn", "--data-dir", dir, "--http-listen", fmt.Sprintf("127.0.0.1:%d", port), "--ccn", info.Core[0].URL,
		"--guest-dir", filepath.Join(o.root, "build", "guest"), "--memory-mib", "4096", "--log-level", "warn"}, args...)
	node := devnet.NewProcess("crn", fmt.Sprintf("http://127.0.0.1:%d", port), filepath.Join(dir, "crn.log"), filepath.Join(o.root, "build", "alephd"), args...)
	if err := node.Start(); err != nil {
		return nil, err
	}
	if err := node.AwaitHTTP(ctx, "/about/executions/list"); err != nil {
		return nil, errors.Join(err, node.Stop())
	}
	return node, nil
}

func coldBoot(ctx context.Context, o options, dir string, info devnet.Info, program string) (float64, error) {
	node, err := computeNode(ctx, o, dir, info, "--reuse-timeout", "0", "--snapshot-mib", "0")
	if err != nil {
		return 0, err
	}
	defer node.Stop()
	median, err := medianCold(ctx, node.URL, coldBoots, program)
	return median, errors.Join(err, node.Stop())
}

func coldRestore(ctx context.Context, o options, dir string, info devnet.Info, programs []string) (one, atOnce float64, err error) {
	// A machine ends while no other one starts: a program that is told to end has as much to do as one that starts.
	node, err := computeNode(ctx, o, dir, info, "--reuse-timeout", "4s")
	if err != nil {
		return 0, 0, err
	}
	defer node.Stop()
	for _, program := range programs { // the first call of each boots, and is not measured
		if _, err := medianCold(ctx, node.URL, 1, program); err != nil {
			return 0, 0, err
		}
	}
	if one, err = medianCold(ctx, node.URL, coldRestores, programs[0]); err != nil {
		return 0, 0, err
	}
	if atOnce, err = medianCold(ctx, node.URL, coldRounds, programs...); err != nil {
		return 0, 0, err
	}
	return one, atOnce, node.Stop()
}

// medianCold calls the programs at the same time, rounds times, each time when none of them runs, and returns the median of the
// time until the last has answered, in seconds.
func medianCold(ctx context.Context, url string, rounds int, programs ...string) (float64, error) {
	var took []float64
	for range rounds {
		if err := awaitNoMachine(ctx, url); err != nil {
			return 0, err
		}
		began := time.Now()
		group, ctx := errgroup.WithContext(ctx)
		for _, program := range programs {
			group.Go(func() error { return firstCall(ctx, url, program) })
		}
		if err := group.Wait(); err != nil {
			return 0, err
		}
		took = append(took, time.Since(began).Seconds())
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

// firstCall calls the example and makes sure that it answers its first call.
func firstCall(ctx context.Context, url, program string) error {
	body, err := fetch(ctx, url+"/vm/"+program+"/")
	if err != nil {
		return err
	}
	var answer struct{ Calls int }
	if err := json.Unmarshal(body, &answer); err != nil || answer.Calls != 1 {
		return fmt.Errorf("program %s was not cold: it answered %s", program, body)
	}
	return nil
}

func fetch(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", url, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch %s: %s %s (%v)", url, resp.Status, body, err)
	}
	return body, nil
}

// awaitNoMachine waits until nothing runs on a compute node.
func awaitNoMachine(ctx context.Context, url string) error {
	for {
		body, err := fetch(ctx, url+"/v2/about/executions/list")
		if err != nil {
			return err
		}
		if string(body) == "{}" {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// idleMemory calls each program once, on a node that keeps its machines, and returns what one of them holds while nobody calls: what
// is its own alone and cannot be read again from a file. The pages of its snapshot are the system's, which shares them among copies and
// can drop them.
func idleMemory(ctx context.Context, o options, dir string, info devnet.Info, programs []string) (float64, error) {
	node, err := computeNode(ctx, o, dir, info)
	if err != nil {
		return 0, err
	}
	defer node.Stop()
	if _, err := medianCold(ctx, node.URL, 1, programs...); err != nil {
		return 0, err
	}
	machines, err := childrenOf(node.PID())
	if err != nil {
		return 0, err
	}
	if len(machines) != len(programs) {
		return 0, fmt.Errorf("%d machines run for %d programs", len(machines), len(programs))
	}
	var total float64
	for _, pid := range machines {
		mib, err := anonymousMiB(pid)
		if err != nil {
			return 0, err
		}
		total += mib
	}
	return total / float64(len(machines)), node.Stop()
}

// childrenOf returns the processes that a process started, from whichever of its threads.
func childrenOf(pid int) (children []int, err error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("find children of process %d: %w", pid, err)
		}
		for field := range strings.FieldsSeq(string(raw)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				return nil, fmt.Errorf("find children of process %d: %w", pid, err)
			}
			children = append(children, child)
		}
	}
	return children, nil
}

var anonymousPattern = regexp.MustCompile(`(?m)^Anonymous:\s+(\d+) kB`)

func anonymousMiB(pid int) (float64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, fmt.Errorf("read memory of process %d: %w", pid, err)
	}
	match := anonymousPattern.FindSubmatch(raw)
	if match == nil {
		return 0, fmt.Errorf("process %d has no count of its own memory", pid)
	}
	kib, err := strconv.ParseFloat(string(match[1]), 64)
	return kib / 1024, err
}

// bootInit measures from the start of a machine to the first byte from the program that is PID 1 in it, with the distribution's
// kernel and with the small one where that was built.
func bootInit(ctx context.Context, o options) ([]Result, error) {
	guests := filepath.Join(o.root, "build", "guest")
	distribution, err := bootMedian(ctx, o, guests)
	if err != nil {
		return nil, err
	}
	results := []Result{{Name: "crn-boot-init-s", Value: distribution, Unit: "s"}}
	if _, err := os.Stat(guests + "-small"); err != nil {
		fmt.Println("The small guest kernel is not there, make small-kernel builds it: nothing is measured with it.")
		return results, nil
	}
	small, err := bootMedian(ctx, o, guests+"-small")
	if err != nil {
		return nil, err
	}
	return append(results, Result{Name: "crn-boot-small-init-s", Value: small, Unit: "s"}), nil
}

// bootMedian boots the kernel of a folder some times and returns the median, in seconds.
func bootMedian(ctx context.Context, o options, guests string) (float64, error) {
	driver, spec, _, err := machines(ctx, o, guests, filepath.Join(o.dir, filepath.Base(guests)))
	if err != nil {
		return 0, err
	}
	var took []float64
	for i := range bootSamples {
		spec.ID = fmt.Sprint("boot-", i)
		seconds, err := bootOnce(ctx, driver, spec)
		if err != nil {
			return 0, err
		}
		took = append(took, seconds)
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

// machines returns what runs machines here with the kernel of a folder, the least machine, and what its guests run with, which it
// prints. dir is for their data.
func machines(ctx context.Context, o options, guests, dir string) (driver *qemu.Driver, least vm.Spec, print vm.Fingerprint, err error) {
	kernel, err := image.LoadKernel(guests)
	if err != nil {
		return nil, least, print, err
	}
	program, err := image.GuestProgram(filepath.Join(o.root, "build", "guest-init"))
	if err != nil {
		return nil, least, print, err
	}
	initrd, err := image.Initramfs(dir, program, kernel)
	if err != nil {
		return nil, least, print, err
	}
	if driver, err = qemu.New(qemu.Config{Dir: dir, Kernel: kernel.Path, Initrd: initrd, BootMark: wire.BootMark}); err != nil {
		return nil, least, print, err
	}
	if print, err = driver.Fingerprint(ctx); err != nil {
		return nil, least, print, err
	}
	fmt.Printf("Machines run with %s: %s.\n", print.Accelerator, print.Reason)
	return driver, vm.Spec{VCPUs: 1, MemoryMiB: 256, Kernel: kernel.Path, Initrd: initrd, Channel: wire.PortName}, print, nil
}

func bootOnce(ctx context.Context, driver vm.Driver, spec vm.Spec) (seconds float64, err error) {
	began := time.Now()
	m, err := driver.Start(ctx, spec)
	if err != nil {
		return 0, err
	}
	defer func() {
		now, cancel := context.WithCancel(ctx)
		cancel()
		err = errors.Join(err, m.Stop(now))
	}()
	if err := m.Channel().SetDeadline(began.Add(time.Minute)); err != nil {
		return 0, fmt.Errorf("wait for the guest: %w", err)
	}
	if err := wire.HostHandshake(m.Channel(), 1); err != nil {
		return 0, err
	}
	return time.Since(began).Seconds(), nil
}
