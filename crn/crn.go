// Package crn is the compute node: it runs the programs of the network in virtual machines and answers their calls.
// cmd/alephd runs it. This file wires the parts; the parts are:
//
//	api        HTTP: calls of programs, the scheduler's and owners' orders, what the node says of itself
//	meter      whether workloads are paid for
//	trigger    what starts and ends programs besides calls: messages and the clock
//	execution  the life of a program's machine
//	backup     copies of instances' disks for their owners to download
//	instance   virtual machines that stay: their disks, addresses, ports
//	front      TLS, where no proxy in front does it
//	gpu        graphics cards: which there are, and how machines get them
//	guestapi   what programs are offered: a cache, a signing key, the core node's API
//	network    messages, files and accounts, fetched from a core node, and which registered node this one is
//	guest      the host's side of the channel to the program that is PID 1 in our machines
//	image      kernel, initramfs, checks of archives
//	tap        the network of guests
//	vm, vm/qemu  machines
//	wasm       programs of WebAssembly, which need no machine
package crn

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/crn/api"
	"github.com/aleph-im/aleph-go/crn/backup"
	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/crn/front"
	"github.com/aleph-im/aleph-go/crn/guestapi"
	"github.com/aleph-im/aleph-go/crn/image"
	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/crn/meter"
	"github.com/aleph-im/aleph-go/crn/network"
	"github.com/aleph-im/aleph-go/crn/trigger"
	"github.com/aleph-im/aleph-go/crn/vm"
	"github.com/aleph-im/aleph-go/crn/vm/qemu"
	"github.com/aleph-im/aleph-go/crn/wasm"
	"github.com/aleph-im/aleph-go/guest/wire"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

// Config of a compute node. Only DataDir and CoreNode have no default.
type Config struct {
	// Listen is the address of the HTTP API; "127.0.0.1:4020" when empty. A reverse proxy in front gives it TLS and keeps Host.
	Listen string
	// TLSListen is an address for TLS, as ":443", for a node without a proxy in front; none when empty. TLS of names that lead to
	// instances goes to these; for all others it needs TLSCertificates, ACMEDirectory or both.
	TLSListen string
	// TLSCertificates are PEM files of a chain and its key each.
	TLSCertificates []string
	// ACMEDirectory is the URL of an authority that issues certificates for the node's name and for those that lead to programs;
	// ACMEEmail is where it writes to, if anywhere.
	ACMEDirectory, ACMEEmail string
	// DataDir holds everything of the node: caches, volumes, logs, running machines. One node at a time uses it.
	DataDir string
	// CoreNode is the base URL of the core node that messages and files come from, for example "http://127.0.0.1:4024".
	CoreNode string
	// DomainName is the host name that users reach the node by; "localhost" when empty. Owners sign it with their operations.
	DomainName string
	// Network has what the network fixes: who publishes its settings and its registry, where streams pay; mainnet when nil.
	Network *params.Network
	// NodeHash is the hash of the message that registered the node. When empty, the node looks for it in the registry.
	NodeHash string
	// Owner is the address of the operator, under which the node is registered; empty when it is not.
	Owner string
	// PublicURL is the base URL that the node is registered under; https://DomainName when empty.
	PublicURL string
	// Receiver is the address that streams of payment go to; Owner when empty.
	Receiver string
	// AllocationSigners are the addresses (EIP-55) whose allocations the node follows; when empty, those that the network names.
	AllocationSigners []string
	// AllocationTokenHash is the hex SHA-256 of a token that is accepted instead of a signature; empty for none.
	AllocationTokenHash string
	// SkipDomainCheck accepts operations of owners that were signed for another name, as on a network of one's own.
	SkipDomainCheck bool

	// GuestDir is the folder that crn/image/fetch-kernel.sh filled; DataDir/guest when empty.
	GuestDir string
	// GuestProgram is the file of the program that is PID 1 in guests; the one built in, or guest-init beside this program,
	// when empty.
	GuestProgram string
	// WasmRunner is the file of the program that runs WebAssembly, cmd/wasm-runner; wasm-runner beside this program when empty.
	WasmRunner string
	// QEMU is the program that runs machines; "qemu-system-x86_64" from PATH when empty.
	QEMU string
	// Accelerator is "kvm" or "tcg" to use that; empty to find out by booting a machine, once.
	Accelerator string

	// MemoryMiB is what the machines of programs together may have, QEMU's own need included; half of the host's memory when 0.
	MemoryMiB int
	// VCPUs is how many processors programs may have together, and instances besides; four times those of the host when 0.
	VCPUs int
	// DiskMiB is what scratch disks and volumes may have together; half of the filesystem that DataDir is on when 0.
	DiskMiB int64
	// MachineUsers are the ids of users that machines run as, one each, as "first-last"; 1900000000-1900004095 when empty. Used
	// where the node runs as root.
	MachineUsers string
	// RequireIsolation makes New fail where the host does not allow to confine machines in every way.
	RequireIsolation bool
	// InstanceMemoryMiB is what instances together may have; when 0, what programs leave of the host's memory, but for 2 GiB.
	InstanceMemoryMiB int
	// ReplicaBytes is what replicas of other nodes' instances may take of this node's disk; none are held when 0.
	ReplicaBytes int64
	// InstanceStopTimeout is how long an instance may take to turn itself off; 50 s when 0.
	InstanceStopTimeout time.Duration
	// Nameservers are told to instances; when empty, those of the host that instances can reach.
	Nameservers []netip.Addr
	// ReuseTimeout is how long an idle machine waits for its next call; an hour when 0, not at all when negative.
	ReuseTimeout time.Duration
	// InitTimeout is how long a program may take until it listens, from the start of its machine; 20 s under KVM and five times
	// that emulated when 0.
	InitTimeout time.Duration
	// DrainTimeout is how long calls may go on when the node stops; 30 s when 0.
	DrainTimeout time.Duration
	// AnswerAge bounds how old answers of the core node about accounts, prices and the state of messages may be; half a minute to
	// five minutes, by what is asked, when 0.
	AnswerAge time.Duration
	// PaymentInterval is how often payments are checked; a minute when 0.
	PaymentInterval time.Duration
	// Diagnostics and LegacyDiagnostics are programs that tell whether the node is in order; the network's usual ones when empty.
	Diagnostics, LegacyDiagnostics message.Hash
	// Connectivity is what the node tries to reach when asked whether it is on the Internet.
	Connectivity api.Connectivity
	// Resolver asks the DNS; that of the system when nil.
	Resolver api.Resolver
	// SEVCtl is the program that exports the certificates of a secure processor; when empty, they are what QEMU says, where there is
	// such a processor.
	SEVCtl string
	// GPUs are the places on the bus, like "01:00.0", of graphics cards that the node takes from the host while a machine has them.
	// Cards that are bound to vfio-pci are given to machines as well.
	GPUs []string
	// HostRoot is the folder below which /dev, /sys and /proc are looked for where it is about hardware that machines are given; "/"
	// when empty.
	HostRoot string
	// CacheLimit bounds the files that are kept for the next machine, in bytes; 20 GiB when 0.
	CacheLimit int64
	// SnapshotLimit bounds what is kept of programs for their next start, in bytes of disk; 8 GiB when 0, nothing is kept when
	// negative.
	SnapshotLimit int64
	// IPv6Pool is the prefix that addresses of machines derive from; "fc00:1:2:3::/64" when empty.
	IPv6Pool string
	// NetworkInterface is the interface of the host that leads to the world. When empty, the host's addresses count, whatever
	// interface they are on, and neighbours are answered on that of the IPv6 default route.
	NetworkInterface string
	// HostIPv4 is reported to clients; the first address of NetworkInterface that is not private, or else its first, when empty.
	HostIPv4 string

	Log *slog.Logger // discarded when nil
}

// Programs of the public network that tell whether a node is in order (spec/crn.md §8).
const (
	diagnostics       message.Hash = "d2b74aa29898457bde0560e47f7cdd4e77287e9f1f7a1456161d2fd7d5c855d7"
	legacyDiagnostics message.Hash = "ad67c6857d6319486794ec2a3d14b584ac7e6c27593f3172148e486dbd1e0e21"
)

func (c *Config) setDefaults() {
	if c.Listen == "" {
		c.Listen = "127.0.0.1:4020"
	}
	if c.DomainName == "" {
		c.DomainName = "localhost"
	}
	if c.Network == nil {
		c.Network = params.Mainnet()
	}
	if c.PublicURL == "" {
		c.PublicURL = "https://" + c.DomainName
	}
	if c.Receiver == "" {
		c.Receiver = c.Owner
	}
	if c.PaymentInterval == 0 {
		c.PaymentInterval = time.Minute
	}
	if c.Diagnostics == "" {
		c.Diagnostics = diagnostics
	}
	if c.LegacyDiagnostics == "" {
		c.LegacyDiagnostics = legacyDiagnostics
	}
	if c.GuestDir == "" {
		c.GuestDir = filepath.Join(c.DataDir, "guest")
	}
	if c.MemoryMiB == 0 {
		c.MemoryMiB = hostMemoryMiB() / 2
	}
	if c.InstanceMemoryMiB == 0 {
		const reserve = 2048 // for the host itself
		c.InstanceMemoryMiB = max(0, hostMemoryMiB()-c.MemoryMiB-reserve)
	}
	switch {
	case c.ReuseTimeout == 0:
		c.ReuseTimeout = time.Hour
	case c.ReuseTimeout < 0:
		c.ReuseTimeout = 0
	}
	if c.SnapshotLimit == 0 {
		c.SnapshotLimit = 8 << 30
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = 30 * time.Second
	}
	if c.IPv6Pool == "" {
		c.IPv6Pool = "fc00:1:2:3::/64"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// initTimeout is the default for a kind of machine; emulated ones are several times slower.
func initTimeout(accelerator string) time.Duration {
	if accelerator == "kvm" {
		return 20 * time.Second
	}
	return 100 * time.Second
}

// CRN is a compute node.
type CRN struct {
	cfg       Config
	lock      *os.File
	listener  net.Listener
	server    *http.Server
	front     *front.Front // nil where a proxy in front does TLS, or nobody
	api       *api.Server
	pool      *execution.Pool
	instances *instance.Pool // nil where instances cannot run
	backups   *backup.Store  // nil with them
	triggers  *trigger.Trigger
	guestAPI  *guestapi.API
	identity  *network.Identity
	meter     *meter.Meter
	print     vm.Fingerprint
	secure    []byte // certificates of the processor that confidential instances run on; nil without one
}

// New prepares a node: it takes the data folder, ends and removes what a killed node left there, finds out how machines run
// here, and listens. Each error says what is missing and how to get it. Run must follow, or Close.
func New(cfg Config) (_ *CRN, err error) {
	cfg.setDefaults()
	if cfg.DataDir == "" {
		return nil, errors.New("a compute node needs a data folder")
	}
	for _, dir := range []*string{&cfg.DataDir, &cfg.GuestDir} {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return nil, err
		}
	}
	pool6, err := netip.ParsePrefix(cfg.IPv6Pool)
	if err != nil || !pool6.Addr().Is6() || pool6.Bits() > 64 {
		return nil, fmt.Errorf("IPv6 pool %q: want a prefix of at most 64 bits, like fc00:1:2:3::/64", cfg.IPv6Pool)
	}
	if err := cfg.findAddress(); err != nil {
		return nil, err
	}
	n := &CRN{cfg: cfg}
	defer func() {
		if err != nil {
			n.Close()
		}
	}()
	if n.lock, err = lockFolder(cfg.DataDir); err != nil {
		return nil, err
	}
	kernel, err := image.LoadKernel(cfg.GuestDir)
	if err != nil {
		return nil, err
	}
	program, err := image.GuestProgram(cfg.GuestProgram)
	if err != nil {
		return nil, err
	}
	initrd, err := image.Initramfs(filepath.Join(cfg.DataDir, "boot"), program, kernel)
	if err != nil {
		return nil, err
	}
	driver, err := qemu.New(qemu.Config{
		Dir: filepath.Join(cfg.DataDir, "qemu"), Binary: cfg.QEMU, Kernel: kernel.Path, Initrd: initrd,
		BootMark: wire.BootMark, Accelerator: cfg.Accelerator, Users: cfg.MachineUsers, RequireIsolation: cfg.RequireIsolation, HostRoot: cfg.HostRoot,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	left, err := driver.Reap(ctx)
	if err != nil {
		return nil, err
	}
	if len(left) > 0 {
		cfg.Log.Warn("ended machines that a killed node left behind", "machines", left)
	}
	if n.print, err = driver.Fingerprint(ctx); err != nil {
		return nil, err
	}
	if n.cfg.InitTimeout == 0 {
		n.cfg.InitTimeout = initTimeout(n.print.Accelerator)
	}
	source, err := network.New(network.Config{API: cfg.CoreNode, Dir: filepath.Join(cfg.DataDir, "cache"), CacheLimit: cfg.CacheLimit, AnswerAge: cfg.AnswerAge})
	if err != nil {
		return nil, err
	}
	modules, err := wasm.New(wasm.Config{Dir: filepath.Join(cfg.DataDir, "wasm"), Program: cfg.WasmRunner})
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	n.guestAPI, err = guestapi.New(guestapi.Config{
		CoreNode: cfg.CoreNode, Dir: filepath.Join(cfg.DataDir, "guest-api"), Metrics: registry, Log: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	executions := filepath.Join(cfg.DataDir, "executions")
	n.pool, err = execution.New(execution.Config{
		Network: source, Driver: driver, Wasm: modules, Dir: executions, Kernel: kernel.Path, Initrd: initrd, MemoryMiB: cfg.MemoryMiB,
		OverheadMiB: n.print.OverheadMiB, VCPUs: cfg.VCPUs, DiskMiB: cfg.DiskMiB,
		ReuseTimeout: cfg.ReuseTimeout, InitTimeout: n.cfg.InitTimeout, DrainTimeout: cfg.DrainTimeout,
		SnapshotLimit: cfg.SnapshotLimit, Log: cfg.Log,
		GuestAPI: func(hash message.Hash) http.Handler { return n.guestAPI.For(hash, execution.HostLabel(hash)) },
		Planned:  func(plan execution.Plan) { n.triggers.Planned(plan) },
	})
	if err != nil {
		return nil, err
	}
	core := client.New(client.Config{BaseURL: cfg.CoreNode, TrustNode: true}) // this node believes the one that it is linked to
	n.triggers = trigger.New(trigger.Config{
		Follow: func(ctx context.Context, since time.Time) iter.Seq2[*client.StoredMessage, error] {
			return core.Follow(ctx, client.Filter{}, since)
		},
		Network: source, Workloads: n.pool, Forgotten: n.guestAPI.Forget, File: filepath.Join(cfg.DataDir, "triggers.json"), Metrics: registry, Log: cfg.Log,
	})
	neighbours := neighbourhood(cfg.NetworkInterface, pool6)
	if n.instances, err = n.openInstances(ctx, driver, source, pool6, neighbours); err != nil {
		return nil, err
	}
	if n.identity, err = network.NewIdentity(source, network.IdentityConfig{
		Explicit: message.Hash(cfg.NodeHash), File: filepath.Join(cfg.DataDir, "node-hash"), Registry: publisher(cfg.Network.Corechannel),
		Owner: cfg.Owner, Address: strings.TrimRight(cfg.PublicURL, "/"), Interval: discoveryInterval, Log: cfg.Log,
	}); err != nil {
		return nil, err
	}
	streams, err := meter.NewChains(cfg.Network.Streams)
	if err != nil {
		return nil, err
	}
	n.meter = meter.New(meter.Config{
		Accounts: source, Streams: streams, Workloads: workloads{n.pool, n.instances}, Settings: publisher(cfg.Network.Pricing), Receiver: cfg.Receiver,
		Exempt: []message.Hash{cfg.Diagnostics, cfg.LegacyDiagnostics}, Interval: cfg.PaymentInterval, Log: cfg.Log,
	})
	var instances api.Instances // nil, not a pool that is
	if n.instances != nil {
		instances = n.instances
		if n.backups, err = n.openBackups(); err != nil {
			return nil, err
		}
	}
	token, err := secretFile(filepath.Join(cfg.DataDir, "login_token"))
	if err != nil {
		return nil, err
	}
	if n.api, err = api.New(api.Config{
		Pool: n.pool, Instances: instances, Backups: n.backups, Network: source, Identity: n.identity, Meter: n.meter, Fingerprint: n.print, DomainName: cfg.DomainName,
		PublicURL: cfg.PublicURL, CoreNode: cfg.CoreNode, Settings: publisher(cfg.Network.Pricing), AllocationSigners: cfg.AllocationSigners,
		DefaultSigners: cfg.Network.Schedule.Signers, AllocationTokenHash: cfg.AllocationTokenHash, SkipDomainCheck: cfg.SkipDomainCheck,
		LoginToken: token, Options: cfg.shown(), Receiver: cfg.Receiver, Streams: cfg.Network.Streams, PaymentInterval: cfg.PaymentInterval,
		Diagnostics: cfg.Diagnostics, LegacyDiagnostics: cfg.LegacyDiagnostics, Connectivity: cfg.Connectivity, Resolver: cfg.Resolver,
		SEVCtl: cfg.SEVCtl, CertificateFile: filepath.Join(cfg.DataDir, "confidential", "platform", "certs_export.cert"),
		Certificates: n.secure, GPUModels: knownCards(cfg.Network.GPUs), HostRoot: cfg.HostRoot,
		HostIPv4: cfg.HostIPv4, IPv6Pool: pool6, NeighbourProxy: n.instances != nil && neighbours != "", VolumeDir: executions, Registry: registry, Log: cfg.Log,
	}); err != nil {
		return nil, err
	}
	if n.listener, err = net.Listen("tcp", cfg.Listen); err != nil {
		if errors.Is(err, unix.EADDRINUSE) {
			return nil, fmt.Errorf("address %s is in use by another program: stop that, or choose another address: %w", cfg.Listen, err)
		}
		return nil, fmt.Errorf("listen: %w", err)
	}
	n.server = &http.Server{
		Handler: n.api, ReadHeaderTimeout: 15 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	if n.front, err = n.openFront(); err != nil {
		return nil, err
	}
	return n, nil
}

// Addr is where the API listens.
func (n *CRN) Addr() net.Addr { return n.listener.Addr() }

// TLSAddr is where it listens for TLS; nil when it does not.
func (n *CRN) TLSAddr() net.Addr {
	if n.front == nil {
		return nil
	}
	return n.front.Addr()
}

// Fingerprint says how machines run on this host.
func (n *CRN) Fingerprint() vm.Fingerprint { return n.print }

// Run answers requests until ctx ends; then it lets calls finish within the drain time, ends every machine and returns nil.
func (n *CRN) Run(ctx context.Context) error {
	defer n.Close()
	n.cfg.Log.Info("compute node is up", "address", n.Addr().String(), "domain", n.cfg.DomainName, "core_node", n.cfg.CoreNode,
		"accelerator", n.print.Accelerator, "reason", n.print.Reason, "memory_mib", n.cfg.MemoryMiB)
	n.cfg.Log.Info("machines are confined", "by", n.print.Isolation.InForce)
	if missing := n.print.Isolation.Missing; len(missing) > 0 {
		n.cfg.Log.Warn("machines are not confined in every way", "missing", missing)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := n.server.Serve(n.listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve the API: %w", err)
		}
		return nil
	})
	if n.front != nil {
		group.Go(n.front.Run)
	}
	group.Go(func() error { return n.triggers.Run(ctx) })
	group.Go(func() error { return n.guestAPI.Run(ctx) })
	group.Go(func() error { return n.identity.Run(ctx) })
	group.Go(func() error { return n.meter.Run(ctx) })
	if n.instances != nil {
		talking, quiet := context.WithCancel(context.WithoutCancel(ctx))
		group.Go(func() error {
			defer quiet() // those that are being made are called off before their machines are left
			return n.backups.Run(ctx)
		})
		group.Go(func() error { return n.instances.Run(talking) })
	}
	group.Go(func() error {
		// The pool first: while it drains, the node still says what it is doing.
		err := n.pool.Run(ctx)
		n.api.Close()
		last, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if n.front != nil {
			n.front.Shutdown(last)
		}
		if n.server.Shutdown(last) != nil {
			n.server.Close() // connections that outlast their machine have nothing more to say
		}
		return err
	})
	return group.Wait()
}

// Close gives back what New took, for a node that is not run.
func (n *CRN) Close() {
	if n.instances != nil {
		n.instances.Close()
	}
	if n.front != nil {
		n.front.Close()
	}
	if n.listener != nil {
		n.listener.Close()
	}
	if n.lock != nil {
		n.lock.Close()
	}
}

// lockFolder keeps a second node off the folder: it would take the first one's machines for left behind.
func lockFolder(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("data folder %s is in use by another compute node", dir)
	}
	return f, nil
}

func hostMemoryMiB() int {
	raw, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == "MemTotal:" {
			kib, _ := strconv.Atoi(fields[1])
			return kib / 1024
		}
	}
	return 0
}
