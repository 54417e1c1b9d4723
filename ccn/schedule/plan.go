package schedule

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/registry"
)

// Workload is something that wants to run: a program, or an instance.
type Workload struct {
	Hash       message.Hash
	Type       message.Type
	Owner      string
	Persistent bool         // runs all the time; false for a program that runs when it is called
	NodeHash   message.Hash // compute node that the owner asked for, in its message or later (decision 0038); "" for any
}

// Placement is where a workload runs.
type Placement struct {
	Workload Workload
	Core     *registry.CoreNode     // the core node that is responsible for it
	Compute  *registry.ResourceNode // the compute node that runs it
}

// Inputs is all that the plan depends on. Every node that holds the same messages has the same inputs.
type Inputs struct {
	Nodes registry.Aggregate
	Down  map[string]bool // hashes of compute nodes that their core node reports as gone
	// Draining are the compute nodes that their owners want empty.
	Draining map[string]bool
	// Homes are the compute nodes that have the disks of instances.
	Homes     map[message.Hash]string
	Workloads []Workload
	// RequireActive leaves out core nodes that are not active, i.e. have too little stake.
	RequireActive bool
}

// Plan assigns each workload to one core node and to one of the compute nodes that it linked, by rendezvous hashing
// weighted by score: a node that leaves moves only its own workloads, and no node needs to ask another. Workloads that no
// node can take are absent from the answer. A node that drains takes only what no other can. An instance stays with its disks for as
// long as their node is linked, also while that does not answer, unless that node drains, or the owner of the instance asked for
// another one, and there is one that can take it.
func Plan(in Inputs) map[message.Hash]Placement {
	linked := make(map[string]Placement) // also what does not answer
	for i := range in.Nodes.ResourceNodes {
		node := &in.Nodes.ResourceNodes[i]
		if node.Parent == nil || node.Address == "" {
			continue
		}
		if core := in.core(*node.Parent); core != nil {
			linked[node.Hash] = Placement{Core: core, Compute: node}
		}
	}
	able := func(hash string) bool { return linked[hash].Compute != nil && !in.Down[hash] && !in.Draining[hash] }
	taking := in.candidates(able)
	answering := in.candidates(func(hash string) bool { return !in.Down[hash] })
	plan := make(map[message.Hash]Placement, len(in.Workloads))
	for _, w := range in.Workloads {
		home, stays := linked[in.Homes[w.Hash]]
		stays = stays && w.Type == message.TypeInstance && (w.NodeHash == "" || string(w.NodeHash) == home.Compute.Hash || !able(string(w.NodeHash)))
		place, found := home, stays && (!in.Draining[home.Compute.Hash] || in.Down[home.Compute.Hash])
		if !found {
			place, found = choose(w, taking)
		}
		if !found && stays {
			place, found = home, true
		}
		if !found {
			place, found = choose(w, answering)
		}
		if found {
			place.Workload = w
			plan[w.Hash] = place
		}
	}
	return plan
}

// core returns a core node that may have workloads, or nil.
func (in *Inputs) core(hash string) *registry.CoreNode {
	for i := range in.Nodes.Nodes {
		if core := &in.Nodes.Nodes[i]; core.Hash == hash && (!in.RequireActive || core.Status == "active") {
			return core
		}
	}
	return nil
}

// candidate is a core node with those of its compute nodes that a workload can go to.
type candidate struct {
	core    *registry.CoreNode
	compute []*registry.ResourceNode
}

// candidates returns the core nodes with such compute nodes, by the hashes of these.
func (in *Inputs) candidates(such func(compute string) bool) []candidate {
	byParent := make(map[string][]*registry.ResourceNode)
	for i := range in.Nodes.ResourceNodes {
		node := &in.Nodes.ResourceNodes[i]
		if node.Parent != nil && node.Address != "" && such(node.Hash) {
			byParent[*node.Parent] = append(byParent[*node.Parent], node)
		}
	}
	var list []candidate
	for i := range in.Nodes.Nodes {
		core := &in.Nodes.Nodes[i]
		if linked := byParent[core.Hash]; len(linked) > 0 && (!in.RequireActive || core.Status == "active") {
			list = append(list, candidate{core, linked})
		}
	}
	return list
}

// choose picks a core node, then one of its compute nodes, among those that the owner of the workload allows.
func choose(w Workload, candidates []candidate) (Placement, bool) {
	var cores []*registry.CoreNode
	fitting := make(map[string][]*registry.ResourceNode)
	for _, c := range candidates {
		compute := c.compute
		if w.NodeHash != "" {
			compute = slices.DeleteFunc(slices.Clone(compute), func(n *registry.ResourceNode) bool {
				return n.Hash != string(w.NodeHash)
			})
		}
		if len(compute) > 0 {
			cores = append(cores, c.core)
			fitting[c.core.Hash] = compute
		}
	}
	if len(cores) == 0 {
		return Placement{}, false
	}
	core := rendezvous(w.Hash, cores, func(n *registry.CoreNode) (string, float64) { return n.Hash, n.Score })
	compute := rendezvous(w.Hash, fitting[core.Hash], func(n *registry.ResourceNode) (string, float64) { return n.Hash, n.Score })
	return Placement{Core: core, Compute: compute}, true
}

// maxWeight is the weight of a node with score 1. A node draws as many times as it weighs and its highest draw counts,
// which gives it a share in proportion to its weight with nothing but hashes and integers: bit for bit the same on every
// machine.
const maxWeight = 10

func rendezvous[N any](key message.Hash, nodes []*N, describe func(*N) (hash string, score float64)) *N {
	var winner *N
	var highest [sha256.Size]byte
	for _, n := range nodes {
		hash, score := describe(n)
		weight := max(1, int(math.Round(maxWeight*min(score, 1))))
		for draw := range weight {
			h := sha256.New()
			h.Write([]byte(key))
			h.Write([]byte{0})
			h.Write([]byte(hash))
			var n4 [4]byte
			binary.BigEndian.PutUint32(n4[:], uint32(draw))
			h.Write(n4[:])
			var sum [sha256.Size]byte
			h.Sum(sum[:0])
			if winner == nil || bytes.Compare(sum[:], highest[:]) > 0 {
				winner, highest = n, sum
			}
		}
	}
	return winner
}
