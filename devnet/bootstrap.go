package devnet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aleph-im/aleph-go/ccn/authority"
	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/devnet/chain"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
	"github.com/aleph-im/aleph-go/registry"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

const (
	bootstrapTimeout = time.Minute
	pollInterval     = 50 * time.Millisecond
)

// bootstrap starts the nodes and makes them a network. Each step looks at what is there, so that it can be done again.
func (n *Net) bootstrap(ctx context.Context, began time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, bootstrapTimeout)
	defer cancel()
	if err := n.startCore(ctx); err != nil {
		return err
	}
	if err := inParallel(n.Compute, func(p *Process) error {
		if err := p.Start(); err != nil {
			return err
		}
		return p.AwaitHTTP(ctx, "/about/usage/system")
	}); err != nil {
		return err
	}
	p := params.Devnet()
	nodes, err := n.register(ctx, p)
	if err != nil {
		return fmt.Errorf("register the nodes: %w", err)
	}
	up := time.Since(began)
	runtime, err := n.publishRuntimes(ctx)
	if err != nil {
		return fmt.Errorf("publish the runtimes: %w", err)
	}
	n.describe(nodes, runtime, up)
	return n.writeInfo()
}

// startCore starts the first core node, and the others as its peers.
func (n *Net) startCore(ctx context.Context) error {
	first := n.Core[0]
	if err := first.Start(); err != nil {
		return err
	}
	if err := first.AwaitHTTP(ctx, "/api/v0/version"); err != nil {
		return err
	}
	addrs, err := n.client(first).PublicAddresses(ctx)
	if err != nil {
		return fmt.Errorf("ask %s for its peer-to-peer address: %w", first.Name, err)
	}
	if len(addrs) == 0 {
		return fmt.Errorf("%s has no peer-to-peer address; its log is %s", first.Name, first.logPath)
	}
	return inParallel(n.Core[1:], func(p *Process) error {
		p.args = append(p.args, "--peers", strings.Join(addrs, ","))
		if err := p.Start(); err != nil {
			return err
		}
		return p.AwaitHTTP(ctx, "/api/v0/version")
	})
}

func inParallel(processes []*Process, do func(*Process) error) error {
	results := make([]error, len(processes))
	var wg sync.WaitGroup
	for i, p := range processes {
		wg.Go(func() { results[i] = do(p) })
	}
	wg.Wait()
	return errors.Join(results...)
}

func (n *Net) client(p *Process) *client.Client {
	return client.New(client.Config{BaseURL: p.URL})
}

// author signs as one of the development accounts and publishes through the first core node.
func (n *Net) author(account int, channel string) (*authority.Author, error) {
	signer, err := ethereum.NewAccount(chain.Accounts()[account].PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("key of account %d: %w", account, err)
	}
	api := n.client(n.Core[0])
	return &authority.Author{
		Account:   signer,
		Channel:   channel,
		MaxInline: params.Devnet().MaxInlineContent,
		Submit: func(ctx context.Context, envelope []byte) error {
			_, err := api.PublishRaw(ctx, envelope, true)
			return err
		},
	}, nil
}

// register announces the nodes in the registry and links compute nodes to core nodes, as their owners would, and waits
// until every core node knows.
func (n *Net) register(ctx context.Context, p *params.Network) (*registry.Aggregate, error) {
	channel := p.Corechannel.Channels[0]
	operation := func(account int, action, ref string, details map[string]any) error {
		author, err := n.author(account, channel)
		if err != nil {
			return err
		}
		content := map[string]any{"action": action, "tags": []string{action, p.Nodes.Tag}}
		if details != nil {
			content["details"] = details
		}
		return author.Post(ctx, p.Nodes.OperationType, ref, content)
	}
	if err := n.awaitBalance(ctx, chain.Accounts()[coreOwner+coreNodes-1].Address.Hex()); err != nil {
		return nil, err
	}
	nodes, err := n.registered(ctx, n.Core[0], p)
	if err != nil {
		return nil, err
	}
	for i, process := range n.Core {
		owner := chain.Accounts()[coreOwner+i].Address.Hex()
		if ownedCore(nodes, owner) == "" {
			addrs, err := n.client(process).PublicAddresses(ctx)
			if err != nil {
				return nil, fmt.Errorf("ask %s for its peer-to-peer address: %w", process.Name, err)
			}
			details := map[string]any{"name": process.Name, "multiaddress": addrs[0]}
			if err := operation(coreOwner+i, "create-node", "", details); err != nil {
				return nil, err
			}
		}
		if i < len(n.Compute) && computeAt(nodes, n.Compute[i].URL) == "" {
			details := map[string]any{"name": n.Compute[i].Name, "address": n.Compute[i].URL, "type": "compute"}
			if err := operation(coreOwner+i, "create-resource-node", "", details); err != nil {
				return nil, err
			}
		}
	}
	complete := func(a *registry.Aggregate) bool {
		for i := range n.Core {
			if ownedCore(a, chain.Accounts()[coreOwner+i].Address.Hex()) == "" {
				return false
			}
		}
		for _, process := range n.Compute {
			if computeAt(a, process.URL) == "" {
				return false
			}
		}
		return true
	}
	if nodes, err = n.awaitRegistry(ctx, n.Core[0], p, complete); err != nil {
		return nil, err
	}
	linked := func(a *registry.Aggregate) bool {
		count := 0
		for _, node := range a.ResourceNodes {
			if node.Parent != nil {
				count++
			}
		}
		return count >= len(n.Compute)
	}
	known := linked(nodes)
	if !known {
		for i, process := range n.Compute {
			if err := operation(coreOwner+i, "link", computeAt(nodes, process.URL), nil); err != nil {
				return nil, err
			}
		}
	}
	for _, process := range n.Core {
		if nodes, err = n.awaitRegistry(ctx, process, p, linked); err != nil {
			return nil, err
		}
		if known {
			continue // some of them may be drained
		}
		if err := n.awaitTaking(ctx, process); err != nil {
			return nil, err
		}
	}
	return nodes, nil
}

func (n *Net) registered(ctx context.Context, from *Process, p *params.Network) (*registry.Aggregate, error) {
	nodes := &registry.Aggregate{}
	err := n.client(from).Aggregate(ctx, p.Corechannel.Addresses[0], p.Corechannel.Keys[0], nodes)
	if err != nil && !errors.Is(err, client.ErrNotFound) {
		return nil, fmt.Errorf("read the registry from %s: %w", from.Name, err)
	}
	return nodes, nil
}

func (n *Net) awaitRegistry(ctx context.Context, from *Process, p *params.Network, enough func(*registry.Aggregate) bool) (*registry.Aggregate, error) {
	for {
		nodes, err := n.registered(ctx, from, p)
		if err == nil && enough(nodes) {
			return nodes, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the registry on %s: %w (last answer: %v)", from.Name, ctx.Err(), err)
		case <-time.After(pollInterval):
		}
	}
}

// awaitTaking waits until the scheduler of a core node gives workloads to all compute nodes: it reads the registry somewhat later than
// it can be asked for.
func (n *Net) awaitTaking(ctx context.Context, core *Process) error {
	for {
		taking, err := n.client(core).SchedulerNodes(ctx)
		if err == nil && len(taking) >= len(n.Compute) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s gives workloads to %d compute nodes: %w (last answer: %d, %v)", core.Name, len(n.Compute), ctx.Err(), len(taking), err)
		case <-time.After(pollInterval):
		}
	}
}

// awaitBalance waits until the balances read from the chain have reached the first core node.
func (n *Net) awaitBalance(ctx context.Context, address string) error {
	for {
		balance, err := n.client(n.Core[0]).Balance(ctx, address)
		if err == nil && balance.Balance > 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the balance of %s: %w (last answer: %v)", address, ctx.Err(), err)
		case <-time.After(pollInterval):
		}
	}
}

func ownedCore(a *registry.Aggregate, owner string) string {
	for _, node := range a.Nodes {
		if node.Owner == owner {
			return node.Hash
		}
	}
	return ""
}

func computeAt(a *registry.Aggregate, address string) string {
	for _, node := range a.ResourceNodes {
		if node.Address == address {
			return node.Hash
		}
	}
	return ""
}

// RuntimesKey is the aggregate of the pricing authority that names the runtimes of a network.
const RuntimesKey = "runtimes"

// runtimeImages are the files of runtimes, by the names that deployers say. A network goes without those that were not built,
// but for its default.
var runtimeImages = map[string]string{defaultRuntime: "runtime-python.squashfs", "node": "runtime-node.squashfs"}

const defaultRuntime = "python3-fastapi"

// publishRuntimes stores the runtimes on the network and names them in the aggregate of runtimes. It returns the default.
func (n *Net) publishRuntimes(ctx context.Context) (string, error) {
	author, err := n.author(authorityAccount, "ALEPH-CLOUDSOLUTIONS")
	if err != nil {
		return "", err
	}
	var known struct {
		Default  message.Hash            `json:"default"`
		Runtimes map[string]message.Hash `json:"runtimes"`
		SHA256   map[string]message.Hash `json:"files"` // of each image
	}
	api := n.client(n.Core[0])
	if err := api.Aggregate(ctx, author.Account.Address(), RuntimesKey, &known); err != nil && !errors.Is(err, client.ErrNotFound) {
		return "", err
	}
	runtimes, files := map[string]message.Hash{}, map[string]message.Hash{}
	changed := false
	for _, name := range slices.Sorted(maps.Keys(runtimeImages)) {
		path := filepath.Join(n.cfg.GuestDir, runtimeImages[name])
		file, err := os.Open(path)
		if errors.Is(err, os.ErrNotExist) && name != defaultRuntime {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("the runtime image is missing, run `make guest`: %w", err)
		}
		defer file.Close()
		if files[name], err = client.HashFile(file); err != nil {
			return "", fmt.Errorf("hash %s: %w", path, err)
		}
		if runtimes[name] = known.Runtimes[name]; runtimes[name] != "" && known.SHA256[name] == files[name] {
			continue
		}
		stored, err := api.UploadFile(ctx, author.Account, file, client.UploadOptions{Channel: author.Channel, Sync: true})
		if err != nil {
			return "", fmt.Errorf("store %s: %w", path, err)
		}
		runtimes[name], changed = stored.MessageHash, true
	}
	if changed {
		err = author.Aggregate(ctx, RuntimesKey, map[string]any{"default": runtimes[defaultRuntime], "runtimes": runtimes, "files": files})
	}
	return string(runtimes[defaultRuntime]), err
}

func (n *Net) describe(nodes *registry.Aggregate, runtime string, up time.Duration) {
	info := Info{
		ChainRPC: n.chain.Endpoint(), ChainID: params.Devnet().Token.ChainID, Token: chain.TokenAddress.Hex(),
		Runtime: runtime, UpAfter: up.Seconds(),
	}
	for i, p := range n.Core {
		info.Core = append(info.Core, Node{p.Name, p.URL, p.PID(), ownedCore(nodes, chain.Accounts()[coreOwner+i].Address.Hex())})
	}
	for _, p := range n.Compute {
		info.Compute = append(info.Compute, Node{p.Name, p.URL, p.PID(), computeAt(nodes, p.URL)})
	}
	for i := range userAccounts {
		info.Wallets = append(info.Wallets, Wallet{chain.Accounts()[i].Address.Hex(), n.keyFile(i)})
	}
	n.mu.Lock()
	n.info = info
	n.mu.Unlock()
}
