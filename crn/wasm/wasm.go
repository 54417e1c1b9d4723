// Package wasm runs WebAssembly programs: one process a program, in which crn/wasm/runner gives each call an instance of its
// own. It implements [vm.Driver], so that to crn/execution such a process is a machine that starts in milliseconds.
//
// WebAssembly is the first wall around a program, the process the second: it is another user's, sees no file but its cache of
// compiled code, has no network but a loopback that is down, and ends with the node. It is also what makes every call one that
// can be ended: WebAssembly that only calls itself cannot be interrupted, and would bring the node to a halt.
package wasm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aleph-im/aleph-go/crn/kept"
	"github.com/aleph-im/aleph-go/crn/vm"
	"github.com/aleph-im/aleph-go/crn/wasm/runner"
)

// Config of the driver.
type Config struct {
	Dir string // holds the runner and the compiled modules
	// Program is the file of the runner, cmd/wasm-runner; wasm-runner beside this program when empty.
	Program string
	// Patience is how long a process may give no sign of life; 15 s when 0. Hosts are busy at times.
	Patience time.Duration
	Metrics  prometheus.Registerer // nil for none
	Log      *slog.Logger          // discarded when nil
}

// Driver starts runners. Safe for concurrent use.
type Driver struct {
	cfg      Config
	compiled *kept.Folder

	mu         sync.Mutex // held while a box is prepared
	installed  bool       // the runner is in its place
	namespaces bool       // the node's user may make namespaces; known once installed

	using   sync.Mutex     // held while a module is removed
	running map[string]int // guarded by using; processes by the name of their module
}

// compiledDir, below Config.Dir, holds a folder a module.
const compiledDir = "compiled"

// Bounds of the modules that stay compiled on disk, those that run included.
const (
	maxCompiled   = 500
	compiledBytes = 4 << 30
)

// ErrMissing is returned where the runner is not installed.
var ErrMissing = errors.New("this node has no wasm-runner beside its program: 'make build' makes it")

// New returns the driver. The runner itself is looked for at the first use.
func New(cfg Config) (*Driver, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Patience == 0 {
		cfg.Patience = 15 * time.Second
	}
	if cfg.Program == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find the runner of WebAssembly: %w", err)
		}
		cfg.Program = filepath.Join(filepath.Dir(self), "wasm-runner")
	}
	d := &Driver{cfg: cfg, running: map[string]int{}}
	dir := filepath.Join(cfg.Dir, compiledDir)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("prepare the folder for WebAssembly: %w", err)
	}
	var err error
	d.compiled, err = kept.Open(kept.Config{
		Dir: dir, What: "modules", Bytes: compiledBytes, Entries: maxCompiled, Remove: d.removeIdle, Metrics: cfg.Metrics, Log: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Fingerprint implements [vm.Driver].
func (d *Driver) Fingerprint(context.Context) (vm.Fingerprint, error) {
	return vm.Fingerprint{Driver: "wasm", Version: runner.Version(), Accelerator: "none", Reason: "WebAssembly is compiled for the host's processor", OverheadMiB: overhead}, nil
}

// Reap implements [vm.Driver]. Nothing is left behind: the kernel ends the processes with the node.
func (d *Driver) Reap(context.Context) ([]string, error) { return nil, nil }

// overhead is what a process may have beside the memory of its instances, in MiB: the runner itself, the module, its stacks, and
// for a while the compiler. The kernel holds it to that, and nodes admit it with as much.
const overhead = 512

// Start implements [vm.Driver]. The first drive holds the module; compiled code is kept by the hash of its content.
func (d *Driver) Start(_ context.Context, spec vm.Spec) (vm.Machine, error) {
	m, err := d.launch(spec)
	if err != nil {
		return nil, fmt.Errorf("start the WebAssembly program %s: %w", spec.ID, err)
	}
	return m, nil
}

func (d *Driver) launch(spec vm.Spec) (*machine, error) {
	if len(spec.Drives) == 0 || spec.VCPUs < 1 || spec.MemoryMiB < 1 {
		return nil, errors.New("a program needs a module, processors and memory")
	}
	module := filepath.Base(spec.Drives[0].Path) // files of the network are named for their content
	d.enter(module)
	begins := false
	defer func() {
		if !begins {
			d.leave(module)
		}
	}()
	box, err := d.prepare(module)
	if err != nil {
		return nil, err
	}
	d.note(module)
	m := &machine{patience: d.cfg.Patience, ended: func() { d.leave(module) }, done: make(chan struct{})}
	channel, end, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer end.Close()
	m.channel = channel
	pulse, beat, err := os.Pipe()
	if err != nil {
		channel.Close()
		return nil, err
	}
	defer beat.Close()
	inherited := []*os.File{end} // from descriptor runner.ChannelFD on
	for _, drive := range spec.Drives {
		file, err := os.Open(drive.Path)
		if err != nil {
			channel.Close()
			pulse.Close()
			return nil, err
		}
		defer file.Close()
		inherited = append(inherited, file)
	}
	m.cmd = &exec.Cmd{
		Path: box.program,
		Args: []string{programName, "-memory", strconv.Itoa(spec.MemoryMiB), "-limit", strconv.Itoa(spec.MemoryMiB + overhead),
			"-cpus", strconv.Itoa(spec.VCPUs), "-cache", box.cache, spec.ID}, // the id is for who looks at processes
		Dir: box.dir, Env: []string{"GOTRACEBACK=none"}, ExtraFiles: inherited, Stdout: beat, Stderr: &m.stderr,
		SysProcAttr: box.attributes, WaitDelay: time.Second,
	}
	begun := make(chan error, 1)
	begins = true
	go m.run(pulse, begun)
	if err := <-begun; err != nil {
		return nil, err
	}
	return m, nil
}
