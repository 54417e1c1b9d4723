package registry

import (
	"encoding/json"
	"maps"
	"math/big"
	"slices"
	"strings"
)

// Aggregate is the published registry, the content of the aggregate "corechannel" (spec §6). It decodes what reference
// and own authorities publish.
type Aggregate struct {
	Nodes         []CoreNode     `json:"nodes"`
	ResourceNodes []ResourceNode `json:"resource_nodes"`
}

// Status of a node.
type Status string

// Core nodes are waiting or active, compute nodes waiting or linked.
const (
	Waiting Status = "waiting"
	Active  Status = "active" // enough is staked on it
	Linked  Status = "linked" // it has a parent
)

// Node is what core and compute nodes have in common. Texts are empty where nothing was set.
type Node struct {
	Hash               string    `json:"hash"` // of the post that created the node
	Owner              string    `json:"owner"`
	Manager            string    `json:"manager"`       // address that may edit the node beside its owner
	Reward             string    `json:"reward"`        // address that rewards are paid to
	StreamReward       string    `json:"stream_reward"` // address that users' payment streams go to
	Name               string    `json:"name"`
	Description        string    `json:"description"`
	Picture            string    `json:"picture"` // hash of a file, as Banner
	Banner             string    `json:"banner"`
	Multiaddress       string    `json:"multiaddress"` // of a core node's gossip port, /p2p/<peer id> included
	Address            string    `json:"address"`      // URL of a compute node
	Locked             Flag      `json:"locked"`       // a compute node that nobody may link, a core node that only Authorized may stake on
	Authorized         Addresses `json:"authorized"`
	RegistrationURL    string    `json:"registration_url"`
	TermsAndConditions string    `json:"terms_and_conditions"` // hash of a STORE message
	Status             Status    `json:"status"`
	Time               float64   `json:"time"` // of creation, seconds since 1970

	// All three are 0 to 1, and 0 before the first measurement.
	Score            float64 `json:"score"`
	Performance      float64 `json:"performance"`
	Decentralization float64 `json:"decentralization"`
	ScoreUpdated     bool    `json:"score_updated,omitempty"` // measured at least once
	InactiveSince    *int64  `json:"inactive_since"`          // height since which it scores zero
}

// CoreNode is a core channel node.
type CoreNode struct {
	Node
	HasBonus      bool               `json:"has_bonus"`
	Stakers       map[string]float64 `json:"stakers"`        // ALEPH that each staker has on this node
	TotalStaked   float64            `json:"total_staked"`   // ALEPH
	ResourceNodes []string           `json:"resource_nodes"` // hashes of the linked compute nodes
}

// ResourceNode is a compute resource node.
type ResourceNode struct {
	Node
	Type   string  `json:"type"`   // "compute"
	Parent *string `json:"parent"` // hash of the core node that linked it; nil if none
}

// Core returns the core node with the given hash.
func (a *Aggregate) Core(hash string) (CoreNode, bool) {
	for _, n := range a.Nodes {
		if n.Hash == hash {
			return n, true
		}
	}
	return CoreNode{}, false
}

// Resource returns the compute node with the given hash.
func (a *Aggregate) Resource(hash string) (ResourceNode, bool) {
	for _, r := range a.ResourceNodes {
		if r.Hash == hash {
			return r, true
		}
	}
	return ResourceNode{}, false
}

// Aggregate renders the state. All lists are sorted, so that equal states give equal JSON.
func (s *State) Aggregate() Aggregate {
	a := Aggregate{
		Nodes:         make([]CoreNode, 0, len(s.core)),
		ResourceNodes: make([]ResourceNode, 0, len(s.resource)),
	}
	for _, hash := range slices.Sorted(maps.Keys(s.core)) {
		n := s.core[hash]
		published := n.CoreNode
		published.Authorized = slices.Clone(n.Authorized)
		if n.total.Cmp(s.params.Activation) >= 0 {
			published.Status = Active
		}
		published.TotalStaked = tokens(n.total)
		published.Stakers = make(map[string]float64, len(n.stakers))
		for staker, amount := range n.stakers {
			published.Stakers[staker] = tokens(amount)
		}
		published.ResourceNodes = slices.AppendSeq(make([]string, 0, len(n.linked)), maps.Keys(n.linked))
		slices.Sort(published.ResourceNodes)
		a.Nodes = append(a.Nodes, published)
	}
	for _, hash := range slices.Sorted(maps.Keys(s.resource)) {
		r := s.resource[hash]
		published := r.ResourceNode
		published.Authorized = slices.Clone(r.Authorized)
		if r.parent != nil {
			parent := r.parent.Hash
			published.Status, published.Parent = Linked, &parent
		}
		a.ResourceNodes = append(a.ResourceNodes, published)
	}
	return a
}

// tokens converts wei to the nearest float of ALEPH.
func tokens(wei *big.Int) float64 {
	f, _ := new(big.Rat).SetFrac(wei, big.NewInt(1e18)).Float64()
	return f
}

// Flag is a boolean that older registries publish as an empty string where it was never set. Any JSON decodes, by its
// truthiness: false, null, 0, "", [] and {} are false.
type Flag bool

// UnmarshalJSON implements json.Unmarshaler.
func (f *Flag) UnmarshalJSON(raw []byte) error {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return err
	}
	switch v := v.(type) {
	case nil:
		*f = false
	case bool:
		*f = Flag(v)
	case float64:
		*f = v != 0
	case string:
		*f = v != ""
	case []any:
		*f = len(v) > 0
	case map[string]any:
		*f = len(v) > 0
	}
	return nil
}

// Addresses is a list that older registries publish as an empty string where it was never set. A text decodes as the
// list of the addresses in it, separated by commas or blanks; what is not a text in a list is left out; any other JSON is the
// empty list.
type Addresses []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *Addresses) UnmarshalJSON(raw []byte) error {
	*a = nil
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return err
	}
	switch v := v.(type) {
	case string:
		*a = strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' })
	case []any:
		for _, item := range v {
			if address, ok := item.(string); ok {
				*a = append(*a, address)
			}
		}
	}
	return nil
}

// MarshalJSON implements json.Marshaler: the empty list is [].
func (a Addresses) MarshalJSON() ([]byte, error) {
	if len(a) == 0 {
		return []byte("[]"), nil
	}
	return json.Marshal([]string(a))
}
