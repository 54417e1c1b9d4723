package crn_test

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/crn"
	"github.com/aleph-im/aleph-go/crn/corenode/corenodetest"
	"github.com/aleph-im/aleph-go/crn/image/imagetest"
)

// childOf makes this test binary a compute node on the folder, the core node and the address that it names, to be killed.
const childOf = "CRN_TEST_CHILD"

// childEnds is how long instances of such a node may take to end with it; they go on without it when there is none.
const childEnds = "CRN_TEST_END"

// childLogs has such a node say what it logs.
const childLogs = "CRN_TEST_LOG"

func TestMain(m *testing.M) {
	if dir, rest, ok := strings.Cut(os.Getenv(childOf), "|"); ok {
		core, listen, _ := strings.Cut(rest, "|")
		c := config(dir, core)
		c.Listen = cmp.Or(listen, c.Listen)
		c.EndInstancesWithin, _ = time.ParseDuration(os.Getenv(childEnds))
		if os.Getenv(childLogs) != "" {
			c.Log = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("node", filepath.Base(dir))
		}
		n, err := crn.New(c)
		if err == nil {
			fmt.Println(n.Addr())
			ctx, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM)
			if err = n.Run(ctx); err == nil {
				os.Exit(0)
			}
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := imagetest.EnterOwnNetwork(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// startChild runs a compute node in a process of its own, to be killed.
func startChild(t *testing.T) (*node, *exec.Cmd) {
	t.Helper()
	images := imagetest.Get(t)
	image, err := os.ReadFile(images.Runtime)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{core: corenodetest.New(t), dir: t.TempDir()}
	n.runtime = n.core.Store(image)
	// The node needs no root, so it gets none.
	self := filepath.Join(n.dir, "self")
	if err := copyFile(os.Args[0], self); err != nil {
		t.Fatal(err)
	}
	child := exec.Command(self)
	n.dir = filepath.Join(n.dir, "data")
	if os.Getuid() == 0 {
		const nobody = 65534
		child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		err := errors.Join(os.Mkdir(n.dir, 0o700), os.Chown(n.dir, nobody, nobody), os.Chmod(filepath.Dir(filepath.Dir(n.dir)), 0o755))
		if err != nil {
			t.Fatal(err)
		}
	}
	child.Env = append(os.Environ(), childOf+"="+n.dir+"|"+n.core.URL)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("the node did not start")
	}
	n.url = "http://" + lines.Text()
	return n, child
}

func TestWhatAKilledNodeLeftIsCleanedAtTheNextStart(t *testing.T) {
	n, child := startChild(t)
	hash := n.probe(t, func(content map[string]any) {
		content["volumes"] = []any{map[string]any{"ephemeral": true, "mount": "/scratch", "size_mib": 8}}
	})
	if r := n.get(t, hash, "/count"); r.status != 200 {
		t.Fatalf("got %+v", r)
	}
	record, err := filepath.Glob(filepath.Join(n.dir, "qemu", "run", "*", "process.json"))
	if err != nil || len(record) != 1 {
		t.Fatalf("records of machines: %v, %v", record, err)
	}
	var process struct{ PID int }
	raw, err := os.ReadFile(record[0])
	if err != nil || json.Unmarshal(raw, &process) != nil {
		t.Fatalf("record: %s, %v", raw, err)
	}
	// Frozen, the machine cannot notice that its node is gone, which would end it as well.
	if err := syscall.Kill(process.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	if err := syscall.Kill(process.PID, 0); err != nil {
		t.Fatalf("the machine ended with its node: %v", err)
	}

	next, err := crn.New(config(n.dir, n.core.URL))
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	eventually(t, "the machine is gone", func() bool { return syscall.Kill(process.PID, 0) != nil || zombie(process.PID) })
	for _, pattern := range []string{"qemu/run/*", "executions/scratch/*"} {
		if left, _ := filepath.Glob(filepath.Join(n.dir, pattern)); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func copyFile(from, to string) error {
	raw, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, raw, 0o755)
}

// zombie reports whether a process has ended and only waits to be collected, which some containers' init never does.
func zombie(pid int) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(raw), ") Z ")
}
