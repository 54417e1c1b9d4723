// Package registry decides which nodes form the network: who runs a core node, which compute nodes it has linked, who
// stakes on it. It is a state machine over signed messages, token balances and scores, without any I/O: the same events
// in the same order give the same state on every node (spec corechannel.md).
//
// The core node that is the network's authority feeds it from its message store and publishes [State.Aggregate] as the
// aggregate "corechannel"; any other node can do the same to check what was published. Schedulers, tools and
// dashboards only decode the [Aggregate].
package registry

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
)

// Params are the rules that differ between networks. Amounts are in wei (10^-18 ALEPH), heights and durations in
// blocks of the chain that orders events.
type Params struct {
	CoreThreshold  *big.Int // balance that the owner of a core node must keep
	StakeThreshold *big.Int // balance that a staker must keep
	Activation     *big.Int // total stake from which a core node is active

	MaxLinked int // compute nodes that a core node may link

	OperationType string // type of the posts that carry operations: "corechan-operation"
	Tag           string // operations without it among their tags are not of this network; "" accepts all

	// AmendAction also accepts an edit as a post of OperationType with the action "amend", which some clients send.
	// The reference ignores those, so the main network must.
	AmendAction bool

	BonusEnd int64 // core nodes created below this height have a bonus

	// A compute node without parent that has scored zero for RemovalAfter blocks is dropped, above RemovalHeight.
	RemovalHeight int64
	RemovalAfter  int64

	IgnoredScores []HeightRange // scores published in one of these count for nothing
}

// HeightRange is a range of heights, both ends included.
type HeightRange struct{ From, To int64 }

// ALEPH converts whole tokens to wei.
func ALEPH(tokens int64) *big.Int {
	return new(big.Int).Mul(big.NewInt(tokens), big.NewInt(1e18))
}

// State is the registry after some events. It is not safe for concurrent use.
type State struct {
	params Params

	core     map[string]*core     // by hash of the post that created the node
	resource map[string]*resource // likewise
	owners   map[string]*core     // by owner; nobody owns two
	stakes   map[string][]*core   // by staker, in the order of staking; never empty, and never of an owner

	platforms map[string]map[string]*big.Int // balances in wei by platform and address
	balances  map[string]*big.Int            // their sums; absent is zero

	lastScores int64 // greatest height of scores so far
}

// core is a core node. The members of CoreNode that follow from other state are set by State.Aggregate only.
type core struct {
	CoreNode
	stakers map[string]*big.Int // wei that count here
	total   *big.Int            // their sum
	linked  map[string]*resource
	host    string // of its multiaddress
}

// resource is a compute node. Its Parent and Status are set by State.Aggregate only.
type resource struct {
	ResourceNode
	parent *core  // nil: not linked
	host   string // of its address
}

// New returns the registry of a network on which nothing has happened.
func New(p Params) *State {
	return &State{
		params:    p,
		core:      make(map[string]*core),
		resource:  make(map[string]*resource),
		owners:    make(map[string]*core),
		stakes:    make(map[string][]*core),
		platforms: make(map[string]map[string]*big.Int),
		balances:  make(map[string]*big.Int),
	}
}

// Apply takes the next event, in the order of [SortEvents]. An event that has no effect leaves the state untouched and
// says why. Each message must be applied once: the caller knows which it has seen.
func (s *State) Apply(e Event) Outcome {
	switch e := e.(type) {
	case Balances:
		return s.applyBalances(e)
	case Operation:
		return s.applyOperation(e)
	case Scores:
		return s.applyScores(e)
	}
	panic(fmt.Sprintf("registry: unknown event %T", e)) // Event is sealed
}

// Outcome tells whether an event took effect, and if not, why.
type Outcome struct {
	Applied bool
	Reason  Reason // empty if applied
}

// Reason names the condition that an ignored event did not meet.
type Reason string

// The reasons for which events are ignored.
const (
	Malformed     Reason = "malformed"      // not the JSON that such an event holds
	OtherNetwork  Reason = "other_network"  // the network's tag is missing
	UnknownAction Reason = "unknown_action" //
	Duplicate     Reason = "duplicate"      // a node of this hash exists
	LowBalance    Reason = "low_balance"    // below what a core node or a stake requires
	AlreadyOwner  Reason = "already_owner"  // the actor owns a core node
	NotOwner      Reason = "not_owner"      // the actor owns no core node, or not the one concerned
	NotFound      Reason = "not_found"      // ref names no node of the kind
	Limit         Reason = "limit"          // the core node has linked all it may
	AlreadyLinked Reason = "already_linked" //
	NotLinked     Reason = "not_linked"     //
	Locked        Reason = "locked"         // the node accepts no links, or no stakes but of those it names
	SelfStake     Reason = "self_stake"     // owners of core nodes cannot stake
	AlreadyStaked Reason = "already_staked" //
	NotStaked     Reason = "not_staked"     //
	IgnoredHeight Reason = "ignored_height" // scores of a time when they were known to be wrong
)

func applied() Outcome               { return Outcome{Applied: true} }
func ignored(because Reason) Outcome { return Outcome{Reason: because} }

// Balance is what an address holds on all platforms, in wei.
func (s *State) Balance(address string) *big.Int {
	return new(big.Int).Set(s.balance(Normalize(address)))
}

var zero = new(big.Int)

func (s *State) balance(address string) *big.Int {
	if b, ok := s.balances[address]; ok {
		return b
	}
	return zero
}

// applyBalances takes over the balances of one platform, then drops the nodes and stakes that are no longer covered
// (spec §3.3). There is no grace period.
func (s *State) applyBalances(e Balances) Outcome {
	amounts := make(map[string]*big.Int, len(e.Amounts))
	for address, amount := range e.Amounts {
		// Two spellings of one address add up: which of them is meant cannot be known.
		address = Normalize(address)
		if other, ok := amounts[address]; ok {
			amount = new(big.Int).Add(other, amount)
		}
		amounts[address] = amount
	}
	held := s.platforms[e.Platform]
	if held == nil {
		held = make(map[string]*big.Int, len(amounts))
		s.platforms[e.Platform] = held
	}
	var changed []string
	for address, amount := range amounts {
		before, ok := held[address]
		switch {
		case amount.Sign() > 0 && (!ok || before.Cmp(amount) != 0):
			held[address] = amount
		case amount.Sign() <= 0 && ok:
			delete(held, address)
		default:
			continue
		}
		changed = append(changed, address)
	}
	if !e.Partial {
		for address := range held {
			if _, ok := amounts[address]; !ok {
				delete(held, address)
				changed = append(changed, address)
			}
		}
	}
	for _, address := range changed {
		s.sumBalance(address)
	}
	slices.Sort(changed)
	for _, address := range changed {
		if node, ok := s.owners[address]; ok {
			if s.balance(address).Cmp(s.params.CoreThreshold) < 0 {
				s.removeCore(node)
			}
		} else if nodes, ok := s.stakes[address]; ok {
			if s.balance(address).Cmp(s.params.StakeThreshold) < 0 {
				s.removeAllStakes(address)
			} else {
				s.restake(nodes...)
			}
		}
	}
	return applied()
}

func (s *State) sumBalance(address string) {
	sum := new(big.Int)
	for _, amounts := range s.platforms {
		if amount, ok := amounts[address]; ok {
			sum.Add(sum, amount)
		}
	}
	if sum.Sign() == 0 {
		delete(s.balances, address)
		return
	}
	s.balances[address] = sum
}

// restake recomputes what counts on each of the nodes: a staker's balance is split equally over the nodes it stakes on
// (spec §3.1).
func (s *State) restake(nodes ...*core) {
	for _, n := range nodes {
		total := new(big.Int)
		for staker := range n.stakers {
			share := new(big.Int).Quo(s.balance(staker), big.NewInt(int64(len(s.stakes[staker]))))
			n.stakers[staker] = share
			total.Add(total, share)
		}
		n.total = total
	}
}

func (s *State) addStake(staker string, n *core) {
	s.stakes[staker] = append(s.stakes[staker], n)
	n.stakers[staker] = zero
	s.restake(s.stakes[staker]...)
}

// removeStake gives what counted on the node to the staker's other nodes.
func (s *State) removeStake(staker string, n *core) {
	left := slices.DeleteFunc(slices.Clone(s.stakes[staker]), func(other *core) bool { return other == n })
	if len(left) == 0 {
		delete(s.stakes, staker)
	} else {
		s.stakes[staker] = left
	}
	delete(n.stakers, staker)
	s.restake(n)
	s.restake(left...)
}

func (s *State) removeAllStakes(staker string) {
	nodes := s.stakes[staker]
	delete(s.stakes, staker)
	for _, n := range nodes {
		delete(n.stakers, staker)
	}
	s.restake(nodes...)
}

func (s *State) removeCore(n *core) {
	for staker := range maps.Clone(n.stakers) {
		s.removeStake(staker, n)
	}
	for _, r := range n.linked {
		r.parent = nil
	}
	delete(s.owners, n.Owner)
	delete(s.core, n.Hash)
}

func (s *State) removeResource(r *resource) {
	if r.parent != nil {
		delete(r.parent.linked, r.Hash)
	}
	delete(s.resource, r.Hash)
}

// Clone returns an independent copy, to come back to when the chain that orders events is reorganised.
func (s *State) Clone() *State {
	c := New(s.params)
	c.lastScores = s.lastScores
	c.balances = maps.Clone(s.balances) // amounts are never changed in place
	for platform, amounts := range s.platforms {
		c.platforms[platform] = maps.Clone(amounts)
	}
	for hash, n := range s.core {
		copied := *n
		copied.stakers = maps.Clone(n.stakers)
		copied.linked = make(map[string]*resource, len(n.linked))
		c.core[hash] = &copied
		c.owners[n.Owner] = &copied
	}
	for hash, r := range s.resource {
		copied := *r
		if r.parent != nil {
			copied.parent = c.core[r.parent.Hash]
			copied.parent.linked[hash] = &copied
		}
		c.resource[hash] = &copied
	}
	for staker, nodes := range s.stakes {
		for _, n := range nodes {
			c.stakes[staker] = append(c.stakes[staker], c.core[n.Hash])
		}
	}
	return c
}
