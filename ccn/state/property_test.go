package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/aleph-im/aleph-go/ccn/ledger"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/ccn/store/storetest"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

const (
	carol = "0xCarol"
	dave  = "0xDave" // acts for others when they let him
)

// story draws messages that depend on each other, of a few owners at a few times, so that many times are equal. It tells
// them in the order in which they could have been made.
type story struct {
	*rapid.T
	items   []*Item
	forgets []*Item               // name their targets
	used    map[message.Hash]bool // files of VMs, which cannot be forgotten
	posts   []message.Hash
	stores  []message.Hash
	vms     []message.Hash
	targets []*Item // what can be forgotten
	priced  bool    // prices change; see docs/decisions: what is forgotten keeps its price
}

func (s *story) at() float64 { return float64(rapid.IntRange(1, 6).Draw(s.T, "time")) }

func (s *story) owner() string {
	return rapid.SampledFrom([]string{alice, bob, carol}).Draw(s.T, "owner")
}

// say adds a message, sometimes signed by dave.
func (s *story) say(content message.Content) message.Hash {
	var edit []func(*message.Message)
	if p, ok := content.(*message.Post); ok && strings.HasPrefix(p.PostType, "aleph_credit") {
		channel := "ALEPH_CREDIT"
		edit = append(edit, func(m *message.Message) { m.Channel = &channel })
	} else if content.Base().Address != params.DevnetAuthority && rapid.IntRange(0, 3).Draw(s.T, "delegated") == 0 {
		edit = append(edit, sender(dave))
	}
	it := s.item(content, edit...)
	s.items = append(s.items, it)
	s.targets = append(s.targets, it)
	return it.Message.ItemHash
}

// item makes a message with its true hash, which no other has.
func (s *story) item(content message.Content, edit ...func(*message.Message)) *Item {
	note := json.RawMessage(fmt.Sprintf(`{"n":%d}`, len(s.items)))
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
	it := item("", content, edit...)
	it.Message.ItemHash = message.HashBytes([]byte(it.Message.ItemContent))
	raw, err := it.Message.MarshalJSON()
	if err == nil {
		_, it.Content, err = message.Parse(raw)
	}
	if err != nil {
		s.Fatalf("%s: %v", it.Message.ItemContent, err)
	}
	return it
}

var kinds = []string{
	"post", "post", "amend", "amend", "aggregate", "aggregate", "key", "grant", "grant", "file", "file", "version", "version", "named", "large",
	"instance", "program", "replacement", "vprogram", "balances", "balances", "distribution", "distribution", "expense", "transfer", "transfer",
	"prices",
}

func (s *story) add() {
	o, t := s.owner(), s.at()
	n := len(s.items)
	pick := func(list []string, label string) string { return rapid.SampledFrom(list).Draw(s.T, label) }
	earlier := func(list []message.Hash, label string) message.Hash { return rapid.SampledFrom(list).Draw(s.T, label) }
	version := func() string { return fmt.Sprint("v", rapid.IntRange(0, 2).Draw(s.T, "content")) }
	switch pick(kinds, "kind") {
	case "post":
		s.posts = append(s.posts, s.say(post(o, t, fmt.Sprintf(`{"tags":["a"],"n":%d}`, n))))
	case "amend":
		if len(s.posts) > 0 {
			c := post(o, t, fmt.Sprint(n))
			c.PostType, c.Ref = message.PostTypeAmend, string(earlier(s.posts, "original"))
			s.say(c)
		}
	case "aggregate":
		member := pick([]string{"a", "bb", "c"}, "member")
		s.say(aggregate(o, t, "k", fmt.Sprintf(`{%q:%d,%q:[%d]}`, member, n, member+"x", n)))
	case "key":
		s.say(aggregate(o, t, string(hash("key")), fmt.Sprintf(`{"n%d":%d}`, n%3, n)))
	case "grant":
		grants := pick([]string{`[]`, `[{"address":"0xdave"}]`, `[{"address":"0xDave","types":["POST","STORE"]}]`, `[{"address":"0xDave","types":["AGGREGATE","INSTANCE"]}]`}, "grants")
		s.say(aggregate(o, t, securityKey, fmt.Sprintf(`{"authorizations":%s,"n":%d}`, grants, n)))
		s.targets = s.targets[:len(s.targets)-1] // see docs/decisions: what was accepted under a grant outlives it
	case "file":
		s.stores = append(s.stores, s.say(file(o, t, version(), "")))
	case "version":
		if len(s.stores) > 0 {
			s.say(file(o, t, version(), string(earlier(s.stores, "first"))))
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
			parent := earlier(s.stores, "parent")
			s.used[parent] = true
			pay := rapid.SampledFrom([]message.PaymentType{"", message.PaymentCredit, message.PaymentSuperfluid}).Draw(s.T, "payment")
			s.vms = append(s.vms, s.say(instanceOf(o, t, parent, pay)))
		}
	case "program":
		if len(s.stores) > 0 {
			code := earlier(s.stores, "code")
			s.used[code] = true
			s.vms = append(s.vms, s.say(programOf(o, t, code, "")))
		}
	case "replacement":
		if len(s.vms) > 0 {
			code := earlier(s.stores, "code")
			s.used[code] = true
			s.say(programOf(o, t, code, earlier(s.vms, "replaced")))
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
		amount := rapid.SampledFrom([]int{0, 9, 10, 20, 1000, 1500, 3000}).Draw(s.T, "amount")
		c := post(params.DevnetAuthority, t, fmt.Sprintf(`{"chain":"ETH","main_height":%d,"balances":{%q:%d},"n":%d}`, int(s.at()), o, amount, n))
		c.PostType = "balances-update"
		s.say(c)
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
	case "prices":
		if !s.priced {
			return
		}
		price := pick([]string{"1", "2"}, "price")
		s.say(aggregate(params.DevnetAuthority, t, pricingKey, strings.NewReplacer(`"a price"`, price, `"a number"`, fmt.Sprint(n)).Replace(pricing)))
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

func (s *story) amount() int {
	return rapid.SampledFrom([]int{1, 500, 1000, 350_000, 700_000}).Draw(s.T, "credits")
}

func (s *story) credits(owner string, t float64, kind, content string) {
	c := post(owner, t, content)
	c.PostType = kind
	s.say(c)
}

// forget adds a FORGET by the owner of its target, or of a key.
func (s *story) forget() {
	if rapid.IntRange(0, 3).Draw(s.T, "by key") == 0 {
		f := forget(s.owner(), s.at())
		f.Aggregates = []message.Hash{hash("key")}
		s.forgets = append(s.forgets, s.item(f))
		return
	}
	free := slices.DeleteFunc(slices.Clone(s.targets), func(it *Item) bool {
		paid := it.Message.Type != message.TypePost && it.Message.Type != message.TypeAggregate
		return s.used[it.Message.ItemHash] || s.priced && paid
	})
	if len(free) == 0 {
		return
	}
	target := free[rapid.IntRange(0, len(free)-1).Draw(s.T, "target")]
	f := forget(target.Content.Base().Address, s.at())
	f.Hashes = []message.Hash{target.Message.ItemHash}
	s.forgets = append(s.forgets, s.item(f))
}

func tell(t *rapid.T) *story {
	s := &story{T: t, used: map[message.Hash]bool{}, priced: rapid.IntRange(0, 3).Draw(t, "priced") == 0}
	for range rapid.IntRange(2, 18).Draw(t, "messages") {
		s.add()
	}
	for range rapid.IntRange(0, 3).Draw(t, "forgets") {
		s.forget()
	}
	return s
}

// replica is a node that takes messages in, as package intake would: what is refused waits for what it names.
type replica struct {
	t     *rapid.T
	tx    *store.Tx
	state *State
	known map[message.Hash]*Item
}

func (n *replica) must(err error) {
	if err != nil {
		n.t.Fatal(err)
	}
}

// take takes one message in, and what it wakes.
func (n *replica) take(it *Item) {
	m := it.Message
	n.known[m.ItemHash] = it
	effect, err := n.state.Apply(n.tx, it)
	if refusal := refusalOf(err); refusal != nil {
		if refusal.Code == message.ErrForgottenDuplicate {
			return
		}
		envelope, err := m.MarshalJSON()
		n.must(err)
		n.must(n.tx.PutRejected(&store.RejectedRow{
			Hash: m.ItemHash, Envelope: envelope, ErrorCode: refusal.Code, Details: refusal.Details(), ReceptionTime: it.ReceptionTime,
			Verified: true, WaitsFor: refusal.WaitsFor,
		}))
		n.wake([]message.WaitKey{message.WaitRefused(m.ItemHash)})
		return
	}
	n.must(err)
	if !effect.Duplicate {
		n.must(n.tx.DeleteRejected(m.ItemHash))
	}
	n.wake(effect.Wakes)
}

func (n *replica) wake(keys []message.WaitKey) {
	_, err := n.tx.WakePending(keys, 0)
	n.must(err)
	due, err := n.tx.PendingDue(0, 1000)
	n.must(err)
	for _, row := range due {
		n.must(n.tx.DeletePending(row.Hash, row.Sender, row.Signature))
	}
	for _, row := range due {
		n.take(n.known[row.Hash])
	}
}

// settle looks at the funds of the accounts until nothing changes.
func (n *replica) settle() {
	for range 100 {
		due, err := n.tx.AccountsDue(message.TimeFrom(n.state.now()), 1000)
		n.must(err)
		if len(due) == 0 {
			return
		}
		for _, a := range due {
			effect, err := n.state.SettleAccount(n.tx, a.Owner, a.PaymentType)
			n.must(err)
			n.wake(effect.Wakes)
		}
	}
	n.t.Fatal("accounts do not settle")
}

// outcome returns what batches of messages add up to on an empty node, of which it leaves no trace.
func outcome(t *rapid.T, db *store.Store, s *State, settle bool, batches ...[]*Item) (text string) {
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		n := &replica{t: t, tx: tx, state: s, known: map[message.Hash]*Item{}}
		for _, f := range []store.FileRow{{Hash: hash("v0"), Size: 10}, {Hash: hash("v1"), Size: 3 << 20}, {Hash: hash("v2"), Size: 4 << 20}, {Hash: hash("large"), Size: 30 << 20}} {
			f.Type = store.FileTypeFile
			_, err := tx.PutFile(&f)
			n.must(err)
		}
		for _, items := range batches {
			for _, it := range items {
				n.take(it)
			}
			if settle {
				n.settle()
			}
		}
		n.settle()
		var err error
		if text, err = tx.Dump(); err != nil {
			return err
		}
		return errUndo
	})
	if !errors.Is(err, errUndo) {
		t.Fatal(err)
	}
	return text
}

var errUndo = errors.New("undone on purpose")

// rounds is how often rapid draws its 100 histories: so that there are ALEPH_HISTORIES of them, or 2,000.
func rounds(t *testing.T) int {
	text := os.Getenv("ALEPH_HISTORIES")
	if text == "" {
		return 20
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("ALEPH_HISTORIES=%q is not a number of histories", text)
	}
	return (n + 99) / 100
}

// TestWhatMessagesAddUpToKnowsNoOrderOfArrival tells stories in several orders, with copies and with pauses in which
// accounts are looked at, and expects the same rows in the end.
func TestWhatMessagesAddUpToKnowsNoOrderOfArrival(t *testing.T) {
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		db := open()
		for range rounds(t) {
			rapid.Check(t, func(t *rapid.T) { tellTwice(t, db) })
		}
	})
}

func tellTwice(t *rapid.T, db *store.Store) {
	clock := rapid.SampledFrom([]time.Time{time.Unix(10, 0), now}).Draw(t, "clock")
	s := New(Config{Params: params.Devnet(), Now: func() time.Time { return clock }})
	story := tell(t)
	all := append(slices.Clone(story.items), story.forgets...)
	want := outcome(t, db, s, false, all)
	if len(all) == 0 {
		return
	}
	var shuffled, copies []*Item
	for _, i := range rapid.Permutation(indices(len(all))).Draw(t, "order") {
		shuffled = append(shuffled, all[i])
	}
	split := rapid.IntRange(0, len(all)).Draw(t, "split")
	for _, i := range rapid.SliceOfN(rapid.IntRange(0, len(all)-1), 0, 4).Draw(t, "copies") {
		copies = append(copies, all[i])
	}
	// Accounts that are looked at before all is known must not remove what turns out to be paid for: only the end of the
	// grace period is final, so the pause comes before it.
	pause := clock.Equal(time.Unix(10, 0))
	got := outcome(t, db, s, pause, slices.Concat(shuffled[:split], copies), slices.Concat(copies, shuffled[split:]))
	if got != want {
		t.Fatalf("%s\n%s", difference(want, got), told(all))
	}
}

func indices(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// told writes a story down.
func told(items []*Item) string {
	var b strings.Builder
	for _, it := range items {
		fmt.Fprintf(&b, "%.8s %s %s %s\n", it.Message.ItemHash, it.Message.Type, it.Message.Sender, it.Message.ItemContent)
	}
	return b.String()
}

// difference returns the lines that only one of two dumps has.
func difference(want, got string) string {
	var b strings.Builder
	has := func(text string) map[string]bool {
		lines := map[string]bool{}
		for line := range strings.Lines(text) {
			lines[line] = true
		}
		return lines
	}
	wanted, gotten := has(want), has(got)
	for line := range strings.Lines(want) {
		if !gotten[line] {
			b.WriteString("in order only:  " + line)
		}
	}
	for line := range strings.Lines(got) {
		if !wanted[line] {
			b.WriteString("shuffled only:  " + line)
		}
	}
	return b.String()
}
