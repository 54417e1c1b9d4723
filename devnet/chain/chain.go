// Package chain runs a real Ethereum chain inside the process, for networks on one machine: go-ethereum with a block for
// each transaction, JSON-RPC for wallets and libraries, the ALEPH token, the sync contract and the contract of streams at
// fixed addresses, and ten funded accounts that every developer knows. Only package devnet and tests import it: it links the
// whole node.
package chain

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core"
	"github.com/ethereum/go-ethereum/core/rawdb"
	"github.com/ethereum/go-ethereum/core/txpool"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/eth"
	"github.com/ethereum/go-ethereum/eth/catalyst"
	"github.com/ethereum/go-ethereum/eth/ethconfig"
	"github.com/ethereum/go-ethereum/eth/filters"
	"github.com/ethereum/go-ethereum/ethclient"
	"github.com/ethereum/go-ethereum/node"
	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/aleph-im/aleph-go/contracts"
)

// Addresses of the contracts, the same on every development chain.
var (
	TokenAddress = common.HexToAddress("0xA1e9400000000000000000000000000000000001")
	SyncAddress  = common.HexToAddress("0xA1e9400000000000000000000000000000000002")
	FlowsAddress = common.HexToAddress("0xA1e9400000000000000000000000000000000003")
)

const (
	gasLimit      = 30_000_000
	initialTokens = 1_000_000 // ALEPH that each account gets
	initialEther  = 10_000
	mintTimeout   = 20 * time.Second
	mintPoll      = 5 * time.Millisecond
	cacheMiB      = 16
	minimalTip    = 1_000_000 // wei per gas, 0.001 gwei
)

// feeRecipient is nobody.
var feeRecipient = common.Address{1}

// Config says where the chain lives.
type Config struct {
	DataDir string // "" keeps the chain in memory
	Host    string // address of JSON-RPC over HTTP and WebSocket; 127.0.0.1 when empty
	Port    int    // 0 chooses a free one
	ChainID int64  // 31337 when 0
}

// Chain is a development chain.
type Chain struct {
	cfg   Config
	stack *node.Node
	ready chan struct{}
}

// New builds the chain; a data folder that holds one is continued. Run must follow: it is what closes the folder.
func New(cfg Config) (*Chain, error) {
	if cfg.Host == "" {
		cfg.Host = "127.0.0.1"
	}
	if cfg.ChainID == 0 {
		cfg.ChainID = 31337
	}
	// Found out before the chain is opened; whoever takes the port after this is reported by Run.
	l, err := net.Listen("tcp", net.JoinHostPort(cfg.Host, strconv.Itoa(cfg.Port)))
	if err != nil {
		return nil, portError(cfg.Port, err)
	}
	cfg.Port = l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return nil, portError(cfg.Port, err)
	}
	if cfg.DataDir != "" {
		if cfg.DataDir, err = filepath.Abs(cfg.DataDir); err != nil {
			return nil, fmt.Errorf("development chain: folder %s: %w", cfg.DataDir, err)
		}
	}
	stack, err := node.New(nodeConfig(cfg))
	if err != nil {
		return nil, fmt.Errorf("development chain: build node in %q: %w", cfg.DataDir, err)
	}
	if err := assemble(stack, cfg); err != nil {
		return nil, errors.Join(err, stack.Close())
	}
	return &Chain{cfg: cfg, stack: stack, ready: make(chan struct{})}, nil
}

func portError(port int, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("development chain: port %d is taken, stop what uses it or choose another: %w", port, err)
	}
	return fmt.Errorf("development chain: listen on port %d: %w", port, err)
}

// nodeConfig is a node without peers that answers JSON-RPC.
func nodeConfig(cfg Config) *node.Config {
	c := node.DefaultConfig
	c.Name = "aleph-devchain"
	c.DataDir = cfg.DataDir
	c.P2P = p2p.Config{NoDiscovery: true, MaxPeers: 0, ListenAddr: ""}
	c.IPCPath = ""
	// Any web page may call this port. So "dev", which can crash the process, and "debug", which writes files of the
	// caller's choice, stay closed.
	modules := []string{"eth", "net", "web3", "txpool"}
	c.HTTPHost, c.HTTPPort, c.HTTPModules = cfg.Host, cfg.Port, modules
	c.HTTPCors, c.HTTPVirtualHosts = []string{"*"}, []string{"*"}
	c.WSHost, c.WSPort, c.WSModules = cfg.Host, cfg.Port, modules
	c.WSOrigins = []string{"*"}
	return &c
}

// assemble puts the chain and what makes its blocks into the node.
func assemble(stack *node.Node, cfg Config) error {
	genesis, err := genesisBlock(cfg.ChainID)
	if err != nil {
		return err
	}
	c := ethconfig.Defaults
	c.SyncMode = ethconfig.FullSync
	c.NetworkId = uint64(cfg.ChainID)
	c.Genesis = genesis
	// The state of every block is written with the block. Otherwise it would be written at the end only, and a killed
	// process would leave a chain that cannot be continued.
	c.NoPruning, c.StateScheme = true, rawdb.HashScheme
	c.DatabaseCache, c.TrieCleanCache, c.TrieDirtyCache, c.SnapshotCache = cacheMiB, cacheMiB, cacheMiB, 0
	// A development chain is short: to look through its blocks is cheaper than to keep an index of their events.
	c.LogNoHistory = true
	// Blocks are made as long as the pool holds a transaction, so it must take none that no block takes: one whose fee
	// stays below the lowest base fee would have blocks made for ever.
	c.TxPool.PriceLimit = minimalTip
	c.Miner.GasPrice = big.NewInt(minimalTip) // what eth_maxPriorityFeePerGas suggests
	c.Miner.PendingFeeRecipient = feeRecipient
	backend, err := eth.New(stack, &c)
	if err != nil {
		return fmt.Errorf("development chain: open chain in %q (delete the folder if it holds another network's or an older version's): %w", cfg.DataDir, err)
	}
	if err := backend.Miner().SetGasTip(big.NewInt(1)); err != nil {
		return fmt.Errorf("development chain: set the lowest tip: %w", err)
	}
	stack.RegisterAPIs([]rpc.API{{
		Namespace: "eth", Service: filters.NewFilterAPI(filters.NewFilterSystem(backend.APIBackend, filters.Config{})),
	}})
	beacon, err := catalyst.NewSimulatedBeacon(0, feeRecipient, backend)
	if err != nil {
		return fmt.Errorf("development chain: build block producer: %w", err)
	}
	stack.RegisterLifecycle(&producer{backend: backend, beacon: beacon, stopped: make(chan struct{})})
	return nil
}

// genesisBlock funds the accounts with ether and places the contracts.
func genesisBlock(chainID int64) (*core.Genesis, error) {
	genesis := core.DeveloperGenesisBlock(gasLimit, nil)
	config := *genesis.Config
	config.ChainID = big.NewInt(chainID)
	// Tools and compilers in use today know the forks up to Osaka.
	config.BogotaTime = nil
	genesis.Config = &config
	// The chain id is no part of the first block's hash. With this it is, and a folder of another network is noticed.
	genesis.ExtraData = fmt.Append(nil, "aleph ", chainID)
	ether := new(big.Int).Mul(big.NewInt(initialEther), big.NewInt(1e18))
	for _, a := range Accounts() {
		genesis.Alloc[a.Address] = types.Account{Balance: ether}
	}
	token, err := contracts.Token()
	if err != nil {
		return nil, err
	}
	sync, err := contracts.Sync()
	if err != nil {
		return nil, err
	}
	flows, err := contracts.Flows()
	if err != nil {
		return nil, err
	}
	genesis.Alloc[TokenAddress] = types.Account{Code: token.DeployedBytecode, Balance: new(big.Int)}
	genesis.Alloc[SyncAddress] = types.Account{Code: sync.DeployedBytecode, Balance: new(big.Int)}
	genesis.Alloc[FlowsAddress] = types.Account{Code: flows.DeployedBytecode, Balance: new(big.Int)}
	return genesis, nil
}

// Ready is closed once JSON-RPC answers and every account has its tokens.
func (c *Chain) Ready() <-chan struct{} { return c.ready }

// Endpoint is the URL of JSON-RPC over HTTP.
func (c *Chain) Endpoint() string {
	return "http://" + net.JoinHostPort(c.cfg.Host, strconv.Itoa(c.cfg.Port))
}

// WSEndpoint is the URL of JSON-RPC over WebSocket.
func (c *Chain) WSEndpoint() string {
	return "ws://" + net.JoinHostPort(c.cfg.Host, strconv.Itoa(c.cfg.Port))
}

// Run keeps the chain up until ctx ends, and then closes it. It is called once.
func (c *Chain) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, c.stack.Close()) }()
	if err := c.stack.Start(); err != nil {
		return portError(c.cfg.Port, err)
	}
	client := ethclient.NewClient(c.stack.Attach())
	defer client.Close()
	if err := c.mint(ctx, client); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("development chain: %w", err)
	}
	close(c.ready)
	<-ctx.Done()
	return nil
}

// mint gives each account its tokens, once in the life of a chain. It is done by transactions and not in the genesis
// block because readers of balances replay Transfer events. The minter's transaction number i serves account i: so one
// who was stopped half-way goes on where it was, whatever happened to the tokens since.
func (c *Chain) mint(ctx context.Context, client *ethclient.Client) error {
	ctx, cancel := context.WithTimeout(ctx, mintTimeout)
	defer cancel()
	accounts := Accounts()
	minter := accounts[len(accounts)-1]
	key, err := crypto.ToECDSA(minter.PrivateKey)
	if err != nil {
		return fmt.Errorf("key of the minter: %w", err)
	}
	served, err := client.NonceAt(ctx, minter.Address, nil)
	if err != nil {
		return fmt.Errorf("nonce of the minter: %w", err)
	}
	signer := types.LatestSignerForChainID(big.NewInt(c.cfg.ChainID))
	amount := new(big.Int).Mul(big.NewInt(initialTokens), big.NewInt(1e18))
	var sent []common.Hash
	for i := served; i < uint64(len(accounts)); i++ {
		input, err := contracts.MintInput(accounts[i].Address, amount)
		if err != nil {
			return err
		}
		tx, err := types.SignNewTx(key, signer, &types.DynamicFeeTx{
			ChainID: big.NewInt(c.cfg.ChainID), Nonce: i, To: &TokenAddress, Data: input, Gas: 100_000,
			GasTipCap: big.NewInt(1e9), GasFeeCap: big.NewInt(100e9),
		})
		if err != nil {
			return fmt.Errorf("sign mint for %s: %w", accounts[i].Address, err)
		}
		err = client.SendTransaction(ctx, tx)
		// A stopped process may have left the same transaction in the pool.
		if err != nil && !strings.Contains(err.Error(), txpool.ErrAlreadyKnown.Error()) {
			return fmt.Errorf("mint for %s: %w", accounts[i].Address, err)
		}
		sent = append(sent, tx.Hash())
	}
	for _, hash := range sent {
		if err := await(ctx, client, hash); err != nil {
			return fmt.Errorf("mint: %w", err)
		}
	}
	return nil
}

// await returns once the transaction succeeded.
func await(ctx context.Context, client *ethclient.Client, hash common.Hash) error {
	tick := time.NewTicker(mintPoll)
	defer tick.Stop()
	for {
		receipt, err := client.TransactionReceipt(ctx, hash)
		if err == nil {
			if receipt.Status != types.ReceiptStatusSuccessful {
				return fmt.Errorf("transaction %s failed", hash)
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for transaction %s: %w (last answer: %w)", hash, ctx.Err(), err)
		case <-tick.C:
		}
	}
}
