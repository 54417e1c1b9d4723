package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// bigFileNetwork is a network that takes one big file and asks nothing for it.
const bigFileNetwork = `{"profile":"devnet","max_file":%d,"prices":[{"product":"storage","storage":{"holding":"0","credit":"0"}}]}`

// upload sends a big file to a node and fetches it again. The limit is what sha256sum and cp of the same file reach, one
// after the other: the node has to hash and to write as well. Then the command aleph sends another; its limit is what the node
// just took.
func upload(ctx context.Context, o options) ([]Result, error) {
	dir := filepath.Join(o.root, "build", "bench", "upload")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return nil, fmt.Errorf("create data folder: %w", err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "file")
	size := o.fileMiB << 20
	if err := randomFile(path, size); err != nil {
		return nil, err
	}
	began := time.Now()
	for _, args := range [][]string{{"sha256sum", path}, {"cp", path, path + ".copy"}} {
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", args[0], err, out)
		}
	}
	limit := float64(o.fileMiB) / time.Since(began).Seconds()
	if err := os.Remove(path + ".copy"); err != nil {
		return nil, fmt.Errorf("remove the copy: %w", err)
	}

	network := filepath.Join(dir, "network.json")
	if err := os.WriteFile(network, fmt.Appendf(nil, bigFileNetwork, size), 0o644); err != nil {
		return nil, fmt.Errorf("write network parameters: %w", err)
	}
	node, err := startNode(ctx, o, dir, "--network", network)
	if err != nil {
		return nil, err
	}
	defer node.Stop()
	account, err := ethereum.Generate()
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the file: %w", err)
	}
	defer f.Close()
	// Clients read the file twice, to sign its hash and to send it; the clock measures from the first byte sent.
	var first time.Time
	api := client.New(client.Config{BaseURL: node.URL})
	stored, err := api.UploadFile(ctx, account, f, client.UploadOptions{Sync: true, Progress: func(int64, int64) {
		if first.IsZero() {
			first = time.Now()
		}
	}})
	if err != nil {
		return nil, err
	}
	up := float64(o.fileMiB) / time.Since(first).Seconds()
	if stored.Status != message.StatusProcessed {
		return nil, fmt.Errorf("the STORE message is %s", stored.Status)
	}
	down, err := download(ctx, node.URL+"/api/v0/storage/raw/"+string(stored.FileHash), size)
	if err != nil {
		return nil, err
	}
	peak, err := peakMiB(node.PID())
	if err != nil {
		return nil, err
	}
	command, commandPeak, err := uploadByCommand(ctx, o, node.URL, network, path)
	if err != nil {
		return nil, err
	}
	return []Result{
		Result{Name: "aleph-upload-1gib", Value: command, Unit: "MiB/s"}.withLimit(up),
		{Name: "aleph-upload-peak-mib", Value: commandPeak, Unit: "MiB"},
		Result{Name: "ccn-upload-1gib", Value: up, Unit: "MiB/s"}.withLimit(limit),
		Result{Name: "ccn-download-1gib", Value: down, Unit: "MiB/s"}.withLimit(limit),
		{Name: "ccn-upload-peak-mib", Value: peak, Unit: "MiB"},
	}, nil
}

// uploadByCommand changes the file, so that the node does not have it, and lets aleph upload it. It returns the speed from the
// start of the process to its end, which hashes the file before it sends it, and the peak of its memory in MiB.
func uploadByCommand(ctx context.Context, o options, url, network, path string) (speed, peak float64, err error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt([]byte("another"), 0)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return 0, 0, fmt.Errorf("change the file: %w", err)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(o.root, "build", "aleph"), "file", "upload", path, "--api", url, "--network", network)
	cmd.Env = append(os.Environ(), "ALEPH_PRIVATE_KEY="+strings.Repeat("5a", 32))
	began := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, 0, fmt.Errorf("aleph file upload: %w: %s", err, out)
	}
	speed = float64(o.fileMiB) / time.Since(began).Seconds()
	return speed, float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) / 1024, nil
}

func randomFile(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("create a file of %d bytes: %w", size, err)
	}
	_, err = io.CopyN(f, rand.Reader, size)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write a file of %d bytes: %w", size, err)
	}
	return nil
}

// download returns MiB/s.
func download(ctx context.Context, url string, size int64) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, fmt.Errorf("download the file: %w", err)
	}
	began := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, fmt.Errorf("download the file: %w", err)
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || n != size {
		return 0, fmt.Errorf("download the file: %s, %d of %d bytes: %v", resp.Status, n, size, err)
	}
	return float64(n) / (1 << 20) / time.Since(began).Seconds(), nil
}
