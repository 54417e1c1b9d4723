// Package crn is the compute node: it runs the programs of the network in virtual machines and answers their calls.
// cmd/alephd runs it. Package crn opens the parts, one after the other (open.go), and runs them; the parts are:
//
//	api        HTTP: calls of programs, the scheduler's and owners' orders, what the node says of itself
//	meter      whether workloads are paid for
//	trigger    what starts and ends programs besides calls: messages and the clock
//	execution  the life of a program's machine
//	backup     copies of instances' disks for their owners to download
//	instance   virtual machines that stay: their disks, addresses, ports
//	replica    disks of instances, kept a second time on another node
//	front      TLS, where no proxy in front does it
//	gpu        graphics cards: which there are, and how machines get them
//	guestapi   what programs are offered: a cache, a signing key, the core node's API
//	corenode   messages, files and accounts, asked of the core node, and which registered node this one is
//	guest      the host's side of the channel to the program that is PID 1 in our machines
//	image      kernel, initramfs, checks of archives
//	kept       bounds of what is kept because it may be of use again
//	tap        the network of guests
//	vm, vm/qemu  machines
//	wasm       programs of WebAssembly, which need no machine
package crn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn/api"
	"github.com/aleph-im/aleph-go/crn/backup"
	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/crn/front"
	"github.com/aleph-im/aleph-go/crn/guestapi"
	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/crn/meter"
	"github.com/aleph-im/aleph-go/crn/trigger"
	"github.com/aleph-im/aleph-go/crn/vm"
)

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
	identity  *corenode.Identity
	meter     *meter.Meter
	print     vm.Fingerprint
	secure    []byte // certificates of the processor that confidential instances run on; nil without one
}

// New prepares a node: it takes the data folder, ends and removes what a killed node left there, finds out how machines run
// here, and listens. Each error says what is missing and how to get it. Run must follow, or Close.
func New(cfg Config) (_ *CRN, err error) {
	cfg.setDefaults()
	pool6, err := cfg.check()
	if err != nil {
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
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p := &parts{pool6: pool6, registry: prometheus.NewRegistry(), executions: filepath.Join(cfg.DataDir, "executions")}
	for _, open := range []func(context.Context, *parts) error{
		n.openDriver, n.openSource, n.openPrograms, n.openInstances, n.openPayments, n.openAPI, n.listen,
	} {
		if err := open(ctx, p); err != nil {
			return nil, err
		}
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
