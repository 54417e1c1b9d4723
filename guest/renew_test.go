package guest

import (
	"bufio"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// renewingRig listens in a folder of the test's.
func renewingRig(t *testing.T) (r *renewing, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "renew.sock")
	r, err := listenForRenewing(path, filepath.Join(filepath.Dir(path), "node.cjs"))
	if err != nil {
		t.Fatal(err)
	}
	return r, path
}

func dial(t *testing.T, path string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// follow is a program that gives the answers, one a line that it hears, and then hangs up. It returns what it heard.
func follow(t *testing.T, path string, answers ...string) chan string {
	conn := dial(t, path)
	heard := make(chan string, 1)
	go func() {
		defer conn.Close()
		var all strings.Builder
		lines := bufio.NewReader(conn)
		for _, answer := range answers {
			line, _ := lines.ReadString('\n')
			all.WriteString(line)
			_, _ = conn.Write([]byte(answer))
		}
		heard <- all.String()
	}()
	return heard
}

// accepted waits until so many connections were taken.
func accepted(r *renewing, n int) {
	for {
		r.mu.Lock()
		got := len(r.waiting)
		r.mu.Unlock()
		if got >= n {
			return
		}
		runtime.Gosched()
	}
}

func TestRenewingWaitsForEverybodyWhoWantsToKnow(t *testing.T) {
	r, path := renewingRig(t)
	past := 0
	inPast := func(do func() error) error { past++; return do() }
	if err := r.renew(inPast); err != nil {
		t.Errorf("nobody waits: %v", err)
	}
	dial(t, path).Close()
	heard := follow(t, path, "\n")
	accepted(r, 2)
	if err := r.renew(inPast); err != nil {
		t.Error(err)
	}
	if lines := <-heard; lines != "renew\n" || past != 0 {
		t.Errorf("a program was told %q, %d times in the past", lines, past)
	}
	follow(t, path, "") // hangs up instead of answering
	accepted(r, 2)
	if err := r.renew(inPast); err == nil || !strings.Contains(err.Error(), "did not say that it is ready") {
		t.Errorf("got %v", err)
	}
}

func TestWhoAsksForThePastIsToldOnceMoreThere(t *testing.T) {
	r, path := renewingRig(t)
	once, twice := follow(t, path, "\n"), follow(t, path, wire.RenewInPast+"\n", "\n")
	accepted(r, 2)
	past := 0
	if err := r.renew(func(do func() error) error { past++; return do() }); err != nil {
		t.Fatal(err)
	}
	if a, b := <-once, <-twice; a != "renew\n" || b != "renew\nrenew\n" || past != 1 {
		t.Errorf("told %q and %q, %d times in the past", a, b, past)
	}
	follow(t, path, wire.RenewInPast+"\n", "") // hangs up in the past
	accepted(r, 3)
	if err := r.renew(func(do func() error) error { return do() }); err == nil {
		t.Error("a program that gave no answer in the past may go on as a copy")
	}
}

func TestAProgramRenewsItselfWhenEachOfItsProcessesWaits(t *testing.T) {
	r, path := renewingRig(t)
	own := os.Getpid()
	if r.everybody([]int{own}) || r.everybody(nil) || (*renewing)(nil).everybody([]int{own}) {
		t.Error("nobody waits")
	}
	conn := dial(t, path)
	accepted(r, 1)
	if !r.everybody([]int{own}) {
		t.Error("the process waits")
	}
	if r.everybody([]int{own, os.Getppid()}) {
		t.Error("another process does not wait")
	}
	conn.Close()
	if r.everybody([]int{own}) {
		t.Error("the process has hung up")
	}
}

func TestProcessesOfTheKernelAndTheDeadDoNotCount(t *testing.T) {
	proc := t.TempDir()
	for pid, stat := range map[string]string{
		"1": "1 (init) S 0 1 1", "2": "2 (kthreadd) S 0 0 0", "3": "3 (kworker/0:0) I 2 0 0", "60": "60 (node) S 1 60 60",
		"61": "61 (a (b) 2) R 60 60 60", "62": "62 (sh) Z 60 60 60",
	} {
		if err := os.MkdirAll(filepath.Join(proc, pid), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(proc, pid, "stat"), []byte(stat+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pids, err := userProcesses(proc)
	slices.Sort(pids)
	if err != nil || !slices.Equal(pids, []int{60, 61}) {
		t.Errorf("processes %v, %v", pids, err)
	}
}
