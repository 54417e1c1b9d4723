package convergence

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/aleph-im/aleph-go/ccn/ledger"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

const (
	alice = "0xAlice"
	bob   = "0xBob"
	carol = "0xCarol"
	dave  = "0xDave" // acts for others when they let him
)

// even draws a number below n, each as likely as any other: rapid's own ranges prefer small numbers.
func even(t *rapid.T, n int, label string) int {
	const bits = 10
	x := 0
	for _, bit := range rapid.SliceOfN(rapid.Bool(), bits, bits).Draw(t, label) {
		if x <<= 1; bit {
			x++
		}
	}
	return x * n >> bits
}

// one draws an entry of a list.
func one[T any](t *rapid.T, list []T, label string) T { return list[even(t, len(list), label)] }

// story draws messages that depend on each other, of a few owners at a few times, so that many times are equal. It tells
// them in the order in which they could have been made.
type story struct {
	*rapid.T
	said    []*said
	forgets []*said               // name their targets
	used    map[message.Hash]bool // files of VMs, which cannot be forgotten
	posts   []*said
	stores  []*said
	vms     []*said
	targets []*said // what can be forgotten
	// See docs/decisions: what is forgotten keeps its price, and no FORGET is undone.
	priced bool // prices change, and nothing that has one is forgotten
	loyal  bool // who lets dave act for him always will, so that he can forget too
}

func (s *story) at() float64 { return float64(1 + even(s.T, 6, "time")) }

func (s *story) owner() string {
	return one(s.T, []string{alice, bob, carol}, "owner")
}

// say adds a message, sometimes signed by dave.
func (s *story) say(content message.Content) *said {
	var edit []func(*message.Message)
	if p, ok := content.(*message.Post); ok {
		channel := ""
		switch {
		case strings.HasPrefix(p.PostType, "aleph_credit"):
			channel = "ALEPH_CREDIT"
		case p.PostType == measured:
			channel = "aleph-scoring"
		}
		if channel != "" {
			edit = append(edit, func(m *message.Message) { m.Channel = &channel })
		}
	}
	if content.Base().Address != params.DevnetAuthority && even(s.T, 5, "delegated") == 0 {
		edit = append(edit, sender(dave))
	}
	m := s.message(content, edit...)
	s.said = append(s.said, m)
	s.targets = append(s.targets, m)
	return m
}

// heir returns who refers to a message: mostly its owner.
func (s *story) heir(m *said) string {
	if even(s.T, 4, "stranger") == 0 {
		return s.owner()
	}
	return m.content.Base().Address
}

// said is a message and what it says.
type said struct {
	*message.Message
	content message.Content
	text    []byte
}

// signature is what a good one looks like.
const signature = "signed"

// message makes a message with its true hash, which no other has. Some contents travel as files.
func (s *story) message(content message.Content, edit ...func(*message.Message)) *said {
	note := json.RawMessage(fmt.Sprintf(`{"n":%d}`, len(s.said)))
	switch c := content.(type) {
	case *message.Store:
		c.Metadata = note
	case *message.Program:
		c.Metadata = note
	case *message.Instance:
		c.Metadata = note
	case *message.VProgram:
		c.Metadata = note
	case *message.Forget:
		reason := fmt.Sprint(len(s.forgets))
		c.Reason = &reason
	}
	text, err := json.Marshal(content)
	if err != nil {
		s.Fatal(err)
	}
	owner := content.Base()
	m := &message.Message{
		Sender: owner.Address, Chain: message.ChainETH, Type: content.Type(), Signature: signature, ItemType: message.ItemInline,
		ItemHash: message.HashBytes(text), ItemContent: string(text), Time: message.TimeFromSeconds(owner.Time),
	}
	for _, e := range edit {
		e(m)
	}
	if even(s.T, 8, "as a file") == 0 {
		m.ItemType, m.ItemContent = message.ItemStorage, ""
	}
	return &said{m, content, text}
}

func sender(address string) func(*message.Message) {
	return func(m *message.Message) { m.Sender = address }
}

// hash returns a hash that is told by its name.
func hash(name string) message.Hash { return message.HashBytes([]byte(name)) }

func base(owner string, t float64) message.BaseContent {
	return message.BaseContent{Address: owner, Time: t}
}

func post(owner string, t float64, content string) *message.Post {
	return &message.Post{BaseContent: base(owner, t), PostType: "note", Content: json.RawMessage(content)}
}

func aggregate(owner string, t float64, key, content string) *message.Aggregate {
	return &message.Aggregate{BaseContent: base(owner, t), Key: key, Content: json.RawMessage(content)}
}

func file(owner string, t float64, content, ref string) *message.Store {
	return &message.Store{BaseContent: base(owner, t), FileType: message.ItemStorage, FileHash: hash(content), Ref: ref}
}

func instance(owner string, t float64, parent message.Hash, payment message.PaymentType) *message.Instance {
	c := &message.Instance{Rootfs: message.Rootfs{Parent: message.ParentVolume{Ref: parent, UseLatest: true}, Persistence: "host", SizeMiB: 20480}}
	c.BaseContent = base(owner, t)
	c.Resources = message.Resources{VCPUs: 1, MemoryMiB: 2048, Seconds: 1}
	if payment != "" {
		c.Payment = &message.Payment{Type: payment}
	}
	return c
}

func program(owner string, t float64, code, replaces message.Hash) *message.Program {
	c := &message.Program{
		ProgramType: "vm-function", Code: message.Code{Ref: code, Encoding: message.EncodingZip}, Runtime: message.Runtime{Ref: code},
	}
	c.BaseContent = base(owner, t)
	c.Resources = message.Resources{VCPUs: 1, MemoryMiB: 128, Seconds: 1}
	c.AllowAmend = true
	if replaces != "" {
		c.Replaces = (*string)(&replaces)
	}
	return c
}

func forget(owner string, t float64) *message.Forget {
	return &message.Forget{BaseContent: base(owner, t)}
}

var kinds = []string{
	"post", "post", "amend", "amend", "aggregate", "aggregate", "long names", "long values", "key", "grant", "grant", "file", "file", "version", "version", "named", "large",
	"instance", "instance", "program", "program", "replacement", "replacement", "vprogram", "balances", "balances", "distribution", "distribution", "expense", "transfer", "transfer",
	"prices", "crisis", "measurements",
}

// measured is the type of posts that say how nodes do.
const measured = "aleph-network-metrics"

func (s *story) add() {
	o, t := s.owner(), s.at()
	n := len(s.said)
	pick := func(list []string, label string) string { return one(s.T, list, label) }
	earlier := func(list []*said, label string) *said { return one(s.T, list, label) }
	version := func() string { return fmt.Sprint("v", even(s.T, 3, "content")) }
	switch pick(kinds, "kind") {
	case "post":
		s.posts = append(s.posts, s.say(post(o, t, fmt.Sprintf(`{"tags":["a"],"n":%d}`, n))))
	case "amend":
		if len(s.posts) > 0 {
			original := earlier(s.posts, "original")
			c := post(s.heir(original), t, pick([]string{fmt.Sprint(n), fmt.Sprintf(`{"tags":["a","b"],"n":%d}`, n), fmt.Sprintf(`{"tags":["b"],"n":%d}`, n), fmt.Sprintf(`{"tags":%d}`, n)}, "amended"))
			c.PostType, c.Ref = message.PostTypeAmend, string(original.ItemHash)
			s.say(c)
		}
	case "aggregate":
		member := pick([]string{"a", "bb", "c"}, "member")
		s.say(aggregate(o, t, "k", fmt.Sprintf(`{%q:%d,%q:[%d]}`, member, n, member+"x", n)))
	case "long names": // that are in one place of a document: see decision 0046
		name := strings.Repeat("n", 256)
		s.say(aggregate(o, t, "k", fmt.Sprintf(`{%q:%d,%q:%d}`, name+pick([]string{"x", "y"}, "end"), n, name+pick([]string{"x", "z"}, "other end"), n)))
	case "long values": // that make a document more than one piece
		value := strings.Repeat(fmt.Sprint(n%10), 5000)
		s.say(aggregate(o, t, "k", fmt.Sprintf(`{%q:%q,"a":%d}`, pick([]string{"l", "m", "n"}, "member"), value, n)))
	case "key":
		s.say(aggregate(o, t, string(hash("key")), fmt.Sprintf(`{"n%d":%d}`, n%3, n)))
	case "grant":
		grants := `[{"address":"0xdave"}]`
		if !s.loyal {
			grants = pick([]string{`[]`, grants, `[{"address":"0xDave","types":["POST","STORE"]}]`, `[{"address":"0xDave","types":["AGGREGATE","INSTANCE"]}]`}, "grants")
		}
		s.say(aggregate(o, t, "security", fmt.Sprintf(`{"authorizations":%s,"n":%d}`, grants, n)))
	case "file":
		s.stores = append(s.stores, s.say(file(o, t, version(), "")))
	case "version":
		if len(s.stores) > 0 {
			original := earlier(s.stores, "first")
			s.say(file(s.heir(original), t, version(), string(original.ItemHash)))
		}
	case "named":
		s.say(file(o, t, version(), "site"))
	case "large":
		c := file(o, t, "large", "")
		if rapid.Bool().Draw(s.T, "credits") {
			c.Payment = &message.Payment{Type: message.PaymentCredit}
		}
		s.say(c)
	case "instance":
		if len(s.stores) > 0 {
			parent := earlier(s.stores, "parent").ItemHash
			s.used[parent] = true
			pay := one(s.T, []message.PaymentType{"", message.PaymentCredit, message.PaymentSuperfluid}, "payment")
			s.vms = append(s.vms, s.say(instance(o, t, parent, pay)))
		}
	case "program":
		if len(s.stores) > 0 {
			code := earlier(s.stores, "code").ItemHash
			s.used[code] = true
			s.vms = append(s.vms, s.say(program(o, t, code, "")))
		}
	case "replacement":
		if len(s.vms) > 0 {
			code, original := earlier(s.stores, "code").ItemHash, earlier(s.vms, "replaced")
			s.used[code] = true
			s.vms = append(s.vms, s.say(program(s.heir(original), t, code, original.ItemHash)))
		}
	case "vprogram":
		root := strings.Repeat("0", 64)
		c := &message.VProgram{
			Runtime: message.VerifiedRuntime{Ref: hash("r")}, Workload: message.VerifiedFile{Ref: hash("w"), HashTree: hash("t"), RootHash: root},
			Verification: message.Verification{
				Backend: "sev_snp", Policy: 0x30000, Measurements: []message.Measurement{{Platform: "sev_snp", Digest: strings.Repeat("0", 96)}},
			},
		}
		c.BaseContent, c.Payment = base(o, t), &message.Payment{Type: message.PaymentCredit}
		c.Resources = message.Resources{VCPUs: 1, MemoryMiB: 2048, Seconds: 1}
		s.say(c)
	case "balances":
		amount := one(s.T, []int{0, 9, 10, 20, 1000, 1500, 3000}, "amount")
		s.balance(o, t, int(s.at()), amount)
	case "crisis": // a file that is paid for, then is not, then is again
		height := 10 * int(t)
		s.say(file(o, t, "large", ""))
		for i, amount := range []int{1000, 0, 1000} {
			s.balance(o, t+float64(i), height+i, amount)
		}
	case "distribution":
		expiration := pick([]string{"", `,"expiration":3500`, `,"expiration":5000`, `,"expiration":99000`}, "expiration")
		s.credits(params.DevnetAuthority, t, ledger.CreditDistribution, fmt.Sprintf(
			`{"distribution":{"token":"T","chain":"ETH","credits":[{"address":%q,"amount":%d,"price":"1","tx_hash":"","provider":"p"%s}]},"n":%d}`, o, s.amount(), expiration, n))
	case "expense":
		s.credits(params.DevnetAuthority, t, ledger.CreditExpense, fmt.Sprintf(`{"expense":{"credits":[{"address":%q,"amount":%d}]},"n":%d}`, o, s.amount(), n))
	case "transfer":
		if to := s.owner(); to != o {
			s.credits(o, t, ledger.CreditTransfer, fmt.Sprintf(`{"transfer":{"credits":[{"address":%q,"amount":%d}]},"n":%d}`, to, s.amount(), n))
		}
	case "measurements": // by whom they count, and by others
		by := pick([]string{params.DevnetAuthority, params.DevnetAuthority, o}, "measured by")
		c := post(by, t, fmt.Sprintf(`{"metrics":{"ccn":[{"node_id":"n","measured_at":%d,"base_latency":%d,"pending_messages":"%d"}],
			"crn":[{"node_id":"n","measured_at":"%d","full_check_latency":0.%d},{"node_id":""}]}}`, even(s.T, 4, "measured at"), n, n, even(s.T, 4, "measured at"), n))
		c.PostType = measured
		s.say(c)
	case "prices":
		if !s.priced {
			return
		}
		price := pick([]string{"1", "2"}, "price")
		s.say(aggregate(params.DevnetAuthority, t, "pricing", strings.NewReplacer(`"a price"`, price, `"a number"`, fmt.Sprint(n)).Replace(pricing)))
	}
}

// pricing has every product, one with a price of its own.
var pricing = func() string {
	products := map[string]any{}
	for _, p := range params.Devnet().Prices {
		price := map[string]any{"storage": p.Storage}
		if p.ComputeUnit != nil {
			price["compute_unit"] = p.ComputeUnit
		}
		product := map[string]any{"price": price, "tiers": p.Tiers}
		if p.Unit != nil {
			product["compute_unit"] = p.Unit
		}
		products[string(p.Product)] = product
	}
	products["storage"] = map[string]any{"price": map[string]any{"storage": map[string]any{"holding": "a price", "credit": "0.5"}}}
	products["n"] = "a number"
	raw, err := json.Marshal(products)
	if err != nil {
		panic(err)
	}
	return string(raw)
}()

// balance publishes what somebody holds.
func (s *story) balance(owner string, t float64, height, amount int) {
	c := post(params.DevnetAuthority, t, fmt.Sprintf(`{"chain":"ETH","main_height":%d,"balances":{%q:%d},"n":%d}`, height, owner, amount, len(s.said)))
	c.PostType = "balances-update"
	s.say(c)
}

func (s *story) amount() int {
	return one(s.T, []int{1, 500, 1000, 350_000, 700_000}, "credits")
}

func (s *story) credits(owner string, t float64, kind, content string) {
	c := post(owner, t, content)
	c.PostType = kind
	s.say(c)
}

// forget adds a FORGET by the owner of its target, or of a key, or by who acts for him.
func (s *story) forget() {
	f := forget(s.owner(), s.at())
	if even(s.T, 4, "by key") == 0 {
		f.Aggregates = []message.Hash{hash("key")}
	} else {
		free := slices.DeleteFunc(slices.Clone(s.targets), func(m *said) bool {
			paid := m.Type != message.TypePost && m.Type != message.TypeAggregate
			a, ok := m.content.(*message.Aggregate)
			return s.used[m.ItemHash] || s.priced && paid || s.loyal && ok && a.Key == "security"
		})
		if len(free) == 0 {
			return
		}
		target := one(s.T, free, "target")
		f.Address, f.Hashes = target.content.Base().Address, []message.Hash{target.ItemHash}
		switch even(s.T, 4, "more") {
		case 0: // of whoever
			f.Hashes = append(f.Hashes, one(s.T, free, "second target").ItemHash)
		case 1: // which is refused
			if len(s.forgets) > 0 {
				f.Hashes = append(f.Hashes, one(s.T, s.forgets, "FORGET").ItemHash)
			}
		}
	}
	var edit []func(*message.Message)
	if s.loyal && even(s.T, 2, "delegated") == 0 {
		edit = append(edit, sender(dave))
	}
	s.forgets = append(s.forgets, s.message(f, edit...))
}

// endow gives everybody more than enough to begin with.
func (s *story) endow() {
	const much = 100_000_000
	for _, owner := range []string{alice, bob, carol} {
		s.balance(owner, 1, 1, much)
		s.credits(params.DevnetAuthority, 1, ledger.CreditDistribution, fmt.Sprintf(
			`{"distribution":{"token":"T","chain":"ETH","credits":[{"address":%q,"amount":%d,"price":"1","tx_hash":"","provider":"p"}]}}`, owner, much))
	}
}

func tell(t *rapid.T) *story {
	s := &story{T: t, used: map[message.Hash]bool{}, priced: even(t, 4, "priced") == 0, loyal: even(t, 4, "loyal") == 0}
	s.posts = append(s.posts, s.say(post(s.owner(), s.at(), `{}`)))
	if rapid.Bool().Draw(t, "rich") {
		s.endow()
	}
	for range 4 + even(t, 15, "messages") {
		s.add()
	}
	for range even(t, 4, "forgets") {
		s.forget()
	}
	return s
}
