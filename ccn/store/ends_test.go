package store

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/aleph-im/aleph-go/message"
)

// Whatever is written, deleted and undone, each message has its end in one of the two tables, and few stay new.
func TestEveryMessageHasItsEndOnce(t *testing.T) {
	path := "sqlite:" + filepath.Join(t.TempDir(), "node.db")
	random := rand.New(rand.NewPCG(1, 2))
	here := map[message.Hash]bool{}
	const most = 64
	for round := range 4 {
		s, err := Open(t.Context(), path) // a node that starts anew counts what is new
		if err != nil {
			t.Fatal(err)
		}
		c := <-s.writer
		c.ends.most = most
		s.writer <- c
		for step := range 40 {
			undo := errors.New("undone")
			next := maps.Clone(here)
			err := s.Write(t.Context(), func(tx *Tx) error {
				for i := range random.IntN(60) {
					h := message.HashBytes(fmt.Appendf(nil, "%d %d %d", round, step, i))
					if err := tx.InsertMessage(&MessageRow{Message: message.Message{ItemHash: h, Sender: "a", Type: message.TypeForget}}, &ContentColumns{}); err != nil {
						return err
					}
					next[h] = true
				}
				for _, h := range slices.Sorted(maps.Keys(next)) { // the same in each run
					if random.IntN(8) > 0 {
						continue
					}
					if err := tx.DeleteMessage(h); err != nil {
						return err
					}
					delete(next, h)
				}
				if random.IntN(5) == 0 {
					return undo
				}
				return nil
			})
			if err == nil {
				here = next
			} else if !errors.Is(err, undo) {
				t.Fatal(err)
			}
		}
		<-s.writer
		var n int
		if err := c.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM hash_ends_new`).Scan(&n); err != nil || n > most+most/16 || int64(n) != c.ends.n && c.ends.counted {
			t.Errorf("%d ends are new, %d were counted, %v", n, c.ends.n, err)
		}
		s.writer <- c
		err = s.Read(t.Context(), func(r *Reader) error {
			if lost, stray, err := r.LostEnds(); err != nil || len(lost) > 0 || stray > 0 {
				return fmt.Errorf("%v are lost, %d lead nowhere, %w", lost, stray, err)
			}
			for h := range here {
				if m, err := r.Message(h); err != nil || m == nil || m.Message.ItemHash != h {
					return fmt.Errorf("message %s is %+v, %w", h, m, err)
				}
			}
			return nil
		})
		if err := errors.Join(err, s.Close()); err != nil {
			t.Error(err)
		}
	}
}
