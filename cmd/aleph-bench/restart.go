package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/devnet"
	"github.com/aleph-im/aleph-go/devnet/chain"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

const (
	// restartCommand makes this program its own child, in a network of its own: instances change that of their host.
	restartCommand = "restart"

	restartInstances = 20
	restartBooting   = 2
	restartRounds    = 20
	restartPause     = 2 * time.Second  // of each instance between two requests: an emulated one has more to do for it than the node
	restartBoots     = 10 * time.Minute // until some instances answer, where they are emulated on a busy machine
	restartAnswers   = 5 * time.Minute  // until all answer again after a restart
	restartHost      = "198.51.100.1"
	restartToken     = "restart"
)

// restart stops a compute node with running instances and starts it again, and measures from the order to stop until its API
// answers. Meanwhile each instance is asked one thing after the other, through its forwarded port.
func restart(ctx context.Context, o options) ([]Result, error) {
	if os.Getuid() != 0 {
		return nil, errors.New("instances need root, here for a network namespace")
	}
	script := exec.CommandContext(ctx, filepath.Join(o.root, "crn", "image", "build-instance.sh"), "small", filepath.Join(o.root, "build", "guest"))
	if out, err := script.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make the image of the instances: %w: %s", err, out)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	child := exec.CommandContext(ctx, self, restartCommand)
	child.Dir, child.Stderr = o.root, os.Stderr
	// Its machines outlive the node, but not the process that is first in a namespace of processes.
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	child.Cancel = func() error { return child.Process.Signal(os.Interrupt) } // it has folders to remove
	child.WaitDelay = time.Minute
	out, err := child.Output()
	if err != nil {
		return nil, fmt.Errorf("restart a compute node: %w", err)
	}
	var results []Result
	if err := json.Unmarshal(out, &results); err != nil {
		return nil, fmt.Errorf("restart a compute node: %w: %s", err, out)
	}
	return results, nil
}

// runRestart is the child: it prints the results.
func runRestart(ctx context.Context, o options) error {
	if err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("proc", "/proc", "proc", 0, "")); err != nil {
		return fmt.Errorf("set up namespaces: %w", err)
	}
	for _, line := range []string{
		"link set lo up", "link add ext0 type veth peer name ext1", "address add " + restartHost + "/24 dev ext0", "link set ext0 up", "link set ext1 up",
	} {
		if out, err := exec.CommandContext(ctx, "ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", line, err, out)
		}
	}
	network, stop, err := startNetwork(ctx, o)
	if err != nil {
		return err
	}
	defer stop()
	for _, p := range network.Compute { // the network would run the instances as well
		if err := p.Stop(); err != nil {
			return err
		}
	}
	dir := filepath.Join(o.dir, "crn")
	token := sha256.Sum256([]byte(restartToken))
	node, err := computeNode(ctx, o, dir, network.Info(), "--network", "devnet", "--instance-memory-mib", "16384", "--vcpus", "64", "--disk-mib", "16384",
		"--host-ipv4", restartHost, "--allocation-token-hash", hex.EncodeToString(token[:]))
	if err != nil {
		return err
	}
	defer node.Stop()
	instances, err := publishInstances(ctx, o, network)
	if err != nil {
		return err
	}
	while, cancel := context.WithCancel(ctx)
	defer cancel()
	asked := &asking{node: node, dir: dir, cancel: cancel}
	defer asked.stop()
	for n := 0; n < len(instances); { // a few at a time: an emulated machine that boots keeps a processor busy
		more := instances[n:min(n+restartBooting, len(instances))]
		n += len(more)
		if err := allocate(ctx, node.URL, instances[:n]); err != nil {
			return err
		}
		if err := asked.add(while, more); err != nil {
			return err
		}
	}
	took := make([]float64, restartRounds)
	for i := range took {
		machines := recordedMachines(dir)
		began := time.Now()
		if err := errors.Join(node.Stop(), node.Start(), node.AwaitHTTP(ctx, "/v2/about/executions/list")); err != nil {
			return err
		}
		took[i] = time.Since(began).Seconds()
		if now := recordedMachines(dir); len(now) != restartInstances || !slices.Equal(now, machines) {
			return fmt.Errorf("the restart changed the machines from %v to %v", machines, now)
		}
		if err := asked.round(ctx, restartAnswers); err != nil {
			return err
		}
	}
	answered, lost := asked.stop()
	fmt.Fprintf(os.Stderr, "%d instances answered %d requests; restarts took %.2f s\n", restartInstances, answered, took)
	slices.Sort(took)
	return json.NewEncoder(os.Stdout).Encode([]Result{
		{Name: "crn-restart-s", Value: took[restartRounds/2], Unit: "s"}, {Name: "crn-restart-lost", Value: float64(lost), Unit: "requests"},
	})
}

// publishInstances stores the image and publishes the instances.
func publishInstances(ctx context.Context, o options, network *devnet.Net) ([]message.Hash, error) {
	owner, err := ethereum.NewAccount(chain.Accounts()[0].PrivateKey)
	if err != nil {
		return nil, err
	}
	c := client.New(client.Config{BaseURL: network.Core[0].URL})
	image, err := os.Open(filepath.Join(o.root, "build", "guest", "instance-small.img"))
	if err != nil {
		return nil, fmt.Errorf("open the image of the instances: %w", err)
	}
	defer image.Close()
	stored, err := c.UploadFile(ctx, owner, image, client.UploadOptions{Sync: true})
	if err != nil {
		return nil, err
	}
	var hashes []message.Hash
	for i := range restartInstances {
		m, _, err := c.Send(ctx, owner, message.TypeInstance, map[string]any{
			"address": owner.Address(), "time": float64(time.Now().UnixMilli()) / 1000, "allow_amend": false, "metadata": map[string]any{"name": fmt.Sprint(i)},
			"authorized_keys": []string{},
			"environment":     map[string]any{"internet": true, "aleph_api": false, "hypervisor": "qemu"},
			"resources":       map[string]any{"vcpus": 1, "memory": 128, "seconds": 30},
			"rootfs":          map[string]any{"parent": map[string]any{"ref": stored.MessageHash, "use_latest": false}, "persistence": "host", "size_mib": 64},
			"volumes":         []any{},
		}, client.SendOptions{Sync: true})
		if err != nil {
			return nil, fmt.Errorf("publish instance %d: %w", i, err)
		}
		hashes = append(hashes, m.ItemHash)
	}
	return hashes, nil
}

// allocate tells a compute node what to run.
func allocate(ctx context.Context, url string, instances []message.Hash) error {
	body, err := json.Marshal(map[string]any{"instances": instances})
	if err != nil {
		return fmt.Errorf("allocate instances: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/control/allocations", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("allocate instances: %w", err)
	}
	req.Header.Set("X-Auth-Signature", restartToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("allocate instances: %w", err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("allocate instances: %s: %s (%v)", resp.Status, text, err)
	}
	return nil
}

// recordedMachines are the processes that a node has written down for its instances.
func recordedMachines(dir string) (pids []int) {
	records, _ := filepath.Glob(filepath.Join(dir, "instances", "run", "*", "process.json"))
	for _, path := range records {
		var process struct{ PID int }
		if raw, err := os.ReadFile(path); err == nil && json.Unmarshal(raw, &process) == nil {
			pids = append(pids, process.PID)
		}
	}
	return pids
}
