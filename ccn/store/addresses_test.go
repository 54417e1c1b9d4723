package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/aleph-im/aleph-go/message"
)

// scratch opens a store for a test.
func scratch(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "aleph.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func insert(tx *Tx, number int, sender string, typ message.Type, channel, postType string) (message.Hash, error) {
	m := &MessageRow{Status: message.StatusProcessed, Owner: sender, Content: []byte("{}")}
	m.Message = message.Message{
		ItemHash: message.Hash(fmt.Sprintf("%064x", number)), Sender: sender, Type: typ, Chain: "ETH", ItemType: message.ItemInline, ItemContent: "{}",
		Channel: optional(channel), Signature: "0x", Time: message.Time(number),
	}
	return m.Message.ItemHash, tx.InsertMessage(m, &ContentColumns{Type: optional(postType)})
}

// TestCountersOfAddressesAreExact compares them with what the messages say after any changes, of which some are undone.
func TestCountersOfAddressesAreExact(t *testing.T) {
	s := scratch(t)
	undone := errors.New("undone")
	number := 0
	rapid.Check(t, func(rt *rapid.T) {
		var known []message.Hash
		for range rapid.IntRange(1, 4).Draw(rt, "transactions") {
			abort := rapid.Bool().Draw(rt, "abort")
			before := len(known)
			var gone []message.Hash
			err := s.Write(t.Context(), func(tx *Tx) error {
				for range rapid.IntRange(1, 8).Draw(rt, "changes") {
					switch action := rapid.IntRange(0, 3).Draw(rt, "action"); {
					case action == 0 || len(known) == 0:
						number++
						h, err := insert(tx, number, rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "sender"),
							rapid.SampledFrom(message.Types()).Draw(rt, "type"), rapid.SampledFrom([]string{"", "X", "Y"}).Draw(rt, "channel"),
							rapid.SampledFrom([]string{"note", "amend"}).Draw(rt, "post type"))
						if err != nil {
							return err
						}
						known = append(known, h)
					case action == 1:
						h := rapid.SampledFrom(known).Draw(rt, "deleted")
						gone = append(gone, h)
						if err := tx.DeleteMessage(h); err != nil {
							return err
						}
					default:
						status := []message.Status{message.StatusProcessed, message.StatusRemoving}[action-2]
						if err := tx.SetMessageStatus(rapid.SampledFrom(known).Draw(rt, "moved"), status); err != nil {
							return err
						}
					}
				}
				if abort {
					return undone
				}
				return nil
			})
			if abort {
				known = known[:before]
			}
			if err != nil && !errors.Is(err, undone) {
				rt.Fatal(err)
			}
		}
		err := s.Read(t.Context(), func(r *Reader) error {
			for name, pair := range map[string][2]string{
				"statistics": {`SELECT address, total, post FROM address_stats ORDER BY 1`,
					`SELECT sender, COUNT(*), SUM(CASE WHEN type = 'POST' THEN 1 ELSE 0 END) FROM messages WHERE status = 'processed' GROUP BY sender ORDER BY 1`},
				"channels": {`SELECT address, term, messages FROM address_terms WHERE kind = 'channel' AND address <> '' ORDER BY 1, 2`,
					`SELECT sender, channel, COUNT(*) FROM messages WHERE channel IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2`},
				"all channels": {`SELECT term, messages FROM address_terms WHERE kind = 'channel' AND address = '' ORDER BY 1`,
					`SELECT channel, COUNT(*) FROM messages WHERE channel IS NOT NULL GROUP BY 1 ORDER BY 1`},
				"all post types": {`SELECT term, messages FROM address_terms WHERE kind = 'post_type' AND address = '' ORDER BY 1`,
					`SELECT content_type, COUNT(*) FROM messages WHERE type = 'POST' AND content_type IS NOT NULL GROUP BY 1 ORDER BY 1`},
				"all other types": {`SELECT term, messages FROM address_terms WHERE kind = 'program_type' ORDER BY 1`,
					`SELECT content_type, COUNT(*) FROM messages WHERE type <> 'POST' AND content_type IS NOT NULL GROUP BY 1 ORDER BY 1`},
				"types and chains": {`SELECT term, messages FROM address_terms WHERE kind = 'type' ORDER BY 1`,
					`SELECT type || ' ' || chain, COUNT(*) FROM messages GROUP BY 1 ORDER BY 1`},
				"post types": {`SELECT address, term, messages FROM address_terms WHERE kind = 'post_type' AND address <> '' ORDER BY 1, 2`,
					`SELECT sender, content_type, COUNT(*) FROM messages WHERE type = 'POST' AND content_type IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2`},
			} {
				var got, want strings.Builder
				if err := errors.Join(r.dump(&got, pair[0]), r.dump(&want, pair[1])); err != nil {
					return err
				}
				if got.String() != want.String() {
					rt.Errorf("%s: counted\n%swant\n%s", name, got.String(), want.String())
				}
			}
			return nil
		})
		if err != nil {
			rt.Fatal(err)
		}
	})
}

func TestAddressStatisticsAreSortedAndWalked(t *testing.T) {
	s := scratch(t)
	err := s.Write(t.Context(), func(tx *Tx) error {
		for i, sender := range []string{"0xAa_1", "0xAa_1", "0xBb%2", "0xCc2"} {
			if _, err := insert(tx, i, sender, message.TypePost, "", "note"); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	names := func(f StatsFilter) string {
		t.Helper()
		var list []AddressStats
		err := s.Read(t.Context(), func(r *Reader) (err error) { list, err = r.ListStats(f); return err })
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, row := range list {
			names = append(names, row.Address)
		}
		return strings.Join(names, " ")
	}
	for _, c := range []struct {
		filter StatsFilter
		want   string
	}{
		{StatsFilter{}, "0xAa_1 0xBb%2 0xCc2"},
		{StatsFilter{Ascending: true}, "0xBb%2 0xCc2 0xAa_1"},
		{StatsFilter{Sort: "store"}, "0xAa_1 0xBb%2 0xCc2"},
		{StatsFilter{Contains: "A_"}, "0xAa_1"},
		{StatsFilter{Contains: "b%"}, "0xBb%2"},
		{StatsFilter{Contains: `\`}, ""},
		{StatsFilter{Addresses: []string{"0xCc2", "none"}}, "0xCc2"},
		{StatsFilter{AfterValue: 2, AfterAddress: "0xAa_1"}, "0xBb%2 0xCc2"},
		{StatsFilter{AfterValue: 1, AfterAddress: "0xBb%2"}, "0xCc2"},
		{StatsFilter{Ascending: true, AfterValue: 1, AfterAddress: "0xCc2"}, "0xAa_1"},
		{StatsFilter{Limit: 1, Offset: 1}, "0xBb%2"},
	} {
		if got := names(c.filter); got != c.want {
			t.Errorf("%+v: %q, want %q", c.filter, got, c.want)
		}
	}
}

// TestCreditsAreWalkedOnceWhateverTheySortBy pages through movements with equal values, without values and with times
// that no cursor can carry exactly.
func TestCreditsAreWalkedOnceWhateverTheySortBy(t *testing.T) {
	s := scratch(t)
	const n = 9
	err := s.Write(t.Context(), func(tx *Tx) error {
		for i := range n {
			c := &CreditRow{Ref: message.Hash(fmt.Sprintf("%064x", i/2)), Index: int64(i % 2), Address: "a", Amount: int64(i%3) - 1, ContentTime: 1700000000.12345678 + float64(i/4)}
			if i%2 == 0 {
				c.PaymentMethod, c.Origin, c.Provider, c.TxHash = optional("m"), optional(fmt.Sprint(i%4)), optional("p"), optional(fmt.Sprint(i))
				at := message.Time(i)
				c.Expiration = &at
			}
			if err := tx.InsertCredit(c); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for sort := range creditSorts {
		for _, ascending := range []bool{true, false} {
			all, walked := "", ""
			err := s.Read(t.Context(), func(r *Reader) error {
				f := CreditFilter{Address: "a", Sort: sort, Ascending: ascending}
				list, err := r.ListCredits(f)
				if err != nil {
					return err
				}
				for _, c := range list {
					all += fmt.Sprintf("%s/%d ", c.Ref[60:], c.Index)
				}
				f.Limit = 1
				for range n + 1 {
					list, err := r.ListCredits(f)
					if err != nil || len(list) == 0 {
						return err
					}
					walked += fmt.Sprintf("%s/%d ", list[0].Ref[60:], list[0].Index)
					f.After = &CreditRow{Ref: list[0].Ref, Index: list[0].Index, ContentTime: 1700000000}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if all != walked || strings.Count(all, "/") != n {
				t.Errorf("by %s, ascending %t: walked %s, want %s", sort, ascending, walked, all)
			}
		}
	}
}
