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
	NodeHash   message.Hash // compute node that the owner asked for; "" for any
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
	// Homes are the compute nodes that have the disks of instances.
	Homes     map[message.Hash]string
	Workloads []Workload
	// RequireActive leaves out core nodes that are not active, i.e. have too little stake.
	RequireActive bool
}

// Plan assigns each workload to one core node and to one of the compute nodes that it linked, by rendezvous hashing
// weighted by score: a node that leaves moves only its own workloads, and no node needs to ask another. Workloads that no
// node can take are absent from the answer. An instance stays with its disks for as long as their node is linked, also while that
// does not answer, unless its owner asked for another node, and that answers.
func Plan(in Inputs) map[message.Hash]Placement {
	type candidate struct {
		core    *registry.CoreNode
		compute []*registry.ResourceNode
	}
	byParent := make(map[string][]*registry.ResourceNode)
	for i := range in.Nodes.ResourceNodes {
		node := &in.Nodes.ResourceNodes[i]
		if node.Parent != nil && node.Address != "" && !in.Down[node.Hash] {
			byParent[*node.Parent] = append(byParent[*node.Parent], node)
		}
	}
	cores := make(map[string]*registry.CoreNode)
	for i := range in.Nodes.Nodes {
		if core := &in.Nodes.Nodes[i]; !in.RequireActive || core.Status == "active" {
			cores[core.Hash] = core
		}
	}
	linked := make(map[string]Placement) // also what does not answer
	for i := range in.Nodes.ResourceNodes {
		node := &in.Nodes.ResourceNodes[i]
		if node.Parent != nil && node.Address != "" && cores[*node.Parent] != nil {
			linked[node.Hash] = Placement{Core: cores[*node.Parent], Compute: node}
		}
	}
	var candidates []candidate
	for i := range in.Nodes.Nodes {
		core := &in.Nodes.Nodes[i]
		if linked := byParent[core.Hash]; len(linked) > 0 && (!in.RequireActive || core.Status == "active") {
			candidates = append(candidates, candidate{core, linked})
		}
	}
	plan := make(map[message.Hash]Placement, len(in.Workloads))
	for _, w := range in.Workloads {
		if home, ok := linked[in.Homes[w.Hash]]; ok && w.Type == message.TypeInstance && (w.NodeHash == "" || string(w.NodeHash) == home.Compute.Hash || in.Down[string(w.NodeHash)]) {
			home.Workload = w
			plan[w.Hash] = home
			continue
		}
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
			continue
		}
		core := rendezvous(w.Hash, cores, func(n *registry.CoreNode) (string, float64) { return n.Hash, n.Score })
		compute := rendezvous(w.Hash, fitting[core.Hash], func(n *registry.ResourceNode) (string, float64) { return n.Hash, n.Score })
		plan[w.Hash] = Placement{Workload: w, Core: core, Compute: compute}
	}
	return plan
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
