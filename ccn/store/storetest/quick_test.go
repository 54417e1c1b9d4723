package storetest

import (
	"testing"

	"github.com/aleph-im/aleph-go/ccn/store"
)

func TestQuick(t *testing.T) {
	Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		if err := s.Write(t.Context(), func(tx *store.Tx) error { return tx.Set("a", "b") }); err != nil {
			t.Fatal(err)
		}
		s2 := open()
		err := s2.Read(t.Context(), func(r *store.Reader) error {
			v, err := r.Get("a")
			if v != "b" {
				t.Error(v)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
