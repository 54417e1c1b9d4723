// Package params holds what makes one network differ from another: who is trusted, what things cost, from when a rule
// is in force. Everything that the protocol fixes for a network and not for the program is here and nowhere else.
//
// [Mainnet] carries the constants of the public network, [Devnet] those of a network on one machine; any other network is
// read from a file by [Load], which starts from one of the two.
package params

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
)

// Network is one set of parameters. Times are Unix seconds, sizes are bytes unless the name says MiB.
type Network struct {
	Name string `json:"name"`

	MessageTopic string `json:"message_topic"` // gossip topic of messages; also what the legacy publish endpoint accepts
	AliveTopic   string `json:"alive_topic"`   // gossip topic of host announcements
	// BootstrapPeers are multiaddrs ending in /p2p/<peer id>, dialled when the operator names none.
	BootstrapPeers []string `json:"bootstrap_peers"`

	Balances    Publisher `json:"balances"`    // who may publish token balances
	Credits     Publisher `json:"credits"`     // who may grant and spend credits
	Scores      Publisher `json:"scores"`      // who may publish node measurements
	Corechannel Publisher `json:"corechannel"` // who owns the aggregate of registered nodes
	Pricing     Publisher `json:"pricing"`     // who owns the aggregates of prices and settings

	// UnmergedAggregateOwner owns aggregates that are stored but never merged (spec/ccn-core.md §3.2 row 0).
	UnmergedAggregateOwner string `json:"unmerged_aggregate_owner"`

	// OperatorKey is the compressed secp256k1 key, in hex, of who may have costs computed again (spec/ccn-api.md §11.6).
	// Empty: nobody may.
	OperatorKey string `json:"operator_key"`

	// ExtendedPrograms accepts programs in forms that only this implementation knows: WebAssembly, archives of tar. Other nodes
	// refuse their messages, so a network that has such nodes leaves it off.
	ExtendedPrograms bool `json:"extended_programs"`

	CutOffs CutOffs `json:"cut_offs"`
	Prices  []Price `json:"prices"` // used while the prices aggregate does not exist
	GPUs    []GPU   `json:"gpus"`   // used while the settings aggregate does not exist

	MaxInlineContent   int   `json:"max_inline_content"`   // code points of item_content
	MaxFile            int64 `json:"max_file"`             // authenticated upload to storage
	MaxUnauthenticated int64 `json:"max_unauthenticated"`  // upload without a signed message; also the size up to which held STOREs are free
	MaxIPFSFile        int64 `json:"max_ipfs_file"`        // authenticated upload to IPFS
	MaxCAR             int64 `json:"max_car"`              // CAR import
	FileGracePeriod    int64 `json:"file_grace_period"`    // seconds an unpinned file is kept
	RemovalGracePeriod int64 `json:"removal_grace_period"` // seconds a resource is kept whose owner cannot pay
	MaxRetries         int   `json:"max_retries"`          // attempts of a message that waits for something
	MinCreditRuntime   int64 `json:"min_credit_runtime"`   // seconds that credits must cover before a resource is accepted
	TokenDecimals      int   `json:"token_decimals"`       // of the ALEPH token
	Token              Token `json:"token"`                // the ALEPH token on Ethereum or on the development chain
	Nodes              Nodes `json:"nodes"`                // rules of the node registry
	Schedule           Sched `json:"schedule"`             // rules of the scheduler

	Streams []StreamChain `json:"streams"` // where workloads may be paid by streams
}

// StreamChain is an Ethereum-like chain whose streams of the token pay for workloads (spec/crn.md §6.2).
type StreamChain struct {
	Chain     string `json:"chain"` // as in messages: AVAX, BASE
	ChainID   int64  `json:"chain_id"`
	RPC       string `json:"rpc"`         // URL of JSON-RPC
	Token     string `json:"super_token"` // address of the token that is streamed
	Agreement string `json:"agreement"`   // address of the contract that answers getFlow
	// Forwarder is the address of Superfluid's CFAv1Forwarder, which takes changes of streams. Empty: Agreement takes them itself,
	// as on development chains.
	Forwarder string `json:"forwarder,omitempty"`
	Testnet   bool   `json:"testnet"`
}

// Publisher says from whom messages of one system kind are believed.
type Publisher struct {
	Addresses []string `json:"addresses"`            // content addresses, exact text
	PostTypes []string `json:"post_types,omitempty"` // of POST messages
	Channels  []string `json:"channels,omitempty"`   // empty: any channel
	Keys      []string `json:"keys,omitempty"`       // of AGGREGATE messages
}

// Trusts reports whether address is one of p's.
func (p Publisher) Trusts(address string) bool { return slices.Contains(p.Addresses, address) }

// CutOffs are the moments from which payment rules apply, compared with the envelope's time. 0 means "since ever",
// [Never] means "not on this network".
type CutOffs struct {
	StorageAndProgramCost   int64 `json:"storage_and_program_cost"`   // before it STOREs and on-demand programs are free
	StorageAndProgramHeight int64 `json:"storage_and_program_height"` // the same as an Ethereum height, for confirmed messages
	HoldAndStream           int64 `json:"hold_and_stream"`            // from it instances and persistent programs must be paid with credits
	CreditOnly              int64 `json:"credit_only"`                // from it everything must be paid with credits
	CreditPrecision         int64 `json:"credit_precision"`           // before it credit amounts count ten thousandfold (content time)
}

// Never is a cut-off that no message reaches: the first second of the year 10000, which no envelope can carry.
const Never int64 = 253402300800

// Product is a class of resources with its own prices.
type Product string

const (
	ProductStorage              Product = "storage"
	ProductProgram              Product = "program"
	ProductProgramPersistent    Product = "program_persistent"
	ProductInstance             Product = "instance"
	ProductInstanceConfidential Product = "instance_confidential"
	ProductGPUStandard          Product = "instance_gpu_standard"
	ProductGPUPremium           Product = "instance_gpu_premium"
)

// Price is what one product costs. Amounts are decimal texts: holding in ALEPH to hold, PAYG in ALEPH per hour, credit
// in credits per hour; storage amounts are per MiB. An empty text is zero.
type Price struct {
	Product     Product    `json:"product"`
	Storage     Amounts    `json:"storage"`
	ComputeUnit *Amounts   `json:"compute_unit,omitempty"` // nil: the product has no compute units
	Unit        *UnitShape `json:"unit,omitempty"`
	Tiers       []Tier     `json:"tiers,omitempty"`
	Fixed       string     `json:"fixed,omitempty"`
}

// Amounts is one price in the three ways to pay.
type Amounts struct {
	Holding string `json:"holding,omitempty"`
	PAYG    string `json:"payg,omitempty"`
	Credit  string `json:"credit,omitempty"`
}

// UnitShape is what one compute unit holds.
type UnitShape struct {
	VCPUs     int   `json:"vcpus"`
	MemoryMiB int64 `json:"memory_mib"`
	DiskMiB   int64 `json:"disk_mib"`
}

// Tier is an offer of a number of compute units; GPU tiers name their model.
type Tier struct {
	ID           string `json:"id"`
	ComputeUnits int64  `json:"compute_units"`
	Model        string `json:"model,omitempty"`
	VRAM         int64  `json:"vram,omitempty"` // MiB
}

// GPU maps a PCI device ("vendor:device") to the model that tiers name.
type GPU struct {
	Model    string `json:"model"`
	DeviceID string `json:"device_id"`
}

// Token is the ALEPH token on the chain where balances are read.
type Token struct {
	ChainID     int64  `json:"chain_id"`
	Contract    string `json:"contract"`     // EIP-55 address
	StartHeight int64  `json:"start_height"` // first block with Transfer events
}

// Nodes are the rules of the node registry (spec/corechannel.md §1). Amounts are whole ALEPH.
type Nodes struct {
	CoreThreshold   int64  `json:"core_threshold"`  // balance that a core node's owner must keep
	StakeThreshold  int64  `json:"stake_threshold"` // balance that a staker must keep
	Activation      int64  `json:"activation"`      // stake from which a core node is active
	MaxLinked       int    `json:"max_linked"`      // compute nodes a core node may link
	Tag             string `json:"tag"`             // operations carry it in content.content.tags
	BlocksPerDay    int64  `json:"blocks_per_day"`
	RemovalHeight   int64  `json:"removal_height"` // height after which inactive compute nodes are dropped
	RemovalDays     int64  `json:"removal_days"`   // days of inactivity before that
	BonusEndHeight  int64  `json:"bonus_end_height"`
	OperationType   string `json:"operation_type"` // POST type
	ScoresType      string `json:"scores_type"`    // POST type
	BalancePlatform string `json:"balance_platform"`
}

// Sched are the rules of the scheduler, in seconds.
type Sched struct {
	RequireActive bool  `json:"require_active"` // only core nodes that are active take workloads
	ProbeInterval int64 `json:"probe_interval"` // between two looks at a compute node
	ProbeFailures int   `json:"probe_failures"` // looks that must fail before a compute node counts as gone
	Resend        int64 `json:"resend"`         // between two unchanged allocations
	ReplicaEvery  int64 `json:"replica_every"`  // at least, between two generations of an instance's replica
	ReplicaLease  int64 `json:"replica_lease"`  // how long an instance with a replica may go on without a word that it may

	// Signers are the addresses (EIP-55) whose allocations a compute node follows when neither its operator nor the settings
	// aggregate names any.
	Signers []string `json:"signers"`
}

// Price returns the price of a product.
func (n *Network) Price(p Product) (Price, bool) {
	for _, price := range n.Prices {
		if price.Product == p {
			return price, true
		}
	}
	return Price{}, false
}

// Profile returns the built-in parameters with the given name.
func Profile(name string) (*Network, error) {
	switch name {
	case "mainnet":
		return Mainnet(), nil
	case "devnet":
		return Devnet(), nil
	}
	return nil, fmt.Errorf("unknown network %q: want mainnet, devnet or the path of a parameter file", name)
}

// Load returns a built-in profile by its name, or reads a JSON file. The file names the profile it starts from in
// "profile" and overrides what it lists; a member that is not known is an error, so that a typing mistake cannot pass.
func Load(nameOrPath string) (*Network, error) {
	if n, err := Profile(nameOrPath); err == nil {
		return n, nil
	}
	raw, err := os.ReadFile(nameOrPath)
	if err != nil {
		return nil, fmt.Errorf("network %q is neither mainnet nor devnet nor a readable parameter file: %w", nameOrPath, err)
	}
	var head struct {
		Profile string `json:"profile"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, fmt.Errorf("network parameters %s: %w", nameOrPath, err)
	}
	if head.Profile == "" {
		return nil, fmt.Errorf("network parameters %s: member \"profile\" is missing: want mainnet or devnet", nameOrPath)
	}
	base, err := Profile(head.Profile)
	if err != nil {
		return nil, fmt.Errorf("network parameters %s: %w", nameOrPath, err)
	}
	file := struct {
		Profile string `json:"profile"`
		*Network
	}{Network: base}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&file); err != nil {
		return nil, fmt.Errorf("network parameters %s: %w", nameOrPath, err)
	}
	return base, nil
}
