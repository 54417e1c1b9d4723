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
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/crn/api"
	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/crn/guest"
	"github.com/aleph-im/aleph-go/crn/guestapi"
	"github.com/aleph-im/aleph-go/crn/image"
	"github.com/aleph-im/aleph-go/crn/meter"
	"github.com/aleph-im/aleph-go/crn/trigger"
	"github.com/aleph-im/aleph-go/crn/vm/qemu"
	"github.com/aleph-im/aleph-go/crn/wasm"
	"github.com/aleph-im/aleph-go/guest/wire"
	"github.com/aleph-im/aleph-go/internal/listen"
	"github.com/aleph-im/aleph-go/internal/redirect"
	"github.com/aleph-im/aleph-go/message"
)

// parts is what the parts of a node are made with, while it is opened.
type parts struct {
	pool6          netip.Prefix
	registry       *prometheus.Registry
	executions     string // folder of programs' disks and logs
	kernel, initrd string // that programs' machines boot
	driver         *qemu.Driver
	source         *corenode.Client
	neighbours     string // interface on which the host answers for instances' IPv6 addresses; "" for none
}

// openDriver prepares what machines boot, ends those that a killed node left behind, and finds out how machines run here.
func (n *CRN) openDriver(ctx context.Context, p *parts) error {
	kernel, err := image.LoadKernel(n.cfg.GuestDir)
	if err != nil {
		return err
	}
	program, err := image.GuestProgram(n.cfg.GuestProgram)
	if err != nil {
		return err
	}
	p.kernel = kernel.Path
	if p.initrd, err = image.Initramfs(filepath.Join(n.cfg.DataDir, "boot"), program, kernel); err != nil {
		return err
	}
	if p.driver, err = qemu.New(qemu.Config{
		Dir: filepath.Join(n.cfg.DataDir, "qemu"), Binary: n.cfg.QEMU, Kernel: p.kernel, Initrd: p.initrd,
		BootMark: wire.BootMark, Accelerator: n.cfg.Accelerator, Users: n.cfg.MachineUsers, RequireIsolation: n.cfg.RequireIsolation, DiskRate: n.cfg.DiskRate, HostRoot: n.cfg.HostRoot,
	}); err != nil {
		return err
	}
	left, err := p.driver.Reap(ctx)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		n.cfg.Log.Warn("ended machines that a killed node left behind", "machines", left)
	}
	if n.print, err = p.driver.Fingerprint(ctx); err != nil {
		return err
	}
	if n.cfg.InitTimeout == 0 {
		n.cfg.InitTimeout = initTimeout(n.print.Accelerator)
	}
	return nil
}

// openSource prepares to ask the core node.
func (n *CRN) openSource(_ context.Context, p *parts) (err error) {
	p.source, err = corenode.New(corenode.Config{
		API: n.cfg.CoreNode, Dir: filepath.Join(n.cfg.DataDir, "cache"), CacheLimit: n.cfg.CacheLimit, AnswerAge: n.cfg.AnswerAge,
		Metrics: p.registry, Log: n.cfg.Log,
	})
	return err
}

// openPrograms makes the pool of programs, what it offers them, and what starts them besides calls.
func (n *CRN) openPrograms(ctx context.Context, p *parts) error {
	modules, err := wasm.New(wasm.Config{Dir: filepath.Join(n.cfg.DataDir, "wasm"), Program: n.cfg.WasmRunner, Metrics: p.registry, Log: n.cfg.Log})
	if err != nil {
		return err
	}
	modulesPrint, err := modules.Fingerprint(ctx)
	if err != nil {
		return err
	}
	if n.guestAPI, err = guestapi.New(guestapi.Config{
		CoreNode: n.cfg.CoreNode, Dir: filepath.Join(n.cfg.DataDir, "guest-api"), Metrics: p.registry, Log: n.cfg.Log,
	}); err != nil {
		return err
	}
	var servers []netip.AddrPort
	for _, address := range n.cfg.nameservers() {
		servers = append(servers, netip.AddrPortFrom(address, 53))
	}
	if n.pool, err = execution.New(execution.Config{
		Network: p.source, Driver: p.driver, Wasm: modules, Dir: p.executions, Kernel: p.kernel, Initrd: p.initrd, MemoryMiB: n.cfg.MemoryMiB,
		OverheadMiB: n.print.OverheadMiB, WasmOverheadMiB: modulesPrint.OverheadMiB, VCPUs: n.cfg.VCPUs, DiskMiB: n.cfg.DiskMiB,
		ReuseTimeout: n.cfg.ReuseTimeout, InitTimeout: n.cfg.InitTimeout, DrainTimeout: n.cfg.DrainTimeout,
		SnapshotLimit: n.cfg.SnapshotLimit, Metrics: p.registry, Log: n.cfg.Log,
		GuestAPI: func(hash message.Hash) http.Handler { return n.guestAPI.For(hash, execution.HostLabel(hash)) },
		Internet: guest.Internet{Nameservers: servers, Rate: n.cfg.NetworkRate},
		Planned:  func(plan execution.Plan) { n.triggers.Planned(plan) },
	}); err != nil {
		return err
	}
	// This node believes the one that it is linked to.
	core := client.New(client.Config{BaseURL: n.cfg.CoreNode, TrustNode: true, HTTPClient: &http.Client{CheckRedirect: redirect.SameHost}})
	n.triggers = trigger.New(trigger.Config{
		Follow: func(ctx context.Context, since time.Time) iter.Seq2[*client.StoredMessage, error] {
			return core.Follow(ctx, client.Filter{}, since)
		},
		PortsChanged: func(owner string) {
			if n.instances != nil {
				n.instances.PortsChanged(owner)
			}
		},
		Network: p.source, Workloads: n.pool, Forgotten: n.guestAPI.Forget, File: filepath.Join(n.cfg.DataDir, "triggers.json"), Metrics: p.registry, Log: n.cfg.Log,
	})
	return nil
}

// openPayments prepares to watch what workloads pay, and to find out which registered node this one is.
func (n *CRN) openPayments(_ context.Context, p *parts) (err error) {
	if n.identity, err = corenode.NewIdentity(p.source, corenode.IdentityConfig{
		Explicit: message.Hash(n.cfg.NodeHash), File: filepath.Join(n.cfg.DataDir, "node-hash"), Registry: publisher(n.cfg.Network.Corechannel),
		Owner: n.cfg.Owner, Address: strings.TrimRight(n.cfg.PublicURL, "/"), Interval: discoveryInterval, Log: n.cfg.Log,
	}); err != nil {
		return err
	}
	streams, err := meter.NewChains(n.cfg.Network.Streams)
	if err != nil {
		return err
	}
	n.meter = meter.New(meter.Config{
		Accounts: p.source, Streams: streams, Workloads: workloads{n.pool, n.instances}, Settings: publisher(n.cfg.Network.Pricing), Receiver: n.cfg.Receiver,
		Exempt: []message.Hash{n.cfg.Diagnostics, n.cfg.LegacyDiagnostics}, Interval: n.cfg.PaymentInterval, Log: n.cfg.Log,
	})
	return nil
}

// openAPI makes the handler of all requests.
func (n *CRN) openAPI(_ context.Context, p *parts) error {
	token, err := secretFile(filepath.Join(n.cfg.DataDir, "login_token"))
	if err != nil {
		return err
	}
	var instances api.Instances // nil, not a pool that is
	if n.instances != nil {
		instances = n.instances
	}
	n.api, err = api.New(api.Config{
		Pool: n.pool, Instances: instances, Backups: n.backups, Network: p.source, Identity: n.identity, Meter: n.meter, Fingerprint: n.print, DomainName: n.cfg.DomainName,
		PublicURL: n.cfg.PublicURL, CoreNode: n.cfg.CoreNode, Settings: publisher(n.cfg.Network.Pricing), AllocationSigners: n.cfg.AllocationSigners,
		DefaultSigners: n.cfg.Network.Schedule.Signers, AllocationTokenHash: n.cfg.AllocationTokenHash, SkipDomainCheck: n.cfg.SkipDomainCheck,
		LoginToken: token, Options: n.cfg.shown(), Receiver: n.cfg.Receiver, Streams: n.cfg.Network.Streams, PaymentInterval: n.cfg.PaymentInterval,
		Diagnostics: n.cfg.Diagnostics, LegacyDiagnostics: n.cfg.LegacyDiagnostics, Connectivity: n.cfg.Connectivity, Resolver: n.cfg.Resolver,
		SEVCtl: n.cfg.SEVCtl, CertificateFile: filepath.Join(n.cfg.DataDir, "confidential", "platform", "certs_export.cert"),
		Certificates: n.secure, GPUModels: knownCards(n.cfg.Network.GPUs), HostRoot: n.cfg.HostRoot,
		HostIPv4: n.cfg.HostIPv4, IPv6Pool: p.pool6, NeighbourProxy: n.instances != nil && p.neighbours != "", VolumeDir: p.executions, Registry: p.registry, Log: n.cfg.Log,
	})
	return err
}

// Bounds of what clients can hold of the node by connections alone.
const (
	maxConnections = 4096            // open at once
	silence        = 2 * time.Minute // that one may take nothing of an answer
)

// listen takes the node's addresses.
func (n *CRN) listen(context.Context, *parts) (err error) {
	if n.listener, err = net.Listen("tcp", n.cfg.Listen); err != nil {
		if errors.Is(err, unix.EADDRINUSE) {
			return fmt.Errorf("address %s is in use by another program: stop that, or choose another address: %w", n.cfg.Listen, err)
		}
		return fmt.Errorf("listen: %w", err)
	}
	bounded := listen.Bound(n.listener, maxConnections, silence)
	n.listener = bounded
	n.server = &http.Server{
		Handler: n.api, ConnState: bounded.Turned, ReadHeaderTimeout: 15 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(n.cfg.Log.Handler(), slog.LevelDebug),
	}
	n.front, err = n.openFront()
	return err
}
