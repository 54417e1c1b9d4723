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

// applyAll applies messages in one transaction.
func (w *world) applyAll(items []*Item) {
	w.t.Helper()
	w.write(func(tx *store.Tx) error {
		for _, it := range items {
			if _, err := w.state.Apply(tx, it); err != nil {
				return fmt.Errorf("%s: %w", it.Message.ItemContent, err)
			}
		}
		return nil
	})
}

// What grants that come late take grows with the number of messages that are judged again and of grants that they are judged
// by, not with the product: whether the messages stay, or are undone with grants among them.
func BenchmarkLateGrant(b *testing.B) {
	grants := func(name, signer string, t float64, list string) *Item {
		return item(name, aggregate(alice, t, securityKey, fmt.Sprintf(`{"authorizations":%s,%q:1}`, list, name)), sender(signer))
	}
	const any, files = `[{"address":"0xBob"}]`, `[{"address":"0xBob","types":["STORE"],"channels":["%d"]}]`
	for _, kind := range []string{"kept", "undone", "forgotten"} {
		for _, n := range []int{100, 400, 1600} {
			b.Run(fmt.Sprint(kind, "/", n), func(b *testing.B) {
				for b.Loop() {
					b.StopTimer()
					w := newWorld(b, params.Devnet())
					items := []*Item{grants("first", alice, 1, any)}
					names := []string{"first"}
					for i := range n {
						name, signer, list := fmt.Sprint("g", i), alice, fmt.Sprintf(files, i)
						if kind == "undone" {
							signer, list = bob, any
						}
						items, names = append(items, grants(name, signer, float64(10+i), list)), append(names, name)
					}
					for i := range n {
						items = append(items, item(fmt.Sprint("p", i), post(alice, 2, fmt.Sprint(i)), sender(bob)))
					}
					w.applyAll(items)
					late := grants("late", alice, 0.5, any)
					switch kind {
					case "undone":
						late = grants("late", alice, 1.5, `[]`)
						names = nil
					case "forgotten":
						late = item("late", forget(alice, 1e6, names...))
					}
					b.StartTimer()
					w.must(late)
				}
				b.ReportMetric(b.Elapsed().Seconds()*1e6/float64(b.N*n), "µs/message")
			})
		}
	}
}

// What it takes to judge messages for another does not grow with the product of their number and of what he granted, where
// they share a transaction: neither of those that are refused, nor of those that come after grants that were forgotten.
func BenchmarkDelegated(b *testing.B) {
	const group = 100
	for _, kind := range []string{"refused", "forgotten"} {
		for _, n := range []int{100, 1000, 10_000} {
			b.Run(fmt.Sprint(kind, "/", n), func(b *testing.B) {
				w := newWorld(b, params.Devnet())
				items := []*Item{item("first", aggregate(alice, 1, securityKey, `{"authorizations":[{"address":"0xBob"}]}`))}
				for i := range n {
					name := fmt.Sprint("g", i)
					items = append(items, item(name, aggregate(alice, float64(10+i), securityKey, fmt.Sprintf(`{"authorizations":[{"address":"0xBob","n":%d}]}`, i))))
					if kind == "forgotten" {
						items = append(items, item("f"+name, forget(alice, 1e6+float64(i), name)))
					}
				}
				w.applyAll(items)
				count := 0
				b.ResetTimer()
				for b.Loop() {
					w.write(func(tx *store.Tx) error {
						for range group {
							count++
							it := item(fmt.Sprint("p", count), post(alice, 2e6+float64(count), `1`), sender(bob))
							if kind == "refused" {
								it = item(fmt.Sprint("p", count), post(alice, 1/float64(1+count), `1`), sender("0xCarol"))
							}
							if _, err := w.state.Apply(tx, it); (refusalOf(err) != nil) != (kind == "refused") {
								return fmt.Errorf("got %w", err)
							}
						}
						return nil
					})
				}
				b.ReportMetric(b.Elapsed().Seconds()*1e6/float64(count), "µs/message")
			})
		}
	}
}

// What an element takes does not grow with the document that it changes, whether it comes in order or late.
func BenchmarkElement(b *testing.B) {
	const group = 100
	member := func(name string, i int, t float64) *Item {
		return item(name, aggregate(alice, t, "k", fmt.Sprintf(`{"member-%06d":"what %s says"}`, i, name)))
	}
	for _, kind := range []string{"new", "replaces", "late", "forgotten"} {
		for _, n := range []int{100, 1000, 10_000} {
			b.Run(fmt.Sprint(kind, "/", n), func(b *testing.B) {
				w := newWorld(b, params.Devnet())
				var items []*Item
				for i := range n {
					items = append(items, member(fmt.Sprint(i), i*7919%n, float64(1000+i)))
				}
				w.applyAll(items)
				count := 0
				b.ResetTimer()
				for b.Loop() {
					b.StopTimer()
					items := make([]*Item, group)
					for k := range items {
						name := fmt.Sprint(kind, count)
						switch kind {
						case "new":
							items[k] = member(name, n+count, 1e6+float64(count))
						case "replaces":
							items[k] = member(name, count*31%n, 1e6+float64(count))
						case "late":
							items[k] = member(name, n+count, 1/float64(1+count))
						case "forgotten":
							w.must(member(name, count*31%n, 1e6))
							items[k] = item("forget "+name, forget(alice, 1e6+1, name))
						}
						count++
					}
					b.StartTimer()
					w.applyAll(items)
				}
				b.ReportMetric(b.Elapsed().Seconds()*1e6/float64(count), "µs/element")
			})
		}
	}
}

// What an amendment takes does not grow with the number of those that the post has, in order or late.
func BenchmarkAmendment(b *testing.B) {
	const group = 100
	amendment := func(name string, t float64) *Item { return item(name, amend(alice, t, "post")) }
	for _, kind := range []string{"new", "late"} {
		for _, n := range []int{100, 1000, 10_000} {
			b.Run(fmt.Sprint(kind, "/", n), func(b *testing.B) {
				w := newWorld(b, params.Devnet())
				items := []*Item{item("post", post(alice, 1, `{"body":"first"}`))}
				for i := range n {
					items = append(items, amendment(fmt.Sprint(i), float64(1000+i)))
				}
				w.applyAll(items)
				count := 0
				b.ResetTimer()
				for b.Loop() {
					b.StopTimer()
					items := make([]*Item, group)
					for k := range items {
						t := 1e6 + float64(count)
						if kind == "late" {
							t = 1 + 1/float64(1+count)
						}
						items[k] = amendment(fmt.Sprint(kind, count), t)
						count++
					}
					b.StartTimer()
					w.applyAll(items)
				}
				b.ReportMetric(b.Elapsed().Seconds()*1e6/float64(count), "µs/amendment")
			})
		}
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
