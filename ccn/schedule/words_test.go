package schedule

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"testing"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/registry"
)

// withWords keeps aggregates of owners, and reads.
func withWords(t *testing.T, aggregates []store.AggregateRow, read func(r *store.Reader) error) {
	t.Helper()
	s, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "aleph.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = s.Write(t.Context(), func(tx *store.Tx) error {
		for _, a := range aggregates {
			var members map[string]json.RawMessage
			if err := json.Unmarshal(a.Content, &members); err != nil {
				return err
			}
			if err := tx.MergeElement(&store.Element{Owner: a.Owner, Key: a.Key, ContentTime: a.LastUpdated}, members); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = s.Read(t.Context(), read)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestANodeDrainsOnItsOwnersWord(t *testing.T) {
	var nodes registry.Aggregate
	for hash, owner := range map[string]string{"a": "0xA", "b": "0xA", "c": "0xB", "d": "0xC", "e": "0xD"} {
		nodes.ResourceNodes = append(nodes.ResourceNodes, registry.ResourceNode{Node: registry.Node{Hash: hash, Owner: owner}})
	}
	withWords(t, []store.AggregateRow{
		{Owner: "0xA", Key: DrainingKey, Content: []byte(`{"a":true,"b":null,"c":true}`), LastUpdated: 7},
		{Owner: "0xB", Key: DrainingKey, Content: []byte(`{"c":"yes","a":false}`), LastUpdated: 5},
		{Owner: "0xC", Key: DrainingKey, Content: []byte(`{"d":{"since":1}}`)},
	}, func(r *store.Reader) error {
		found, newest, err := draining(r, nodes)
		if want := map[string]bool{"a": true}; !maps.Equal(found, want) || newest != 7 {
			t.Errorf("got %v, %v", found, newest)
		}
		return err
	})
}

func TestAnOwnersWordCountsMoreThanTheMessage(t *testing.T) {
	withWords(t, []store.AggregateRow{
		{Owner: "0xA", Key: WishesKey, Content: []byte(`{"moved":"there","free":"","back":null,"broken":3,"streamed":"there","program":"there"}`), LastUpdated: 7},
		{Owner: "0xB", Key: WishesKey, Content: []byte(`{"quiet":"there"}`)},
	}, func(r *store.Reader) error {
		said := wishes{r, make(map[string]map[message.Hash]any)}
		for hash, want := range map[message.Hash]message.Hash{"moved": "there", "free": "", "back": "here", "broken": "here", "streamed": "here", "program": "here", "quiet": "here"} {
			row := store.WorkloadRow{Hash: hash, Type: message.TypeInstance, Owner: "0xA", NodeHash: "here", PaymentType: message.PaymentHold}
			switch hash {
			case "streamed":
				row.PaymentType = message.PaymentSuperfluid
			case "program":
				row.Type = message.TypeProgram
			}
			if got, _, err := said.about(row); err != nil || got != want {
				t.Errorf("%s: %q, %v", hash, got, err)
			}
		}
		_, first, _ := (&wishes{r, make(map[string]map[message.Hash]any)}).about(store.WorkloadRow{Type: message.TypeInstance, Owner: "0xA"})
		if first != 7 {
			t.Errorf("said at %v", first)
		}
		return nil
	})
}
