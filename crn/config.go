package crn

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/crn/api"
	"github.com/aleph-im/aleph-go/crn/vm/qemu"
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
	// NetworkRate bounds what each machine sends to the internet, and what it gets from there, in bytes a second; 0 is no bound.
	NetworkRate int64
	// DiskRate bounds what each machine reads and writes of its disks, all together.
	DiskRate qemu.Rate
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
	// EndInstancesWithin has instances end with the node, which starts them again: they have so long to turn themselves off before their
	// power is cut. They go on without it when 0.
	EndInstancesWithin time.Duration
	// Nameservers are told to instances, and answer programs; when empty, those of the host that instances can reach.
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

// check makes the folders absolute, finds the host's address, and returns the pool of IPv6 addresses.
func (c *Config) check() (pool6 netip.Prefix, err error) {
	if c.DataDir == "" {
		return netip.Prefix{}, errors.New("a compute node needs a data folder")
	}
	for _, dir := range []*string{&c.DataDir, &c.GuestDir} {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return netip.Prefix{}, err
		}
	}
	for _, bound := range []struct {
		name string
		n    int64
	}{
		{"memory-mib", int64(c.MemoryMiB)}, {"instance-memory-mib", int64(c.InstanceMemoryMiB)}, {"vcpus", int64(c.VCPUs)},
		{"disk-mib", c.DiskMiB}, {"cache-mib", c.CacheLimit}, {"replica-mib", c.ReplicaBytes}, {"instance-stop-timeout", int64(c.InstanceStopTimeout)}, {"end-instances-within", int64(c.EndInstancesWithin)},
		{"program-start-timeout", int64(c.InitTimeout)}, {"machine-network-mbit", c.NetworkRate}, {"machine-disk-mib", c.DiskRate.Bytes}, {"machine-disk-iops", c.DiskRate.Operations},
	} {
		if bound.n < 0 {
			return netip.Prefix{}, fmt.Errorf("%s is less than nothing", bound.name)
		}
	}
	if c.NodeHash != "" {
		if _, err := message.ParseHash(c.NodeHash); err != nil {
			return netip.Prefix{}, fmt.Errorf("node-hash: %w", err)
		}
	}
	if u, err := url.Parse(c.PublicURL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return netip.Prefix{}, fmt.Errorf("public-url: %q is no base URL: want https://host", c.PublicURL)
	}
	if a, err := netip.ParseAddr(c.HostIPv4); c.HostIPv4 != "" && (err != nil || !a.Is4()) {
		return netip.Prefix{}, fmt.Errorf("host-ipv4: %q is no IPv4 address", c.HostIPv4)
	}
	pool6, err = netip.ParsePrefix(c.IPv6Pool)
	if err != nil || !pool6.Addr().Is6() || pool6.Bits() > 64 {
		return netip.Prefix{}, fmt.Errorf("IPv6 pool %q: want a prefix of at most 64 bits, like fc00:1:2:3::/64", c.IPv6Pool)
	}
	return pool6, c.findAddress()
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
