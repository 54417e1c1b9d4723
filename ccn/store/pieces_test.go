package store

import (
	"cmp"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/aleph-im/aleph-go/message"
)

// story is what happens to one document.
type story struct {
	owner    string
	elements []*Element // that are there
	members  map[message.Hash]map[string]json.RawMessage
}

// want is the fold of the elements, and the members that newer ones hide.
func (s *story) want() (document string, shadows []string) {
	values := map[string]json.RawMessage{}
	slices.SortFunc(s.elements, func(a, b *Element) int {
		return cmp.Or(cmp.Compare(b.ContentTime, a.ContentTime), cmp.Compare(b.Hash, a.Hash))
	})
	for _, e := range s.elements {
		for name, value := range s.members[e.Hash] {
			if _, ok := values[name]; ok {
				shadows = append(shadows, fmt.Sprint(memberID(name), " ", e.ContentTime, " ", e.Hash))
			} else {
				values[name] = value
			}
		}
	}
	slices.Sort(shadows)
	return string(Object(values)), shadows
}

func (s *story) check(t *rapid.T, tx *Tx) error {
	document, shadows := s.want()
	a, err := tx.Aggregate(s.owner, "k")
	if err != nil {
		return err
	}
	if a == nil && len(s.elements) > 0 || a != nil && string(a.Content) != document {
		t.Fatalf("got  %+v\nwant %s", a, document)
	}
	rows, err := tx.rows(`SELECT member, content_time, item_hash FROM aggregate_shadows WHERE owner = ? AND key = ?`, s.owner, "k")
	got, err := collect(rows, err, func(rows *sql.Rows, line *string) error {
		var member, hash string
		var at float64
		err := rows.Scan(&member, &at, &hash)
		*line = fmt.Sprint(member, " ", at, " ", hash)
		return err
	})
	if slices.Sort(got); !slices.Equal(got, shadows) {
		t.Fatalf("shadows are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(shadows, "\n"))
	}
	return err
}

// A document that is cut into pieces is the one that its elements add up to, whatever their order, however many there are, and
// whichever of them go.
func TestPiecesMakeTheDocument(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s, err := Open(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		n, cut, restored := 0, 0, 0
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
		rapid.Check(t, func(t *rapid.T) {
			n++
			told := &story{owner: fmt.Sprint(n), members: map[message.Hash]map[string]json.RawMessage{}}
			err := s.Write(t.Context(), func(tx *Tx) error {
				for i := range rapid.IntRange(1, 8).Draw(t, "elements") {
					e := &Element{Hash: message.HashBytes(fmt.Append(nil, n, i)), Owner: told.owner, Key: "k", ContentTime: float64(rapid.IntRange(0, 3).Draw(t, "time"))}
					members := map[string]json.RawMessage{}
					for range rapid.IntRange(0, 60).Draw(t, "members") {
						members[name.Draw(t, "name")] = json.RawMessage(`"` + strings.Repeat("x", rapid.IntRange(0, 300).Draw(t, "size")) + fmt.Sprint(i) + `"`)
					}
					e.Content = Object(members)
					told.elements, told.members[e.Hash] = append(told.elements, e), members
					if err := errors.Join(tx.MergeElement(e, members), insertElement(tx, e)); err != nil {
						return err
					}
				}
				if err := told.check(t, tx); err != nil {
					return err
				}
				var pieces int
				if err := tx.row(`SELECT COUNT(*) FROM aggregate_pieces WHERE owner = ?`, told.owner).Scan(&pieces); err != nil {
					return err
				}
				if pieces > 1 {
					cut++
				}
				if err := tx.exec(`DELETE FROM aggregate_shadows WHERE owner = ?`, told.owner); err != nil {
					return err
				}
				if err := tx.findShadowsOf(told.owner, "k"); err != nil {
					return err
				}
				for len(told.elements) > 0 { // one, or several at once
					var names []string
					for range rapid.IntRange(1, 3).Draw(t, "at once") {
						if len(told.elements) == 0 {
							break
						}
						i := rapid.IntRange(0, len(told.elements)-1).Draw(t, "gone")
						gone := told.elements[i]
						told.elements = slices.Delete(told.elements, i, i+1)
						if err := tx.DeleteElement(gone.Hash); err != nil {
							return err
						}
						lost, err := tx.UnmergeElement(gone, told.members[gone.Hash])
						if err != nil {
							return err
						}
						names = append(names, lost...)
					}
					slices.Sort(names)
					names = slices.Compact(names)
					if len(names) > 0 && len(told.elements) > 0 {
						restored++
					}
					if err := errors.Join(tx.RefreshAggregate(told.owner, "k"), tx.RestoreMembers(told.owner, "k", names)); err != nil {
						return err
					}
					if err := told.check(t, tx); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		})
		if cut == 0 || restored == 0 {
			t.Errorf("%d documents were cut, %d had members restored", cut, restored)
		}
	})
}

// insertElement stores an element with its message.
func insertElement(tx *Tx, e *Element) error {
	m := &MessageRow{Message: message.Message{ItemHash: e.Hash, Type: message.TypeAggregate, ItemType: message.ItemInline}, Owner: e.Owner}
	if err := tx.InsertMessage(m, &ContentColumns{Key: &e.Key}); err != nil {
		return err
	}
	e.ID = m.ID
	return tx.InsertElement(e)
}
