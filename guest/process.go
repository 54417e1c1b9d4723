package guest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// process is the user's program.
type process struct {
	pid  int
	done chan struct{} // closed when it ended and its output was read
	exit wire.Event    // set before done is closed
}

// start runs the program and reaps it and every orphan of the machine until the machine ends.
func start(c *wire.Config, logs *logSender) (*process, error) {
	// The kernel's killer shall find the program, never its init: that would end the machine without a word.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0)
	path, err := lookUp(c)
	if err != nil {
		return nil, err
	}
	tail := &tailBuffer{limit: 16 << 10}
	var output sync.WaitGroup
	stdout, err := logs.pipe("stdout", tail, &output)
	if err != nil {
		return nil, err
	}
	defer stdout.Close()
	stderr, err := logs.pipe("stderr", tail, &output)
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()

	killsBefore := oomKills()
	pid, err := syscall.ForkExec(path, c.Args, &syscall.ProcAttr{
		Dir: c.Dir, Env: c.Env, Files: []uintptr{null.Fd(), stdout.Fd(), stderr.Fd()},
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Args[0], describeExec(err))
	}
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("0"), 0)

	p := &process{pid: pid, done: make(chan struct{})}
	go func() {
		status := reapUntil(pid)
		go reapUntil(-1)
		// Children that the program leaves behind may hold its output open: they get a moment, no more.
		drained := make(chan struct{})
		go func() { output.Wait(); close(drained) }()
		select {
		case <-drained:
		case <-time.After(500 * time.Millisecond):
		}
		p.exit = wire.Event{State: wire.StateExited, OOM: oomKills() > killsBefore, Output: tail.String()}
		if status.Signaled() {
			p.exit.Signal = unix.SignalName(status.Signal())
		} else {
			p.exit.Code = status.ExitStatus()
		}
		close(p.done)
	}()
	return p, nil
}

// lookUp finds the program: a name with a slash from the working folder, any other in PATH of its own environment.
func lookUp(c *wire.Config) (string, error) {
	if len(c.Args) == 0 || c.Args[0] == "" {
		return "", errors.New("no program to start: the entrypoint is empty")
	}
	name := c.Args[0]
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(c.Dir, name)
		}
		info, err := os.Stat(name)
		if err != nil || info.IsDir() {
			return "", fmt.Errorf("the entrypoint %s is not a file of the code", c.Args[0])
		}
		if info.Mode()&0o111 == 0 {
			// Archives made on other systems have no such bits. On a read-only image this fails, and so will the start.
			_ = os.Chmod(name, 0o755)
		}
		return name, nil
	}
	for _, env := range c.Env {
		if dirs, ok := strings.CutPrefix(env, "PATH="); ok {
			os.Setenv("PATH", dirs)
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("the runtime has no %s", name)
	}
	return path, nil
}

// describeExec says what the kernel's terse answers mean for an uploaded program.
func describeExec(err error) error {
	switch {
	case errors.Is(err, unix.ENOEXEC):
		return fmt.Errorf("%w: it is not a program for this machine; build it for linux/amd64", err)
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w: it exists, but the loader or interpreter that it names is not in the runtime; link it statically", err)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: the file is not executable; set its mode before archiving it", err)
	}
	return err
}

// reapUntil collects ended children until pid is among them; with -1 it never returns.
func reapUntil(pid int) unix.WaitStatus {
	for {
		var status unix.WaitStatus
		got, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.ECHILD):
			time.Sleep(time.Second)
		case err == nil && got == pid:
			return status
		}
	}
}

// stop ends the program and whatever it started.
func (p *process) stop(grace time.Duration) {
	_ = unix.Kill(-p.pid, unix.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(grace):
	}
	_ = unix.Kill(-1, unix.SIGKILL) // all but init
	select {
	case <-p.done:
	case <-time.After(2 * time.Second):
	}
}

// waitListening polls the kernel's socket tables, which unlike a trial connection the program cannot notice. It returns false
// when the program ended first.
func waitListening(port int, ended <-chan struct{}) bool {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		if listens("/proc/net/tcp", port) || listens("/proc/net/tcp6", port) {
			return true
		}
		select {
		case <-ticker.C:
		case <-ended:
			return false
		}
	}
}

// listens looks for a socket in state LISTEN (0A) at the port, on the loopback or on all addresses.
func listens(table string, port int) bool {
	raw, err := os.ReadFile(table)
	return err == nil && tableListens(string(raw), port)
}

func tableListens(table string, port int) bool {
	suffix := fmt.Sprintf(":%04X", port)
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) < 4 || fields[3] != "0A" {
			continue
		}
		address, ok := strings.CutSuffix(fields[1], suffix)
		// The program is reached at 127.0.0.1: what listens on ::1 alone is not ready.
		if ok && (address == "0100007F" || strings.Trim(address, "0") == "" || address == "0000000000000000FFFF00000100007F") {
			return true
		}
	}
	return false
}

// oomKills is how many processes the kernel has killed for want of memory.
func oomKills() int {
	raw, _ := os.ReadFile("/proc/vmstat")
	for line := range strings.Lines(string(raw)) {
		if value, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(value))
			return n
		}
	}
	return 0
}
