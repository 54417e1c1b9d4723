package store_test

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/ccn/store/storetest"
	"github.com/aleph-im/aleph-go/message"
)

// known is a message of the test with all that filters ask for.
type known struct {
	store.MessageRow
	store.ContentColumns
	confirmed, height int64 // 0: not
	amends            message.Hash
	latest            *known // of an original: what is shown when that is not itself
}

// some returns nil as often as each value.
func some(r *rand.Rand, values ...string) *string {
	if i := r.IntN(len(values) + 1); i < len(values) {
		return &values[i]
	}
	return nil
}

func pick[T any](r *rand.Rand, values ...T) T { return values[r.IntN(len(values))] }

var (
	senders      = []string{"alice", "bob", "carol"}
	channels     = []string{"X", "Y", "Z"}
	contentTypes = []string{"note", "chat", message.PostTypeAmend}
	tagNames     = []string{"red", "green", "blue"}
)

// people makes messages with few different values and times, so that all kinds of ties come about.
func people(n int) []*known {
	r := rand.New(rand.NewPCG(1, 2))
	var all []*known
	var posts []*known
	for i := range n {
		k := &known{}
		k.Message = message.Message{
			ItemHash: message.HashBytes(fmt.Append(nil, i)), Type: pick(r, append(message.Types(), message.TypePost, message.TypePost, message.TypePost)...),
			Chain: pick(r, message.ChainETH, message.ChainETH, message.ChainSOL), Sender: pick(r, senders...), Signature: "s",
			ItemType: message.ItemInline, ItemContent: "{}", Time: message.Time(1_000_000 * (1 + r.IntN(40))), Channel: some(r, channels...),
		}
		k.Owner = k.Message.Sender
		if r.IntN(4) == 0 {
			k.Owner = pick(r, senders...)
		}
		k.Content, k.ContentTime, k.ReceptionTime = []byte("{}"), float64(r.IntN(40)), message.Time(1+r.IntN(30))
		k.Status = pick(r, message.StatusProcessed, message.StatusProcessed, message.StatusProcessed, message.StatusRemoving)
		k.PaymentType = some(r, "hold", "credit")
		switch k.Message.Type {
		case message.TypePost:
			k.Type, k.ContentColumns.Ref = &contentTypes[r.IntN(2)], some(r, "r1", "r2")
			if len(posts) > 5 && r.IntN(4) == 0 {
				k.Type, k.amends = &contentTypes[2], pick(r, posts...).Message.ItemHash
			} else {
				posts = append(posts, k)
			}
		case message.TypeProgram:
			k.Type = some(r, "vm-function", "note")
		case message.TypeAggregate:
			k.Key = some(r, "k1", "k2")
		case message.TypeStore:
			k.ContentColumns.ItemHash, k.ContentColumns.Ref = some(r, "h1", "h2"), some(r, "r1")
		}
		for _, tag := range tagNames {
			if r.IntN(3) == 0 {
				k.Tags = append(k.Tags, tag)
			}
		}
		if r.IntN(3) > 0 {
			k.confirmed, k.height = int64(1+r.IntN(8)), int64(1+r.IntN(20))
		}
		all = append(all, k)
	}
	return all
}

func insertKnown(tx *store.Tx, all []*known) error {
	originals := map[message.Hash]*known{}
	for _, k := range all {
		if k.confirmed > 0 {
			err := tx.InsertConfirmation(k.Message.ItemHash, store.Confirmation{TxHash: "t", Chain: message.ChainETH, Height: k.height, Time: message.Time(k.confirmed), Signature: "s"})
			if err != nil {
				return err
			}
		}
		if err := tx.InsertMessage(&k.MessageRow, &k.ContentColumns); err != nil {
			return err
		}
		if k.Message.Type != message.TypePost {
			continue
		}
		row := &store.PostRow{
			ID: k.ID, Hash: k.Message.ItemHash, Owner: k.Owner, Type: *k.Type, Ref: k.ContentColumns.Ref, Channel: k.Message.Channel, ContentTime: k.ContentTime,
			LastUpdated: k.ContentTime, Tags: k.Tags,
		}
		if k.amends != "" {
			row.Amends = &k.amends
		} else {
			originals[k.Message.ItemHash] = k
		}
		if err := tx.InsertPost(row); err != nil {
			return err
		}
		if k.amends == "" {
			continue
		}
		o := originals[k.amends]
		if k.ContentTime > o.ContentTime && (o.latest == nil || cmp.Or(cmp.Compare(k.ContentTime, o.latest.ContentTime), cmp.Compare(k.Message.ItemHash, o.latest.Message.ItemHash)) > 0) {
			o.latest = k
		}
		if err := tx.RefreshPost(k.amends); err != nil {
			return err
		}
	}
	return nil
}

// allowed reports whether a list of a filter allows a value; nil is a value that a message does not have.
func allowed(list []string, v *string) bool {
	return len(list) == 0 || v != nil && slices.Contains(list, *v)
}

func ptr[T ~string](v T) *string {
	s := string(v)
	return &s
}

func anyOf(list, tags []string) bool {
	return len(list) == 0 || slices.ContainsFunc(tags, func(t string) bool { return slices.Contains(list, t) })
}

func (k *known) fits(f *store.MessageFilter) bool {
	m := &k.Message
	return allowed(f.Types, ptr(m.Type)) && allowed(f.Senders, &m.Sender) && allowed(f.Owners, &k.Owner) && allowed(f.Refs, k.ContentColumns.Ref) &&
		allowed(f.ContentHashes, k.ContentColumns.ItemHash) && allowed(f.ContentKeys, k.Key) && allowed(f.ContentTypes, k.Type) &&
		allowed(f.Chains, ptr(m.Chain)) && allowed(f.Channels, m.Channel) && anyOf(f.Tags, k.Tags) && allowed(f.Hashes, ptr(m.ItemHash)) &&
		allowed(f.PaymentTypes, k.PaymentType) && allowed(f.Statuses, ptr(k.Status)) && m.Time >= f.Start && (f.End == 0 || m.Time < f.End) &&
		(f.StartBlock == 0 || k.confirmed == 0 || k.height >= f.StartBlock) && (f.EndBlock == 0 || k.confirmed > 0 && k.height < f.EndBlock)
}

// order is the order of a list: by times, of which no confirmation is the newest, then always by ascending hash.
func order(descending, byConfirmation bool, one, other *known, time func(*known) float64) int {
	c := cmp.Compare(time(one), time(other))
	if byConfirmation {
		newest := func(k *known) int64 {
			if k.confirmed == 0 {
				return 1 << 60
			}
			return k.confirmed
		}
		c = cmp.Or(cmp.Compare(newest(one), newest(other)), c)
	}
	if descending {
		c = -c
	}
	return cmp.Or(c, cmp.Compare(one.Message.ItemHash, other.Message.ItemHash))
}

// subset draws a list of a filter: mostly none, then one, some, or more than are looked up one by one.
func subset(t *rapid.T, name string, values []string) []string {
	switch rapid.SampledFrom([]string{"none", "none", "none", "none", "one", "some", "many"}).Draw(t, name) {
	case "one":
		return []string{rapid.SampledFrom(values).Draw(t, name+" one")}
	case "some":
		return rapid.SliceOfN(rapid.SampledFrom(append([]string{"unknown"}, values...)), 1, 4).Draw(t, name+" some")
	case "many":
		list := slices.Clone(values[:rapid.IntRange(0, len(values)).Draw(t, name+" many")])
		for i := range 20 {
			list = append(list, fmt.Sprint("unknown ", i))
		}
		return list
	}
	return nil
}

func names[T ~string](list ...T) (names []string) {
	for _, v := range list {
		names = append(names, string(v))
	}
	return names
}

func hashesOf(rows []store.MessageRow) (list []message.Hash) {
	for i := range rows {
		list = append(list, rows[i].Message.ItemHash)
	}
	return list
}

// eachList runs a property on both engines, with lists that are sorted and lists that are walked.
func eachList(t *testing.T, property func(t *rapid.T, r *store.Reader, all []*known)) {
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		all := people(400)
		s := open()
		if err := s.Write(t.Context(), func(tx *store.Tx) error { return insertKnown(tx, all) }); err != nil {
			t.Fatal(err)
		}
		rapid.Check(t, func(rt *rapid.T) {
			err := s.Read(t.Context(), func(r *store.Reader) error {
				r.Walk(rapid.Bool().Draw(rt, "walk"))
				defer r.Walk(false)
				property(rt, r, all)
				return nil
			})
			if err != nil {
				rt.Fatal(err)
			}
		})
	})
}

// Anybody may ask for any text.
func TestTextsThatADatabaseCannotKeepAreFoundNowhere(t *testing.T) {
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		for _, text := range []string{"\x00", "a\x00b", "\xff", "\xc3\x28"} {
			err := s.Read(t.Context(), func(r *store.Reader) error {
				list := []string{text}
				rows, err := r.ListMessages(store.MessageFilter{Senders: list, Owners: list, Channels: list, Tags: list, Refs: list})
				posts, err2 := r.ListPosts(store.PostFilter{Owners: list, Types: list, Tags: list})
				documents, err3 := r.Aggregates(text, list)
				file, err4 := r.File(message.Hash(text))
				tag, err5 := r.Tag(text)
				pins, err6 := r.CountPins(text)
				if len(rows)+len(posts)+len(documents) > 0 || file != nil || tag != nil || pins > 0 {
					t.Errorf("%q is found", text)
				}
				return errors.Join(err, err2, err3, err4, err5, err6)
			})
			if err != nil {
				t.Errorf("%q: %v", text, err)
			}
		}
	})
}

// Whatever index a list is read along, its rows are those of the filter in their order: in pages, from cursors, and
// counted.
func TestListsOfMessagesAreWhatTheirFiltersSay(t *testing.T) {
	eachList(t, func(t *rapid.T, r *store.Reader, all []*known) {
		hashes := make([]string, len(all))
		for i, k := range all {
			hashes[i] = string(k.Message.ItemHash)
		}
		number := func(name string, most int) int64 {
			return max(0, int64(rapid.IntRange(-2*most, most).Draw(t, name)))
		}
		f := store.MessageFilter{
			Types: subset(t, "types", names(message.Types()...)), Senders: subset(t, "senders", senders), Owners: subset(t, "owners", senders),
			Refs: subset(t, "refs", []string{"r1", "r2"}), ContentHashes: subset(t, "content hashes", []string{"h1", "h2"}),
			ContentKeys: subset(t, "keys", []string{"k1", "k2"}), ContentTypes: subset(t, "content types", append([]string{"vm-function"}, contentTypes...)),
			Chains: subset(t, "chains", names(message.ChainETH, message.ChainSOL)), Channels: subset(t, "channels", channels),
			Tags: subset(t, "tags", tagNames), PaymentTypes: subset(t, "payment types", []string{"hold", "credit"}),
			Statuses: subset(t, "statuses", []string{"processed", "removing"}),
			Start:    message.Time(1_000_000 * number("start", 40)), End: message.Time(1_000_000 * number("end", 40)),
			Descending: rapid.Bool().Draw(t, "descending"), ByConfirmation: rapid.Bool().Draw(t, "by confirmation"),
			Limit:  rapid.OneOf(rapid.IntRange(0, 30), rapid.Just(math.MaxInt)).Draw(t, "limit"),
			Offset: rapid.OneOf(rapid.Int64Range(0, 60), rapid.SampledFrom([]int64{0, 0, math.MaxInt64})).Draw(t, "offset"),
		}
		if rapid.IntRange(0, 9).Draw(t, "by hash") == 0 {
			f.Hashes = subset(t, "hashes", hashes)
		}
		if f.ByConfirmation {
			f.StartBlock, f.EndBlock = number("start block", 20), number("end block", 20)
		}
		var want []message.Hash
		var fitting []*known
		for _, k := range all {
			if k.fits(&f) {
				fitting = append(fitting, k)
			}
		}
		byTime := func(k *known) float64 { return float64(k.Message.Time) }
		slices.SortFunc(fitting, func(a, b *known) int { return order(f.Descending, f.ByConfirmation, a, b, byTime) })
		for _, k := range fitting {
			want = append(want, k.Message.ItemHash)
		}
		total := int64(len(want))

		n, exact, err := r.TallyMessages(f)
		if err != nil || n < total || exact && n != total {
			t.Errorf("counters tell %d, exact %t, %v; want %d", n, exact, err, total)
		}
		if n, err := r.CountMessages(f, 0); err != nil || n != total {
			t.Errorf("counted %d, %v; want %d", n, err, total)
		}
		if n, err := r.CountMessages(f, 7); err != nil || n != min(total, 7) {
			t.Errorf("counted %d up to 7, %v; want %d", n, err, min(total, 7))
		}
		page := want[min(total, f.Offset):]
		if f.Limit > 0 {
			page = page[:min(len(page), f.Limit)]
		} else {
			page = want // all of them
		}
		rows, err := r.ListMessages(f)
		if got := hashesOf(rows); err != nil || !slices.Equal(got, page) {
			t.Fatalf("%v\ngot %d %.8s\nwant %d %.8s", err, len(got), got, len(page), page)
		}
		if f.ByConfirmation || f.Limit == 0 {
			return
		}
		f.Offset = 0
		var walked []message.Hash
		for {
			rows, err := r.ListMessages(f)
			if err != nil {
				t.Fatal(err)
			}
			if walked = append(walked, hashesOf(rows)...); len(rows) == 0 {
				break
			}
			last := &rows[len(rows)-1].Message
			f.AfterTime, f.AfterHash = last.Time, last.ItemHash
		}
		if !slices.Equal(walked, want) {
			t.Errorf("walked %d %.8s\nwant %d %.8s", len(walked), walked, total, want)
		}
	})
}

// shown returns what is shown of an original.
func (k *known) shown() *known {
	if k.latest != nil {
		return k.latest
	}
	return k
}

func (k *known) fitsPost(f *store.PostFilter) bool {
	tags := k.shown().Tags
	if len(tags) == 0 {
		tags = k.Tags
	}
	updated := k.shown().ContentTime
	return k.Message.Type == message.TypePost && k.amends == "" && allowed(f.Owners, &k.Owner) && allowed(f.Types, k.Type) &&
		allowed(f.Refs, k.ContentColumns.Ref) && allowed(f.Channels, k.Message.Channel) && allowed(f.Hashes, ptr(k.Message.ItemHash)) && anyOf(f.Tags, tags) &&
		(f.Start == 0 || updated >= f.Start) && (f.End == 0 || updated < f.End)
}

func TestListsOfPostsAreWhatTheirFiltersSay(t *testing.T) {
	eachList(t, func(t *rapid.T, r *store.Reader, all []*known) {
		number := func(name string, most int) int64 {
			return max(0, int64(rapid.IntRange(-2*most, most).Draw(t, name)))
		}
		f := store.PostFilter{
			Owners: subset(t, "owners", senders), Types: subset(t, "types", contentTypes), Refs: subset(t, "refs", []string{"r1", "r2"}),
			Channels: subset(t, "channels", channels), Tags: subset(t, "tags", tagNames),
			Start: float64(number("start", 40)), End: float64(number("end", 40)),
			Descending: rapid.Bool().Draw(t, "descending"), ByConfirmation: rapid.Bool().Draw(t, "by confirmation"),
			Limit:  rapid.OneOf(rapid.IntRange(0, 30), rapid.Just(math.MaxInt)).Draw(t, "limit"),
			Offset: rapid.OneOf(rapid.Int64Range(0, 60), rapid.SampledFrom([]int64{0, 0, math.MaxInt64})).Draw(t, "offset"),
		}
		if rapid.IntRange(0, 9).Draw(t, "by hash") == 0 {
			f.Hashes = []string{string(all[0].Message.ItemHash), string(all[7].Message.ItemHash), string(all[9].Message.ItemHash)}
		}
		var want []message.Hash
		var fitting []*known
		for _, k := range all {
			if k.fitsPost(&f) {
				fitting = append(fitting, k)
			}
		}
		slices.SortFunc(fitting, func(a, b *known) int {
			return order(f.Descending, f.ByConfirmation, a, b, func(k *known) float64 {
				if f.ByConfirmation {
					return k.ContentTime
				}
				return k.shown().ContentTime
			})
		})
		for _, k := range fitting {
			want = append(want, k.Message.ItemHash)
		}
		total := int64(len(want))
		n, exact, err := r.TallyPosts(f)
		if err != nil || n < total || exact && n != total {
			t.Errorf("counters tell %d, exact %t, %v; want %d", n, exact, err, total)
		}
		if n, err := r.CountPosts(f, 0); err != nil || n != total {
			t.Errorf("counted %d, %v; want %d", n, err, total)
		}
		page := want
		if f.Limit > 0 {
			page = want[min(total, f.Offset):]
			page = page[:min(len(page), f.Limit)]
		}
		list := func() (hashes []message.Hash, last *store.PostListRow) {
			rows, err := r.ListPosts(f)
			if err != nil {
				t.Fatal(err)
			}
			for i := range rows {
				last = &rows[i]
				hashes = append(hashes, last.Hash)
				i := slices.IndexFunc(all, func(k *known) bool { return k.Message.ItemHash == last.Hash })
				if k := all[i]; last.Shown.Message.ItemHash != k.shown().Message.ItemHash || last.Amended != (k.latest != nil) || last.Chain != k.Message.Chain ||
					len(last.Shown.Confirmations) > 0 != (k.shown().confirmed > 0) {
					t.Fatalf("post %.8s is %+v", last.Hash, last)
				}
			}
			return hashes, last
		}
		if got, _ := list(); !slices.Equal(got, page) {
			t.Fatalf("got %d %.8s\nwant %d %.8s", len(got), got, len(page), page)
		}
		if f.ByConfirmation || f.Limit == 0 {
			return
		}
		f.Offset = 0
		var walked []message.Hash
		for {
			hashes, last := list()
			if walked = append(walked, hashes...); last == nil {
				break
			}
			f.AfterTime, f.AfterHash = last.LastUpdated, last.Hash
		}
		if !slices.Equal(walked, want) {
			t.Errorf("walked %d %.8s\nwant %d %.8s", len(walked), walked, total, want)
		}
	})
}
