package devnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Process is one node of the network, running as a child process so that it can be killed and started again.
type Process struct {
	Name string // ccn1, crn2, …
	URL  string // where its HTTP API answers

	path    string
	args    []string
	logPath string

	mu   sync.Mutex
	cmd  *exec.Cmd     // guarded by mu; nil when not running
	done chan struct{} // guarded by mu; closed when cmd has ended
	err  error         // guarded by mu; how it ended, valid once done is closed
}

// stopTimeout is how long a process may take to end after SIGTERM.
const stopTimeout = 30 * time.Second

// Start starts the process. Its output goes to its log file.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		select {
		case <-p.done:
		default:
			return fmt.Errorf("%s is running already, as process %d", p.Name, p.cmd.Process.Pid)
		}
	}
	log, err := os.OpenFile(p.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("open log of %s: %w", p.Name, err)
	}
	defer log.Close() // the child has its own copy
	cmd := exec.Command(p.path, p.args...)
	cmd.Stdout, cmd.Stderr = log, log
	// Its own group keeps a Ctrl-C in the terminal from reaching it before we stop it in order; should we be killed, the
	// kernel tells it to stop.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	done := make(chan struct{})
	p.cmd, p.done = cmd, done
	go func() { // ends with the process; Stop and Wait wait for it
		err := cmd.Wait()
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		close(done)
	}()
	return nil
}

// PID returns the number of the running process, or 0.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Done is closed when the process has ended. It is nil before the first Start.
func (p *Process) Done() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

// Kill ends the process at once, as a power cut would, and waits until it is gone.
func (p *Process) Kill() error { return p.end(syscall.SIGKILL) }

// Stop asks the process to end and waits; one that does not end in time is killed.
func (p *Process) Stop() error { return p.end(syscall.SIGTERM) }

func (p *Process) end(signal syscall.Signal) error {
	p.mu.Lock()
	cmd, done := p.cmd, p.done
	p.mu.Unlock()
	if cmd == nil {
		return nil
	}
	if err := cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", p.Name, err)
	}
	select {
	case <-done:
		return nil
	case <-time.After(stopTimeout):
	}
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.Name, err)
	}
	<-done
	return fmt.Errorf("%s did not stop within %s and was killed", p.Name, stopTimeout)
}

// AwaitHTTP waits until the process answers on path with status 200, or ends, or ctx does.
func (p *Process) AwaitHTTP(ctx context.Context, path string) error {
	client := &http.Client{Timeout: time.Second}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL+path, nil)
		if err != nil {
			return fmt.Errorf("ask %s: %w", p.Name, err)
		}
		if resp, err := client.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s at %s: %w; its log is %s", p.Name, p.URL, ctx.Err(), p.logPath)
		case <-p.Done():
			p.mu.Lock()
			ended := p.err
			p.mu.Unlock()
			return fmt.Errorf("%s ended before it answered (%v): %s", p.Name, ended, lastLine(p.logPath))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// lastLine returns what a process said last, which is why it ended.
func lastLine(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "its log cannot be read: " + err.Error()
	}
	end := len(raw)
	for end > 0 && raw[end-1] == '\n' {
		end--
	}
	start := end
	for start > 0 && raw[start-1] != '\n' {
		start--
	}
	return string(raw[start:end]) + " (log: " + filepath.Clean(path) + ")"
}

// NewProcess describes a process that is not running yet; its output goes to the file at logPath.
func NewProcess(name, url, logPath, path string, args ...string) *Process {
	return &Process{Name: name, URL: url, path: path, args: args, logPath: logPath}
}
