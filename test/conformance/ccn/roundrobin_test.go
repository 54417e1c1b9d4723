package ccn

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	core "github.com/aleph-im/aleph-go/ccn"
	"github.com/aleph-im/aleph-go/internal/postgrestest"
	"github.com/aleph-im/aleph-go/params"
)

// Each request goes to the other one of two processes that answer users, and a third applies what they take in: what
// operators do whose users are many.
func TestTwoAPIsAndAWorkerBehindARoundRobinProxy(t *testing.T) {
	t.Parallel()
	everything(t, func(n *network) string {
		files := t.TempDir()
		n.startProcess(core.RoleWorker, files)
		return proxy(t, n.startProcess(core.RoleAPI, files), n.startProcess(core.RoleAPI, files))
	}, postgrestest.DSN(t))
}

// proxy hands requests to several nodes in turn and returns its URL.
func proxy(t *testing.T, nodes ...string) string {
	var targets []*url.URL
	for _, node := range nodes {
		u, err := url.Parse(node)
		if err != nil {
			t.Fatal(err)
		}
		targets = append(targets, u)
	}
	var turn atomic.Uint64
	server := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			to := targets[turn.Add(1)%uint64(len(targets))]
			r.Out.URL.Scheme, r.Out.URL.Host = to.Scheme, to.Host
		},
		Transport: &http.Transport{MaxIdleConnsPerHost: atOnce, DisableCompression: true},
		ErrorLog:  slog.NewLogLogger(slog.NewTextHandler(t.Output(), nil), slog.LevelDebug),
	})
	t.Cleanup(server.Close)
	return server.URL
}

// The test binary runs itself again as the processes of a node.
const processVariable = "ALEPH_CONFORMANCE_PROCESS"

// process is what one of them is told.
type process struct {
	Network, DataDir, FilesDir, Store string
	Role                              core.Role
}

func TestMain(m *testing.M) {
	if told := os.Getenv(processVariable); told != "" {
		if err := runProcess(told); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// runProcess runs a node until its standard input ends and says where its API is.
func runProcess(told string) error {
	var p process
	if err := json.Unmarshal([]byte(told), &p); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	network, err := params.Load(p.Network)
	if err != nil {
		return err
	}
	node, err := core.New(ctx, core.Config{
		Params: network, DataDir: p.DataDir, FilesDir: p.FilesDir, Store: p.Store, Role: p.Role, HTTPListen: "127.0.0.1:0",
		Version: "test", MaxSockets: maxSockets,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // whatever ends it
		cancel()
	}()
	fmt.Println("http://" + node.HTTPAddr())
	return node.Run(ctx)
}

// startProcess runs a process of the node until the test ends and returns the URL of its API.
func (n *network) startProcess(role core.Role, files string) string {
	n.t.Helper()
	dir := n.t.TempDir()
	p := process{Network: filepath.Join(dir, "network.json"), DataDir: filepath.Join(dir, "data"), FilesDir: files, Store: n.database, Role: role}
	network, err := json.Marshal(struct {
		Profile string `json:"profile"`
		*params.Network
	}{"devnet", n.params})
	if err == nil {
		err = os.WriteFile(p.Network, network, 0o600)
	}
	if err != nil {
		n.t.Fatal(err)
	}
	told, err := json.Marshal(p)
	if err != nil {
		n.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		n.t.Fatal(err)
	}
	var log bytes.Buffer // complete once the process has ended
	cmd := exec.Command(self)
	cmd.Env, cmd.Stderr = append(os.Environ(), processVariable+"="+string(told)), &log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil || log.Len() > 0 {
			n.t.Errorf("the process with the role %s: %v\n%s", role, err, log.Bytes())
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		n.t.Fatalf("the process with the role %s did not start: %v", role, err)
	}
	return strings.TrimSpace(line)
}
