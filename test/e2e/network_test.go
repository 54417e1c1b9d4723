//go:build e2e

// Package e2e drives a whole network from outside, as its users do: with the aleph program, with curl-like requests, with
// the published SDKs, and by killing processes. `make test` builds what it needs and runs it.
package e2e

import (
	"bytes"
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
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/crn/image/imagetest"
	"github.com/aleph-im/aleph-go/devnet"
	"github.com/aleph-im/aleph-go/message"
)

var (
	root    = repository()
	network *devnet.Net
)

func repository() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if err := imagetest.EnterOwnNetwork(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	if err := imagetest.NodeRuntime(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: make the runtime with Node:", err)
		return 1
	}
	// Several emulated machines boot at once here, beside all else.
	if err := os.Setenv("ALEPHD_PROGRAM_START_TIMEOUT", "5m"); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	dir, err := os.MkdirTemp("", "aleph-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	network, err = devnet.New(devnet.Config{
		Dir: dir, Alephd: filepath.Join(root, "build", "alephd"), GuestDir: filepath.Join(root, "build", "guest"),
		BasePort: 14024, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	ended := make(chan error, 1)
	go func() { ended <- network.Run(ctx) }()
	select {
	case err := <-ended:
		fmt.Fprintln(os.Stderr, "e2e: the network did not come up:", err)
		printLogs(dir)
		return 1
	case <-network.Ready():
	}
	code := 1
	if err := takesWorkloads(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: the network says too early that it is up:", err)
	} else {
		code = m.Run()
	}
	cancel()
	if err := <-ended; err != nil {
		fmt.Fprintln(os.Stderr, "e2e: the network did not stop well:", err)
		code = 1
	}
	if left := machines(); len(left) > 0 {
		fmt.Fprintln(os.Stderr, "e2e: the network ended and left machines:", left)
		code = 1
	}
	if code != 0 {
		printLogs(dir)
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
	}
	return code
}

// takesWorkloads looks, right after the network says that it is up, whether users can deploy on whichever core node they ask.
func takesWorkloads(ctx context.Context) error {
	for _, core := range network.Core {
		nodes, err := client.New(client.Config{BaseURL: core.URL}).SchedulerNodes(ctx)
		if err != nil || len(nodes) != len(network.Compute) {
			return fmt.Errorf("%s gives workloads to %d of %d compute nodes (%v)", core.Name, len(nodes), len(network.Compute), err)
		}
	}
	return nil
}

// printLogs shows what every node warned of, and the end of its log, for whoever reads the output of a failed run.
func printLogs(dir string) {
	logs, _ := filepath.Glob(filepath.Join(dir, "logs", "*.log"))
	for _, path := range logs {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		var warnings []byte
		for line := range bytes.Lines(raw) {
			if bytes.Contains(line, []byte("level=WARN")) || bytes.Contains(line, []byte("level=ERROR")) {
				warnings = append(warnings, line...)
			}
		}
		fmt.Fprintf(os.Stderr, "---- %s: warnings\n%s---- %[1]s: its end\n%s\n", filepath.Base(path), lastBytes(warnings), lastBytes(raw))
	}
}

// lastBytes is as much of a text as is of use in the output of a failed run.
func lastBytes(text []byte) []byte { return text[max(0, len(text)-4000):] }

// aleph runs the user's tool as the first funded wallet and returns what it printed.
func aleph(t *testing.T, args ...string) (stdout string, exitCode int) {
	t.Helper()
	return alephAs(t, network.Info().Wallets[0].KeyFile, args...)
}

func alephAs(t *testing.T, keyFile string, args ...string) (stdout string, exitCode int) {
	t.Helper()
	out, errOut, code := alephOf(t, keyFile, args...)
	return out + errOut, code
}

// alephOf is alephAs that keeps apart what is printed.
func alephOf(t *testing.T, keyFile string, args ...string) (stdout, stderr string, exitCode int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(root, "build", "aleph"), append([]string{"--network", "devnet", "--api", network.Core[0].URL, "--key-file", keyFile}, args...)...)
	cmd.Env = append(os.Environ(), "ALEPH_CONFIG_HOME="+t.TempDir())
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run aleph %v: %v", args, err)
	}
	t.Logf("aleph %s\n%s%s", strings.Join(args, " "), out.String(), errOut.String())
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// deploy deploys a folder and returns the hash of the program.
func deploy(t *testing.T, folder string, flags ...string) string {
	t.Helper()
	out, code := aleph(t, append([]string{"-o", "json", "program", "deploy", folder}, flags...)...)
	if code != 0 {
		t.Fatalf("deploy %s: exit code %d", folder, code)
	}
	var answer struct {
		Hash string `json:"item_hash"`
	}
	if err := json.Unmarshal([]byte(out[strings.Index(out, "{"):strings.LastIndex(out, "}")+1]), &answer); err != nil || answer.Hash == "" {
		t.Fatalf("deploy %s printed no hash (%v): %s", folder, err, out)
	}
	return answer.Hash
}

// call asks the program over plain HTTP on the compute node that a core node names.
func call(ctx context.Context, hash string) (status int, body []byte, err error) {
	allocation, err := client.New(client.Config{BaseURL: network.Core[0].URL}).Allocation(ctx, message.Hash(hash))
	if err != nil {
		return 0, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, allocation.Node.URL+"/vm/"+hash+"/", nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

// eventually tries until do succeeds or the time is over.
func eventually(t *testing.T, limit time.Duration, do func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for {
		err := do(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not within %s: %v", limit, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
