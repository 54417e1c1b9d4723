package state

import (
	"fmt"
	"testing"

	"github.com/aleph-im/aleph-go/ccn/ledger"
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

// What a transfer that comes late takes grows with the number of those that follow it, not with its square: whether they
// stay what they are, move credits of another grant, or are no longer covered.
func BenchmarkLateTransfer(b *testing.B) {
	transfer := func(name string, t float64, to string, amount int) *Item {
		return moved(name, alice, t, ledger.CreditTransfer, fmt.Sprintf(`{"transfer":{"credits":[{"address":%q,"amount":%d}]}}`, to, amount))
	}
	for _, kind := range []string{"same", "moved", "uncovered"} {
		for _, n := range []int{100, 400, 1600} {
			b.Run(fmt.Sprint(kind, "/", n), func(b *testing.B) {
				grant, late := n, n // the late one uses up the first grant
				switch kind {
				case "same":
					grant = 2 * n
				case "uncovered":
					late = 2 * n
				}
				for b.Loop() {
					b.StopTimer()
					w := newWorld(b, params.Devnet())
					for i := range 2 {
						w.must(moved(fmt.Sprint("buy", i), params.DevnetAuthority, float64(1+i), ledger.CreditDistribution, fmt.Sprintf(
							`{"distribution":{"token":"T","chain":"ETH","credits":[{"address":%q,"amount":%d,"expiration":%d,"price":"1","tx_hash":"","provider":"p"}]}}`,
							alice, grant, 1_800_000_000_000+i)))
					}
					for i := range n {
						w.must(transfer(fmt.Sprint(i), float64(1000+i), fmt.Sprint("0x", i), 1))
					}
					b.StartTimer()
					w.must(transfer("late", 10, bob, late))
				}
				b.ReportMetric(b.Elapsed().Seconds()*1e6/float64(b.N*n), "µs/transfer")
			})
		}
	}
}
