package state

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

// granting is an element of a security aggregate as a test knows it.
type granting struct {
	at        place
	forgotten bool
	end       place // of a forgotten one
	entries   []entry
}

type entry struct {
	address string
	typ     message.Type // "" for all
}

func (g *granting) lets(sender string, typ message.Type) bool {
	for _, e := range g.entries {
		if strings.EqualFold(e.address, sender) && (e.typ == "" || e.typ == typ) {
			return true
		}
	}
	return false
}

func (g *granting) text() []byte {
	list := []map[string]any{}
	for _, e := range g.entries {
		m := map[string]any{"address": e.address}
		if e.typ != "" {
			m["types"] = []message.Type{e.typ}
		}
		list = append(list, m)
	}
	raw, err := json.Marshal(list)
	if err != nil {
		panic(err)
	}
	return raw
}

// plainly is the rule in few words: who acts needs the grants in force at the place, or any later ones.
func plainly(all []granting, sender string, typ message.Type, at place) bool {
	var inForce *granting
	for i := range all {
		g := &all[i]
		switch {
		case g.at == at: // nothing grants itself
		case at.before(g.at):
			if g.lets(sender, typ) {
				return true
			}
		case g.forgotten && g.end.before(at):
		case inForce == nil || inForce.at.before(g.at):
			inForce = g
		}
	}
	return inForce != nil && inForce.lets(sender, typ)
}

// The grants of an owner, read once and in pieces for many messages, decide as the rule does for each alone.
func TestGrantsDecideAsTheRuleSays(t *testing.T) {
	w := newWorld(t, params.Devnet())
	n := 0
	addresses := []string{bob, "0xbob", "0xBOB", "0xCarol", "0xDave"}
	rapid.Check(t, func(t *rapid.T) {
		n++
		owner := fmt.Sprint("0xOwner", n)
		at := func(label string) place {
			h := hash(fmt.Sprint(n, rapid.IntRange(0, 30).Draw(t, label)))
			return place{float64(rapid.IntRange(0, 8).Draw(t, label)), h}
		}
		types := rapid.SampledFrom([]message.Type{"", message.TypePost, message.TypeStore})
		var all []granting
		for range rapid.IntRange(0, 12).Draw(t, "elements") {
			g := granting{at: at("at"), forgotten: rapid.Bool().Draw(t, "forgotten"), end: at("end")}
			taken := false
			for _, other := range all {
				taken = taken || other.at.hash == g.at.hash
			}
			if taken || g.end.hash == g.at.hash {
				continue
			}
			for range rapid.IntRange(0, 2).Draw(t, "grants") {
				g.entries = append(g.entries, entry{rapid.SampledFrom(addresses).Draw(t, "address"), types.Draw(t, "type")})
			}
			all = append(all, g)
		}
		w.write(func(tx *store.Tx) error {
			for i := range all {
				g := &all[i]
				if err := insertGranting(tx, owner, g); err != nil {
					return err
				}
			}
			// What grants nothing at all is no publication.
			silent := at("silent")
			err := insertElement(tx, &store.Element{Hash: hash(fmt.Sprint("silent", n)), Owner: owner, Key: securityKey, ContentTime: silent.time, Content: []byte(`{}`)})
			if err != nil {
				return err
			}
			r := w.state.work(tx, &Effect{}).read
			ask := func() error {
				for range rapid.IntRange(1, 8).Draw(t, "questions") {
					at := at("asked at")
					if len(all) > 0 && rapid.Bool().Draw(t, "itself") {
						at = rapid.SampledFrom(all).Draw(t, "element").at
					}
					sender, typ := rapid.SampledFrom(addresses).Draw(t, "sender"), rapid.SampledFrom([]message.Type{message.TypePost, message.TypeStore}).Draw(t, "asked type")
					got, err := w.state.allowed(r, sender, owner, scope{typ: typ}, at)
					if err != nil {
						return err
					}
					if want := plainly(all, sender, typ, at); got != want {
						t.Fatalf("%s of %s at %v: %t, want %t by %+v", typ, sender, at, got, want, all)
					}
				}
				return nil
			}
			if err := ask(); err != nil {
				return err
			}
			// What goes is taken out of what was read.
			for i := 0; i < len(all); i++ {
				if all[i].forgotten || rapid.Bool().Draw(t, "stays") {
					continue
				}
				h := all[i].at.hash
				e, err := tx.Element(h)
				if err != nil {
					return err
				}
				if err := tx.DeleteElement(h); err != nil {
					return err
				}
				r.dropElement(e)
				all = append(all[:i], all[i+1:]...)
				if err := ask(); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// insertElement stores an element with its message.
func insertElement(tx *store.Tx, e *store.Element) error {
	m := &store.MessageRow{Message: message.Message{ItemHash: e.Hash, Type: message.TypeAggregate, ItemType: message.ItemInline}, Owner: e.Owner}
	if err := tx.InsertMessage(m, &store.ContentColumns{Key: &e.Key}); err != nil {
		return err
	}
	e.ID = m.ID
	return tx.InsertElement(e)
}

func insertGranting(tx *store.Tx, owner string, g *granting) error {
	if !g.forgotten {
		return insertElement(tx, &store.Element{
			Hash: g.at.hash, Owner: owner, Key: securityKey, ContentTime: g.at.time, Content: fmt.Appendf(nil, `{"authorizations":%s}`, g.text()),
		})
	}
	key := securityKey
	err := tx.InsertForgotten(&store.ForgottenRow{
		Message: message.Message{ItemHash: g.at.hash, Type: message.TypeAggregate}, Owner: owner, ContentTime: g.at.time, ContentKey: &key, Grants: g.text(),
	})
	if err != nil {
		return err
	}
	first := store.Forgetting{By: g.end.hash, ContentTime: g.end.time}
	later := store.Forgetting{By: g.end.hash, ContentTime: g.end.time + 1}
	if err := tx.InsertForgetting(g.at.hash, &later); err != nil {
		return err
	}
	return tx.InsertForgetting(g.at.hash, &first)
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
