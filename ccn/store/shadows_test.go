package store

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/aleph-im/aleph-go/message"
)

// More documents than are looked at in one go.
func TestOlderMembersAreFoundWhereNoneWereKnown(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s, c := opened(t, dsn)
		s.writer <- c
		defer func() { <-s.writer }()
		const documents = 700
		err := s.Write(t.Context(), func(tx *Tx) error {
			for i := range documents {
				for n := range i % 4 {
					e := &Element{Hash: message.HashBytes(fmt.Append(nil, i, n)), Owner: fmt.Sprint(i / 7), Key: fmt.Sprint("k", i%7), ContentTime: float64(n % 3)}
					members := map[string]json.RawMessage{"all": []byte(fmt.Sprint(n)), fmt.Sprint(n): []byte("true")}
					e.Content = Object(members)
					if err := tx.MergeElement(e, members); err != nil {
						return err
					}
					if err := insertElement(tx, e); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		had := table(t, c, `SELECT * FROM aggregate_shadows ORDER BY 1, 2, 3, 4, 5`)
		if len(had) == 0 {
			t.Fatal("none is known")
		}
		var told []int
		err = s.Write(t.Context(), func(tx *Tx) error {
			if err := tx.exec(`DELETE FROM aggregate_shadows`); err != nil {
				return err
			}
			return findShadows(tx, func(percent int) { told = append(told, percent) })
		})
		if err != nil {
			t.Fatal(err)
		}
		if has := table(t, c, `SELECT * FROM aggregate_shadows ORDER BY 1, 2, 3, 4, 5`); !slices.Equal(has, had) {
			t.Errorf("%d are found, %d were known", len(has), len(had))
		}
		if len(told) != 2 || !slices.IsSorted(told) || told[1] > 100 {
			t.Errorf("told %d", told)
		}
	})
}
