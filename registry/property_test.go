package registry

import (
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// checkInvariants holds in every state (spec §11 rows 3 and 4).
func checkInvariants(t interface {
	Helper()
	Errorf(string, ...any)
}, s *State) {
	t.Helper()
	staked := make(map[string]*big.Int)
	for hash, n := range s.core {
		if n.Hash != hash || s.owners[n.Owner] != n {
			t.Errorf("core node %s is not its owner's", hash)
		}
		if s.balance(n.Owner).Cmp(s.params.CoreThreshold) < 0 {
			t.Errorf("owner of %s holds %s", hash, s.balance(n.Owner))
		}
		if len(n.linked) > s.params.MaxLinked {
			t.Errorf("%s links %d", hash, len(n.linked))
		}
		for linked, r := range n.linked {
			if s.resource[linked] != r || r.parent != n {
				t.Errorf("%s links %s, which does not say so", hash, linked)
			}
		}
		total := new(big.Int)
		for staker, amount := range n.stakers {
			if !slices.Contains(s.stakes[staker], n) {
				t.Errorf("%s has a staker %s without stake", hash, staker)
			}
			total.Add(total, amount)
			if staked[staker] == nil {
				staked[staker] = new(big.Int)
			}
			staked[staker].Add(staked[staker], amount)
		}
		if total.Cmp(n.total) != 0 {
			t.Errorf("%s counts %s of %s", hash, n.total, total)
		}
	}
	if len(s.owners) != len(s.core) {
		t.Errorf("%d owners of %d core nodes", len(s.owners), len(s.core))
	}
	for hash, r := range s.resource {
		if r.parent != nil && (s.core[r.parent.Hash] != r.parent || r.parent.linked[hash] != r) {
			t.Errorf("parent of %s does not link it", hash)
		}
	}
	for staker, nodes := range s.stakes {
		if len(nodes) == 0 || s.owners[staker] != nil || s.balance(staker).Cmp(s.params.StakeThreshold) < 0 {
			t.Errorf("%s stakes on %d nodes with %s, owner: %v", staker, len(nodes), s.balance(staker), s.owners[staker] != nil)
		}
		if staked[staker].Cmp(s.balance(staker)) > 0 {
			t.Errorf("%s has %s staked of %s", staker, staked[staker], s.balance(staker))
		}
		for i, n := range nodes {
			if _, ok := n.stakers[staker]; !ok || s.core[n.Hash] != n || slices.Contains(nodes[:i], n) {
				t.Errorf("stake of %s on %s is not mirrored", staker, n.Hash)
			}
		}
	}
	claimed := make(map[string]bool)
	for _, n := range s.core {
		if n.host != "" && claimed[n.host] || n.host != multiaddressHost(n.Multiaddress) {
			t.Errorf("host %q of %s", n.host, n.Hash)
		}
		claimed[n.host] = true
	}
}

// drawEvents makes a history in which few people and nodes meet often, at heights that many events share.
func drawEvents(t *rapid.T) []Event {
	people := []string{"A", "B", "C", "D", "E"}
	person := rapid.SampledFrom(people)
	var hashes []string
	height := int64(21_000_000)
	n := rapid.IntRange(1, 120).Draw(t, "events")
	events := make([]Event, 0, n)
	for i := range n {
		height += rapid.SampledFrom([]int64{0, 0, 1, 9, 400_000}).Draw(t, "blocks")
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0, 1:
			amounts := make(map[string]*big.Int)
			for _, p := range people {
				tokens := rapid.SampledFrom([]int64{0, 9_998, 9_999, 150_000, 199_998, 199_999, 600_001}).Draw(t, "tokens")
				amounts[address(p)] = new(big.Int).Add(ALEPH(tokens), big.NewInt(rapid.Int64Range(0, 7).Draw(t, "wei")))
			}
			if rapid.Bool().Draw(t, "leave") {
				delete(amounts, address(person.Draw(t, "leaver")))
			}
			events = append(events, Balances{
				Height: height, Platform: rapid.SampledFrom([]string{"ETH", "SABLIER"}).Draw(t, "platform"),
				Amounts: amounts, Partial: rapid.Bool().Draw(t, "partial"),
			})
		case 2:
			node := rapid.SampledFrom(append(hashes, "?")).Draw(t, "scored")
			events = append(events, Scores{
				Hash: fmt.Sprint("s", i), Height: height, Time: rapid.Float64Range(0, 3).Draw(t, "time"),
				Content: json.RawMessage(fmt.Sprintf(`{"scores":{"ccn":[%[1]s],"crn":[%[1]s]}}`, scored(node, rapid.SampledFrom([]float64{0, 0.5, 1}).Draw(t, "score")))),
			})
		default:
			action := rapid.SampledFrom([]string{"create-node", "create-resource-node", "link", "unlink", "drop-node", "stake", "stake-split", "stake-split", "unstake"}).Draw(t, "action")
			op := Operation{
				Hash: fmt.Sprintf("%03d", i), Actor: address(person.Draw(t, "actor")), Height: height,
				Time: rapid.Float64Range(0, 3).Draw(t, "time"), Type: rapid.SampledFrom([]string{"corechan-operation", "corechan-operation", "corechan-operation", "amend"}).Draw(t, "type"),
				Ref: rapid.SampledFrom(append(hashes, "?")).Draw(t, "ref"),
				Content: json.RawMessage(fmt.Sprintf(`{"tags":["mainnet"],"action":%q,"details":{"type":"compute","locked":%v,"address":"https://%[3]s","multiaddress":"/dns4/%[3]s/tcp/1","manager":%[4]q}}`,
					action, rapid.IntRange(0, 4).Draw(t, "locked") == 0, rapid.SampledFrom([]string{"h1", "h2", "h3"}).Draw(t, "host"), address(person.Draw(t, "manager")))),
			}
			if action == "create-node" || action == "create-resource-node" {
				hashes = append(hashes, op.Hash)
			}
			events = append(events, op)
		}
	}
	return events
}

func TestInvariantsHoldAfterEveryEvent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New(mainnet())
		for _, e := range drawEvents(t) {
			before := jsonOf(t, s.Aggregate())
			o := s.Apply(e)
			if o.Applied == (o.Reason != "") {
				t.Fatalf("outcome %+v", o)
			}
			if !o.Applied && jsonOf(t, s.Aggregate()) != before {
				t.Fatalf("%s changed the state", o.Reason)
			}
			checkInvariants(t, s)
		}
	})
}

// TestReplayIsIncremental: any order of arrival within a block, any batches of whole blocks, and going on from a copy
// give the same registry (spec §11 rows 5 and 6).
func TestReplayIsIncremental(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := drawEvents(t)
		// Two lists of balances for one block and platform are not a history that a chain can give.
		seen := make(map[string]bool)
		events = slices.DeleteFunc(events, func(e Event) bool {
			b, ok := e.(Balances)
			key := fmt.Sprint(b.Height, b.Platform)
			defer func() { seen[key] = seen[key] || ok }()
			return ok && seen[key]
		})
		sorted := slices.Clone(events)
		SortEvents(sorted)
		whole := New(mainnet())
		for _, e := range sorted {
			whole.Apply(e)
		}

		shuffled := rapid.Permutation(events).Draw(t, "arrival")
		byHeight := make(map[int64][]Event)
		var heights []int64
		for _, e := range shuffled {
			h := e.position().height
			if byHeight[h] == nil {
				heights = append(heights, h)
			}
			byHeight[h] = append(byHeight[h], e)
		}
		slices.Sort(heights)
		piecewise := New(mainnet())
		for len(heights) > 0 {
			n := rapid.IntRange(1, len(heights)).Draw(t, "batch")
			var batch []Event
			for _, h := range heights[:n] {
				batch = append(batch, byHeight[h]...)
			}
			heights = heights[n:]
			SortEvents(batch)
			abandoned := piecewise
			piecewise = piecewise.Clone()
			checkInvariants(t, piecewise)
			kept := jsonOf(t, abandoned.Aggregate())
			for _, e := range batch {
				piecewise.Apply(e)
			}
			if jsonOf(t, abandoned.Aggregate()) != kept {
				t.Fatal("a copy changed its original")
			}
		}
		if a, b := jsonOf(t, whole.Aggregate()), jsonOf(t, piecewise.Aggregate()); a != b {
			t.Fatalf("at once   %s\npiecewise %s", a, b)
		}
	})
}

func FuzzOperationContent(f *testing.F) {
	for _, action := range []string{"create-node", "create-resource-node", "link", "unlink", "drop-node", "stake", "stake-split", "unstake", "amend", "?"} {
		f.Add("corechan-operation", "N", fmt.Appendf(nil, `{"tags":["mainnet"],"action":%q,"details":{"type":"compute"}}`, action))
	}
	f.Add("amend", "N", []byte(`{"tags":["mainnet"],"action":"create-node","details":{"locked":{},"authorized":"0x,","multiaddress":"/ip4/::","name":[1]}}`))
	f.Add("amend", "R", []byte(`{"tags":["mainnet"],"action":"create-node","details":{"address":"http://[::1","authorized":[null,{}]}}`))
	f.Fuzz(func(t *testing.T, kind, ref string, content []byte) {
		s := begin(t)
		s.ownsCore("A", "N")
		s.ownsResource("A", "R")
		before := jsonOf(t, s.Aggregate())
		o := s.Apply(Operation{Hash: "new", Actor: address("A"), Height: s.height, Type: kind, Ref: ref, Content: content})
		after := jsonOf(t, s.Aggregate())
		if !o.Applied && (o.Reason == "" || before != after) {
			t.Fatalf("outcome %+v; before %s, after %s", o, before, after)
		}
		checkInvariants(t, s.State)
		var again Aggregate
		if err := json.Unmarshal([]byte(after), &again); err != nil || jsonOf(t, again) != after {
			t.Fatalf("%s reads back as %s (%v)", after, jsonOf(t, again), err)
		}
	})
}

func BenchmarkApplyOperation(b *testing.B) {
	s := New(mainnet())
	s.Apply(Balances{Platform: "ETH", Amounts: map[string]*big.Int{address("A"): ALEPH(200_000)}})
	content := json.RawMessage(`{"tags":["create-resource-node","mainnet"],"action":"create-resource-node","details":{"type":"compute","name":"n","address":"https://crn.example.org"}}`)
	for i := range 700 {
		s.Apply(Operation{Hash: fmt.Sprint(i), Actor: address("A"), Type: "corechan-operation", Content: content})
	}
	edit := Operation{Hash: "e", Actor: address("A"), Type: "amend", Ref: "7", Content: content}
	for b.Loop() {
		s.Apply(edit)
	}
}
