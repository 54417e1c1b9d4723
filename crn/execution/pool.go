// Package execution runs the workloads of a compute node: it turns the hash of a program message into a running virtual machine,
// shares that machine among callers, keeps it while it is used or allocated, and ends it. crn/api calls it.
//
// The life of one workload is a list of hooks, one concern a file: message, admission, code, runtime, volumes, then machine and
// guest. Starting runs them in order, ending undoes those that ran in reverse.
package execution

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/guest"
	"github.com/aleph-im/aleph-go/crn/kept"
	"github.com/aleph-im/aleph-go/crn/vm"
	"github.com/aleph-im/aleph-go/message"
)

// Network is where messages and files come from; [corenode.Client] in a node.
type Network interface {
	Program(ctx context.Context, hash message.Hash) (*message.Program, error)
	File(ctx context.Context, ref message.Hash, latest bool, limit int64) (corenode.File, error)
}

// Config of a pool.
type Config struct {
	Network Network
	Driver  vm.Driver
	Wasm    vm.Driver // of WebAssembly programs; nil where the node has none
	Dir     string    // logs, volumes, scratch disks, snapshots
	Kernel  string    // what every machine boots: a bzImage
	Initrd  string    // and an initramfs with our guest program
	// MemoryMiB is what machines may have together. It is never exceeded. OverheadMiB is what each takes beyond its guest's,
	// WasmOverheadMiB what the process of a WebAssembly program takes beyond its instances'.
	MemoryMiB, OverheadMiB, WasmOverheadMiB int
	// VCPUs is how many processors guests may have together; four times those of the host when 0 (spec/crn.md §4.11).
	VCPUs int
	// DiskMiB is what scratch disks and volumes may have together; half of the filesystem that Dir is on when 0.
	DiskMiB int64
	// ReuseTimeout is how long an idle machine is kept for the next call. 0 ends it with the last answer.
	ReuseTimeout time.Duration
	// InitTimeout is how long a program may take from the start of its machine until it listens.
	InitTimeout time.Duration
	// DrainTimeout is how long calls may go on when the node stops.
	DrainTimeout time.Duration
	// MaxBoots is how many machines boot at the same time; the number of processors when 0.
	MaxBoots int
	// GuestAPI makes what is served to a program whose message has environment.aleph_api; with nil there is none.
	GuestAPI func(hash message.Hash) http.Handler
	// Internet is the way out of programs whose message has environment.internet.
	Internet guest.Internet
	// Planned, unless nil, is told of each plan before it is carried out. It must not block.
	Planned func(Plan)
	// SnapshotLimit is what snapshots of programs may take of the disk, in bytes. None are kept when it is 0, or when the driver
	// offers none.
	SnapshotLimit int64
	Metrics       prometheus.Registerer // nil for none
	Log           *slog.Logger
}

// Errors that callers tell apart. Others come from crn/corenode, crn/guest and crn/vm.
var (
	ErrDraining = errors.New("server is draining, try another node")
	// ErrNoRoom: the machine does not fit beside those in use.
	ErrNoRoom = errors.New("this CRN cannot host the requested workload at this time")
	// ErrResource: code, runtime, data or a volume cannot be had, or is not what the message says.
	ErrResource = errors.New("code, runtime or data not available")
	// ErrUnsupported: the message asks for something that this node does not offer.
	ErrUnsupported = errors.New("not offered by this node")
)

// Pool holds the executions of a node, at most one for each hash. Safe for concurrent use.
type Pool struct {
	cfg       Config
	hooks     []hook
	snapshots *snapshots // nil when none are kept
	logs      *kept.Folder
	boots     chan struct{} // a token for each machine that boots

	life    context.Context // ends when the pool stops
	end     context.CancelFunc
	running sync.WaitGroup // every execution, prefetch and restart

	allocating sync.Mutex // one allocation at a time

	// mu guards what follows and the mutable part of every Execution.
	mu         sync.Mutex
	executions map[message.Hash]*Execution
	kept       map[message.Hash]*keeper // allocated for good: started again whenever they end
	ahead      map[message.Hash]bool    // allocated on demand: booted once ahead of the first call
	arriving   int                      // executions that have no part of the node yet
	used       share
	volumesMiB int64 // volumes that stay, but for those that a machine in used is making
	draining   bool
}

// keeper remembers how often a persistent program has ended right after its start.
type keeper struct{ failures int }

// New makes a pool. Before, the driver must have reaped what an earlier node left behind; New removes the disks of that.
func New(cfg Config) (*Pool, error) {
	if cfg.MaxBoots == 0 {
		cfg.MaxBoots = runtime.NumCPU()
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.RemoveAll(filepath.Join(cfg.Dir, scratchDir)); err != nil {
		return nil, fmt.Errorf("remove the disks of earlier machines: %w", err)
	}
	for _, dir := range []string{scratchDir, logDir, volumeDir} {
		if err := os.MkdirAll(filepath.Join(cfg.Dir, dir), 0o700); err != nil {
			return nil, fmt.Errorf("prepare the folder for executions: %w", err)
		}
	}
	volumes, err := sizeMiB(filepath.Join(cfg.Dir, volumeDir))
	if err != nil {
		return nil, fmt.Errorf("measure the volumes: %w", err)
	}
	if cfg.VCPUs == 0 {
		cfg.VCPUs = 4 * runtime.NumCPU()
	}
	if cfg.DiskMiB == 0 {
		total, _, err := filesystemMiB(cfg.Dir)
		if err != nil {
			return nil, err
		}
		cfg.DiskMiB = total / 2
	}
	p := &Pool{
		cfg: cfg, volumesMiB: volumes, boots: make(chan struct{}, cfg.MaxBoots),
		executions: map[message.Hash]*Execution{}, kept: map[message.Hash]*keeper{}, ahead: map[message.Hash]bool{},
	}
	if err := p.openLogs(); err != nil {
		return nil, err
	}
	if p.snapshots, err = openSnapshots(cfg.Driver, kept.Config{
		Dir: filepath.Join(cfg.Dir, snapshotDir), What: "snapshots", Bytes: cfg.SnapshotLimit, Metrics: cfg.Metrics, Log: cfg.Log,
	}); err != nil {
		return nil, err
	}
	p.hooks = []hook{messageHook{p}, admissionHook{p}, logHook{p}, codeHook{p}, runtimeHook{p}, volumesHook{p}, machineHook{p}, guestHook{p}}
	p.life, p.end = context.WithCancel(context.Background())
	return p, nil
}

// Folders below Config.Dir.
const (
	scratchDir  = "scratch"   // disks that live as long as their machine
	volumeDir   = "volumes"   // disks that stay
	logDir      = "logs"      // what programs printed
	snapshotDir = "snapshots" // programs that start as copies
)

// Run waits for ctx to end, then lets calls finish within the drain time and ends every machine.
func (p *Pool) Run(ctx context.Context) error {
	p.running.Go(p.sweepLogs)
	<-ctx.Done()
	p.mu.Lock()
	p.draining = true
	clear(p.kept)
	var busy []*Execution
	for _, x := range p.executions {
		busy = append(busy, x)
		x.requestStop()
	}
	p.mu.Unlock()

	limit := time.NewTimer(p.cfg.DrainTimeout)
	defer limit.Stop()
	for _, x := range busy {
		select {
		case <-x.stopped:
			continue
		case <-limit.C:
		}
		break
	}
	p.end() // what is still in use ends now
	p.running.Wait()
	return nil
}

// Acquire returns the running execution of a program, starting it first when needed. The caller must call Release when it is
// done with it. ctx bounds the wait only: a start goes on for other callers, or to be there for the next call.
func (p *Pool) Acquire(ctx context.Context, hash message.Hash) (*Execution, error) {
	for {
		p.mu.Lock()
		if p.executions[hash] == nil && p.kept[hash] == nil && p.arriving >= maxArriving {
			p.mu.Unlock()
			return nil, fmt.Errorf("program %s: %d others are being looked up or wait for room: %w", hash, maxArriving, ErrNoRoom)
		}
		x, err := p.claim(hash)
		if err != nil {
			p.mu.Unlock()
			return nil, err
		}
		if x.isStopping() || x.isDead() {
			x.requestStop()
			p.mu.Unlock()
			select {
			case <-x.stopped:
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		x.inflight++
		x.disarm()
		p.mu.Unlock()

		select {
		case <-x.ready:
		case <-ctx.Done():
			x.Release()
			return nil, ctx.Err()
		}
		if x.startErr != nil {
			x.Release()
			return nil, x.startErr
		}
		return x, nil
	}
}

// claim returns the execution of hash, creating and starting it when there is none. p.mu is held.
func (p *Pool) claim(hash message.Hash) (*Execution, error) {
	if p.draining {
		return nil, ErrDraining
	}
	if x := p.executions[hash]; x != nil {
		return x, nil
	}
	x := newExecution(p, hash, p.freeSlot())
	p.executions[hash] = x
	p.arriving++
	p.running.Go(x.run)
	return x, nil
}

// maxArriving bounds the executions that callers have begun and that have no part of the node yet: anybody can have one begin for each
// hash that he makes up, and it goes on when he is gone. Those of a plan count, and are as many as the plan has.
const maxArriving = 1024

// firstSlot is the lowest number that a machine gets (spec/crn.md §1.2).
const firstSlot = 4

// freeSlot returns the lowest number that no execution has. p.mu is held.
func (p *Pool) freeSlot() int {
	taken := make(map[int]bool, len(p.executions)) // anybody can have an execution begin for each hash that he makes up
	for _, x := range p.executions {
		taken[x.slot] = true
	}
	slot := firstSlot
	for taken[slot] {
		slot++
	}
	return slot
}

// List returns what runs, ordered by hash.
func (p *Pool) List() []Info {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]Info, 0, len(p.executions))
	for _, x := range p.executions {
		list = append(list, x.info())
	}
	slices.SortFunc(list, func(a, b Info) int { return compareHash(a.Hash, b.Hash) })
	return list
}

// Memory returns what machines hold and may hold, in MiB.
func (p *Pool) Memory() (used, limit int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used.memoryMiB, p.cfg.MemoryMiB
}

// Draining reports whether the pool takes no more calls.
func (p *Pool) Draining() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.draining
}

// forget ends the record of an execution that has stopped; what is kept is started again.
func (p *Pool) forget(x *Execution) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.executions, x.hash)
	x.arrived()
	k := p.kept[x.hash]
	if k == nil || p.draining {
		return
	}
	if x.outdated && x.startErr == nil {
		_, _ = p.claim(x.hash)
		return
	}
	if x.startErr == nil && time.Since(x.times.Started) > time.Minute {
		k.failures = 0
	}
	k.failures++
	pause := min(time.Second<<min(k.failures-1, 6), time.Minute)
	p.running.Go(func() {
		select {
		case <-time.After(pause):
			p.ensure(x.hash)
		case <-p.life.Done():
		}
	})
}

// ensure starts a kept execution, without waiting for it.
func (p *Pool) ensure(hash message.Hash) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kept[hash] != nil {
		_, _ = p.claim(hash) // refused only while draining
	}
}
