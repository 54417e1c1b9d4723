// Package chain runs a real Ethereum chain inside the process, for networks on one machine: go-ethereum with a block for
// each transaction, JSON-RPC for wallets and libraries, the ALEPH token and the sync contract at fixed addresses, and ten
// funded accounts that every developer knows. Only package devnet imports it: it links the whole node.
package chain

import (
	"context"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core"
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
)

const (
	gasLimit      = 30_000_000
	initialTokens = 1_000_000 // ALEPH that each account gets
	initialEther  = 10_000
	mintTimeout   = 20 * time.Second
)

// Config says where the chain lives.
type Config struct {
	DataDir string // "" keeps the chain in memory
	Host    string // address of JSON-RPC over HTTP and WebSocket; 127.0.0.1 when empty
	Port    int    // 0 chooses a free one
	ChainID int64  // 31337 when 0
}

// Chain is a development chain.
type Chain struct {
	cfg    Config
	stack  *node.Node
	client *ethclient.Client
	ready  chan struct{}
}

// New builds the chain; a data folder that holds one is continued.
func New(cfg Config) (*Chain, error) {
	if cfg.Host == "" {
		cfg.Host = "127.0.0.1"
	}
	if cfg.ChainID == 0 {
		cfg.ChainID = 31337
	}
	if cfg.Port != 0 {
		l, err := net.Listen("tcp", net.JoinHostPort(cfg.Host, fmt.Sprint(cfg.Port)))
		if err != nil {
			return nil, fmt.Errorf("development chain: port %d is taken, stop what uses it or choose another: %w", cfg.Port, err)
		}
		l.Close()
	} else {
		l, err := net.Listen("tcp", net.JoinHostPort(cfg.Host, "0"))
		if err != nil {
			return nil, fmt.Errorf("development chain: find a free port: %w", err)
		}
		cfg.Port = l.Addr().(*net.TCPAddr).Port
		l.Close()
	}
	genesis, err := genesisBlock(cfg.ChainID)
	if err != nil {
		return nil, err
	}
	nodeConfig := node.DefaultConfig
	nodeConfig.Name = "aleph-devchain"
	nodeConfig.DataDir = cfg.DataDir
	if cfg.DataDir != "" {
		if nodeConfig.DataDir, err = filepath.Abs(cfg.DataDir); err != nil {
			return nil, fmt.Errorf("development chain: folder %s: %w", cfg.DataDir, err)
		}
	}
	nodeConfig.P2P = p2p.Config{NoDiscovery: true, MaxPeers: 0, ListenAddr: ""}
	nodeConfig.IPCPath = ""
	// The namespace "dev" stays closed: it can crash the process.
	modules := []string{"eth", "net", "web3", "debug", "txpool"}
	nodeConfig.HTTPHost, nodeConfig.HTTPPort, nodeConfig.HTTPModules = cfg.Host, cfg.Port, modules
	nodeConfig.HTTPCors, nodeConfig.HTTPVirtualHosts = []string{"*"}, []string{"*"}
	nodeConfig.WSHost, nodeConfig.WSPort, nodeConfig.WSModules = cfg.Host, cfg.Port, modules
	nodeConfig.WSOrigins = []string{"*"}
	stack, err := node.New(&nodeConfig)
	if err != nil {
		return nil, fmt.Errorf("development chain: build node: %w", err)
	}
	ethConfig := ethconfig.Defaults
	ethConfig.SyncMode = ethconfig.FullSync
	ethConfig.NetworkId = uint64(cfg.ChainID)
	ethConfig.Genesis = genesis
	ethConfig.Miner.PendingFeeRecipient = common.Address{1}
	backend, err := eth.New(stack, &ethConfig)
	if err != nil {
		stack.Close()
		return nil, fmt.Errorf("development chain: open chain in %q (delete the folder if it holds another network's): %w", cfg.DataDir, err)
	}
	stack.RegisterAPIs([]rpc.API{{
		Namespace: "eth", Service: filters.NewFilterAPI(filters.NewFilterSystem(backend.APIBackend, filters.Config{})),
	}})
	beacon, err := catalyst.NewSimulatedBeacon(0, common.Address{1}, backend)
	if err != nil {
		stack.Close()
		return nil, fmt.Errorf("development chain: build block producer: %w", err)
	}
	catalyst.RegisterSimulatedBeaconAPIs(stack, beacon)
	stack.RegisterLifecycle(beacon)
	return &Chain{cfg: cfg, stack: stack, ready: make(chan struct{})}, nil
}

// genesisBlock funds the accounts with ether and places the contracts.
func genesisBlock(chainID int64) (*core.Genesis, error) {
	genesis := core.DeveloperGenesisBlock(gasLimit, nil)
	config := *genesis.Config
	config.ChainID = big.NewInt(chainID)
	// Tools and compilers in use today know the forks up to Osaka.
	config.BogotaTime = nil
	genesis.Config = &config
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
	genesis.Alloc[TokenAddress] = types.Account{Code: token.DeployedBytecode, Balance: new(big.Int)}
	genesis.Alloc[SyncAddress] = types.Account{Code: sync.DeployedBytecode, Balance: new(big.Int)}
	return genesis, nil
}

// Ready is closed once JSON-RPC answers and every account has its tokens.
func (c *Chain) Ready() <-chan struct{} { return c.ready }

// Endpoint is the URL of JSON-RPC over HTTP.
func (c *Chain) Endpoint() string {
	return "http://" + net.JoinHostPort(c.cfg.Host, fmt.Sprint(c.cfg.Port))
}

// WSEndpoint is the URL of JSON-RPC over WebSocket.
func (c *Chain) WSEndpoint() string {
	return "ws://" + net.JoinHostPort(c.cfg.Host, fmt.Sprint(c.cfg.Port))
}

// Run keeps the chain up until ctx ends.
func (c *Chain) Run(ctx context.Context) error {
	if err := c.stack.Start(); err != nil {
		return fmt.Errorf("development chain: start: %w", err)
	}
	defer c.stack.Close()
	c.client = ethclient.NewClient(c.stack.Attach())
	defer c.client.Close()
	if err := c.mint(ctx); err != nil {
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
// block because readers of balances replay Transfer events.
func (c *Chain) mint(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, mintTimeout)
	defer cancel()
	minter := Accounts()[len(Accounts())-1]
	done, err := contracts.BalanceOf(ctx, c.client, TokenAddress, minter.Address)
	if err != nil {
		return err
	}
	if done.Sign() > 0 {
		return nil
	}
	token, err := contracts.Token()
	if err != nil {
		return err
	}
	key, err := crypto.ToECDSA(minter.PrivateKey)
	if err != nil {
		return fmt.Errorf("key of the minter: %w", err)
	}
	nonce, err := c.client.PendingNonceAt(ctx, minter.Address)
	if err != nil {
		return fmt.Errorf("nonce of the minter: %w", err)
	}
	signer := types.LatestSignerForChainID(big.NewInt(c.cfg.ChainID))
	amount := new(big.Int).Mul(big.NewInt(initialTokens), big.NewInt(1e18))
	var last common.Hash
	// The minter's own share comes last: holding it is what says that all are served.
	for i, a := range Accounts() {
		input, err := token.ABI.Pack("mint", a.Address, amount)
		if err != nil {
			return fmt.Errorf("encode mint for %s: %w", a.Address, err)
		}
		tx, err := types.SignNewTx(key, signer, &types.DynamicFeeTx{
			ChainID: big.NewInt(c.cfg.ChainID), Nonce: nonce + uint64(i), To: &TokenAddress, Data: input, Gas: 100_000,
			GasTipCap: big.NewInt(1e9), GasFeeCap: big.NewInt(100e9),
		})
		if err != nil {
			return fmt.Errorf("sign mint for %s: %w", a.Address, err)
		}
		if err := c.client.SendTransaction(ctx, tx); err != nil {
			return fmt.Errorf("mint for %s: %w", a.Address, err)
		}
		last = tx.Hash()
	}
	for {
		receipt, err := c.client.TransactionReceipt(ctx, last)
		if err == nil {
			if receipt.Status != types.ReceiptStatusSuccessful {
				return fmt.Errorf("mint: transaction %s failed", last)
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("mint: wait for transaction %s: %w", last, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}
