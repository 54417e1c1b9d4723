// Package devnet runs a whole network on one machine: a development chain in this process, core nodes and compute nodes
// as child processes, funded wallets, registered and linked nodes, a runtime for programs. cmd/aleph-devnet and the
// end-to-end tests call it.
//
// All data is in one folder; a network that is started again on it resumes where it was.
package devnet

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aleph-im/aleph-go/devnet/chain"
	"github.com/aleph-im/aleph-go/params"
)

// Config says where the network lives. Ports are fixed offsets from BasePort, so that a network is found again.
type Config struct {
	Dir      string // data of all nodes; created when absent
	Alephd   string // path of the alephd program
	GuestDir string // guest kernel and runtime image, as `make guest` puts them
	BasePort int    // 0 means 4024, where every client looks for a core node
	Logger   *slog.Logger
}

// The registry lets each host name announce one node. These are all this machine; core nodes have addresses 127.0.0.1 to 3.
var computeHosts = [computeNodes]string{"127.0.0.1", "localhost"}

const (
	coreNodes    = 3
	computeNodes = 2

	endInstances = 15 * time.Second // well below stopTimeout

	// Accounts of the development chain, by their number: users take the first ones.
	userAccounts     = 6
	coreOwner        = 6 // and the next two: owners of the core nodes
	authorityAccount = 9 // publishes balances, prices and the registry
)

// Net is a network on this machine.
type Net struct {
	Core    []*Process // ccn1, ccn2, ccn3
	Compute []*Process // crn1, crn2: linked to ccn1 and ccn2

	cfg   Config
	chain *chain.Chain
	ready chan struct{}

	mu   sync.Mutex
	info Info // guarded by mu
}

// Info is what a user needs to know of a running network. It is written to network.json in the data folder.
type Info struct {
	ChainRPC string   `json:"chain_rpc"`
	ChainID  int64    `json:"chain_id"`
	Token    string   `json:"token"` // address of the ALEPH contract
	Core     []Node   `json:"ccn"`
	Compute  []Node   `json:"crn"`
	Wallets  []Wallet `json:"wallets"` // funded, for users; their keys are public knowledge
	Runtime  string   `json:"runtime"` // STORE message of the Python runtime; "" when there is no image
	UpAfter  float64  `json:"up_after_seconds"`
}

// Node is one running node.
type Node struct {
	Name string `json:"name"`
	URL  string `json:"url"`
	PID  int    `json:"pid"`
	Hash string `json:"hash"` // in the registry
}

// Wallet is one funded account.
type Wallet struct {
	Address string `json:"address"`
	KeyFile string `json:"key_file"`
}

// New prepares the data folder and checks that what the network needs is there.
func New(cfg Config) (*Net, error) {
	if cfg.BasePort == 0 {
		cfg.BasePort = 4024
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	for _, path := range []*string{&cfg.Dir, &cfg.Alephd, &cfg.GuestDir} {
		abs, err := filepath.Abs(*path)
		if err != nil {
			return nil, fmt.Errorf("resolve %s: %w", *path, err)
		}
		*path = abs
	}
	if _, err := os.Stat(cfg.Alephd); err != nil {
		return nil, fmt.Errorf("the node program is missing, run `make build`: %w", err)
	}
	if _, err := os.Stat(filepath.Join(cfg.GuestDir, "vmlinuz")); err != nil {
		return nil, fmt.Errorf("the guest kernel is missing, run `make guest`: %w", err)
	}
	for _, dir := range []string{"keys", "logs"} {
		if err := os.MkdirAll(filepath.Join(cfg.Dir, dir), 0o700); err != nil {
			return nil, fmt.Errorf("create data folder: %w", err)
		}
	}
	n := &Net{cfg: cfg, ready: make(chan struct{})}
	if err := n.writeKeys(); err != nil {
		return nil, err
	}
	if err := n.checkPorts(); err != nil {
		return nil, err
	}
	if err := n.writeParameters(); err != nil {
		return nil, err
	}
	var err error
	n.chain, err = chain.New(chain.Config{DataDir: filepath.Join(cfg.Dir, "chain"), Host: "127.0.0.1", Port: n.chainPort()})
	if err != nil {
		return nil, err
	}
	for i := range coreNodes {
		n.Core = append(n.Core, n.coreProcess(i))
	}
	for i := range computeNodes {
		n.Compute = append(n.Compute, n.computeProcess(i))
	}
	return n, nil
}

func (n *Net) chainPort() int        { return n.cfg.BasePort + 4521 }
func (n *Net) corePort(i int) int    { return n.cfg.BasePort + 10*i }
func (n *Net) p2pPort(i int) int     { return n.cfg.BasePort + 10*i + 1 }
func (n *Net) computePort(i int) int { return n.cfg.BasePort + 100 + 10*i }
func (n *Net) keyFile(i int) string {
	return filepath.Join(n.cfg.Dir, "keys", fmt.Sprintf("account%d.key", i))
}
func (n *Net) log(name string) string { return filepath.Join(n.cfg.Dir, "logs", name+".log") }

// checkPorts finds a port that is taken before anything is started, and says which.
func (n *Net) checkPorts() error {
	ports := []int{n.chainPort()}
	for i := range coreNodes {
		ports = append(ports, n.corePort(i), n.p2pPort(i))
	}
	for i := range computeNodes {
		ports = append(ports, n.computePort(i))
	}
	for _, port := range ports {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return fmt.Errorf("port %d is taken (is another network running?): stop what uses it, or choose other ports with --base-port: %w", port, err)
		}
		l.Close()
	}
	return nil
}

// writeKeys writes the private keys of the development accounts, one file each.
func (n *Net) writeKeys() error {
	for i, account := range chain.Accounts() {
		text := hex.EncodeToString(account.PrivateKey) + "\n"
		if err := os.WriteFile(n.keyFile(i), []byte(text), 0o600); err != nil {
			return fmt.Errorf("write key of account %d: %w", i, err)
		}
	}
	return nil
}

// ParametersPath is the file of the network's parameters, as --network of every command takes it. The profile devnet says the same
// of a network on the usual ports.
func (n *Net) ParametersPath() string { return filepath.Join(n.cfg.Dir, "parameters.json") }

// writeParameters says where the chain of this network is.
func (n *Net) writeParameters() error {
	streams := params.Devnet().Streams
	for i := range streams {
		streams[i].RPC = fmt.Sprintf("http://127.0.0.1:%d", n.chainPort())
	}
	raw, err := json.MarshalIndent(map[string]any{"profile": "devnet", "streams": streams}, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the network's parameters: %w", err)
	}
	if err := os.WriteFile(n.ParametersPath(), append(raw, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the network's parameters: %w", err)
	}
	return nil
}

func (n *Net) coreProcess(i int) *Process {
	name := fmt.Sprintf("ccn%d", i+1)
	args := []string{
		"ccn",
		"--network", "devnet",
		"--data-dir", filepath.Join(n.cfg.Dir, name),
		"--http-listen", fmt.Sprintf("127.0.0.1:%d", n.corePort(i)),
		"--p2p-listen", fmt.Sprintf("/ip4/127.0.0.%d/tcp/%d", i+1, n.p2pPort(i)),
		"--key-file", n.keyFile(coreOwner + i),
	}
	var others []string
	for j := range coreNodes {
		if j != i {
			others = append(others, fmt.Sprintf("http://127.0.0.1:%d", n.corePort(j)))
		}
	}
	args = append(args, "--http-peers", strings.Join(others, ","))
	if i == 0 {
		args = append(args, "--authority-key-file", n.keyFile(authorityAccount),
			"--ethereum-rpc", fmt.Sprintf("http://127.0.0.1:%d", n.chainPort()),
			"--token", chain.TokenAddress.Hex())
	}
	return NewProcess(name, fmt.Sprintf("http://127.0.0.1:%d", n.corePort(i)), n.log(name), n.cfg.Alephd, args...)
}

func (n *Net) computeProcess(i int) *Process {
	name := fmt.Sprintf("crn%d", i+1)
	signers := make([]string, 0, coreNodes)
	for j := range coreNodes {
		signers = append(signers, chain.Accounts()[coreOwner+j].Address.Hex())
	}
	host := computeHosts[i]
	return NewProcess(name, fmt.Sprintf("http://%s:%d", host, n.computePort(i)), n.log(name), n.cfg.Alephd,
		"crn",
		"--data-dir", filepath.Join(n.cfg.Dir, name),
		"--http-listen", fmt.Sprintf("127.0.0.1:%d", n.computePort(i)),
		"--ccn", fmt.Sprintf("http://127.0.0.1:%d", n.corePort(i)),
		"--network", n.ParametersPath(),
		"--domain-name", host,
		"--public-url", fmt.Sprintf("http://%s:%d", host, n.computePort(i)),
		"--owner", chain.Accounts()[coreOwner+i].Address.Hex(),
		"--guest-dir", n.cfg.GuestDir,
		"--allocation-signers", strings.Join(signers, ","),
		"--replica-mib", "4096",
		"--end-instances-within", endInstances.String(), // who stops the network wants nothing of it left
	)
}

// Ready is closed once the network is up: every node answers, all are registered and linked, users can deploy.
func (n *Net) Ready() <-chan struct{} { return n.ready }

// Info describes the running network; it is complete once Ready is closed.
func (n *Net) Info() Info {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.info
}

// Run starts the network and keeps it up until ctx ends, then stops every node and the machines on it. A node that ends by itself is reported
// and not started again: whoever killed it wants to see what happens.
func (n *Net) Run(ctx context.Context) error {
	began := time.Now()
	// The chain outlives ctx until the nodes that read it have stopped.
	chainCtx, stopChain := context.WithCancel(context.WithoutCancel(ctx))
	chainEnded := make(chan error, 1)
	go func() { chainEnded <- n.chain.Run(chainCtx) }()
	stop := func(cause error) error {
		err := errors.Join(cause, n.stopNodes(), os.RemoveAll(n.InfoPath()))
		stopChain()
		return errors.Join(err, <-chainEnded)
	}
	select {
	case <-n.chain.Ready():
	case err := <-chainEnded:
		stopChain()
		return fmt.Errorf("development chain: %w", err)
	case <-ctx.Done():
		return stop(nil)
	}
	if err := n.bootstrap(ctx, began); err != nil {
		if ctx.Err() != nil {
			err = nil // interrupted while starting
		}
		return stop(err)
	}
	var reports sync.WaitGroup
	for _, p := range slices.Concat(n.Core, n.Compute) {
		reports.Go(func() { n.report(ctx, p) })
	}
	close(n.ready)
	<-ctx.Done()
	reports.Wait()
	n.cfg.Logger.Info("stopping the network")
	return stop(nil)
}

// report says when a process ends while the network is up.
func (n *Net) report(ctx context.Context, p *Process) {
	select {
	case <-ctx.Done():
	case <-p.Done():
		if ctx.Err() == nil {
			n.cfg.Logger.Warn("node ended, the network goes on without it", "node", p.Name, "log", p.logPath)
		}
	}
}

// stopNodes ends the compute nodes first, so that core nodes can still answer them.
func (n *Net) stopNodes() error {
	var errs []error
	for _, group := range [][]*Process{n.Compute, n.Core} {
		results := make([]error, len(group))
		var wg sync.WaitGroup
		for i, p := range group {
			wg.Go(func() { results[i] = p.Stop() })
		}
		wg.Wait()
		errs = append(errs, results...)
	}
	return errors.Join(errs...)
}

// writeInfo writes network.json, which tells scripts that the network is up.
func (n *Net) writeInfo() error {
	raw, err := json.MarshalIndent(n.Info(), "", "  ")
	if err != nil {
		return fmt.Errorf("encode network.json: %w", err)
	}
	path := n.InfoPath()
	if err := os.WriteFile(path+".tmp", append(raw, '\n'), 0o644); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(path+".tmp", path)
}

// InfoPath is the file that appears when the network is up, and goes when it stops.
func (n *Net) InfoPath() string { return filepath.Join(n.cfg.Dir, "network.json") }
