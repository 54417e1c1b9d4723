package schedule

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/registry"
)

// nodes makes a registry of core nodes with the given numbers of linked compute nodes.
func nodes(linked ...int) registry.Aggregate {
	var a registry.Aggregate
	for i, n := range linked {
		core := registry.CoreNode{Node: registry.Node{Hash: fmt.Sprintf("core%d", i), Owner: fmt.Sprintf("owner%d", i)}}
		for j := range n {
			hash := fmt.Sprintf("compute%d-%d", i, j)
			core.ResourceNodes = append(core.ResourceNodes, hash)
			parent := core.Hash
			a.ResourceNodes = append(a.ResourceNodes, registry.ResourceNode{
				Node: registry.Node{Hash: hash, Address: "http://" + hash}, Parent: &parent,
			})
		}
		a.Nodes = append(a.Nodes, core)
	}
	return a
}

func workloads(n int) []Workload {
	list := make([]Workload, n)
	for i := range list {
		list[i] = Workload{Hash: message.HashBytes(fmt.Appendf(nil, "workload %d", i)), Type: message.TypeProgram}
	}
	return list
}

func places(plan map[message.Hash]Placement) map[message.Hash]string {
	at := make(map[message.Hash]string, len(plan))
	for hash, p := range plan {
		at[hash] = p.Compute.Hash
	}
	return at
}

func TestWorkloadGoesToAComputeNodeOfItsCoreNode(t *testing.T) {
	for hash, p := range Plan(Inputs{Nodes: nodes(2, 0, 3), Workloads: workloads(100)}) {
		if p.Compute.Parent == nil || *p.Compute.Parent != p.Core.Hash {
			t.Errorf("%s runs on %s, which core node %s did not link", hash, p.Compute.Hash, p.Core.Hash)
		}
	}
}

func TestPlanDoesNotDependOnTheOrderOfItsInputs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := Inputs{Nodes: nodes(rapid.SliceOfN(rapid.IntRange(0, 4), 1, 5).Draw(t, "linked")...), Workloads: workloads(20)}
		want := places(Plan(in))
		in.Nodes.Nodes = rapid.Permutation(in.Nodes.Nodes).Draw(t, "core nodes")
		in.Nodes.ResourceNodes = rapid.Permutation(in.Nodes.ResourceNodes).Draw(t, "compute nodes")
		in.Workloads = rapid.Permutation(in.Workloads).Draw(t, "workloads")
		if got := places(Plan(in)); !maps.Equal(got, want) {
			t.Fatalf("the plan changed with the order: %v, want %v", got, want)
		}
	})
}

func TestNodeThatLeavesMovesOnlyItsOwnWorkloads(t *testing.T) {
	in := Inputs{Nodes: nodes(3, 3), Workloads: workloads(300)}
	before := places(Plan(in))
	in.Down = map[string]bool{"compute0-1": true}
	for hash, at := range places(Plan(in)) {
		if was := before[hash]; was != at && was != "compute0-1" {
			t.Errorf("%s moved from %s to %s although neither left", hash, was, at)
		}
		if at == "compute0-1" {
			t.Errorf("%s runs on a node that is down", hash)
		}
	}
}

func TestCoreNodeWithoutLivingComputeNodeTakesNothing(t *testing.T) {
	plan := Plan(Inputs{Nodes: nodes(1, 1), Workloads: workloads(50), Down: map[string]bool{"compute0-0": true}})
	if len(plan) != 50 {
		t.Fatalf("%d of 50 workloads are placed", len(plan))
	}
	for hash, p := range plan {
		if p.Core.Hash != "core1" {
			t.Errorf("%s is on %s, whose only compute node is gone", hash, p.Core.Hash)
		}
	}
}

func TestRequestedComputeNodeIsHonoured(t *testing.T) {
	list := workloads(20)
	for i := range list {
		list[i].NodeHash = "compute1-2"
	}
	plan := Plan(Inputs{Nodes: nodes(3, 3), Workloads: list})
	for _, w := range list {
		if plan[w.Hash].Compute.Hash != "compute1-2" {
			t.Errorf("%s is on %s", w.Hash, plan[w.Hash].Compute.Hash)
		}
	}
	if plan := Plan(Inputs{Nodes: nodes(3, 1), Workloads: list}); len(plan) != 0 {
		t.Errorf("workloads that ask for an absent node are placed: %v", places(plan))
	}
}

func TestAnInstanceStaysWithItsDisks(t *testing.T) {
	in := Inputs{Nodes: nodes(2, 3), Workloads: workloads(60), Homes: make(map[message.Hash]string)}
	for i := range in.Workloads {
		in.Workloads[i].Type = message.TypeInstance
		in.Homes[in.Workloads[i].Hash] = "compute1-2"
	}
	all := func(what string, want func(w Workload, at string) bool) {
		t.Helper()
		plan := places(Plan(in))
		for _, w := range in.Workloads {
			if !want(w, plan[w.Hash]) {
				t.Errorf("%s: %s is on %q", what, w.Hash, plan[w.Hash])
			}
		}
	}
	all("its node is linked", func(_ Workload, at string) bool { return at == "compute1-2" })
	in.Down = map[string]bool{"compute1-2": true}
	all("its node does not answer", func(_ Workload, at string) bool { return at == "compute1-2" })
	in.Down = nil
	in.Workloads[0].NodeHash = "compute0-0"
	all("its owner asks for another", func(w Workload, at string) bool { return at == "compute0-0" == (w.NodeHash != "") })
	in.Down = map[string]bool{"compute0-0": true}
	all("its owner asks for another, which does not answer", func(_ Workload, at string) bool { return at == "compute1-2" })
	in.Down = nil
	in.Workloads[0].NodeHash = ""
	for i := range in.Workloads {
		in.Workloads[i].Type = message.TypeProgram
	}
	all("programs keep no disks", func(w Workload, at string) bool {
		return at == places(Plan(Inputs{Nodes: in.Nodes, Workloads: []Workload{w}}))[w.Hash]
	})
	for i := range in.Workloads {
		in.Workloads[i].Type = message.TypeInstance
	}
	last := &in.Nodes.ResourceNodes[len(in.Nodes.ResourceNodes)-1]
	last.Parent = nil
	all("its node is unlinked", func(_ Workload, at string) bool { return at != "compute1-2" && at != "" })
}

func TestANodeThatDrainsIsLeftToWhatNoOtherCanTake(t *testing.T) {
	in := Inputs{Nodes: nodes(2, 3), Workloads: workloads(60), Homes: make(map[message.Hash]string), Draining: map[string]bool{"compute1-2": true}}
	for i := range in.Workloads[:40] {
		in.Workloads[i].Type = message.TypeInstance
		in.Homes[in.Workloads[i].Hash] = "compute1-2"
	}
	asks := &in.Workloads[0] // an instance there
	later := &in.Workloads[41]
	for _, test := range []struct {
		name   string
		change func()
		want   func(w Workload, at string) bool
	}{
		{"others can take it", func() {}, func(_ Workload, at string) bool { return at != "compute1-2" && at != "" }},
		{"one asks for it", func() { asks.NodeHash, later.NodeHash = "compute1-2", "compute1-2" }, func(w Workload, at string) bool { return (at == "compute1-2") == (w.NodeHash != "") }},
		{"one at home elsewhere asks for it", func() { in.Homes[asks.Hash] = "compute0-0" }, func(w Workload, at string) bool {
			return w.Hash != asks.Hash || at == "compute0-0"
		}},
		{"it does not answer", func() { in.Down = map[string]bool{"compute1-2": true} }, func(w Workload, at string) bool {
			return w.NodeHash != "" || (at == "compute1-2") == (in.Homes[w.Hash] == "compute1-2")
		}},
		{"all drain", func() {
			in.Down, asks.NodeHash, later.NodeHash = nil, "", ""
			for _, n := range in.Nodes.ResourceNodes {
				in.Draining[n.Hash] = true
			}
		}, func(w Workload, at string) bool {
			return at != "" && (in.Homes[w.Hash] == "" || at == in.Homes[w.Hash])
		}},
	} {
		test.change()
		plan := places(Plan(in))
		for _, w := range in.Workloads {
			if !test.want(w, plan[w.Hash]) {
				t.Errorf("%s: %s is on %q", test.name, w.Hash, plan[w.Hash])
			}
		}
	}
}

func TestAWishForANodeThatIsNoneMovesNothing(t *testing.T) {
	in := Inputs{Nodes: nodes(2), Workloads: workloads(1)}
	in.Workloads[0].Type, in.Workloads[0].NodeHash = message.TypeInstance, "nowhere"
	in.Homes = map[message.Hash]string{in.Workloads[0].Hash: "compute0-1"}
	if at := places(Plan(in))[in.Workloads[0].Hash]; at != "compute0-1" {
		t.Errorf("it is on %q", at)
	}
}

func TestSharesFollowScores(t *testing.T) {
	in := Inputs{Nodes: nodes(2), Workloads: workloads(4000)}
	in.Nodes.ResourceNodes[0].Score = 0.8
	in.Nodes.ResourceNodes[1].Score = 0.2
	counts := make(map[string]int)
	for _, at := range places(Plan(in)) {
		counts[at]++
	}
	if share := float64(counts["compute0-0"]) / 4000; share < 0.76 || share > 0.84 {
		t.Errorf("a node with four times the score takes %.0f %% instead of about 80 %%", 100*share)
	}
}

func TestPartListsWorkloadsByKind(t *testing.T) {
	list := workloads(3)
	list[1].Persistent = true
	list[2].Type = message.TypeInstance
	v := &view{plan: Plan(Inputs{Nodes: nodes(1), Workloads: list})}
	part := v.part("compute0-0")
	if !slices.Equal(part.OnDemandVMs, []message.Hash{list[0].Hash}) ||
		!slices.Equal(part.PersistentVMs, []message.Hash{list[1].Hash}) ||
		!slices.Equal(part.Instances, []message.Hash{list[2].Hash}) {
		t.Errorf("part is %+v", part)
	}
	if raw, err := json.Marshal(v.part("idle")); err != nil || string(raw) != `{"persistent_vms":[],"instances":[],"on_demand_vms":[]}` {
		t.Errorf("the part of a node without workloads is %s, %v", raw, err)
	}
}
