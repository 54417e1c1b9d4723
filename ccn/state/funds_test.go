package state

import (
	"testing"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

// covers asks whether the funds cover a STORE message of a file that is known.
func (w *world) covers(it *Item) (covered bool) {
	w.t.Helper()
	err := w.db.Read(w.t.Context(), func(r *store.Reader) (err error) {
		covered, err = w.state.Covers(r, it)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return covered
}

func TestFundsCoverAFileWhenItsMessageIsAccepted(t *testing.T) {
	w := newWorld(t, params.Devnet())
	w.have(30<<20, "large")
	w.have(1<<20, "small")
	large := item("l", file(alice, 1, "large", ""))
	if w.covers(large) {
		t.Error("nothing covers a large file")
	}
	if !w.covers(item("s", file(alice, 1, "small", ""))) {
		t.Error("a small file needs nothing")
	}
	w.holds(alice, "10")
	if !w.covers(large) {
		t.Error("10 ALEPH do not cover 30 MiB")
	}
	w.must(large)
	if !w.covers(large) {
		t.Error("what is accepted is not covered")
	}
	if w.covers(item("l2", file(alice, 2, "large", ""))) {
		t.Error("the same tokens cover a second file")
	}
}

func TestRepricingComputesCostsAgain(t *testing.T) {
	w := newWorld(t, params.Devnet())
	w.have(30<<20, "large")
	w.holds(alice, "10")
	w.must(item("l", file(alice, 1, "large", "")))
	before := w.dump()
	w.write(func(tx *store.Tx) error { return tx.DeleteCosts(hash("l")) })
	w.write(func(tx *store.Tx) error {
		effect, err := w.state.Reprice(tx, hash("l"))
		if err == nil && len(effect.Undone) > 0 {
			t.Errorf("undone: %v", effect.Undone)
		}
		return err
	})
	if after := w.dump(); after != before {
		t.Errorf("before %s\nafter %s", before, after)
	}
	w.write(func(tx *store.Tx) error { _, err := w.state.Reprice(tx, hash("unknown")); return err })
}

// What needs a newer message asks for funds after that one. If it came first, it would be refused for want of what it pushed out,
// and both would come back, without end.
func TestNobodyTakesTheFundsOfWhatHeNeeds(t *testing.T) {
	for name, test := range map[string]struct {
		balance       int // for one of the two
		needed, older *Item
	}{
		"a program that is replaced": {250, item("p", program(alice, 6, "code", "")), item("q", program(alice, 2, "code", "p"))},
		"code":                       {205, item("p", file(alice, 6, "large", "")), item("q", program(alice, 2, "p", ""))},
		"a first version":            {15, item("p", file(alice, 6, "large", "")), item("q", file(alice, 2, "large", string(hash("p"))))},
	} {
		t.Run(name, func(t *testing.T) {
			for _, enough := range []bool{false, true} {
				w := newWorld(t, params.Devnet())
				w.have(1<<10, "small")
				w.have(30<<20, "large")
				amount := test.balance
				if enough {
					amount *= 3
				}
				w.must(item("code", file("0xvendor", 1, "small", "")), balance("b", 1, amount), test.needed)
				if enough {
					w.must(test.older)
				} else {
					w.refuses(message.ErrBalanceInsufficient, test.older)
				}
				if status := w.status("p"); status != message.StatusProcessed {
					t.Errorf("what it needs is %s", status)
				}
			}
		})
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
