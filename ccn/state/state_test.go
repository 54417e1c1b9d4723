package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

const (
	alice = "0xAlice"
	bob   = "0xBob"
)

var now = time.Unix(1_700_000_000, 0)

// world is a store with a state on it.
type world struct {
	t     testing.TB
	db    *store.Store
	state *State
}

func newWorld(t testing.TB, p *params.Network) *world {
	t.Helper()
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "node.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return &world{t, db, New(Config{Params: p, Now: func() time.Time { return now }})}
}

// hash returns a hash that is told by its name.
func hash(name string) message.Hash { return message.HashBytes([]byte(name)) }

func encoded(content message.Content) string {
	raw, err := json.Marshal(content)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// item makes a message named name; its sender is the owner unless edited.
func item(name string, content message.Content, edit ...func(*message.Message)) *Item {
	base := content.Base()
	m := &message.Message{
		Sender: base.Address, Chain: message.ChainETH, Type: content.Type(), Signature: "signed", ItemType: message.ItemInline,
		ItemHash: hash(name), Time: message.TimeFromSeconds(base.Time), ItemContent: encoded(content),
	}
	for _, e := range edit {
		e(m)
	}
	return &Item{Message: m, Content: content, Size: int64(len(m.ItemContent)), ReceptionTime: m.Time}
}

func sender(address string) func(*message.Message) {
	return func(m *message.Message) { m.Sender = address }
}
func sentAt(seconds int64) func(*message.Message) {
	return func(m *message.Message) { m.Time = message.TimeFromSeconds(float64(seconds)) }
}

func base(owner string, t float64) message.BaseContent {
	return message.BaseContent{Address: owner, Time: t}
}

func post(owner string, t float64, content string) *message.Post {
	return &message.Post{BaseContent: base(owner, t), PostType: "note", Content: json.RawMessage(content)}
}

func amend(owner string, t float64, original string) *message.Post {
	return &message.Post{BaseContent: base(owner, t), PostType: message.PostTypeAmend, Ref: string(hash(original)), Content: json.RawMessage(`1`)}
}

func aggregate(owner string, t float64, key, content string) *message.Aggregate {
	return &message.Aggregate{BaseContent: base(owner, t), Key: key, Content: json.RawMessage(content)}
}

func file(owner string, t float64, content, ref string) *message.Store {
	return &message.Store{BaseContent: base(owner, t), FileType: message.ItemStorage, FileHash: hash(content), Ref: ref}
}

func forget(owner string, t float64, names ...string) *message.Forget {
	f := &message.Forget{BaseContent: base(owner, t)}
	for _, name := range names {
		f.Hashes = append(f.Hashes, hash(name))
	}
	return f
}

func (w *world) write(f func(tx *store.Tx) error) {
	w.t.Helper()
	if err := w.db.Write(w.t.Context(), f); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) apply(it *Item) (*Effect, *message.Error) {
	w.t.Helper()
	var effect *Effect
	var refusal *message.Error
	w.write(func(tx *store.Tx) (err error) {
		if effect, err = w.state.Apply(tx, it); errors.As(err, &refusal) {
			return nil
		}
		return err
	})
	return effect, refusal
}

// must applies what has to be accepted.
func (w *world) must(items ...*Item) {
	w.t.Helper()
	for _, it := range items {
		if _, refusal := w.apply(it); refusal != nil {
			w.t.Fatalf("%s %s refused: %v", it.Message.Type, it.Message.ItemContent, refusal)
		}
	}
}

// refuses applies what has to be refused with code.
func (w *world) refuses(code message.ErrorCode, it *Item) *message.Error {
	w.t.Helper()
	before := w.dump()
	_, refusal := w.apply(it)
	if refusal == nil {
		w.t.Fatalf("%s %s accepted, want code %d", it.Message.Type, it.Message.ItemContent, code)
	}
	if refusal.Code != code {
		w.t.Fatalf("got code %d (%v), want %d", refusal.Code, refusal, code)
	}
	if after := w.dump(); after != before {
		w.t.Fatalf("a refusal wrote:\n%s\nbefore:\n%s", after, before)
	}
	return refusal
}

// have makes files known, of size bytes.
func (w *world) have(size int64, contents ...string) {
	w.t.Helper()
	w.write(func(tx *store.Tx) error {
		for _, c := range contents {
			if _, err := tx.PutFile(&store.FileRow{Hash: hash(c), Size: size, Type: store.FileTypeFile}); err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *world) holds(address, amount string) {
	w.t.Helper()
	w.write(func(tx *store.Tx) error {
		return tx.PutBalance(&store.BalanceRow{Address: address, Chain: message.ChainETH, Balance: amount, Height: 1})
	})
}

func (w *world) dump() (text string) {
	w.t.Helper()
	err := w.db.Read(w.t.Context(), func(r *store.Reader) (err error) {
		text, err = r.Dump()
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

func (w *world) forgottenBy(name string) (by []message.Hash) {
	w.t.Helper()
	err := w.db.Read(w.t.Context(), func(r *store.Reader) error {
		f, err := r.Forgotten(hash(name))
		if f != nil {
			by = f.ForgottenBy
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return by
}

// kept reports whether anything keeps a file.
func (w *world) kept(content string) (pinned bool) {
	w.t.Helper()
	err := w.db.Read(w.t.Context(), func(r *store.Reader) (err error) {
		pinned, err = r.Pinned(hash(content))
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return pinned
}

func (w *world) document(owner, key string) string {
	w.t.Helper()
	text := ""
	err := w.db.Read(w.t.Context(), func(r *store.Reader) error {
		a, err := r.Aggregate(owner, key)
		if a != nil {
			text = fmt.Sprintf("%s %v %v", a.Content, a.Created, a.LastUpdated)
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

func (w *world) shown(name string) (latest string) {
	w.t.Helper()
	err := w.db.Read(w.t.Context(), func(r *store.Reader) error {
		p, err := r.Post(hash(name))
		switch {
		case err != nil:
			return err
		case p == nil:
			latest = "none"
		case p.LatestAmend != nil:
			latest = string(*p.LatestAmend)
		default:
			latest = string(p.Hash)
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return latest
}

func (w *world) tagged(tag string) (file message.Hash) {
	w.t.Helper()
	err := w.db.Read(w.t.Context(), func(r *store.Reader) error {
		row, err := r.Tag(tag)
		if row != nil {
			file = row.File
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return file
}

func TestSecondCopyChangesNothing(t *testing.T) {
	w := newWorld(t, params.Devnet())
	it := item("p", post(alice, 1, `{}`))
	w.must(it)
	before := w.dump()
	effect, refusal := w.apply(it)
	if refusal != nil || !effect.Duplicate || w.dump() != before {
		t.Errorf("got %+v, %v", effect, refusal)
	}
	w.refuses(message.ErrInvalidSignature, item("p", post(alice, 1, `{}`), func(m *message.Message) { m.Signature = "forged" }))
}

func TestForgottenMessageDoesNotComeBack(t *testing.T) {
	w := newWorld(t, params.Devnet())
	it := item("p", post(alice, 1, `{}`))
	w.must(it, item("f", forget(alice, 2, "p")))
	w.refuses(message.ErrForgottenDuplicate, it)
}

func TestAmendments(t *testing.T) {
	w := newWorld(t, params.Devnet())
	refusal := w.refuses(message.ErrAmendTargetNotFound, item("a5", amend(alice, 5, "p")))
	if !slices.Equal(refusal.WaitsFor, []message.WaitKey{message.WaitMessage(hash("p"))}) {
		t.Errorf("waits for %v", refusal.WaitsFor)
	}
	w.must(item("p", post(alice, 4, `{}`)), item("a5", amend(alice, 5, "p")), item("a7", amend(alice, 7, "p")), item("a6", amend(alice, 6, "p")))
	if got := w.shown("p"); got != string(hash("a7")) {
		t.Errorf("shows %s, not the newest amendment", got)
	}
	w.must(item("old", amend(alice, 3, "p")))
	w.refuses(message.ErrAmendAmend, item("aa", amend(alice, 9, "a7")))
	w.refuses(message.ErrPermissionDenied, item("b", amend(bob, 9, "p")))
	w.must(item("f1", forget(alice, 8, "a7")))
	if got := w.shown("p"); got != string(hash("a6")) {
		t.Errorf("shows %s, not the newest amendment that remains", got)
	}
	w.must(item("f2", forget(alice, 9, "p")))
	for _, name := range []string{"p", "a5", "a6", "old"} {
		if got := w.shown(name); got != "none" {
			t.Errorf("%s is still there", name)
		}
		w.refuses(message.ErrForgottenDuplicate, item(name, post(alice, 1, `{}`)))
	}
}

func TestAggregateMembersKeepTheirTextAndTheNewestWins(t *testing.T) {
	w := newWorld(t, params.Devnet())
	w.must(
		item("e2", aggregate(alice, 2, "k", `{"c":3,"big":123456789012345678901234567890,"n":null}`)),
		item("e1", aggregate(alice, 1, "k", `{"a":1,"c":2}`)),
		item("e3", aggregate(alice, 3, "k", `{"d":{"x":1.50}}`)),
		item("e2b", aggregate(alice, 2.5, "k", `{"d":0,"e":5}`)),
	)
	want := `{"a":1,"c":3,"d":{"x":1.50},"e":5,"n":null,"big":123456789012345678901234567890} 1 3`
	if got := w.document(alice, "k"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	w.must(item("f", forget(alice, 9, "e3", "e1")))
	if got, want := w.document(alice, "k"), `{"c":3,"d":0,"e":5,"n":null,"big":123456789012345678901234567890} 2 2.5`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	w.must(item("f2", forget(alice, 10, "e2", "e2b")))
	if got := w.document(alice, "k"); got != "" {
		t.Errorf("got %s", got)
	}
}

func TestForgetOfAnAggregateTakesAllItsElements(t *testing.T) {
	w := newWorld(t, params.Devnet())
	key := hash("key")
	w.must(item("e1", aggregate(alice, 1, string(key), `{"a":1}`)), item("e2", aggregate(alice, 2, string(key), `{"a":2}`)))
	f := forget(alice, 3)
	f.Aggregates = []message.Hash{key}
	w.must(item("f", f))
	if got := w.document(alice, string(key)); got != "" {
		t.Errorf("got %s", got)
	}
	unknown := forget(alice, 4)
	unknown.Aggregates = []message.Hash{hash("another key")}
	w.refuses(message.ErrForgetNotFound, item("g", unknown))
	if effect, refusal := w.apply(item("e0", aggregate(alice, 0.5, string(key), `{"b":0}`))); refusal != nil || effect.Status != message.StatusForgotten {
		t.Errorf("an element that came late: %+v, %v", effect, refusal)
	}
	w.must(item("e4", aggregate(alice, 4, string(key), `{"c":4}`)))
	if got := w.document(alice, string(key)); got != `{"c":4} 4 4` {
		t.Errorf("got %s", got)
	}
}

func TestUnmergedOwnerHasNoDocument(t *testing.T) {
	p := params.Devnet()
	p.UnmergedAggregateOwner = alice
	w := newWorld(t, p)
	w.must(item("e1", aggregate(alice, 1, "k", `{"a":1}`)), item("e2", aggregate(alice, 2, "k", `{"a":2}`)), item("f", forget(alice, 3, "e2")))
	if got := w.document(alice, "k"); got != "" {
		t.Errorf("got %s", got)
	}
}

func TestVersionsOfAFile(t *testing.T) {
	w := newWorld(t, params.Devnet())
	refusal := w.refuses(message.ErrFileUnavailable, item("s1", file(alice, 1, "v1", "")))
	if !slices.Equal(refusal.WaitsFor, []message.WaitKey{message.WaitFile(hash("v1"))}) {
		t.Errorf("waits for %v", refusal.WaitsFor)
	}
	w.have(10, "v1", "v2", "v3")
	tag := string(hash("s1"))
	w.refuses(message.ErrStoreRefNotFound, item("s2", file(alice, 2, "v2", tag)))
	w.must(item("s1", file(alice, 1, "v1", "")), item("s3", file(alice, 3, "v3", tag)), item("s2", file(alice, 2, "v2", tag)))
	if got := w.tagged(tag); got != hash("v3") {
		t.Errorf("tag names %s", got)
	}
	w.refuses(message.ErrStoreUpdateUpdate, item("s4", file(alice, 4, "v2", string(hash("s3")))))
	w.refuses(message.ErrPermissionDenied, item("s5", file(bob, 5, "v2", tag)))
	bad := file(alice, 6, "v1", "")
	bad.FileType = message.ItemIPFS
	w.refuses(message.ErrInvalidFormat, item("s6", bad))
	w.must(item("f", forget(alice, 7, "s3")))
	if got := w.tagged(tag); got != hash("v2") {
		t.Errorf("tag names %s after the newest version was forgotten", got)
	}
}

func TestNamedVersionsOutliveTheNewest(t *testing.T) {
	w := newWorld(t, params.Devnet())
	w.have(10, "v1", "v2")
	w.must(item("s1", file(alice, 1, "v1", "site")), item("s2", file(alice, 2, "v2", "site")), item("f", forget(alice, 3, "s2")))
	if got := w.tagged(alice + "/site"); got != hash("v1") {
		t.Errorf("tag names %q", got)
	}
}

func TestForgottenFileIsKeptForTheGracePeriodOnly(t *testing.T) {
	w := newWorld(t, params.Devnet())
	w.have(10, "v")
	w.must(item("s1", file(alice, 1, "v", "")), item("s2", file(bob, 2, "v", "")), item("f1", forget(alice, 3, "s1")))
	if text := w.dump(); !strings.Contains(text, string(hash("s2"))+"\t"+store.PinMessage) {
		t.Errorf("the other message lost its pin:\n%s", text)
	}
	w.must(item("f2", forget(bob, 4, "s2")))
	if text := w.dump(); strings.Contains(text, "\t"+store.PinMessage) || !w.kept("v") {
		t.Errorf("want a grace period and no other pin:\n%s", text)
	}
	err := w.db.Read(t.Context(), func(r *store.Reader) error {
		f, err := r.Forgotten(hash("s2"))
		if err != nil || f == nil || f.PaymentType != "hold" || f.Size == nil || *f.Size != 10 || f.Owner != bob || f.ForgottenAt.Seconds() != 4 {
			t.Errorf("got %+v, %v", f, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestForgetRules(t *testing.T) {
	w := newWorld(t, params.Devnet())
	w.must(item("p", post(alice, 1, `{}`)), item("q", post(bob, 1, `{}`)))
	w.refuses(message.ErrForgetNoTarget, item("f", forget(alice, 2)))
	w.refuses(message.ErrForgetNotFound, item("f", forget(alice, 2, "p", "unknown")))
	w.refuses(message.ErrPermissionDenied, item("f", forget(alice, 2, "p", "q")))
	w.refuses(message.ErrPermissionDenied, item("f", forget(alice, 2, "unknown", "q")))
	w.must(item("f", forget(alice, 2, "p", "p")))
	w.refuses(message.ErrForgetForget, item("g", forget(alice, 3, "f")))
	w.must(item("again", forget(alice, 1.5, "p")))
	if got := w.forgottenBy("p"); !slices.Equal(got, []message.Hash{hash("again"), hash("f")}) {
		t.Errorf("forgotten by %v", got)
	}
}

func TestGrants(t *testing.T) {
	channel := "c1"
	in := func(m *message.Message) { m.Channel = &channel }
	for _, test := range []struct {
		name, grant string
		content     message.Content
		edit        func(*message.Message)
		ok          bool
	}{
		{"none", ``, post(alice, 2, `{}`), nil, false},
		{"another address", `{"address":"0xEve"}`, post(alice, 2, `{}`), nil, false},
		{"everything", `{"address":"0xBob"}`, post(alice, 2, `{}`), nil, true},
		{"letter case does not matter", `{"address":"0xBOB"}`, post(alice, 2, `{}`), nil, true},
		{"entries are alternatives", `{"address":"0xEve"},{"address":"0xBob"}`, post(alice, 2, `{}`), nil, true},
		{"malformed entry grants nothing", `7,{"address":7},{"address":"0xBob","types":"POST"}`, post(alice, 2, `{}`), nil, false},
		{"chain", `{"address":"0xBob","chain":"ETH"}`, post(alice, 2, `{}`), nil, true},
		{"other chain", `{"address":"0xBob","chain":"SOL"}`, post(alice, 2, `{}`), nil, false},
		{"channel", `{"address":"0xBob","channels":["c1"]}`, post(alice, 2, `{}`), in, true},
		{"no channel", `{"address":"0xBob","channels":["c1"]}`, post(alice, 2, `{}`), nil, false},
		{"type", `{"address":"0xBob","types":["POST"]}`, post(alice, 2, `{}`), nil, true},
		{"other type", `{"address":"0xBob","types":["STORE"]}`, post(alice, 2, `{}`), nil, false},
		{"post type", `{"address":"0xBob","post_types":["note"]}`, post(alice, 2, `{}`), nil, true},
		{"other post type", `{"address":"0xBob","post_types":["x"]}`, post(alice, 2, `{}`), nil, false},
		{"post types say nothing of aggregates", `{"address":"0xBob","post_types":["x"]}`, aggregate(alice, 2, "k", `{}`), nil, true},
		{"key", `{"address":"0xBob","aggregate_keys":["k"]}`, aggregate(alice, 2, "k", `{}`), nil, true},
		{"other key", `{"address":"0xBob","aggregate_keys":["x"]}`, aggregate(alice, 2, "k", `{}`), nil, false},
		{"empty lists restrict nothing", `{"address":"0xBob","chain":"","types":[],"channels":[]}`, post(alice, 2, `{}`), nil, true},
		{"amendment by the grant for its original", `{"address":"0xBob","post_types":["note"]}`, amend(alice, 2, "p"), nil, true},
		{"amendment needs more than a grant to amend", `{"address":"0xBob","post_types":["amend"]}`, amend(alice, 2, "p"), nil, false},
		{"forget what is granted", `{"address":"0xBob","post_types":["note"]}`, forget(bob, 2, "p"), nil, true},
		{"forget what is not granted", `{"address":"0xBob","types":["FORGET"]}`, forget(bob, 2, "p"), nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, params.Devnet())
			w.must(item("p", post(alice, 1, `{}`)), item("g", aggregate(alice, 1, securityKey, `{"authorizations":[`+test.grant+`]}`)))
			it := item("m", test.content, sender(bob))
			if test.edit != nil {
				test.edit(it.Message)
			}
			if test.ok {
				w.must(it)
			} else {
				w.refuses(message.ErrPermissionDenied, it)
			}
		})
	}
}

func TestForgottenGrantHoldsUntilThen(t *testing.T) {
	w := newWorld(t, params.Devnet())
	grant := func(name string, at float64, to string, edit ...func(*message.Message)) *Item {
		return item(name, aggregate(alice, at, securityKey, `{"authorizations":[{"address":"`+to+`"}]}`), edit...)
	}
	early := item("early", post(alice, 3, `{}`), sender(bob))
	w.must(grant("g", 2, bob), item("f", forget(alice, 5, "g")), early)
	w.refuses(message.ErrPermissionDenied, item("late", post(alice, 6, `{}`), sender(bob)))
	w.must(item("earlier", forget(alice, 2.5, "g")))
	if got := w.status("early"); got != message.StatusRejected {
		t.Errorf("made after a FORGET of its grant that came late, it is %s", got)
	}
	w.must(grant("g2", 7, bob), grant("g3", 8, "0xEve", sender(bob)), item("eve", post(alice, 9, `{}`), sender("0xEve")), item("f3", forget(alice, 10, "g3")))
	if got := w.status("eve"); got != message.StatusRejected {
		t.Errorf("made under what a delegate granted and the owner forgot, it is %s", got)
	}
}

func TestBalancePosts(t *testing.T) {
	p := params.Devnet()
	publish := func(name string, t float64, owner, content string) *Item {
		c := post(owner, t, content)
		c.PostType = p.Balances.PostTypes[0]
		return item(name, c)
	}
	w := newWorld(t, p)
	w.must(
		publish("b2", 2, params.DevnetAuthority, `{"chain":"ETH","main_height":20,"balances":{"0xAlice":12.50}}`),
		publish("b1", 1, params.DevnetAuthority, `{"chain":"ETH","main_height":10,"balances":{"0xAlice":1,"0xBob":2}}`),
		publish("sol", 1, params.DevnetAuthority, `{"chain":"SOL","main_height":10,"balances":{"0xAlice":1e2}}`),
		publish("dapp", 1, params.DevnetAuthority, `{"chain":"ETH","main_height":10,"dapp":"stream","balances":{"0xAlice":1000}}`),
		publish("mine", 9, alice, `{"chain":"ETH","main_height":99,"balances":{"0xAlice":1000000}}`),
	)
	w.refuses(message.ErrInvalidFormat, publish("x", 9, params.DevnetAuthority, `{"chain":"ETH","balances":{}}`))
	w.refuses(message.ErrInvalidFormat, publish("x", 9, params.DevnetAuthority, `{"chain":"MOON","main_height":1,"balances":{}}`))
	w.refuses(message.ErrInvalidFormat, publish("x", 9, params.DevnetAuthority, `{"chain":"ETH","main_height":1,"balances":{"a":null}}`))
	err := w.db.Read(t.Context(), func(r *store.Reader) error {
		has, err := Holding(r, alice)
		if err == nil && has.Text('f') != "112.50" {
			t.Errorf("alice holds %s", has.Text('f'))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func instance(owner string, t float64, parent string, payment message.PaymentType) *message.Instance {
	return instanceOf(owner, t, hash(parent), payment)
}

func instanceOf(owner string, t float64, parent message.Hash, payment message.PaymentType) *message.Instance {
	c := &message.Instance{Rootfs: message.Rootfs{Parent: message.ParentVolume{Ref: parent, UseLatest: true}, Persistence: "host", SizeMiB: 20480}}
	c.BaseContent = base(owner, t)
	c.Resources = message.Resources{VCPUs: 1, MemoryMiB: 2048, Seconds: 1}
	if payment != "" {
		c.Payment = &message.Payment{Type: payment}
	}
	return c
}

func program(owner string, t float64, code string, replaces string) *message.Program {
	if replaces == "" {
		return programOf(owner, t, hash(code), "")
	}
	return programOf(owner, t, hash(code), hash(replaces))
}

func programOf(owner string, t float64, code, replaces message.Hash) *message.Program {
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

func TestInstanceNeedsItsFilesAndTokens(t *testing.T) {
	w := newWorld(t, params.Devnet())
	it := item("i", instance(alice, 2, "root", ""))
	refusal := w.refuses(message.ErrVMVolumeNotFound, it)
	if len(refusal.Errors) != 1 || refusal.Errors[0] != string(hash("root")) ||
		!slices.Equal(refusal.WaitsFor, []message.WaitKey{message.WaitTag(string(hash("root")))}) {
		t.Errorf("got %+v", refusal)
	}
	w.have(1<<20, "disk")
	w.must(item("root", file(alice, 1, "disk", "")))
	refusal = w.refuses(message.ErrBalanceInsufficient, it)
	if string(refusal.Details()) != `{"errors":[{"required_balance":"1000.333333333000000000","account_balance":"0"}]}` {
		t.Errorf("got %s", refusal.Details())
	}
	w.holds(alice, "1001")
	w.must(it)
	w.refuses(message.ErrBalanceInsufficient, item("i2", instance(alice, 3, "root", "")))
	w.must(item("stream", instance(alice, 3, "root", message.PaymentSuperfluid)))
	w.refuses(message.ErrCreditInsufficient, item("i3", instance(alice, 3, "root", message.PaymentCredit)))
	w.refuses(message.ErrForgetNotAllowed, item("f", forget(alice, 4, "root")))
	w.must(item("g", forget(alice, 5, "i", "stream")), item("f", forget(alice, 6, "root")))
}

func TestDiskMustHoldItsParent(t *testing.T) {
	w := newWorld(t, params.Devnet())
	w.have(30<<30, "disk")
	w.holds(alice, "1000000")
	w.must(item("root", file(alice, 1, "disk", "")))
	refusal := w.refuses(message.ErrVMVolumeTooSmall, item("i", instance(alice, 2, "root", "")))
	if d, ok := refusal.Errors[0].(tooSmall); !ok || d.ParentSize != 30<<30 || d.VolumeSize != 20480<<20 || *d.Volume != "rootfs" {
		t.Errorf("got %+v", refusal.Errors)
	}
}

func TestReplacingAProgram(t *testing.T) {
	w := newWorld(t, params.Devnet())
	w.have(1000, "zip")
	w.holds(alice, "100000")
	w.holds(bob, "100000")
	fixed := program(alice, 2, "code", "")
	fixed.AllowAmend = false
	w.must(item("code", file(alice, 1, "zip", "")), item("p", program(alice, 2, "code", "")), item("fixed", fixed))
	w.refuses(message.ErrVMRefNotFound, item("u", program(alice, 3, "code", "unknown")))
	w.refuses(message.ErrVMAmendNotAllowed, item("u", program(alice, 3, "code", "fixed")))
	w.refuses(message.ErrPermissionDenied, item("u", program(bob, 3, "code", "p")))
	w.must(item("u", program(alice, 3, "code", "p")))
	w.refuses(message.ErrVMUpdateUpdate, item("v", program(alice, 4, "code", "u")))
	w.must(item("f", forget(alice, 5, "p", "fixed", "u")))
	w.must(item("w", program(alice, 6, "code", "p")))
	w.refuses(message.ErrVMAmendNotAllowed, item("x", program(alice, 6, "code", "fixed")))
	w.refuses(message.ErrVMUpdateUpdate, item("x", program(alice, 6, "code", "u")))
	w.refuses(message.ErrVMRefNotFound, item("x", program(alice, 6, "code", "code")))
}

func TestPaymentCutOffs(t *testing.T) {
	p := params.Mainnet()
	cut := p.CutOffs
	root := func(w *world) {
		w.have(30<<20, "disk")
		w.must(item("root", file(alice, 1, "disk", "")))
	}
	for _, test := range []struct {
		name    string
		content message.Content
		at      int64
		want    message.ErrorCode // ErrInternal: accepted
	}{
		{"file before anything costs", file(alice, 2, "disk", ""), cut.StorageAndProgramCost - 1, message.ErrInternal},
		{"large file after that", file(alice, 2, "disk", ""), cut.StorageAndProgramCost, message.ErrBalanceInsufficient},
		{"file when all must be credit", file(alice, 2, "disk", ""), cut.CreditOnly, message.ErrPaymentMethod},
		{"program before anything costs", program(alice, 2, "root", ""), cut.StorageAndProgramCost - 1, message.ErrInternal},
		{"program after that", program(alice, 2, "root", ""), cut.HoldAndStream, message.ErrBalanceInsufficient},
		{"instance before holding ends", instance(alice, 2, "root", ""), cut.HoldAndStream - 1, message.ErrBalanceInsufficient},
		{"instance after holding ended", instance(alice, 2, "root", ""), cut.HoldAndStream, message.ErrPaymentMethod},
		{"stream after holding ended", instance(alice, 2, "root", message.PaymentSuperfluid), cut.HoldAndStream, message.ErrPaymentMethod},
		{"credit after holding ended", instance(alice, 2, "root", message.PaymentCredit), cut.HoldAndStream, message.ErrCreditInsufficient},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, p)
			root(w)
			test.content.Base().Time = float64(test.at)
			it := item("m", test.content, sentAt(1)) // nobody signs that
			if test.want == message.ErrInternal {
				w.must(it)
			} else {
				w.refuses(test.want, it)
			}
		})
	}
}

func TestVerifiableProgramNeedsCreditsAndNoFiles(t *testing.T) {
	w := newWorld(t, params.Devnet())
	c := &message.VProgram{Runtime: message.VerifiedRuntime{Ref: hash("r")}}
	c.BaseContent = base(alice, 1)
	c.Resources = message.Resources{VCPUs: 1, MemoryMiB: 2048, Seconds: 1}
	w.refuses(message.ErrPaymentMethod, item("v", c))
	c.Payment = &message.Payment{Type: message.PaymentCredit}
	w.refuses(message.ErrCreditInsufficient, item("v", c))
}

func TestContentThatTravelsAsAFileIsPinnedUntilForgotten(t *testing.T) {
	w := newWorld(t, params.Devnet())
	it := item("p", post(alice, 1, `{}`))
	it.Raw, it.Message.ItemContent, it.Message.ItemType = []byte(it.Message.ItemContent), "", message.ItemStorage
	w.must(it)
	if text := w.dump(); !strings.Contains(text, store.PinContent) {
		t.Errorf("no pin:\n%s", text)
	}
	w.must(item("f", forget(alice, 2, "p")))
	if text := w.dump(); strings.Contains(text, store.PinContent) || !w.kept("p") {
		t.Errorf("want a grace period and no other pin:\n%s", text)
	}
}

// Other nodes refuse such programs, so only a network whose nodes all know them accepts them.
func TestProgramsInOurOwnFormsNeedTheNetworksConsent(t *testing.T) {
	wasm, tar := message.InterfaceWasm, program(alice, 3, "code", "")
	tar.Code.Encoding = message.EncodingTarGzip
	module := program(alice, 2, "code", "")
	module.Code.Interface = &wasm
	for _, consents := range []bool{true, false} {
		p := params.Devnet()
		p.ExtendedPrograms = consents
		w := newWorld(t, p)
		w.have(1000, "zip")
		w.holds(alice, "100000")
		w.must(item("code", file(alice, 1, "zip", "")))
		if consents {
			w.must(item("module", module), item("tar", tar))
		} else {
			w.refuses(message.ErrInvalidFormat, item("module", module))
			w.refuses(message.ErrInvalidFormat, item("tar", tar))
		}
	}
	if params.Mainnet().ExtendedPrograms {
		t.Error("the public network has nodes that know none of them")
	}
}
