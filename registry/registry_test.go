package registry

import (
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
)

// The main network's rules (spec §1).
func mainnet() Params {
	return Params{
		CoreThreshold: ALEPH(199_999), StakeThreshold: ALEPH(9_999), Activation: ALEPH(499_999),
		MaxLinked: 8, OperationType: "corechan-operation", Tag: "mainnet",
		BonusEnd: 12_020_360, RemovalHeight: 20_840_959, RemovalAfter: 641_700,
		IgnoredScores: []HeightRange{{23_579_375, 23_631_694}},
	}
}

// address makes the address of a person from the person's name.
func address(name string) string { return Normalize(fmt.Sprintf("0x%040x", name)) }

// story plays events, each one block after the other, and says what came of it.
type story struct {
	*State
	t      *testing.T
	height int64
	held   map[string]*big.Int
}

func begin(t *testing.T) *story {
	return &story{State: New(mainnet()), t: t, height: 20_000_000, held: make(map[string]*big.Int)}
}

func (s *story) holds(name string, tokens int64) {
	s.t.Helper()
	s.height++
	s.held[address(name)] = ALEPH(tokens)
	amounts := make(map[string]*big.Int)
	for a, b := range s.held {
		amounts[a] = b
	}
	if o := s.Apply(Balances{Height: s.height, Platform: "ETH", Amounts: amounts}); !o.Applied {
		s.t.Fatalf("balances: %+v", o)
	}
}

// does applies an operation; hash is that of the message, which names what it creates.
func (s *story) does(name, hash, kind, action, ref, details string) Outcome {
	s.height++
	content := fmt.Sprintf(`{"tags":[%q,"mainnet"],"action":%q}`, action, action)
	if details != "" {
		content = content[:len(content)-1] + `,"details":` + details + `}`
	}
	return s.Apply(Operation{
		Hash: hash, Actor: address(name), Height: s.height, Time: float64(s.height), Type: kind, Ref: ref,
		Content: json.RawMessage(content),
	})
}

func (s *story) op(name, action, ref string) Outcome {
	return s.does(name, fmt.Sprint("op-", s.height), "corechan-operation", action, ref, "")
}

func (s *story) must(o Outcome) {
	s.t.Helper()
	if !o.Applied {
		s.t.Fatalf("ignored: %s", o.Reason)
	}
}

func (s *story) ownsCore(name, hash string) {
	s.t.Helper()
	s.holds(name, 200_000)
	s.must(s.does(name, hash, "corechan-operation", "create-node", "", `{"name":"`+hash+`","multiaddress":"/dns4/`+hash+`/tcp/4025"}`))
}

func (s *story) ownsResource(name, hash string) {
	s.t.Helper()
	s.must(s.does(name, hash, "corechan-operation", "create-resource-node", "", `{"name":"`+hash+`","type":"compute","address":"https://`+hash+`"}`))
}

func (s *story) coreNode(hash string) CoreNode {
	s.t.Helper()
	a := s.Aggregate()
	n, ok := a.Core(hash)
	if !ok {
		s.t.Fatalf("no core node %s", hash)
	}
	return n
}

func (s *story) resourceNode(hash string) ResourceNode {
	s.t.Helper()
	a := s.Aggregate()
	n, ok := a.Resource(hash)
	if !ok {
		s.t.Fatalf("no compute node %s", hash)
	}
	return n
}

// wants checks a core node's status and stakes, in whole ALEPH by name.
func (s *story) wants(hash string, status Status, stakes map[string]float64) {
	s.t.Helper()
	n := s.coreNode(hash)
	total := 0.0
	for name, tokens := range stakes {
		total += tokens
		if n.Stakers[address(name)] != tokens {
			s.t.Errorf("%s: %s has %v staked, want %v", hash, name, n.Stakers[address(name)], tokens)
		}
	}
	if n.Status != status || n.TotalStaked != total || len(n.Stakers) != len(stakes) {
		s.t.Errorf("%s is %s with %v of %d stakers, want %s with %v of %d", hash, n.Status, n.TotalStaked, len(n.Stakers), status, total, len(stakes))
	}
}

func TestWorkedTrace(t *testing.T) { // spec §4.6
	s := begin(t)
	s.ownsCore("A", "N1")
	s.wants("N1", Waiting, nil)
	s.holds("B", 300_000)
	s.must(s.op("B", "stake-split", "N1"))
	s.wants("N1", Waiting, map[string]float64{"B": 300_000})
	s.holds("C", 250_000)
	s.must(s.op("C", "stake-split", "N1"))
	s.wants("N1", Active, map[string]float64{"B": 300_000, "C": 250_000})
	s.ownsCore("D", "N2")
	s.must(s.op("C", "stake-split", "N2"))
	s.wants("N1", Waiting, map[string]float64{"B": 300_000, "C": 125_000})
	s.wants("N2", Waiting, map[string]float64{"C": 125_000})
	s.must(s.op("C", "unstake", "N2"))
	s.wants("N1", Active, map[string]float64{"B": 300_000, "C": 250_000})
	s.wants("N2", Waiting, nil)
	s.ownsResource("E", "R1")
	s.must(s.op("A", "link", "R1"))
	if r := s.resourceNode("R1"); r.Status != Linked || r.Parent == nil || *r.Parent != "N1" {
		t.Errorf("R1: %+v", r)
	}
	if n := s.coreNode("N1"); !slices.Equal(n.ResourceNodes, []string{"R1"}) {
		t.Errorf("N1 links %v", n.ResourceNodes)
	}
	s.holds("B", 9_000)
	s.wants("N1", Waiting, map[string]float64{"C": 250_000})
	s.holds("A", 199_998)
	if len(s.Aggregate().Nodes) != 1 || len(s.stakes) != 0 {
		t.Error("N1 or its stakes outlive the owner's balance")
	}
	if r := s.resourceNode("R1"); r.Status != Waiting || r.Parent != nil {
		t.Errorf("R1: %+v", r)
	}
	s.must(s.does("C", "N3", "corechan-operation", "create-node", "", "{}"))
	if o := s.op("C", "stake-split", "N2"); o.Reason != SelfStake {
		t.Errorf("owner stakes: %+v", o)
	}
}

// TestTransitionTable has each row of spec §4.3 applied once, and once for each condition that is not met.
func TestTransitionTable(t *testing.T) {
	// The scene: A owns core node NA, B core node NB, R compute nodes R1 and R2 (locked); S has enough to stake, P nothing.
	scene := func(t *testing.T) *story {
		s := begin(t)
		s.ownsCore("A", "NA")
		s.ownsCore("B", "NB")
		s.ownsResource("R", "R1")
		s.must(s.does("R", "R2", "corechan-operation", "create-resource-node", "", `{"type":"compute","locked":true,"address":"https://R2"}`))
		s.holds("S", 10_000)
		s.holds("O", 200_000)
		return s
	}
	linked := func(s *story) { s.must(s.op("A", "link", "R1")) }
	staked := func(s *story) { s.must(s.op("S", "stake-split", "NA")) }
	full := func(s *story) {
		for i := range 8 {
			s.ownsResource("R", fmt.Sprint("full", i))
			s.must(s.op("A", "link", fmt.Sprint("full", i)))
		}
	}
	editedNA := func(details string) func(*story) {
		return func(s *story) { s.must(s.does("A", "edit", "amend", "create-node", "NA", details)) }
	}
	const op = "corechan-operation"
	for _, c := range []struct {
		name                string
		before              func(*story)
		actor, kind, action string
		ref, details        string
		want                Reason // empty: applied
		after               func(*testing.T, *story)
	}{
		{"create-node", nil, "O", op, "create-node", "", "{}", "", func(t *testing.T, s *story) { s.wants("new", Waiting, nil) }},
		{"create-node without details", nil, "O", op, "create-node", "", "", "", nil},
		{"create-node ends the owner's stakes", func(s *story) { s.holds("S", 300_000); staked(s) }, "S", op, "create-node", "", "{}", "",
			func(t *testing.T, s *story) { s.wants("NA", Waiting, nil) }},
		{"create-node by an owner", nil, "A", op, "create-node", "", "{}", AlreadyOwner, nil},
		{"create-node without balance", nil, "S", op, "create-node", "", "{}", LowBalance, nil},

		{"create-resource-node", nil, "P", op, "create-resource-node", "", `{"type":"compute"}`, "", nil},
		{"create-resource-node without type", nil, "P", op, "create-resource-node", "", `{"name":"x"}`, Malformed, nil},

		{"link", nil, "A", op, "link", "R1", "", "", nil},
		{"link by one who owns no core node", nil, "R", op, "link", "R1", "", NotOwner, nil},
		{"link of an unknown node", nil, "A", op, "link", "R9", "", NotFound, nil},
		{"link of a core node", nil, "A", op, "link", "NB", "", NotFound, nil},
		{"link of a linked node", linked, "B", op, "link", "R1", "", AlreadyLinked, nil},
		{"link twice", linked, "A", op, "link", "R1", "", AlreadyLinked, nil},
		{"link of a locked node", nil, "A", op, "link", "R2", "", Locked, nil},
		{"link beyond the limit", full, "A", op, "link", "R1", "", Limit, nil},

		{"unlink by the parent's owner", linked, "A", op, "unlink", "R1", "", "", func(t *testing.T, s *story) {
			if r := s.resourceNode("R1"); r.Parent != nil || r.Status != Waiting || len(s.coreNode("NA").ResourceNodes) != 0 {
				t.Errorf("still linked: %+v", r)
			}
		}},
		{"unlink by the node's owner", linked, "R", op, "unlink", "R1", "", "", nil},
		{"unlink by another owner", linked, "B", op, "unlink", "R1", "", NotOwner, nil},
		{"unlink of a free node", nil, "R", op, "unlink", "R1", "", NotLinked, nil},
		{"unlink of an unknown node", nil, "R", op, "unlink", "R9", "", NotFound, nil},

		{"drop-node of a core node", func(s *story) { linked(s); staked(s) }, "A", op, "drop-node", "NA", "", "", func(t *testing.T, s *story) {
			if s.resourceNode("R1").Parent != nil || len(s.stakes) != 0 || len(s.Aggregate().Nodes) != 1 {
				t.Error("something of the dropped node is left")
			}
		}},
		{"drop-node of another's core node", nil, "B", op, "drop-node", "NA", "", NotOwner, nil},
		{"drop-node of a compute node", linked, "R", op, "drop-node", "R1", "", "", func(t *testing.T, s *story) {
			if len(s.coreNode("NA").ResourceNodes) != 0 {
				t.Error("the parent still lists it")
			}
		}},
		{"drop-node of another's compute node", linked, "A", op, "drop-node", "R1", "", NotOwner, nil},
		{"drop-node of an unknown node", nil, "A", op, "drop-node", "R9", "", NotFound, nil},

		{"stake", nil, "S", op, "stake", "NA", "", "", func(t *testing.T, s *story) { s.wants("NA", Waiting, map[string]float64{"S": 10_000}) }},
		{"stake moves", staked, "S", op, "stake", "NB", "", "", func(t *testing.T, s *story) {
			s.wants("NA", Waiting, nil)
			s.wants("NB", Waiting, map[string]float64{"S": 10_000})
		}},
		{"stake again", staked, "S", op, "stake", "NA", "", "", func(t *testing.T, s *story) { s.wants("NA", Waiting, map[string]float64{"S": 10_000}) }},
		{"stake without balance", nil, "P", op, "stake", "NA", "", LowBalance, nil},
		{"stake on an unknown node", nil, "S", op, "stake", "N9", "", NotFound, nil},
		{"stake on a compute node", nil, "S", op, "stake", "R1", "", NotFound, nil},
		{"stake by an owner", nil, "B", op, "stake", "NA", "", SelfStake, nil},
		{"stake on a locked node", editedNA(`{"locked":true}`), "S", op, "stake", "NA", "", Locked, nil},
		{"stake on a locked node, authorized", editedNA(`{"locked":true,"authorized":["` + address("S") + `"]}`), "S", op, "stake", "NA", "", "", nil},

		{"stake-split", staked, "S", op, "stake-split", "NB", "", "", func(t *testing.T, s *story) {
			s.wants("NA", Waiting, map[string]float64{"S": 5_000})
			s.wants("NB", Waiting, map[string]float64{"S": 5_000})
		}},
		{"stake-split without balance", nil, "P", op, "stake-split", "NA", "", LowBalance, nil},
		{"stake-split on an unknown node", nil, "S", op, "stake-split", "N9", "", NotFound, nil},
		{"stake-split by an owner", nil, "B", op, "stake-split", "NA", "", SelfStake, nil},
		{"stake-split on a locked node", editedNA(`{"locked":true}`), "S", op, "stake-split", "NA", "", Locked, nil},
		{"stake-split twice", staked, "S", op, "stake-split", "NA", "", AlreadyStaked, nil},

		{"unstake", staked, "S", op, "unstake", "NA", "", "", func(t *testing.T, s *story) { s.wants("NA", Waiting, nil) }},
		{"unstake where nothing is staked", staked, "S", op, "unstake", "NB", "", NotStaked, nil},
		{"unstake from an unknown node", nil, "S", op, "unstake", "N9", "", NotFound, nil},

		{"amend of a core node", nil, "A", "amend", "create-node", "NA", `{"name":"x"}`, "", nil},
		{"amend of a core node by another", nil, "B", "amend", "create-node", "NA", `{"name":"x"}`, NotOwner, nil},
		{"amend of a core node by its manager", editedNA(`{"manager":"` + address("M") + `"}`), "M", "amend", "create-node", "NA", `{"name":"x"}`, "", nil},
		{"amend of a compute node", nil, "R", "amend", "create-resource-node", "R1", `{"name":"x"}`, "", nil},
		{"amend of a compute node by another", nil, "A", "amend", "create-resource-node", "R1", `{"name":"x"}`, NotOwner, nil},
		{"amend of what is not a node", nil, "A", "amend", "create-node", "edit", `{"name":"x"}`, NotFound, nil},

		{"amend as an action", nil, "A", op, "amend", "NA", `{"name":"x"}`, UnknownAction, nil},
		{"unknown action", nil, "A", op, "burn", "NA", "", UnknownAction, nil},
		{"unknown type", nil, "A", "other", "drop-node", "NA", "", UnknownAction, nil},
		{"details of a wrong type", nil, "O", op, "create-node", "", `"x"`, Malformed, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := scene(t)
			if c.before != nil {
				c.before(s)
			}
			before := jsonOf(t, s.Aggregate())
			if o := s.does(c.actor, "new", c.kind, c.action, c.ref, c.details); o != (Outcome{c.want == "", c.want}) {
				t.Fatalf("outcome %+v, want %q", o, c.want)
			}
			if changed := jsonOf(t, s.Aggregate()) != before; changed && c.want != "" {
				t.Errorf("an ignored operation changed the state")
			}
			if c.after != nil {
				c.after(t, s)
			}
			checkInvariants(t, s.State)
		})
	}
}

func TestOperationsThatAreNotOfThisNetworkOrMalformed(t *testing.T) {
	for content, want := range map[string]Reason{
		`{"tags":["create-resource-node"],"action":"create-resource-node","details":{"type":"c"}}`: OtherNetwork,
		`{"action":"create-resource-node","details":{"type":"c"}}`:                                 OtherNetwork,
		`{"tags":["mainnet"]}`:                        Malformed,
		`{"tags":["mainnet"],"action":7}`:             Malformed,
		`{"tags":"mainnet","action":"link"}`:          Malformed,
		`{"tags":["mainnet"],"Action":"link"}`:        Malformed, // names are exact
		`{"tags":[1,["mainnet"],{}],"action":"link"}`: OtherNetwork,
		`{"tags":[1,"mainnet"],"action":"link"}`:      NotOwner,
		`[]`:                                          Malformed,
		`null`:                                        Malformed,
		``:                                            Malformed,
		`{"tags":["mainnet"],"action":"link","details":null,"other":1}`: NotOwner,
	} {
		s := begin(t)
		o := s.Apply(Operation{Hash: "h", Actor: address("A"), Type: "corechan-operation", Content: json.RawMessage(content)})
		if o.Reason != want {
			t.Errorf("%s: %+v, want %s", content, o, want)
		}
	}
}

func TestNodeIsNotCreatedTwice(t *testing.T) {
	s := begin(t)
	s.ownsResource("R", "R1")
	s.holds("O", 200_000)
	for _, action := range []string{"create-resource-node", "create-node"} {
		if o := s.does("O", "R1", "corechan-operation", action, "", `{"type":"compute"}`); o.Reason != Duplicate {
			t.Errorf("%s: %+v", action, o)
		}
	}
}

func TestInitialFields(t *testing.T) { // spec §4.4
	s := begin(t)
	s.holds("A", 200_000)
	s.must(s.does("A", "N", "corechan-operation", "create-node", "",
		`{"name":"n","locked":1,"authorized":["x"],"stream_reward":"s","picture":null,"banner":7,"address":"unused"}`))
	n := s.coreNode("N")
	if n.Owner != address("A") || n.Reward != address("A") || n.Manager != "" || !bool(n.Locked) || len(n.Authorized) != 0 ||
		n.Name != "n" || n.StreamReward != "s" || n.Picture != "" || n.Banner != "" || n.Address != "unused" ||
		n.Status != Waiting || n.HasBonus || n.Time != float64(s.height) || n.Multiaddress != "" || n.InactiveSince != nil {
		t.Errorf("%+v", n)
	}
	s.must(s.does("B", "R", "corechan-operation", "create-resource-node", "",
		`{"type":"compute","reward":"`+address("C")+`","authorized":"`+address("D")+`","manager":"m","multiaddress":"unused"}`))
	r := s.resourceNode("R")
	if r.Reward != address("C") || r.Type != "compute" || bool(r.Locked) || !slices.Equal(r.Authorized, []string{address("D")}) ||
		r.Manager != "m" || r.Multiaddress != "unused" || r.Parent != nil {
		t.Errorf("%+v", r)
	}
	early := begin(t)
	early.height = 12_020_000
	early.ownsCore("A", "N")
	if !early.coreNode("N").HasBonus {
		t.Error("no bonus for an early node")
	}
}

func TestAmendKeepsWhatItDoesNotName(t *testing.T) {
	s := begin(t)
	s.ownsCore("A", "N")
	s.must(s.does("A", "1", "amend", "create-node", "N", `{"description":"d","locked":"yes","authorized":["`+address("S")+`"],"reward":""}`))
	n := s.coreNode("N")
	if n.Name != "N" || n.Description != "d" || !bool(n.Locked) || n.Reward != "" || n.Manager != address("A") || n.Multiaddress == "" {
		t.Errorf("%+v", n)
	}
	s.must(s.does("A", "2", "amend", "create-node", "N", `{"name":null,"locked":""}`))
	n = s.coreNode("N")
	if n.Name != "" || n.Description != "d" || bool(n.Locked) || n.Reward != address("A") || !slices.Equal(n.Authorized, []string{address("S")}) {
		t.Errorf("%+v", n)
	}
}

func TestAmendActionWhereTheNetworkAllowsIt(t *testing.T) {
	s := begin(t)
	s.params.AmendAction = true
	s.ownsCore("A", "N")
	s.must(s.does("A", "1", "corechan-operation", "amend", "N", `{"name":"x"}`))
	if got := s.coreNode("N").Name; got != "x" {
		t.Errorf("name %q", got)
	}
}

func TestHostUniqueness(t *testing.T) { // spec §4.5
	s := begin(t)
	create := func(name, hash, kind, key, value string) string {
		s.holds(name, 200_000)
		s.must(s.does(name, hash, "corechan-operation", kind, "", fmt.Sprintf(`{"type":"compute",%q:%q}`, key, value)))
		if kind == "create-node" {
			return s.coreNode(hash).Multiaddress
		}
		return s.resourceNode(hash).Address
	}
	for i, c := range []struct{ wanted, got string }{
		{"/ip4/198.51.100.7/tcp/4025/p2p/Qmb5b2ZwJm9pVWrppf3D3iMF1bXbjZhbJTwGvKEBMZNxa2", "="},
		{"/ip4/198.51.100.7/tcp/4999", ""}, // same host, other port
		{"/ip6/2001:db8::1/tcp/4025", "="},
		{"/dns/a.example.org/tcp/4025", "="},
		{"/dns4/a.example.org/tcp/1", ""}, // same name by another protocol
		{"/tcp/4025", ""},                 // no host
		{"198.51.100.8:4025", ""},         // not a multiaddress
		{"", ""},
		{"/ip4/198.51.100.9/tcp/12345", "="},
	} {
		if c.got == "=" {
			c.got = c.wanted
		}
		if got := create(fmt.Sprint("c", i), fmt.Sprint("N", i), "create-node", "multiaddress", c.wanted); got != c.got {
			t.Errorf("multiaddress %s: %q, want %q", c.wanted, got, c.got)
		}
	}
	for i, c := range []struct{ wanted, got string }{
		{"https://crn.example.org", "="},
		{"no-host", "="},
		{"neither", ""},                        // one without host is enough
		{"https://CRN.example.org:8443/x", ""}, // the same host
		{"https://crn2.example.org/", "="},
		{"http://[2001:db8::1]:80", "="},
	} {
		if c.got == "=" {
			c.got = c.wanted
		}
		if got := create(fmt.Sprint("r", i), fmt.Sprint("R", i), "create-resource-node", "address", c.wanted); got != c.got {
			t.Errorf("address %s: %q, want %q", c.wanted, got, c.got)
		}
	}

	// The winner keeps its own host through an edit; the loser gets it by an edit once the winner has gone.
	s.must(s.does("r0", "e1", "amend", "create-resource-node", "R0", `{"name":"x"}`))
	if s.resourceNode("R0").Address != "https://crn.example.org" {
		t.Error("an edit took the winner's address")
	}
	s.must(s.op("r0", "drop-node", "R0"))
	if s.resourceNode("R3").Address != "" {
		t.Error("the loser got an address without asking")
	}
	s.must(s.does("r3", "e2", "amend", "create-resource-node", "R3", `{"address":"https://crn.example.org:8443"}`))
	if got := s.resourceNode("R3").Address; got != "https://crn.example.org:8443" {
		t.Errorf("address %q", got)
	}
}

func TestBalancesOfAllPlatformsCountAndAbsentOnesDoNot(t *testing.T) {
	s := New(mainnet())
	a := address("A")
	s.Apply(Balances{Platform: "ETH", Amounts: map[string]*big.Int{a: ALEPH(100_000)}})
	s.Apply(Balances{Platform: "ALEPH_ETH_SABLIER", Amounts: map[string]*big.Int{a: ALEPH(99_999)}})
	if got := s.Balance(a); got.Cmp(ALEPH(199_999)) != 0 {
		t.Fatalf("sum %s", got)
	}
	create := Operation{Hash: "N", Actor: a, Type: "corechan-operation", Content: json.RawMessage(`{"tags":["mainnet"],"action":"create-node"}`)}
	if o := s.Apply(create); !o.Applied {
		t.Fatalf("create: %+v", o)
	}
	s.Apply(Balances{Platform: "ETH", Amounts: map[string]*big.Int{address("B"): ALEPH(1)}, Partial: true})
	if len(s.Aggregate().Nodes) != 1 {
		t.Error("a partial update took what it does not name")
	}
	s.Apply(Balances{Platform: "ALEPH_ETH_SABLIER", Amounts: nil})
	if got := s.Balance(a); got.Cmp(ALEPH(100_000)) != 0 || len(s.Aggregate().Nodes) != 0 {
		t.Errorf("an address that left a complete list still holds %s", got)
	}
}

func TestSharesAreExactAndRoundedDown(t *testing.T) {
	s := begin(t)
	for _, n := range []string{"N1", "N2", "N3"} {
		s.ownsCore("owner of "+n, n)
	}
	odd := new(big.Int).Add(ALEPH(10_000), big.NewInt(2)) // not divisible by 3
	s.Apply(Balances{Platform: "OTHER", Amounts: map[string]*big.Int{address("S"): odd}})
	for _, n := range []string{"N1", "N2", "N3"} {
		s.must(s.op("S", "stake-split", n))
	}
	want, _ := new(big.Int).SetString("3333333333333333333334", 10)
	for hash, n := range s.core {
		if n.total.Cmp(want) != 0 {
			t.Errorf("%s has %s", hash, n.total)
		}
	}
}

func TestSpellingOfAddressesDoesNotMatter(t *testing.T) {
	// Vectors of EIP-55.
	for _, want := range []string{
		"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
		"0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB", "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
		"0x52908400098527886E0F7030069857D2E4169EE7", "0xde709f2102306220921060314715629080e2fb77",
	} {
		for _, spelling := range []string{want, strings.ToLower(want), "0X" + strings.ToUpper(want[2:])} {
			if got := Normalize(spelling); got != want {
				t.Errorf("%s: %s", spelling, got)
			}
		}
	}
	for _, other := range []string{"", "0x", "5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeZ"} {
		if got := Normalize(other); got != other {
			t.Errorf("%s became %s", other, got)
		}
	}
	s := begin(t)
	s.held = map[string]*big.Int{strings.ToLower(address("abc")): ALEPH(200_000)}
	s.holds("x", 1)
	s.must(s.does("abc", "N", "corechan-operation", "create-node", "", "{}"))
}

func TestSortEvents(t *testing.T) { // spec §2.1
	want := []Event{
		Balances{Height: 1, Platform: "A"},
		Balances{Height: 1, Platform: "B"},
		Operation{Height: 1, Hash: "b"}, // no time at all
		Operation{Height: 1, Hash: "z", Time: 9, ContentTime: 4},
		Operation{Height: 1, Hash: "a", Time: 5},
		Scores{Height: 1, Hash: "b", ContentTime: 5},
		Operation{Height: 1, Hash: "c", ContentTime: 5},
		Balances{Height: 2},
		Operation{Height: 2},
	}
	got := slices.Clone(want)
	slices.Reverse(got)
	SortEvents(got)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v", got)
	}
}

func jsonOf(t interface{ Fatal(...any) }, v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
