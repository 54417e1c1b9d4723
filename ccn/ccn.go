// Package ccn is a core channel node: it wires the parts in the folders below and runs them as one process. The command
// alephd ccn builds a Node from its options; tests build several in one process.
package ccn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aleph-im/aleph-go/ccn/anchor"
	"github.com/aleph-im/aleph-go/ccn/api"
	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/files/ipfs"
	"github.com/aleph-im/aleph-go/ccn/files/partial"
	"github.com/aleph-im/aleph-go/ccn/intake"
	"github.com/aleph-im/aleph-go/ccn/p2p"
	"github.com/aleph-im/aleph-go/ccn/schedule"
	"github.com/aleph-im/aleph-go/ccn/state"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
	"github.com/aleph-im/aleph-go/signature"
)

// Config is what a Node needs. Params and DataDir are required.
type Config struct {
	Params *params.Network

	// DataDir holds everything that the node keeps unless it is elsewhere: the database, files/, ipfs/ and the key of its
	// peer-to-peer identity.
	DataDir string

	// Store names the database as store.Open takes it. Empty: a SQLite database in DataDir.
	Store string

	// Role is this process's share of the work on a database that several share: RoleAll if empty.
	Role Role

	// FilesDir holds files/ and ipfs/ instead of DataDir. Processes that share a database and the work on it must share it too.
	FilesDir string

	// Files says where files named by their sha256 are: "disk", the default, in FilesDir, or a bucket as
	// s3://bucket/prefix?endpoint=https://host.
	Files string

	// HTTPListen is the host:port of the API. Port 0 takes a free one; see HTTPAddr.
	HTTPListen string

	// P2PListen lists the multiaddresses of the gossip port. Empty: the node only dials.
	P2PListen []string

	// Peers are the multiaddresses to stay connected to, with /p2p/<peer id>. Empty: those of Params.
	Peers []string

	// HTTPPeers are the base URLs of core nodes that are asked for files and messages that this one lacks.
	HTTPPeers []string

	// PublicURL and PublicP2P are announced to other nodes, when not empty: the base URL of the API and multiaddresses.
	PublicURL string
	PublicP2P []string

	// Account is the operator's, Authority that of the network; nil when this node does not have the key.
	Account   signature.Account
	Authority signature.Account

	// EthereumRPC is the URL of an Ethereum node, from which the authority reads token balances.
	EthereumRPC string

	// MaxSockets is how many WebSockets of messages are open at once at most, 10,000 if 0; a tenth as many of the metrics.
	MaxSockets int

	// Drain is how long requests are still taken after ctx of Run ended, while /ready answers that the node stops: as long
	// as it takes whoever sends requests to see it.
	Drain time.Duration

	Version string       // of this software, for announcements and answers
	Logger  *slog.Logger // slog.Default() if nil
}

// Role is what one of the processes on a database does.
type Role string

const (
	RoleAll    Role = "all"    // everything
	RoleAPI    Role = "api"    // answers users; what they send is verified, made durable and published, and applied by others
	RoleWorker Role = "worker" // everything but the API: it serves metrics and its health only
)

// Node is a core channel node.
type Node struct {
	cfg      Config
	store    *store.Store
	files    files.Store
	ipfs     *ipfs.Node
	uploads  *partial.Store
	closers  []io.Closer // of files and ipfs
	fetcher  *files.Fetcher
	intake   *intake.Pipeline
	p2p      *p2p.Node
	listener net.Listener
	api      *api.API
	stopping chan struct{} // closed when the node begins to stop
	services []service
	outbox   chan []byte // envelopes to publish

	scheduler *schedule.Scheduler
	chain     *anchor.BalanceFeed // nil when the node reads no chain
}

// service is a part of the node that runs as long as the node.
type service struct {
	name string
	run  func(context.Context) error
}

// New opens the node's data and its ports. A node that never runs must be closed.
func New(ctx context.Context, cfg Config) (_ *Node, err error) {
	if cfg.Params == nil || cfg.DataDir == "" {
		return nil, errors.New("core node: network parameters and a data folder are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	switch cfg.Role {
	case "":
		cfg.Role = RoleAll
	case RoleAll, RoleAPI, RoleWorker:
	default:
		return nil, fmt.Errorf("core node: there is no role %q: choose %s, %s or %s", cfg.Role, RoleAll, RoleAPI, RoleWorker)
	}
	if cfg.Store == "" {
		cfg.Store = "sqlite:" + filepath.Join(cfg.DataDir, "aleph.db")
	}
	n := &Node{cfg: cfg, stopping: make(chan struct{}), outbox: make(chan []byte, outboxSize)}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	if err := os.MkdirAll(cfg.DataDir, 0o755); err != nil {
		return nil, fmt.Errorf("create data folder: %w", err)
	}
	if err := n.listen(); err != nil {
		return nil, err
	}
	if err := n.openDatabase(ctx); err != nil {
		return nil, err
	}
	if err := n.checkShares(); err != nil {
		return nil, err
	}
	if err := n.openFiles(ctx); err != nil {
		return nil, err
	}
	decides := state.New(state.Config{Params: cfg.Params, Now: time.Now})
	var journal string
	if !n.store.Shared() {
		journal = filepath.Join(cfg.DataDir, "journal")
	}
	if n.intake, err = intake.New(intake.Config{
		Journal: journal,
		Params:  cfg.Params,
		Store:   n.store,
		State:   decides,
		Files:   n.files,
		Fetch:   n.fetcher.Fetch,
		Verify:  signature.Default().Verify,

		EnqueueOnly: cfg.Role == RoleAPI,

		Logger: cfg.Logger.With("part", "intake"),
	}); err != nil {
		return nil, err
	}
	if err := n.join(); err != nil {
		return nil, err
	}
	n.services = append(n.services, service{"p2p", n.p2p.Run}, service{"gossip", n.gossip})
	if err := n.addUpkeep(decides); err != nil {
		return nil, err
	}
	return n, n.wire(decides)
}

// checkShares refuses what would keep processes from working together.
func (n *Node) checkShares() error {
	switch {
	case n.store.Shared():
		if n.cfg.Role != RoleAll && n.cfg.FilesDir == "" {
			return fmt.Errorf("core node: the role %s needs the files of the other processes on the database: name their folder with --files-dir", n.cfg.Role)
		}
	case n.cfg.Role != RoleAll:
		return fmt.Errorf("core node: the role %s is a share of the work on a PostgreSQL database: name it with --store, or leave --role out", n.cfg.Role)
	case n.cfg.FilesDir != "":
		return errors.New("core node: only processes on one PostgreSQL database share files: leave --files-dir out, or name the database with --store")
	}
	return nil
}

// listen takes the API's port first, as it is what two nodes on one machine most often both want.
func (n *Node) listen() (err error) {
	n.listener, err = net.Listen("tcp", n.cfg.HTTPListen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("the API's address %s is in use, perhaps by another node: stop that one or choose another address with --http-listen: %w", n.cfg.HTTPListen, err)
	} else if err != nil {
		return fmt.Errorf("listen for the API on %s: %w", n.cfg.HTTPListen, err)
	}
	return nil
}

// join becomes a member of the gossip network.
func (n *Node) join() (err error) {
	peers := n.cfg.Peers
	if len(peers) == 0 {
		peers = n.cfg.Params.BootstrapPeers
	}
	n.p2p, err = p2p.New(p2p.Config{
		KeyFile: filepath.Join(n.cfg.DataDir, "p2p.key"),
		// Reference nodes and their tools expect RSA; a network without bootstrap peers of its own has none of them.
		CreateEd25519: len(n.cfg.Params.BootstrapPeers) == 0,
		Listen:        n.cfg.P2PListen,
		Bootstrap:     peers,
		Topics:        p2p.Topics{Messages: n.cfg.Params.MessageTopic, Alive: n.cfg.Params.AliveTopic},
		Handle:        n.hear,
		Alive:         n.alive(),
		Logger:        n.cfg.Logger.With("part", "p2p"),
	})
	if err != nil {
		return fmt.Errorf("join the gossip network: %w", err)
	}
	return nil
}

// alive announces the addresses under which the operator says that the node is reached.
func (n *Node) alive() *p2p.Alive {
	var self []p2p.Announcement
	if n.cfg.PublicURL != "" {
		self = append(self, p2p.Announcement{Address: n.cfg.PublicURL, PeerType: p2p.PeerHTTP, Version: n.cfg.Version})
	}
	for _, address := range n.cfg.PublicP2P {
		self = append(self, p2p.Announcement{Address: address, PeerType: p2p.PeerP2P, Version: n.cfg.Version})
	}
	if len(self) == 0 {
		return nil
	}
	return &p2p.Alive{
		Self:    self,
		Allowed: func(string) bool { return false },
		Heard:   func(context.Context, string, p2p.Announcement) {},
	}
}

// hear takes in what other nodes publish. A refusal is recorded by intake and nothing to answer.
func (n *Node) hear(ctx context.Context, m p2p.Message) {
	if n.cfg.Role == RoleAPI {
		return // those that apply hear it as well
	}
	if _, err := n.intake.SubmitAny(ctx, p2p.DecodeMessage(m.Data), intake.OriginP2P); err != nil && ctx.Err() == nil {
		n.cfg.Logger.Error("message from gossip not taken in", "author", m.Author, "error", err)
	}
}

// publish queues the text of an accepted message for the other nodes, so that nobody who waits for an answer waits for its
// signing. What is queued when the node is killed reaches the others when they catch up.
func (n *Node) publish(ctx context.Context, raw []byte) error {
	if !n.p2p.Connected() {
		return nil
	}
	select {
	case n.outbox <- raw:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("queue message for gossip: %w", ctx.Err())
	}
}

// outboxSize bounds what waits to be published: a second of the fastest intake.
const outboxSize = 16_384

// gossip publishes what is queued.
func (n *Node) gossip(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case raw := <-n.outbox:
			if err := n.p2p.Publish(ctx, n.cfg.Params.MessageTopic, p2p.EncodeMessage(raw)); err != nil && ctx.Err() == nil {
				n.cfg.Logger.Warn("message accepted, not gossiped", "error", err)
			}
		}
	}
}

// submitOwn takes in and publishes an envelope that one of the node's services made and signed.
func (n *Node) submitOwn(ctx context.Context, envelope []byte) error {
	out, err := n.intake.Submit(ctx, envelope, intake.OriginNode)
	if err != nil {
		return err
	}
	if out.Status == message.StatusRejected {
		return out.Err
	}
	return n.publish(ctx, envelope)
}

// HTTPAddr is the address of the API, with the port that was taken.
func (n *Node) HTTPAddr() string { return n.listener.Addr().String() }

// P2PAddrs lists the node's gossip addresses, as Config.Peers of another node takes them.
func (n *Node) P2PAddrs() []string { return n.p2p.Addrs() }

// Run runs the node until ctx ends or a part of it fails, stops all parts and closes the node.
func (n *Node) Run(ctx context.Context) error {
	// Intake outlives the other parts, so that what they took in while stopping is still applied and answered.
	core, stopCore := context.WithCancel(context.WithoutCancel(ctx))
	defer stopCore()
	applied := make(chan error, 1)
	go func() { applied <- n.intake.Run(core) }()
	select {
	case <-n.intake.Started():
	case err := <-applied:
		return errors.Join(err, n.Close())
	}
	parts, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, parts := errgroup.WithContext(parts)
	group.Go(func() error {
		defer stop()
		n.drain(ctx, parts)
		return nil
	})
	for _, s := range n.services {
		group.Go(func() error {
			if err := s.run(parts); err != nil && parts.Err() == nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			return nil
		})
	}
	n.cfg.Logger.Info("core node runs", "network", n.cfg.Params.Name, "api", "http://"+n.HTTPAddr(), "peer", n.p2p.PeerID(), "p2p", n.P2PAddrs())
	err := group.Wait()
	stopCore()
	return errors.Join(err, <-applied, n.Close())
}

// drain returns when the parts of the node are to stop: some time after ctx ended, or when one of them failed.
func (n *Node) drain(ctx, parts context.Context) {
	select {
	case <-ctx.Done():
	case <-parts.Done():
	}
	close(n.stopping)
	drained := time.NewTimer(n.cfg.Drain)
	defer drained.Stop()
	select {
	case <-drained.C:
	case <-parts.Done():
	}
}

// Close gives back what New opened. Run does it by itself.
func (n *Node) Close() error {
	var errs []error
	if n.p2p != nil {
		errs = append(errs, n.p2p.Close())
		n.p2p = nil
	}
	if n.listener != nil {
		if err := n.listener.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if n.store != nil {
		errs = append(errs, n.store.Close())
		n.store = nil
	}
	for _, c := range n.closers {
		errs = append(errs, c.Close())
	}
	n.closers = nil
	return errors.Join(errs...)
}
