package storetest

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// script calls methods by their names and keeps what they answer.
type script struct {
	t      *testing.T
	on     reflect.Value
	called map[string]bool
	text   strings.Builder
}

// call calls a method of the reader or transaction. Arguments are converted to what it takes; a function that it takes is
// made here and keeps what it is called with.
func (s *script) call(name string, args ...any) {
	s.t.Helper()
	method := s.on.MethodByName(name)
	if !method.IsValid() {
		s.t.Fatalf("there is no method %s", name)
	}
	s.called[name] = true
	in := make([]reflect.Value, method.Type().NumIn())
	for i := range in {
		want := method.Type().In(min(i, method.Type().NumIn()-1))
		switch {
		case want.Kind() == reflect.Func:
			in[i] = s.visitor(want)
		case args[0] == nil:
			in[i], args = reflect.Zero(want), args[1:]
		default:
			in[i], args = reflect.ValueOf(args[0]).Convert(want), args[1:]
		}
	}
	call := method.Call
	if method.Type().IsVariadic() {
		call = method.CallSlice
	}
	fmt.Fprintf(&s.text, "%s", name)
	out := call(in)
	if err, _ := out[len(out)-1].Interface().(error); err != nil {
		s.t.Errorf("%s: %v", name, err)
	}
	for _, v := range out[:len(out)-1] {
		s.keep(v.Interface())
	}
	s.text.WriteByte('\n')
}

func (s *script) visitor(f reflect.Type) reflect.Value {
	return reflect.MakeFunc(f, func(args []reflect.Value) []reflect.Value {
		for _, arg := range args {
			s.keep(arg.Interface())
		}
		out := make([]reflect.Value, f.NumOut())
		for i := range out {
			out[i] = reflect.Zero(f.Out(i))
			if f.Out(i).Kind() == reflect.Bool {
				out[i] = reflect.ValueOf(true)
			}
		}
		return out
	})
}

func (s *script) keep(v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		s.t.Fatal(err)
	}
	s.text.WriteByte(' ')
	s.text.Write(raw)
}

// missing lists the methods that were not called.
func (s *script) missing() (names []string) {
	for i := range s.on.NumMethod() {
		if name := s.on.Type().Method(i).Name; !s.called[name] {
			names = append(names, name)
		}
	}
	return names
}

// texts sort in one way by their bytes and in another in most languages.
var texts = []string{"", "a", "A", "b", "B", "_", "-", "ab", "a b", "é", "e", "z", "Z", "ß", "日本", "😀", "\ue000", "it's ? \"quoted\"", `back\slash %`, strings.Repeat("x", 300)}

// times are doubles that do not survive careless conversions.
var times = []float64{0, 1, -1, 0.1, 1.0 / 3, 1700000000.1234567, -0.5, 1e-300, math.MaxFloat64, math.SmallestNonzeroFloat64, 1 << 53, 253402300799.999, math.Copysign(0, -1)}

func pointer[T any](v T) *T { return &v }

// some returns nil for each third i.
func some[T any](i int, v T) *T {
	if i%3 == 2 {
		return nil
	}
	return &v
}

// document is a JSON object that holds text.
func document(text string) []byte {
	raw, err := json.Marshal(map[string]string{"text": text})
	if err != nil {
		panic(err)
	}
	return raw
}

func hash(i int) message.Hash { return message.HashBytes(fmt.Append(nil, i)) }

// fill puts rows into every table that hold every kind of value.
func fill(s *script) {
	types := message.Types()
	for i, text := range texts {
		at, h := times[i%len(times)], hash(i)
		m := message.Message{
			Type: types[i%len(types)], Chain: "ETH", Sender: text, Signature: "signature of " + text, ItemHash: h, Time: message.Time(i % 4),
			ItemType: message.ItemInline, ItemContent: string(document(text)), Channel: some(i, text),
		}
		if i%4 == 3 {
			m.ItemType, m.ItemContent = message.ItemStorage, ""
		}
		if i%5 == 4 {
			m.Signature = ""
		}
		s.call("InsertConfirmation", h, store.Confirmation{TxHash: text, Chain: "ETH", Height: int64(i % 3), Time: message.Time(i), Publisher: text, Signature: m.Signature})
		row := &store.MessageRow{
			Message: m, Content: document(text), Size: math.MaxInt64 - int64(i), Status: message.StatusProcessed,
			ReceptionTime: message.Time(i % 3), Owner: texts[(i+1)%len(texts)], ContentTime: at, PaymentType: some(i, "hold"),
		}
		s.call("InsertMessage", row, &store.ContentColumns{Type: some(i, text), Ref: some(i+1, text), Key: some(i+2, text), ItemHash: some(i, string(hash(i+1))), Tags: []string{text, "tag", text}})
		amends := some(i, hash(0))
		if i == 0 {
			amends = nil
		}
		s.call("InsertPost", &store.PostRow{
			ID: row.ID, Tags: []string{text, "tag", text}, Hash: h, Owner: text, Type: text, Ref: some(i, text), Amends: amends, Channel: some(i+1, text), ContentTime: at, LastUpdated: at,
		})
		s.call("InsertElement", &store.Element{ID: row.ID, Hash: h, Owner: text, Key: text, ContentTime: at, Content: []byte(`{}`)})
		s.call("InsertElement", &store.Element{ID: int64(1000 + i), Hash: hash(100 + i), Owner: "a", Key: "k", ContentTime: at, Content: document(text)})
		for j, at := range []float64{at, times[(i+1)%len(times)]} { // members with equal names, and with others
			e := &store.Element{Hash: hash(500 + 2*i + j), Owner: "a", Key: texts[i/2], ContentTime: at}
			members := map[string]json.RawMessage{text: fmt.Append(nil, i), "k": fmt.Append(nil, j), texts[i/3]: document(text)}
			e.Content = store.Object(members)
			of := &store.MessageRow{Message: message.Message{ItemHash: e.Hash, Type: message.TypeAggregate, ItemType: message.ItemInline, ItemContent: text}, Owner: "a", ContentTime: at}
			s.call("InsertMessage", of, &store.ContentColumns{Key: &e.Key})
			e.ID = of.ID
			s.call("InsertElement", e)
			s.call("MergeElement", e, members)
		}
		s.call("PutFile", &store.FileRow{Hash: h, Size: int64(i) << 40, Type: store.FileTypeFile})
		s.call("InsertPin", &store.PinRow{File: h, Type: store.PinMessage, Owner: text, Message: h, Ref: some(i, text), Tag: some(i+1, "tag"), Created: at})
		s.call("InsertPin", &store.PinRow{File: h, Type: store.PinGrace, Created: at, DeleteBy: pointer(message.Time(i))})
		s.call("InsertPin", &store.PinRow{File: h, Type: store.PinMessage, Owner: text, Message: hash(600 + i), Tag: &text, Created: at})
		s.call("InsertVM", &store.VMRow{
			Hash: h, Type: "program", Owner: text, AllowAmend: i%2 == 0, Replaces: some(i+1, string(hash(1))), Persistent: i%2 == 1, PaymentType: "hold",
			NodeHash: some(i, text), ContentTime: at, Refs: []message.Hash{hash(i + 1)}, Parents: []message.Hash{hash(i + 2)},
		})
		s.call("PutCost", &store.CostRow{Owner: text, Hash: h, Type: text, Name: text, Ref: some(i, text), PaymentType: "hold", Hold: "1.000000000000000001", Stream: "0", Credit: "0"})
		s.call("PutBalance", &store.BalanceRow{Address: text, Chain: "ETH", Dapp: texts[(i+3)%len(texts)], Balance: fmt.Sprintf("%d.5", i), Height: int64(i), Message: h, LastUpdate: 1})
		s.call("PutBalanceStatement", &store.BalanceStatement{Address: text, Chain: "ETH", ContentTime: at, Message: h, Height: int64(i), Balance: "1.5"})
		s.call("PutBalanceStatement", &store.BalanceStatement{Address: "same", Chain: "ETH", ContentTime: float64(i), Message: h, Height: int64(i), Balance: "7"})
		s.call("InsertCredit", &store.CreditRow{
			Ref: h, Index: int64(i), Address: "a", Amount: int64(i-5) << 40, Price: some(i, "1.5"), BonusAmount: some(i, int64(i)), TxHash: some(i+1, text),
			Token: some(i, text), Chain: some(i, "ETH"), Provider: some(i+2, text), Origin: some(i, text), OriginRef: some(i+1, string(hash(i))),
			PaymentMethod: some(i, "credit_expense"), ExpenseCount: some(i, int64(i)), ExpenseSizeMiB: some(i, "0.1"), Expiration: some(i+1, message.Time(i)),
			ContentTime: at, LastUpdate: message.Time(i),
		})
		s.call("PutCreditLot", text, &store.CreditLot{Ref: h, Index: int64(i), Remaining: int64(i), Expiration: some(i, message.Time(i)), ContentTime: at})
		s.call("InsertCreditTransfer", &store.CreditTransfer{Ref: h, Entry: int64(i), Sender: "a", Recipient: text, Amount: int64(i), Expiration: some(i, message.Time(i)), ContentTime: at})
		s.call("PutClaim", &store.ClaimRow{
			Hash: h, Owner: "a", PaymentType: "hold", ContentTime: at, Need: "1.5", MustPay: i%2 == 0, Exempt: i%2 == 1,
			Status: store.ClaimProcessed, Ended: some(i, at), EndedBy: hash(i + 1),
		})
		s.call("PutAccount", &store.AccountRow{Owner: text, PaymentType: "hold", Used: "1.5", LastTime: at, LastHash: h, CheckAt: some(i, message.Time(i))})
		s.call("PutNodeMetric", &store.NodeMetricRow{NodeID: "node", Kind: "crn", MeasuredAt: message.Time(i), Message: h, Entry: i, Values: []*float64{pointer(at), nil}})
		s.call("PutPending", &store.PendingRow{
			Hash: h, Sender: text, Signature: text, Envelope: document(text), Origin: "p2p", ReceptionTime: message.Time(i), NextAttempt: message.Time(i % 4),
			Retries: i, ErrorCode: message.ErrInternal, Details: []byte(`{"errors":["é"]}`),
		}, []message.WaitKey{message.WaitMessage(hash(i + 1)), message.WaitTag(text)})
		s.call("PutRejected", &store.RejectedRow{
			Hash: hash(200 + i), Envelope: document(text), ErrorCode: message.ErrPermissionDenied, Details: []byte(`null`), ReceptionTime: message.Time(i),
			Sender: text, Verified: i%2 == 0, Own: i%3 == 0, Content: []byte(text), WaitsFor: []message.WaitKey{message.WaitGrant(text)},
		})
		m.ItemHash, m.ItemContent = hash(300+i), ""
		s.call("InsertCreditTransfer", &store.CreditTransfer{Ref: m.ItemHash, Sender: texts[(i+1)%len(texts)], Recipient: text, Amount: 1, ContentTime: at})
		s.call("InsertForgotten", &store.ForgottenRow{
			Message: m, Owner: text, PaymentType: "hold", Size: some(i, int64(i)), ForgottenBy: []message.Hash{h}, ForgottenAt: message.Time(i), ReceptionTime: message.Time(i),
			ContentTime: at, ContentType: pointer("amend"), ContentKey: some(i, "k"), ContentRef: some(i, string(hash(0))),
			AllowAmend: i%2 == 1, Grants: []byte(`[]`),
		})
		s.call("InsertForgetting", hash(300+i), &store.Forgetting{By: hash(i + 1), ContentTime: 2, Time: 3})
		s.call("InsertForgetting", hash(300+i), &store.Forgetting{By: h, ContentTime: at, Time: message.Time(i)})
		s.call("InsertAggregateForgetting", "a", "k", &store.AggregateForgetting{Forgetting: store.Forgetting{By: h, ContentTime: at, Time: message.Time(i)}, Sender: text})
		m.ItemHash = hash(400 + i)
		s.call("InsertRemoved", &store.RemovedRow{
			Message: m, Owner: text, PaymentType: "hold", Size: some(i, int64(i)), RemovedAt: message.Time(i), ReceptionTime: message.Time(i), ContentTime: at, ContentRef: some(i, text),
			AllowAmend: i%2 == 0, Envelope: document(text),
		})
		s.call("Set", text, text)
	}
}

// change uses what changes rows and deletes them.
func change(s *script) {
	s.call("RefreshPost", hash(0))
	s.call("PutClaim", &store.ClaimRow{Hash: hash(2), Need: "2", Status: store.ClaimForgotten, EndedBy: hash(3)})
	s.call("SetMessageStatus", hash(1), message.StatusRemoving)
	s.call("TouchAccount", "a", "hold", 1e12, hash(3))
	s.call("KeepUntil", hash(2), 1, 1000)
	s.call("KeepUntil", "new file", 1, 1000)
	s.call("FilesDue", 1000, 10)
	s.call("ReleaseFile", hash(2), 999)
	s.call("ReleaseFile", message.Hash("new file"), 1000)
	s.call("RefreshForgotten", hash(301))
	s.call("WakePending", []message.WaitKey{message.WaitMessage(hash(3)), message.WaitTag("é")}, message.Time(0))
	s.call("Notify", store.Notice{Kind: store.NoticeSettled, Rows: make([]int64, 5000)})
	s.call("DeleteMessage", hash(5))
	s.call("DeletePost", hash(6))
	s.call("DeleteElement", hash(7))
	s.call("UnmergeElement", &store.Element{Hash: hash(500), Owner: "a", ContentTime: times[0]}, map[string]json.RawMessage{"": nil, "k": nil})
	s.call("RestoreMembers", "a", "", append([]string{"", "k", "none"}, texts...))
	s.call("RefreshAggregate", "a", "a")
	s.call("RefreshAggregate", "a", "k")
	s.call("DeletePin", hash(8), store.PinMessage)
	s.call("DeleteGracePins", hash(9))
	s.call("DeleteVM", hash(9))
	s.call("DeleteCosts", hash(9))
	s.call("DeleteConfirmations", hash(9))
	s.call("DeleteCredits", hash(9))
	s.call("DeleteCreditTransfers", hash(9))
	s.call("DeleteCreditLots", "ab")
	s.call("DeleteClaim", hash(9))
	s.call("DeletePending", hash(9), texts[9], texts[9])
	s.call("DeleteRejected", hash(209))
	s.call("DeleteRemoved", hash(409))
	revived := message.Message{ItemHash: hash(410), Sender: "a", Signature: "revived"}
	s.call("ReviveRemoved", &store.RemovedRow{Message: revived, Envelope: document("revived")}, message.Time(1))
}

// ask asks everything that can be asked.
func ask(s *script) {
	for i, text := range texts {
		h := hash(i)
		for _, name := range []string{"Message", "Signature", "Status", "Confirmations", "Post", "Amendments", "Element", "File", "FileSize", "VM", "VMsOf",
			"VMRefs", "Replacements", "Costs", "Claim", "Pending", "Pinned", "FileUser", "CreditRows", "ConsumedCredits", "CountPins", "Charged"} {
			s.call(name, h)
		}
		s.call("Rejected", hash(200+i))
		s.call("RejectedCopy", hash(200+i), text)
		s.call("Forgotten", hash(300+i))
		s.call("Forgettings", hash(300+i))
		s.call("Removed", hash(400+i))
		s.call("Pin", h, store.PinMessage)
		for _, name := range []string{"Get", "Tag", "Versions", "Balances", "BalanceStatements", "LastBalance", "CreditHistory", "CreditLots", "LastCredit",
			"ConsumedByOwner", "PostTypes", "Channels", "OwnedTotal"} {
			s.call(name, text)
		}
		s.call("Aggregate", "a", text)
		s.call("ForgottenGrants", text, "k")
		s.call("FirstForgottenTransfer", text)
		s.call("Elements", text, text)
		s.call("AccountCosts", text, "hold")
		s.call("Account", text, "hold")
		s.call("Credits", text, 5)
		s.call("ReferencedFile", h, false)
		s.call("ReferencedFile", text, true)
		s.call("Waiters", message.WaitTag(text))
		s.call("ListStats", store.StatsFilter{Contains: text})
		s.call("CountStats", store.StatsFilter{Addresses: []string{text}})
	}
	for _, at := range times {
		s.call("ElementsBefore", "a", "k", at, hash(50))
		s.call("OlderElements", "a", "k", at, hash(50), 3)
		s.call("VisitOlderElements", "a", "k", at, hash(50))
		s.call("AggregateForgettings", "a", "k", at, hash(50))
		s.call("ForgottenElements", "a", "k", at, hash(50))
		s.call("VersionAt", "tag", at, hash(50))
		s.call("CreditTransfersFrom", "a", at, hash(50))
		s.call("ClaimsSince", at)
		s.call("DelegatedSince", "a", at)
	}
	s.call("Elements", "a", "k")
	s.call("Claims", "a", "hold")
	s.call("AccountsDue", 10, 5)
	s.call("ForgottenAmendments", hash(0))
	s.call("WaitedFor", message.WaitKey("grant/"))
	s.call("PendingDue", 2, 7)
	s.call("NextPending")
	s.call("PendingCount")
	s.call("NodeMetrics", "crn", "node", 0, 0, true)
	s.call("NodeMetrics", "crn", "node", 2, 9, false)
	s.call("PostsOfTypes", []string{"a", "é"})
	s.call("Workloads")
	s.call("CountRows", "messages")
	s.call("EachForgotten")
	s.call("EachPinnedFile")
	s.call("Dump")
	for _, descending := range []bool{false, true} {
		for _, byConfirmation := range []bool{false, true} {
			s.call("ListMessages", store.MessageFilter{Descending: descending, ByConfirmation: byConfirmation})
			s.call("ListPosts", store.PostFilter{Descending: descending, ByConfirmation: byConfirmation})
		}
		for _, sort := range store.CreditSorts() {
			s.call("ListCredits", store.CreditFilter{Address: "a", Sort: sort, Ascending: descending})
		}
		for _, sort := range store.StatColumns() {
			s.call("ListStats", store.StatsFilter{Sort: sort, Ascending: descending, Limit: 9, Offset: 1})
		}
		s.call("ListHashes", store.HashFilter{Descending: descending, Start: 1})
		s.call("ListAggregates", store.AggregateFilter{Descending: descending, ByCreation: descending})
		s.call("OwnedFiles", store.OwnedFileFilter{Owner: "a", Ascending: descending})
		for _, status := range []message.Status{message.StatusForgotten, message.StatusRemoved} {
			s.call("ListTerminal", status, store.TerminalFilter{Descending: descending, Limit: 10})
			s.call("CountTerminal", status, store.TerminalFilter{PaymentTypes: []string{"hold"}, Start: 3})
		}
	}
	all := store.MessageFilter{
		Types: []string{"POST", "STORE"}, Senders: texts, Owners: texts, Refs: texts, ContentTypes: texts, Chains: []string{"ETH"}, Channels: texts,
		Tags: []string{"tag"}, PaymentTypes: []string{"hold"}, Statuses: []string{"processed"}, Start: 0, End: 5, StartBlock: 0, EndBlock: 10,
	}
	s.call("ListMessages", all)
	s.call("CountMessages", all, 3)
	s.call("CountMessages", store.MessageFilter{}, 0)
	s.call("TallyMessages", all)
	s.call("TallyMessages", store.MessageFilter{Senders: texts, Statuses: []string{"processed"}})
	s.call("TallyHashes", store.HashFilter{Status: "removing"})
	s.call("TallyPosts", store.PostFilter{Types: texts})
	s.call("ListMessages", store.MessageFilter{ContentKeys: texts, ContentHashes: []string{string(hash(1))}, Hashes: []string{string(hash(0))}})
	s.call("ListPosts", store.PostFilter{Owners: texts, Types: texts, Tags: []string{"tag"}, Start: -1, End: 1e9, Limit: 3, Offset: 1})
	s.call("ListPosts", store.PostFilter{Refs: texts, Channels: texts, Hashes: []string{string(hash(0)), string(hash(2))}})
	s.call("CountPosts", store.PostFilter{}, 0)
	s.call("CountPosts", store.PostFilter{Owners: texts}, 2)
	s.call("CountHashes", store.HashFilter{Status: "processed", End: 2}, 0)
	s.call("ListAggregates", store.AggregateFilter{Owners: []string{"a"}, Keys: texts, Limit: 4, Offset: 2})
	s.call("CountAggregates", store.AggregateFilter{})
	s.call("Aggregates", "a", texts)
	s.call("Aggregates", "a", nil)
	s.call("ListBalances", store.BalanceFilter{Chains: []string{"ETH"}, Minimum: 3, Limit: 5})
	s.call("ListBalances", store.BalanceFilter{After: &store.BalanceRow{Address: "a", Chain: "ETH", Dapp: "é"}})
	s.call("ListBalances", store.BalanceFilter{After: &store.BalanceRow{Address: "a"}})
	s.call("CountBalances", store.BalanceFilter{Minimum: 1})
	s.call("ListCreditBalances", store.CreditBalanceFilter{At: 5, Minimum: 1})
	s.call("ListCreditBalances", store.CreditBalanceFilter{After: "a", Limit: 3})
	s.call("CountCreditBalances", store.CreditBalanceFilter{At: 5, Minimum: 1})
	s.call("VisitCosts", store.CostFilter{PaymentType: "hold"})
	s.call("VisitCosts", store.CostFilter{PaymentType: "hold", ByOwner: true, Owner: "a", ByResource: true, Resource: string(hash(1))})
	s.call("Charged", "")
	s.call("SumCredits", store.CreditFilter{Address: "a"})
	s.call("ListCredits", store.CreditFilter{Address: "a", Incoming: true, Expires: pointer(true), Start: pointer(0.0), ExcludeMethods: []string{"x"}})
	s.call("ListCredits", store.CreditFilter{Address: "a", Outgoing: true, ResourceTypes: []string{"POST"}, Resource: pointer(string(hash(1))), Limit: 3})
}

// Both engines give byte-equal answers to everything, after the same writes. That each accessor is asked is checked too.
func TestEnginesAnswerTheSame(t *testing.T) {
	answers := map[string][]string{}
	Each(t, func(t *testing.T, open func() *store.Store) {
		db := open()
		called := map[string]bool{}
		tell := func(title string, text *strings.Builder) {
			for _, line := range strings.Split(text.String(), "\n") {
				answers[t.Name()] = append(answers[t.Name()], title+": "+line)
			}
		}
		for _, step := range []func(*script){fill, change} {
			write(t, db, func(tx *store.Tx) error {
				s := &script{t: t, on: reflect.ValueOf(tx), called: called}
				step(s)
				tell("write", &s.text)
				return nil
			})
			read(t, db, func(r *store.Reader) error {
				s := &script{t: t, on: reflect.ValueOf(r), called: called}
				ask(s)
				tell("read", &s.text)
				return nil
			})
		}
		for _, name := range []string{
			"Integrity",                                   // of the engine itself
			"LostEnds",                                    // is there for what no node writes
			"SetAtCommit",                                 // see TestWhatIsSetAtCommitIsSetOnce
			"Foresee",                                     // see TestForesightChangesNoAnswer
			"EachMessage", "MessagesAfter", "LastMessage", // by row numbers: see TestMessagesAfterAreThoseAppliedLater
		} {
			called[name] = true
		}
		s := &script{on: reflect.ValueOf(&store.Tx{Reader: &store.Reader{}}), called: called}
		if missing := s.missing(); len(missing) > 0 {
			t.Errorf("never called: %v", missing)
		}
	})
	one, other := answers[t.Name()+"/sqlite"], answers[t.Name()+"/postgres"]
	if len(one) != len(other) || len(one) < 1000 {
		t.Fatalf("%d answers of SQLite, %d of PostgreSQL", len(one), len(other))
	}
	shown := 0
	for i := range one {
		if one[i] != other[i] && shown < 10 {
			shown++
			t.Errorf("SQLite and PostgreSQL differ:\n%.2000s\n%.2000s", one[i], other[i])
		}
	}
}

func TestMessagesAfterAreThoseAppliedLater(t *testing.T) {
	Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		var last int64
		for i := range 3 {
			write(t, s, func(tx *store.Tx) error {
				for j := range 4 {
					m := &store.MessageRow{Status: message.StatusProcessed, Message: message.Message{
						ItemHash: hash(9 - 4*i + 100*j), Type: message.TypePost, ItemType: message.ItemInline, ItemContent: "{}",
					}}
					if err := tx.InsertMessage(m, &store.ContentColumns{}); err != nil {
						return err
					}
				}
				return nil
			})
			read(t, s, func(r *store.Reader) error {
				first, err := r.MessagesAfter(last, 3)
				if err != nil || len(first) != 3 || first[0].Message.ItemHash != hash(9-4*i) {
					t.Errorf("got %+v, %v", first, err)
				}
				rest, err := r.MessagesAfter(first[2].ID, 3)
				if err != nil || len(rest) != 1 {
					t.Errorf("got %+v, %v", rest, err)
				}
				if last, err = r.LastMessage(); err != nil || last != rest[0].ID {
					t.Errorf("last is %d, %v", last, err)
				}
				return nil
			})
		}
	})
}

// A transaction that looked ahead at all that it will touch answers what one answers that did not.
func TestForesightChangesNoAnswer(t *testing.T) {
	answers := map[string][]string{}
	for _, ahead := range []bool{false, true} {
		Each(t, func(t *testing.T, open func() *store.Store) {
			write(t, open(), func(tx *store.Tx) error {
				var all []message.Hash
				for i := range 1200 {
					all = append(all, hash(i))
				}
				s := &script{t: t, on: reflect.ValueOf(tx), called: map[string]bool{}}
				for _, step := range []func(*script){fill, ask, change, ask} {
					if ahead {
						if err := tx.Foresee(all); err != nil {
							return err
						}
					}
					step(s)
				}
				engine, _, _ := strings.Cut(strings.TrimPrefix(t.Name(), "TestForesightChangesNoAnswer/"), "#")
				answers[engine] = append(answers[engine], s.text.String())
				return nil
			})
		})
	}
	for engine, of := range answers {
		if len(of) != 2 || of[0] != of[1] || len(of[0]) < 1000 {
			t.Errorf("%s: the answers of %d runs differ", engine, len(of))
		}
	}
}
