// Package instance keeps the instances of a compute node: virtual machines with their own disks, addresses and forwarded ports,
// which live until their owner or the scheduler ends them. crn/api calls it; programs are the business of crn/execution.
//
// What is to be is written down before it is brought about, in SQLite. Each instance has one goroutine that compares what it is
// with what it is to be and takes the next step (life.go). Machines go on without the node; the next one adopts them.
package instance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/crn/gpu"
	"github.com/aleph-im/aleph-go/crn/replica"
	"github.com/aleph-im/aleph-go/crn/tap"
	"github.com/aleph-im/aleph-go/crn/vm"
	"github.com/aleph-im/aleph-go/crn/vm/qemu"
	"github.com/aleph-im/aleph-go/message"
)

// Network is where messages and files come from; [corenode.Client] in a node.
type Network interface {
	Instance(ctx context.Context, hash message.Hash) (*message.Instance, error)
	File(ctx context.Context, ref message.Hash, latest bool, limit int64) (corenode.File, error)
	Aggregate(ctx context.Context, address, key string, age time.Duration, v any) error
}

// Guests is the network of guests; [tap.Host] in a node.
type Guests interface {
	Apply(ctx context.Context, guests []tap.Guest) error
}

// Config of a pool.
type Config struct {
	Network Network
	Driver  Driver
	Guests  Guests
	Dir     string // records, disks, logs
	// IPv6Pool is the prefix that addresses derive from; at most 64 bits.
	IPv6Pool    netip.Prefix
	Nameservers []netip.Addr // told to guests
	MemoryMiB   int          // what instances may have together; never exceeded
	OverheadMiB int          // what each takes beyond its guest's
	VCPUs       int          // what instances may have together of virtual processors
	// StopTimeout is how long a guest may take to turn itself off; 50 s when 0.
	StopTimeout time.Duration
	// EndWithin is how long guests have to turn themselves off when the pool ends, before their power is cut; the next pool starts them
	// again. They go on without it when 0.
	EndWithin time.Duration
	HTTP      http.RoundTripper // to other nodes; one of the pool's own when nil
	// ReplicaBytes is what replicas of other nodes' instances may take together; none are held when 0.
	ReplicaBytes int64
	SEV          *qemu.SecureProcessor // that confidential instances run on; nil where there is none
	NoSEV        error                 // why
	Cards        *gpu.Table            // graphics cards that instances may be given; none when nil
	CardHost     gpu.Host              // where they are
	Log          *slog.Logger
}

// Errors that callers tell apart; those that programs have as well are the same. Others come from crn/corenode and crn/vm/qemu.
var (
	ErrUnknown = errors.New("no such instance on this node")
	// ErrStopped: the pool ended, or something else was asked for meanwhile.
	ErrStopped = errors.New("given up: something else was asked for, or the node stops")
	// ErrRefused: the instance can never run as it is defined. It is not tried again before its owner says so.
	ErrRefused     = errors.New("it can never run")
	ErrNoRoom      = execution.ErrNoRoom
	ErrResource    = execution.ErrResource
	ErrUnsupported = execution.ErrUnsupported
)

// refusal is an ErrRefused that was written down.
type refusal string

func (r refusal) Error() string        { return string(r) }
func (r refusal) Is(target error) bool { return target == ErrRefused }

// Pool holds the instances of a node. Safe for concurrent use.
type Pool struct {
	cfg     Config
	records *records
	held    *replica.Store // replicas of other nodes' instances
	http    *http.Client   // of other nodes
	holders *http.Client   // of those that hold replicas or read disks, which may take their time to answer

	life    context.Context // ends when the pool stops
	end     context.CancelFunc
	running sync.WaitGroup

	allocating sync.Mutex    // one plan at a time
	applying   sync.Mutex    // rules are set in the order of what they follow from
	portsNews  chan struct{} // holds a token when portsDue has some

	// mu guards what follows and the mutable part of every instance.
	mu        sync.Mutex
	instances map[message.Hash]*instance
	errands   map[message.Hash]*errand // of what is fetched ahead
	portsDue  map[message.Hash]bool    // instances whose forwarded ports may have changed
	ran       bool                     // instances have their goroutines
	claims    claims                   // of ports of the host
	lastPort  uint16                   // that was given
}

// Folders and files below Config.Dir.
const (
	recordsFile = "records.db"
	diskDir     = "disks"   // a folder for each instance
	parentDir   = "parents" // images under root disks
	logDir      = "logs"
	replicaDir  = "replicas" // of other nodes' instances, a folder for each
	copiesDir   = "copies"   // of disks, while they are sent to the holder of a replica
)

// keepReleased is how long disks stay of what the scheduler sent away, should it come back, and at most of what was handed over.
const keepReleased = 7 * 24 * time.Hour

// firstSlot keeps instances apart from programs, which are numbered from 4.
const firstSlot = 2048

// New makes a pool: machines that an earlier node left are adopted, and what is nobody's is removed. Run must follow, or Close.
func New(ctx context.Context, cfg Config) (_ *Pool, err error) {
	if cfg.StopTimeout == 0 {
		cfg.StopTimeout = 50 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Cards == nil {
		cfg.Cards = gpu.NewTable(nil)
	}
	if cfg.HTTP == nil {
		cfg.HTTP = &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: askLimit}).DialContext,
			ResponseHeaderTimeout: askLimit, IdleConnTimeout: time.Minute, DisableCompression: true,
		}
	}
	if err := os.RemoveAll(filepath.Join(cfg.Dir, incomingDir)); err != nil {
		return nil, fmt.Errorf("prepare the folder for instances: %w", err)
	}
	if err := os.RemoveAll(filepath.Join(cfg.Dir, copiesDir)); err != nil {
		return nil, fmt.Errorf("remove what a killed node was sending: %w", err)
	}
	for _, dir := range []string{diskDir, parentDir, logDir, incomingDir} {
		if err := os.MkdirAll(filepath.Join(cfg.Dir, dir), 0o700); err != nil {
			return nil, fmt.Errorf("prepare the folder for instances: %w", err)
		}
	}
	p := &Pool{cfg: cfg, http: client(cfg.HTTP), holders: client(patient(cfg.HTTP)), instances: map[message.Hash]*instance{}, errands: map[message.Hash]*errand{},
		portsDue: map[message.Hash]bool{}, portsNews: make(chan struct{}, 1), claims: claims{}, lastPort: firstPort - 1}
	p.life, p.end = context.WithCancel(context.Background())
	if p.records, err = openRecords(filepath.Join(cfg.Dir, recordsFile)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	if p.held, err = replica.Open(filepath.Join(cfg.Dir, replicaDir), cfg.ReplicaBytes); err != nil {
		return nil, err
	}
	list, err := p.records.load()
	if err != nil {
		return nil, err
	}
	for _, r := range list {
		if (r.Wanted == wantedReleased || r.Wanted == wantedLeaving && r.Move.Claim != "") && time.Since(r.Changed) > keepReleased {
			r.Wanted = wantedErased
		}
		if r.Wanted == wantedArriving && r.Move.Live && !r.Move.Here {
			r.Wanted = wantedErased // the other node has its guest go on
		}
		p.instances[r.Hash] = newInstance(p, r)
		if p.instances[r.Hash].here() {
			p.dropReplica(r.Hash)
		}
		for _, port := range r.Ports {
			p.lastPort = max(p.lastPort, port.HostPort)
		}
	}
	if err := p.adopt(ctx); err != nil {
		return nil, err
	}
	if err := p.giveOrphanedCardsBack(); err != nil {
		return nil, err
	}
	if err := p.removeOrphans(); err != nil {
		return nil, err
	}
	if err := p.claimPorts(); err != nil {
		return nil, err
	}
	return p, p.applyNetwork(ctx)
}

// client is that of other nodes. Only registered addresses are asked, and none that these name.
func client(t http.RoundTripper) *http.Client {
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// patient is a transport whose answers may begin as late as the request's own deadline allows.
func patient(t http.RoundTripper) http.RoundTripper {
	if plain, ok := t.(*http.Transport); ok {
		plain = plain.Clone()
		plain.ResponseHeaderTimeout = 0
		return plain
	}
	return t
}

// adopt takes over what runs; a machine that no record names is ended.
func (p *Pool) adopt(ctx context.Context) error {
	machines, err := p.cfg.Driver.Adopt(ctx, p.openConsole)
	if err != nil {
		p.cfg.Log.Error("machines left behind", "error", err)
	}
	var errs []error
	for id, m := range machines {
		x := p.instances[message.Hash(id)]
		if x == nil {
			p.cfg.Log.Warn("ending a machine that nobody knows", "id", id)
			errs = append(errs, m.Kill(), m.Release())
			continue
		}
		x.machine = m
		x.still = x.rec.Move != nil && x.rec.Move.Live
		if x.rec.Wanted == wantedRunning && !x.rec.confidential() {
			// The node before this one may have been killed in the middle of a move.
			stood, err := m.Continue(ctx)
			if err != nil {
				p.cfg.Log.Error("instance may stand still", "hash", x.hash, "error", err)
			}
			x.late = stood
		}
		x.times.Started = time.Now()
		x.lease = time.Now().Add(grace)
		p.cfg.Log.Info("instance adopted", "hash", x.hash, "pid", m.Inspect().PID)
	}
	return errors.Join(errs...)
}

// removeOrphans removes disks and images that no record names.
func (p *Pool) removeOrphans() error {
	parents := map[string]bool{}
	for _, x := range p.instances {
		parents[string(x.rec.Parent)] = true
		if r := x.rec.Restore; r != nil {
			parents[string(r.Image)], parents[string(r.Before)] = true, true
		}
	}
	for _, e := range p.errands {
		parents[string(e.arrival.Parent)] = true
	}
	known := func(name string) bool {
		return p.instances[message.Hash(name)] != nil || p.errands[message.Hash(name)] != nil
	}
	return errors.Join(
		removeExcept(filepath.Join(p.cfg.Dir, diskDir), known),
		removeExcept(filepath.Join(p.cfg.Dir, parentDir), func(name string) bool { return parents[name] }),
		removeExcept(filepath.Join(p.cfg.Dir, logDir), func(name string) bool { hash, _, _ := strings.Cut(name, "."); return known(hash) }),
	)
}

func removeExcept(dir string, keep func(name string) bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look for what is nobody's: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		if !keep(entry.Name()) {
			errs = append(errs, os.RemoveAll(filepath.Join(dir, entry.Name())))
		}
	}
	return errors.Join(errs...)
}

// Run brings instances to what they are to be, until ctx ends. Machines go on without the node, unless they are to end with it.
func (p *Pool) Run(ctx context.Context) error {
	p.mu.Lock()
	p.ran = true
	for _, x := range p.instances {
		p.running.Go(x.run)
	}
	p.running.Go(p.expireReplicas)
	p.running.Go(p.followPorts)
	p.mu.Unlock()
	<-ctx.Done()
	p.mu.Lock()
	p.end() // no more are started
	p.mu.Unlock()
	p.running.Wait()
	var err error
	if p.cfg.EndWithin > 0 {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), networkLimit)
		defer cancel()
		err = p.applyNetworkOf(last, func(x *instance) bool { return x.machine != nil })
	}
	p.mu.Lock()
	p.claims.keep(nil)
	p.mu.Unlock()
	return errors.Join(err, p.records.close())
}

// networkLimit bounds the removal of taps and rules when the pool ends.
const networkLimit = 20 * time.Second

// Close gives back what New took, for a pool that is not run. After Run it does nothing.
func (p *Pool) Close() {
	p.end()
	if p.ran {
		return
	}
	for _, x := range p.instances {
		if x.machine != nil {
			_ = x.machine.Detach()
		}
	}
	p.claims.keep(nil)
	if p.records != nil {
		_ = p.records.close()
	}
}

// Info describes an instance at one moment.
type Info struct {
	Hash         message.Hash
	Owner        string
	Payment      message.PaymentType
	Chain        string // of payment by stream
	Running      bool
	Confidential bool
	Awaiting     bool  // it is confidential, and waits for its owner to start it
	Stopped      bool  // its owner stopped it, or its guest turned itself off
	Failure      error // why it does not run although it should
	Addresses    tap.Addresses
	Ports        []tap.Forward
	MemoryMiB    int
	Times        Times
	Machine      vm.Status
	Holder       string    // base URL of the node that keeps a replica of it; "" for none
	Replicated   time.Time // as of when the replica is; zero when none was made since this node, or the holder, was told of it
}

// List returns the instances of this node, ordered by hash. What was sent elsewhere is not among them.
func (p *Pool) List() []Info {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]Info, 0, len(p.instances))
	for _, x := range p.instances {
		if x.here() {
			list = append(list, x.info())
		}
	}
	slices.SortFunc(list, func(a, b Info) int { return strings.Compare(string(a.Hash), string(b.Hash)) })
	return list
}

// Memory returns what instances hold and may hold, in MiB.
func (p *Pool) Memory() (used, limit int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range p.instances {
		used += x.memory()
	}
	return used, p.cfg.MemoryMiB
}

// Has reports whether an instance is on this node, in any state.
func (p *Pool) Has(hash message.Hash) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.instances[hash]
	return x != nil && x.here()
}

// Owner returns the address that an instance belongs to.
func (p *Pool) Owner(_ context.Context, hash message.Hash) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.instances[hash]
	if x == nil || !x.here() {
		return "", fmt.Errorf("instance %s: %w", hash, ErrUnknown)
	}
	return x.rec.Owner, nil
}

// applyNetwork makes taps and rules those of the instances that are here.
func (p *Pool) applyNetwork(ctx context.Context) error {
	return p.applyNetworkOf(ctx, func(x *instance) bool { return x.networked() || x.machine != nil })
}

// applyNetworkOf makes taps and rules those of some instances. p.mu is held while they are chosen. One whose number another node of this
// host took first gets another, as long as it has no machine.
func (p *Pool) applyNetworkOf(ctx context.Context, have func(*instance) bool) error {
	p.applying.Lock()
	defer p.applying.Unlock()
	var foreign []int
	for {
		err := p.cfg.Guests.Apply(ctx, p.guests(have))
		var taken *tap.TakenError
		if !errors.As(err, &taken) {
			return err
		}
		foreign = append(foreign, taken.Slots...)
		renumbered, err := p.renumber(foreign)
		if err != nil || !renumbered {
			return err
		}
	}
}

// guests describes some instances to the network, and gives back the ports that no instance has any more. p.mu is held while they are
// chosen.
func (p *Pool) guests(have func(*instance) bool) (list []tap.Guest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.claims.keep(p.usedPorts())
	for _, x := range p.instances {
		if x.rec.Internet && have(x) {
			list = append(list, tap.Guest{
				Slot: x.rec.Slot, Addresses: x.addresses(), Inside: x.inside(), MAC: tap.MACOf(x.hash), Forwards: slices.Clone(x.rec.Ports),
			})
		}
	}
	slices.SortFunc(list, func(a, b tap.Guest) int { return a.Slot - b.Slot })
	return list
}

// renumber gives other numbers to instances of these, which others of this host have, and reports whether it did so to any.
func (p *Pool) renumber(foreign []int) (done bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range p.instances {
		if !slices.Contains(foreign, x.rec.Slot) {
			continue
		}
		if x.machine != nil {
			p.cfg.Log.Error("instance has no network before it is started again: its tap was replaced by another program's", "hash", x.hash, "tap", tap.Name(x.rec.Slot))
			continue
		}
		changed := x.rec
		if changed.Slot, err = p.freeSlot(foreign); err == nil {
			err = p.records.save(changed)
		}
		if err != nil {
			return done, fmt.Errorf("network of instance %s: %w", x.hash, err)
		}
		p.cfg.Log.Info("instance gets another number, another program of this host has the tap", "hash", x.hash, "tap", tap.Name(x.rec.Slot), "now", tap.Name(changed.Slot))
		x.rec, done = changed, true
	}
	return done, nil
}
