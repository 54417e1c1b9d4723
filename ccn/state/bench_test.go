package state

import (
	"fmt"
	"testing"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

// BenchmarkApply applies messages of a kind in commits of 256 that are synced to disk.
func BenchmarkApply(b *testing.B) {
	const group = 256
	kinds := []struct {
		name string
		make func(i int) message.Content
	}{
		{"POST", func(i int) message.Content { return post(fmt.Sprint("0x", i%100), float64(i), `{"body":"hello"}`) }},
		{"AGGREGATE", func(i int) message.Content {
			return aggregate(fmt.Sprint("0x", i%100), float64(i), "profile", fmt.Sprintf(`{"n":%d}`, i))
		}},
		{"STORE", func(i int) message.Content { return file(fmt.Sprint("0x", i%100), float64(i), "v", "") }},
	}
	for _, kind := range kinds {
		b.Run(kind.name, func(b *testing.B) {
			w := newWorld(b, params.Devnet())
			w.have(10, "v")
			i := 0
			b.ResetTimer()
			for b.Loop() {
				b.StopTimer()
				items := make([]*Item, group)
				for k := range items {
					items[k] = item(fmt.Sprint(i), kind.make(i))
					i++
				}
				b.StartTimer()
				w.write(func(tx *store.Tx) error {
					hashes := make([]message.Hash, group)
					for k, it := range items {
						hashes[k] = it.Message.ItemHash
					}
					if err := tx.Foresee(hashes); err != nil {
						return err
					}
					for _, it := range items {
						if _, err := w.state.Apply(tx, it); err != nil {
							return err
						}
					}
					return nil
				})
			}
			b.ReportMetric(float64(i)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
}
