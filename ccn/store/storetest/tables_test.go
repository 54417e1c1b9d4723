package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

func TestPendingMessagesWaitAndWake(t *testing.T) {
	Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		row := &store.PendingRow{Hash: "h", Sender: "s", Signature: "x", Envelope: []byte(`{}`), Origin: "p2p", NextAttempt: 1000, ErrorCode: message.ErrStoreRefNotFound}
		other := *row
		other.Signature = "y"
		key := message.WaitMessage("target")
		write(t, s, func(tx *store.Tx) error {
			return errors.Join(tx.PutPending(row, []message.WaitKey{key, key}), tx.PutPending(&other, nil))
		})
		due := func(now message.Time) (list []store.PendingRow) {
			read(t, s, func(r *store.Reader) (err error) {
				list, err = r.PendingDue(now, 10)
				return err
			})
			return list
		}
		if n := len(due(500)); n != 0 {
			t.Errorf("%d are due before their time", n)
		}
		write(t, s, func(tx *store.Tx) error {
			n, err := tx.WakePending([]message.WaitKey{key}, 500)
			if n != 1 {
				t.Errorf("woke %d", n)
			}
			return err
		})
		if list := due(500); len(list) != 1 || list[0].Signature != "x" || list[0].ErrorCode != message.ErrStoreRefNotFound {
			t.Errorf("got %+v", list)
		}
		row.Retries = 3
		write(t, s, func(tx *store.Tx) error { return tx.PutPending(row, nil) })
		write(t, s, func(tx *store.Tx) error { return tx.DeletePending("h", "s", "y") })
		read(t, s, func(r *store.Reader) error {
			list, err := r.Pending("h")
			if len(list) != 1 || list[0].Retries != 3 {
				t.Errorf("got %+v", list)
			}
			if waiters, err := r.Waiters(key); err != nil || len(waiters) != 0 {
				t.Errorf("still waiting: %v, %v", waiters, err)
			}
			return err
		})
	})
}

func TestStatusTellsTheFurthestState(t *testing.T) {
	Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		envelope := []byte(`{}`)
		m := message.Message{ItemHash: "h", Type: message.TypePost, ItemType: message.ItemInline, ItemContent: "{}", Signature: "x"}
		for _, step := range []struct {
			want message.Status
			do   func(tx *store.Tx) error
		}{
			{"", func(*store.Tx) error { return nil }},
			{message.StatusRejected, func(tx *store.Tx) error { return tx.PutRejected(&store.RejectedRow{Hash: "h", Envelope: envelope}) }},
			{message.StatusPending, func(tx *store.Tx) error { return tx.PutPending(&store.PendingRow{Hash: "h", Envelope: envelope}, nil) }},
			{message.StatusProcessed, func(tx *store.Tx) error {
				return tx.InsertMessage(&store.MessageRow{Message: m, Status: message.StatusProcessed}, &store.ContentColumns{})
			}},
			{message.StatusForgotten, func(tx *store.Tx) error {
				return errors.Join(tx.DeleteMessage("h"), tx.InsertForgotten(&store.ForgottenRow{Message: m, ForgottenBy: []message.Hash{"f"}}))
			}},
		} {
			write(t, s, step.do)
			read(t, s, func(r *store.Reader) error {
				got, _, err := r.Status("h")
				if got != step.want {
					t.Errorf("got %q, want %q", got, step.want)
				}
				return err
			})
		}
		read(t, s, func(r *store.Reader) error {
			f, err := r.Forgotten("h")
			if err != nil || f == nil || len(f.ForgottenBy) != 1 || f.Message.Signature != "x" {
				t.Errorf("got %+v, %v", f, err)
			}
			return nil
		})
	})
}

// The index of messages has the ends of their hashes alone.
func TestMessagesWhoseHashesEndAlikeAreToldApart(t *testing.T) {
	Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		end := message.HashBytes([]byte("end"))[12:]
		first, second, absent := "aaaaaaaaaaaa"+end, "bbbbbbbbbbbb"+end, "cccccccccccc"+end
		write(t, s, func(tx *store.Tx) error {
			for i, h := range []message.Hash{first, second} {
				m := message.Message{ItemHash: h, Type: message.TypePost, ItemType: message.ItemInline, ItemContent: "{}", Signature: fmt.Sprint(i)}
				if err := tx.InsertMessage(&store.MessageRow{Message: m, Status: message.StatusProcessed}, &store.ContentColumns{}); err != nil {
					return err
				}
			}
			return nil
		})
		want := func(h message.Hash, there bool, signature string) {
			t.Helper()
			write(t, s, func(tx *store.Tx) error {
				got, status, err := tx.Signature(h)
				if got != signature || (status != "") != there {
					t.Errorf("%s: signature %q, %q", h, got, status)
				}
				if err := errors.Join(err, tx.Foresee([]message.Hash{h})); err != nil {
					return err
				}
				if again, _, err := tx.Signature(h); err != nil || again != signature {
					t.Errorf("%s foreseen: signature %q, %v", h, again, err)
				}
				list, err := tx.ListMessages(store.MessageFilter{Hashes: []string{string(h), string(absent)}})
				if len(list) == 1 != there || there && list[0].Message.Signature != signature {
					t.Errorf("%s: listed %+v", h, list)
				}
				return err
			})
		}
		want(first, true, "0")
		want(second, true, "1")
		want(absent, false, "")
		write(t, s, func(tx *store.Tx) error { return tx.DeleteMessage(first) })
		want(first, false, "")
		want(second, true, "1")
	})
}

func TestBalanceOfTheGreatestHeightStays(t *testing.T) {
	Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		put := func(amount string, height int64, by message.Hash, now message.Time) {
			write(t, s, func(tx *store.Tx) error {
				return tx.PutBalance(&store.BalanceRow{Address: "a", Chain: message.ChainETH, Balance: amount, Height: height, Message: by, LastUpdate: now})
			})
		}
		for _, step := range []struct {
			amount  string
			height  int64
			by      message.Hash
			now     message.Time
			want    string
			updated message.Time
		}{
			{"5", 10, "m", 1, "5", 1},
			{"6", 9, "z", 2, "5", 1},
			{"7", 10, "a", 3, "5", 1},
			{"8", 10, "n", 4, "8", 4},
			{"8", 11, "a", 5, "8", 4},
		} {
			put(step.amount, step.height, step.by, step.now)
			read(t, s, func(r *store.Reader) error {
				list, err := r.Balances("a")
				if len(list) != 1 || list[0].Balance != step.want || list[0].LastUpdate != step.updated {
					t.Errorf("after %+v: %+v", step, list)
				}
				return err
			})
		}
	})
}

// Lists may be as long as clients make them, and a snapshot does not move under the pages that are read from it.
func TestLongListsAndPagesInOneSnapshot(t *testing.T) {
	Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		const n = 500
		insert := func(from, to int) {
			write(t, s, func(tx *store.Tx) error {
				for i := from; i < to; i++ {
					m := &store.MessageRow{Status: message.StatusProcessed, Message: message.Message{
						ItemHash: hash(i), Type: message.TypePost, ItemType: message.ItemInline, ItemContent: "{}", Time: message.Time(i / 7), Signature: "x",
					}}
					if err := tx.InsertMessage(m, &store.ContentColumns{}); err != nil {
						return err
					}
				}
				return nil
			})
		}
		insert(0, n)
		hashes := make([]string, 20_000)
		for i := range hashes {
			hashes[i] = string(hash(i))
		}
		read(t, s, func(r *store.Reader) error {
			if list, err := r.ListMessages(store.MessageFilter{Hashes: hashes}); err != nil || len(list) != n {
				t.Errorf("%d of %d messages, %v", len(list), n, err)
			}
			seen := map[message.Hash]bool{}
			f := store.MessageFilter{Descending: true, Limit: 33}
			for page := 0; ; page++ {
				list, err := r.ListMessages(f)
				if err != nil {
					return err
				}
				if len(list) == 0 {
					break
				}
				for i := range list {
					seen[list[i].Message.ItemHash] = true
				}
				last := list[len(list)-1].Message
				f.AfterTime, f.AfterHash = last.Time, last.ItemHash
				if page == 3 {
					insert(n, n+50)
				}
			}
			if len(seen) != n {
				t.Errorf("pages hold %d of %d messages", len(seen), n)
			}
			return nil
		})
	})
}

// Texts of the greatest length that is let in fit into all indexes, also where two share one.
func TestLongestTextsFitIntoIndexes(t *testing.T) {
	Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		long := func(of string) *string {
			text := of
			for i := range store.MaxIndexed / 64 {
				text += string(hash(i + len(of)))
			}
			text = text[:store.MaxIndexed]
			return &text
		}
		write(t, s, func(tx *store.Tx) error {
			h := hash(1)
			m := &store.MessageRow{Status: message.StatusProcessed, Owner: *long("owner"), Message: message.Message{
				ItemHash: h, Type: message.TypePost, ItemType: message.ItemInline, ItemContent: "{}", Sender: *long("sender"), Channel: long("channel"),
			}}
			key := message.WaitAggregate(*long("owner"), *long("key"))
			return errors.Join(
				tx.InsertMessage(m, &store.ContentColumns{Type: long("type"), Ref: long("ref"), Key: long("key"), Tags: []string{*long("tag"), *long("tag") + "longer"}}),
				tx.InsertElement(&store.Element{Hash: h, Owner: *long("owner"), Key: *long("key"), Content: []byte("{}")}),
				tx.MergeElement(&store.Element{Hash: h, Owner: *long("owner"), Key: *long("key")}, map[string]json.RawMessage{*long("member"): []byte("1")}),
				tx.MergeElement(&store.Element{Hash: hash(2), Owner: *long("owner"), Key: *long("key")}, map[string]json.RawMessage{*long("member"): []byte("2")}),
				tx.InsertAggregateForgetting(*long("owner"), *long("key"), &store.AggregateForgetting{Forgetting: store.Forgetting{By: h}}),
				tx.PutPending(&store.PendingRow{Hash: h, Sender: *long("sender"), Signature: *long("signature"), Envelope: []byte("{}")}, []message.WaitKey{key}),
				tx.InsertPin(&store.PinRow{File: h, Type: store.PinMessage, Owner: *long("owner"), Message: h, Tag: pointer(*long("owner") + "/" + *long("ref"))}),
				tx.PutCost(&store.CostRow{Owner: *long("owner"), Hash: h, Name: "#1:" + *long("mount")}),
				tx.InsertPost(&store.PostRow{ID: 1, Hash: h, Owner: *long("owner"), Type: *long("type"), Ref: long("ref")}),
			)
		})
	})
}

func TestRefusalsOfOneMessageAreKeptForEachSender(t *testing.T) {
	Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		key := message.WaitGrant("0xOwner")
		refused := func(sender string) *store.RejectedRow {
			return &store.RejectedRow{
				Hash: "h", Sender: sender, Verified: true, ErrorCode: message.ErrPermissionDenied, JudgedAt: 1, WaitsFor: []message.WaitKey{key},
				Envelope: fmt.Appendf(nil, `{"sender":%q,"chain":"ETH","type":"POST","item_type":"inline","item_hash":%q,"item_content":%q,"signature":"x","time":1}`,
					sender, message.HashBytes([]byte(postText)), postText),
			}
		}
		bob, mallory := refused("0xBob"), refused("0xMallory")
		mallory.Envelope = append([]byte("{ "), mallory.Envelope[1:]...) // the smaller text
		write(t, s, func(tx *store.Tx) error { return tx.PutRejected(bob) })
		write(t, s, func(tx *store.Tx) error { return tx.PutRejected(mallory) })
		for i := range 40 {
			write(t, s, func(tx *store.Tx) error { return tx.PutRejected(refused(fmt.Sprintf("0x%02d", i))) })
		}
		var back int64
		write(t, s, func(tx *store.Tx) (err error) {
			back, err = tx.WakePending([]message.WaitKey{key}, 2)
			return err
		})
		if back != 42 {
			t.Errorf("%d copies came back", back)
		}
		read(t, s, func(r *store.Reader) error {
			list, err := r.Pending("h")
			for _, sender := range []string{"0xBob", "0xMallory"} {
				if !slices.ContainsFunc(list, func(p store.PendingRow) bool { return p.Sender == sender }) {
					t.Errorf("the copy of %s did not come back", sender)
				}
			}
			return err
		})
		write(t, s, func(tx *store.Tx) error {
			if err := tx.PutRejected(mallory); err != nil {
				return err
			}
			return tx.DeleteRejected("h")
		})
		read(t, s, func(r *store.Reader) error {
			row, err := r.Rejected("h")
			if row != nil {
				t.Errorf("after it was accepted: %+v", row)
			}
			return err
		})
	})
}

// Whoever else signs a message, its owner is shown what became of his own copy, and who sent a copy what became of that.
func TestRefusalOfTheOwnerIsShownFirst(t *testing.T) {
	Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		write(t, s, func(tx *store.Tx) error {
			return errors.Join(
				tx.PutRejected(&store.RejectedRow{Hash: "h", Sender: "0xOwner", Verified: true, Own: true, Envelope: []byte(`{"b":1}`)}),
				tx.PutRejected(&store.RejectedRow{Hash: "h", Sender: "0xMallory", Verified: true, Envelope: []byte(`{"a":1}`), WaitsFor: []message.WaitKey{"x"}}),
			)
		})
		read(t, s, func(r *store.Reader) error {
			row, err := r.Rejected("h")
			if err != nil || row == nil || row.Sender != "0xOwner" {
				t.Errorf("shows %+v, %v", row, err)
			}
			for _, sender := range []string{"0xOwner", "0xMallory"} {
				if row, err := r.RejectedCopy("h", sender); err != nil || row == nil || row.Sender != sender {
					t.Errorf("shows %s %+v, %v", sender, row, err)
				}
			}
			if row, err := r.RejectedCopy("h", "0xNobody"); err != nil || row != nil {
				t.Errorf("shows who sent none %+v, %v", row, err)
			}
			return nil
		})
	})
}

// Those that were judged the longest ago come back first, in turns.
func TestRefusalsComeBackInTheOrderOfTheirJudgement(t *testing.T) {
	Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		const n = 250
		key := message.WaitGrant("0xOwner")
		write(t, s, func(tx *store.Tx) error {
			for i := range n {
				sender := fmt.Sprintf("0x%03d", i)
				err := tx.PutRejected(&store.RejectedRow{
					Hash: hash(i), Sender: sender, Verified: true, JudgedAt: message.Time(i * 7 % n), WaitsFor: []message.WaitKey{key, key},
					Envelope: fmt.Appendf(nil, `{"sender":%q,"chain":"ETH","type":"POST","item_type":"inline","item_hash":%q,"item_content":%q,"signature":"x","time":1}`,
						sender, message.HashBytes([]byte(postText)), postText),
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
		back := func(want int) {
			read(t, s, func(r *store.Reader) error {
				list, err := r.PendingDue(2, n)
				if len(list) != want {
					t.Errorf("%d are back, want %d", len(list), want)
				}
				for _, p := range list {
					i, _ := strconv.Atoi(p.Sender[2:])
					if judged := i * 7 % n; judged >= want {
						t.Errorf("number %d is back among the first %d", judged, want)
					}
				}
				return err
			})
		}
		write(t, s, func(tx *store.Tx) error {
			_, err := tx.WakePending([]message.WaitKey{key}, 2)
			return err
		})
		back(100)
		for _, want := range []int{200, 250} {
			if more, err := s.ReviveMore(t.Context(), 2); err != nil || !more {
				t.Fatal(more, err)
			}
			back(want)
		}
	})
}

const postText = `{"address":"0xOwner","time":1,"type":"note","content":{}}`

func TestNewestVersionIsTheLastByTimeAndHash(t *testing.T) {
	Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		tag := "tag"
		var newest message.Hash
		write(t, s, func(tx *store.Tx) error {
			for i := range 100 {
				h := hash(i)
				created := float64(i % 2)
				if created == 1 {
					newest = max(newest, h)
				}
				if err := tx.InsertPin(&store.PinRow{File: h, Type: store.PinMessage, Owner: "a", Message: h, Tag: &tag, Created: created}); err != nil {
					return err
				}
			}
			// What is to be removed is no version, however new it is.
			return tx.InsertPin(&store.PinRow{File: "f", Type: store.PinGrace, Owner: "a", Message: hash(100), Tag: &tag, Created: 2})
		})
		versions := func(r *store.Reader) {
			if v, err := r.Tag(tag); err != nil || v == nil || v.Message != newest || v.File != newest || v.Owner != "a" || v.ContentTime != 1 {
				t.Errorf("the newest version is %+v, %v; want %s", v, err, newest)
			}
		}
		read(t, s, func(r *store.Reader) error { versions(r); return nil })
		write(t, s, func(tx *store.Tx) error {
			gone := newest
			newest = ""
			for i := range 100 {
				if h := hash(i); i%2 == 1 && h < gone {
					newest = max(newest, h)
				}
			}
			err := tx.DeletePin(gone, store.PinMessage)
			versions(tx.Reader)
			return err
		})
	})
}
