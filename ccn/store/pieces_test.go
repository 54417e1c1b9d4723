package store

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/aleph-im/aleph-go/message"
)

// A document that is cut into pieces is the one that its elements add up to, whatever their order and however many.
func TestPiecesMakeTheDocument(t *testing.T) {
	s, err := Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "node.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n, cut := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		owner := fmt.Sprint(n)
		name := rapid.Custom(func(t *rapid.T) string {
			long := strings.Repeat("long", 100)
			switch rapid.IntRange(0, 5).Draw(t, "kind") {
			case 0:
				return rapid.String().Draw(t, "name")
			case 1: // one place for all
				return long + fmt.Sprintf("%02d", rapid.IntRange(0, 30).Draw(t, "n"))
			}
			return fmt.Sprint("member", rapid.IntRange(0, 400).Draw(t, "n"))
		})
		var elements []*Element
		want := map[string]member{}
		err := s.Write(t.Context(), func(tx *Tx) error {
			for i := range rapid.IntRange(1, 8).Draw(t, "elements") {
				e := &Element{Hash: message.HashBytes(fmt.Append(nil, n, i)), Owner: owner, Key: "k", ContentTime: float64(rapid.IntRange(0, 3).Draw(t, "time"))}
				members := map[string]json.RawMessage{}
				for range rapid.IntRange(0, 60).Draw(t, "members") {
					members[name.Draw(t, "name")] = json.RawMessage(`"` + strings.Repeat("x", rapid.IntRange(0, 300).Draw(t, "size")) + fmt.Sprint(i) + `"`)
				}
				for name, value := range members {
					if m, ok := want[name]; !ok || m.before(e) {
						want[name] = member{name, value, e.ContentTime, e.Hash}
					}
				}
				e.Content = Object(members)
				elements = append(elements, e)
				if err := tx.MergeElement(e, members); err != nil {
					return err
				}
			}
			check := func() error {
				values := map[string]json.RawMessage{}
				for name, m := range want {
					values[name] = m.value
				}
				a, err := tx.Aggregate(owner, "k")
				if err != nil {
					return err
				}
				if string(a.Content) != string(Object(values)) {
					t.Fatalf("got  %s\nwant %s", a.Content, Object(values))
				}
				return nil
			}
			if err := check(); err != nil {
				return err
			}
			var pieces int
			if err := tx.row(`SELECT COUNT(*) FROM aggregate_pieces WHERE owner = ?`, owner).Scan(&pieces); err != nil {
				return err
			}
			if pieces > 1 {
				cut++
			}
			gone := rapid.SampledFrom(elements).Draw(t, "gone")
			var members map[string]json.RawMessage
			if err := json.Unmarshal(gone.Content, &members); err != nil {
				return err
			}
			lost, err := tx.UnmergeElement(gone, members)
			if err != nil {
				return err
			}
			maps.DeleteFunc(want, func(name string, m member) bool {
				if m.hash == gone.Hash && !slices.Contains(lost, name) {
					t.Fatalf("%q stays", name)
				}
				return m.hash == gone.Hash
			})
			return check()
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	if cut == 0 {
		t.Error("no document was cut")
	}
}
