package state

import (
	"slices"
	"testing"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

func TestEffectNamesWhatItPutAnEndTo(t *testing.T) {
	w := newWorld(t, params.Devnet())
	w.must(item("p", post(alice, 1, `1`)), item("a", amend(alice, 2, "p")), item("e", aggregate(alice, 1, "k", `{"a":1}`)))
	for _, test := range []struct {
		name, target string
		want         []message.Type
	}{
		{"f1", "p", []message.Type{message.TypePost}}, // it takes the amendment as well
		{"f2", "e", []message.Type{message.TypeAggregate}},
		{"f3", "e", nil},
	} {
		effect, refusal := w.apply(item(test.name, forget(alice, 3, test.target)))
		if refusal != nil || !slices.Equal(effect.Ended, test.want) {
			t.Errorf("%s ended %v, want %v (%v)", test.name, effect.Ended, test.want, refusal)
		}
	}
}

func TestEffectNamesWhatALateMessageUndoes(t *testing.T) {
	w := newWorld(t, params.Devnet())
	grants := func(t float64, to string) message.Content {
		return aggregate(alice, t, securityKey, `{"authorizations":[{"address":"`+to+`"}]}`)
	}
	w.must(item("granted", grants(1, bob)), item("p", post(alice, 3, `1`), func(m *message.Message) { m.Sender = bob }))
	effect, refusal := w.apply(item("withdrawn", grants(2, "0xCarol")))
	if refusal != nil || !slices.Equal(effect.Ended, []message.Type{message.TypePost}) {
		t.Errorf("ended %v (%v)", effect.Ended, refusal)
	}
}
