package crn_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/crn/corenode/corenodetest"
	"github.com/aleph-im/aleph-go/crn/image/imagetest"
)

// killRounds is how often something is killed. ALEPH_KILLS names another number.
const killRounds = 10

// Under calls, a node is killed, its machines are killed, frozen, or robbed of their folders, at random moments.
func TestANodeRecoversFromKillsAtAnyMoment(t *testing.T) {
	rounds := killRounds
	if text := os.Getenv("ALEPH_KILLS"); text != "" {
		var err error
		if rounds, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	images := imagetest.Get(t)
	image, err := os.ReadFile(images.Runtime)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{core: corenodetest.New(t), dir: t.TempDir()}
	n.runtime = n.core.Store(image)
	hash := n.probe(t, func(content map[string]any) {
		content["volumes"] = []any{map[string]any{"ephemeral": true, "mount": "/scratch", "size_mib": 4}}
	})

	child := startNode(t, n)
	defer func() { child.kill() }()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	counts := map[string]int{}
	begin := time.Now()
	hit := 0
	for round := range rounds {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(50+random.IntN(1200))*time.Millisecond)
		var calls sync.WaitGroup
		for range 2 {
			calls.Go(func() { call(ctx, child.url+"/vm/"+string(hash)+"/count") })
		}
		<-ctx.Done() // a random moment of the machine's life
		action := []string{"node", "machines", "frozen machines and node", "run folder and node", "all"}[random.IntN(5)]
		counts[action]++
		hit += len(machines(n.dir))
		switch action {
		case "node":
			child.kill()
		case "machines":
			send(machines(n.dir), syscall.SIGKILL)
		case "frozen machines and node":
			// Frozen, they cannot notice that their node is gone.
			send(machines(n.dir), syscall.SIGSTOP)
			child.kill()
		case "run folder and node":
			send(machines(n.dir), syscall.SIGSTOP)
			if err := os.RemoveAll(filepath.Join(n.dir, "qemu", "run")); err != nil {
				t.Fatal(err)
			}
			child.kill()
		case "all":
			send(machines(n.dir), syscall.SIGKILL)
			child.kill()
		}
		cancel()
		calls.Wait()
		if child.dead {
			child = startNode(t, n)
			// Before its first call, a node has none of the machines of the one before.
			if left := machines(n.dir); len(left) > 0 {
				t.Fatalf("round %d, %s: machines %v are left", round, action, left)
			}
		}
	}
	t.Logf("%d rounds in %v with %d machines: %v", rounds, time.Since(begin).Round(time.Millisecond), hit, counts)
	if hit == 0 {
		t.Error("no machine was there when it came to it")
	}

	n.url = child.url
	eventually(t, "the node answers", func() bool { return n.get(t, hash, "/count").status == 200 })
	child.stop(t)
	if left := machines(n.dir); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
	for _, pattern := range []string{"qemu/run/*", "executions/scratch/*", "cache/files/.part-*"} {
		if left, _ := filepath.Glob(filepath.Join(n.dir, pattern)); len(left) > 0 {
			t.Errorf("files are left: %v", left)
		}
	}
	for _, table := range []string{"/proc/self/mountinfo", "/proc/net/unix"} {
		raw, err := os.ReadFile(table)
		if err != nil || strings.Contains(string(raw), n.dir) {
			t.Errorf("%s names the node's folder, %v", table, err)
		}
	}
	if left := controlGroups(t, n.dir); len(left) > 0 {
		t.Errorf("control groups are left: %v", left)
	}
}

// child is a compute node in a process of its own.
type child struct {
	cmd  *exec.Cmd
	url  string
	dead bool
}

func startNode(t *testing.T, n *node) *child {
	t.Helper()
	c := &child{cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), childOf+"="+n.dir+"|"+n.core.URL)
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		_ = c.cmd.Wait()
		t.Fatal("the node did not start")
	}
	c.url = "http://" + lines.Text()
	return c
}

func (c *child) kill() {
	if !c.dead {
		c.dead = true
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	}
}

// stop ends it in order.
func (c *child) stop(t *testing.T) {
	t.Helper()
	c.dead = true
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Wait(); err != nil {
		t.Errorf("the node ended with %v", err)
	}
}

// call makes a request and does not care what becomes of it.
func call(ctx context.Context, url string) {
	request, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return
	}
	if response, err := http.DefaultClient.Do(request); err == nil {
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
	}
}

func send(pids []int, s syscall.Signal) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, s) // some end by themselves meanwhile
	}
}

// controlGroups returns those of the machines of a node.
func controlGroups(t *testing.T, dir string) (left []string) {
	t.Helper()
	sum := sha256.Sum256([]byte(filepath.Join(dir, "qemu")))
	name := fmt.Sprintf("aleph-machines-%x", sum[:6])
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, _ os.DirEntry, _ error) error {
		if filepath.Base(path) == name {
			left = append(left, path)
		}
		return nil
	})
	return left
}
