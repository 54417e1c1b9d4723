package client_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/client/clienttest"
	"github.com/aleph-im/aleph-go/message"
)

var sync = client.SendOptions{Channel: "TEST", Sync: true}

// must returns what a call returned, or ends the test.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestPostsOnANode(t *testing.T) {
	node := clienttest.Start(t)
	c, me := node.Client(), node.Account(0)
	sent := must[*client.Sent](t)
	first := sent(c.SendPost(t.Context(), me, "note", "", map[string]string{"text": "<v1>"}, sync))
	if first.Status != message.StatusProcessed {
		t.Fatalf("sent %+v", first)
	}
	amend := sent(c.AmendPost(t.Context(), me, first.Hash, "v2", sync))
	p := must[*client.Post](t)(c.Post(t.Context(), first.Hash))
	if p.ItemHash != amend.Hash || p.OriginalType != "note" || string(p.Content) != `"v2"` || *p.Channel != "TEST" {
		t.Errorf("post %+v", p)
	}
	for v0, err := range c.PostsV0(t.Context(), client.Filter{Addresses: []string{me.Address()}}) {
		if err != nil || v0.Type != "amend" || v0.OriginalItemHash != first.Hash || v0.Address != me.Address() {
			t.Errorf("%+v, %v", v0, err)
		}
	}
	info := must[*client.MessageInfo](t)(c.GetMessage(t.Context(), first.Hash))
	if !info.Message.Proven || !strings.Contains(string(info.Message.Content), "<v1>") {
		t.Errorf("message %+v", info.Message)
	}
	var content map[string]string
	if err := c.MessageContent(t.Context(), first.Hash, &content); err != nil || content["text"] != "<v1>" {
		t.Errorf("content %v, %v", content, err)
	}
	forget := sent(c.Forget(t.Context(), me, []message.Hash{first.Hash}, "cleanup", sync))
	if s, err := c.MessageStatus(t.Context(), first.Hash); s != message.StatusForgotten || err != nil {
		t.Errorf("%s, %v after %+v", s, err, forget)
	}
	if _, err := c.Post(t.Context(), first.Hash); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("forgotten post: %v", err)
	}
	for s, err := range c.AddressStats(t.Context(), me.Address()[:10]) {
		if err != nil || s.Address != me.Address() || s.Forget != 1 {
			t.Errorf("stats %+v, %v", s, err)
		}
	}
	if channels, err := c.Channels(t.Context(), me.Address()); err != nil || !slices.Equal(channels, []string{"TEST"}) {
		t.Errorf("channels %v, %v", channels, err)
	}
}

func TestAggregatesOnANode(t *testing.T) {
	node := clienttest.Start(t)
	c, me := node.Client(), node.Account(0)
	sent := must[*client.Sent](t)
	sent(c.SetAggregate(t.Context(), me, "profile", map[string]any{"name": "bob", "age": 3}, sync))
	sent(c.SetAggregate(t.Context(), me, "profile", map[string]any{"age": 4}, sync))
	last := sent(c.UnsetAggregate(t.Context(), me, "profile", []string{"name"}, sync))
	all, info, err := c.Aggregates(t.Context(), me.Address())
	var profile map[string]any
	if err := errors.Join(err, json.Unmarshal(all["profile"], &profile)); err != nil || profile["age"] != 4.0 || profile["name"] != nil {
		t.Errorf("%v, %v", profile, err)
	}
	if info["profile"].Last != last.Hash || info["profile"].LastUpdated.Before(info["profile"].Created) {
		t.Errorf("info %+v", info)
	}
	for e, err := range c.ListAggregates(t.Context(), []string{me.Address()}, nil) {
		if err != nil || e.Key != "profile" || e.Address != me.Address() {
			t.Errorf("%+v, %v", e, err)
		}
	}
	if _, err := c.SetAggregate(t.Context(), me, "profile", []int{1}, sync); err == nil {
		t.Error("a list was taken for an object")
	}
	sent(c.ForgetAggregate(t.Context(), me, "profile", "", sync))
	if err := c.Aggregate(t.Context(), me.Address(), "profile", &profile); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("forgotten aggregate: %v", err)
	}
}

func TestGrantsOnANode(t *testing.T) {
	node := clienttest.Start(t)
	c, owner, friend := node.Client(), node.Account(0), node.Account(0)
	onBehalf := client.SendOptions{Address: owner.Address(), Sync: true}
	if _, err := c.SendPost(t.Context(), friend, "note", "", 1, onBehalf); client.KindOf(err) != client.KindRejected {
		t.Fatalf("before the grant: %v", err)
	}
	sent := must[*client.Sent](t)
	sent(c.Grant(t.Context(), owner, client.Grant{Address: friend.Address(), Types: []message.Type{message.TypePost}}, sync))
	sent(c.Grant(t.Context(), owner, client.Grant{Address: "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"}, sync))
	sent(c.SendPost(t.Context(), friend, "note", "", 2, onBehalf))
	count := 0
	for g, err := range c.Granted(t.Context(), owner.Address()) {
		if count++; err != nil || count == 1 && (g.Address != friend.Address() || !slices.Equal(g.Types, []message.Type{message.TypePost})) {
			t.Errorf("granted %+v, %v", g, err)
		}
	}
	for g, err := range c.Received(t.Context(), friend.Address()) {
		if count++; err != nil || g.Address != owner.Address() {
			t.Errorf("received %+v, %v", g, err)
		}
	}
	if count != 3 {
		t.Errorf("%d grants are listed", count)
	}
	sent(c.Revoke(t.Context(), owner, strings.ToLower(friend.Address()), sync))
	if _, err := c.SendPost(t.Context(), friend, "note", "", 3, onBehalf); client.KindOf(err) != client.KindRejected {
		t.Errorf("after the grant was taken back: %v", err)
	}
	if _, err := c.Revoke(t.Context(), owner, friend.Address(), sync); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("second revocation: %v", err)
	}
}

func TestFilesOnANode(t *testing.T) {
	node := clienttest.Start(t)
	c, me := node.Client(), node.Account(20_000)
	data := bytes.Repeat([]byte("aleph"), 200_000)
	for _, engine := range []message.ItemType{message.ItemStorage, message.ItemIPFS} {
		up := must[*client.Uploaded](t)(c.UploadFile(t.Context(), me, bytes.NewReader(data), client.UploadOptions{Engine: engine, Ref: "my-" + string(engine), Sync: true}))
		var got bytes.Buffer
		if _, err := c.DownloadFile(t.Context(), up.FileHash, &got); err != nil || !bytes.Equal(got.Bytes(), data) || up.FileHash.Kind() != engine {
			t.Errorf("%s: %d bytes, %v", up.FileHash, got.Len(), err)
		}
		if f, err := c.FileByRef(t.Context(), me.Address(), "my-"+string(engine)); err != nil || f.FileHash != up.FileHash || f.Owner != me.Address() {
			t.Errorf("by ref: %+v, %v", f, err)
		}
		if m, err := c.FileMetadata(t.Context(), up.FileHash); err != nil || m.Size != int64(len(data)) {
			t.Errorf("metadata: %+v, %v", m, err)
		}
		if n, err := c.FilePins(t.Context(), up.FileHash); err != nil || n != 1 {
			t.Errorf("%d pins, %v", n, err)
		}
	}
	folder := fstest.MapFS{
		"index.html": {Data: []byte("<html>")}, "img/a.png": {Data: data}, "img/b.png": {Data: data}, "empty/x": {},
	}
	for i := range 300 { // more than fits into the archive's first blocks
		folder[fmt.Sprintf("many/%03d.txt", i)] = &fstest.MapFile{Data: []byte(fmt.Sprint(i))}
	}
	packed := must[*client.Folder](t)(client.HashFolder(t.Context(), folder))
	up := must[*client.Uploaded](t)(c.UploadFolder(t.Context(), me, packed, client.UploadOptions{Sync: true}))
	if up.FileHash != packed.Hash {
		t.Errorf("the node keeps %s, want %s", up.FileHash, packed.Hash)
	}
	if _, err := c.DownloadFile(t.Context(), up.FileHash, io.Discard); err != nil {
		t.Errorf("folder: %v", err)
	}
	count := 0
	for f, err := range c.Files(t.Context(), me.Address()) {
		if count++; err != nil || f.Size == 0 {
			t.Errorf("%+v, %v", f, err)
		}
	}
	if count != 3 {
		t.Errorf("%d files are listed", count)
	}
	for range c.Files(t.Context(), "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A") {
		t.Error("an address without files has one")
	}
	if l, err := c.Limits(t.Context()); err != nil || l.Storage.File == 0 || l.IPFS.CAR == 0 {
		t.Errorf("limits %+v, %v", l, err)
	}
}

func TestMessagesAreSignedElsewhere(t *testing.T) {
	node := clienttest.Start(t)
	c, me := node.Client(), node.Account(0)
	for _, size := range []int{10, 60_000} {
		u, err := client.Build(me.Address(), me.Chain(), message.TypePost, &message.Post{PostType: "note", Content: json.RawMessage(`"` + strings.Repeat("x", size) + `"`)}, "TEST")
		if err != nil {
			t.Fatal(err)
		}
		carried := must[[]byte](t)(json.Marshal(u))
		var there client.Unsigned
		if err := json.Unmarshal(carried, &there); err != nil {
			t.Fatal(err)
		}
		text := must[string](t)(me.Sign(t.Context(), there.Payload()))
		signed := must[*client.Signed](t)(there.Attach(text))
		if _, err := there.Attach("0x" + strings.Repeat("00", 65)); err == nil {
			t.Error("a signature that proves nothing was attached")
		}
		var back client.Signed
		if err := json.Unmarshal(must[[]byte](t)(json.Marshal(signed)), &back); err != nil {
			t.Fatal(err)
		}
		if p, err := c.Broadcast(t.Context(), &back, true); err != nil || p.Status != message.StatusProcessed {
			t.Errorf("%d bytes: %v, %v", size, p.Status, err)
		}
		if err := json.Unmarshal(bytes.Replace(carried, []byte("xxx"), []byte("yyy"), 1), &there); err == nil {
			t.Error("a content that was changed on its way is shown for signing")
		}
		if err := json.Unmarshal(bytes.Replace(carried, []byte(`"payload":"ETH`), []byte(`"payload":"SOL`), 1), &there); err == nil {
			t.Error("another text is shown for signing")
		}
	}
}

func TestCreditsAndPricesOnANode(t *testing.T) {
	node := clienttest.Start(t)
	c, me := node.Client(), node.Account(5)
	node.GiveCredits(me.Address(), 1000)
	other := node.Account(0)
	must[*client.Sent](t)(c.TransferCredits(t.Context(), me, []client.CreditTransfer{{Address: other.Address(), Amount: 400}}, client.SendOptions{Channel: "ALEPH_CREDIT", Sync: true}))
	var amounts []int64
	for e, err := range c.CreditHistory(t.Context(), me.Address()) {
		if err != nil {
			t.Fatal(err)
		}
		amounts = append(amounts, e.Amount)
	}
	if s, err := c.CreditSummary(t.Context(), me.Address()); err != nil || s.Incoming != 1000 || s.Outgoing != -400 || !slices.Equal(amounts, []int64{-400, 1000}) {
		t.Errorf("summary %+v, history %v, %v", s, amounts, err)
	}
	for range c.CreditHistory(t.Context(), "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A") {
		t.Error("an address without credits has a history")
	}
	for b, err := range c.Balances(t.Context(), 1) {
		if err != nil || b.Address != me.Address() || b.Balance != "5.0" {
			t.Errorf("balance %+v, %v", b, err)
		}
	}
	cost := must[*client.Cost](t)(c.EstimatePrice(t.Context(), me.Address(), me.Chain(), message.TypeStore, json.RawMessage(fmt.Sprintf(
		`{"address":%q,"time":1,"item_type":"storage","item_hash":%q,"estimated_size_mib":100}`, me.Address(), message.HashBytes(nil)))))
	totals, err := cost.Totals()
	if err != nil || totals.Hold != "33.3333333" || totals.Stream != "0" || totals.Credit == "0" {
		t.Errorf("totals %+v, %v", totals, err)
	}
}

func TestPortsDomainsAndWebsitesOnANode(t *testing.T) {
	node := clienttest.Start(t)
	c, me := node.Client(), node.Account(0)
	machine, other := message.HashBytes([]byte("m")), message.HashBytes([]byte("o"))
	sent := must[*client.Sent](t)
	sent(c.OpenPort(t.Context(), me, machine, 22, client.Port{TCP: true}, sync))
	sent(c.OpenPort(t.Context(), me, machine, 53, client.Port{TCP: true, UDP: true}, sync))
	sent(c.OpenPort(t.Context(), me, other, 80, client.Port{TCP: true}, sync))
	sent(c.ClosePort(t.Context(), me, machine, 22, sync))
	if ports, err := c.Ports(t.Context(), me.Address(), machine); err != nil || len(ports) != 1 || !ports[53].UDP {
		t.Errorf("ports %v, %v", ports, err)
	}
	if _, err := c.ClosePort(t.Context(), me, machine, 22, sync); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("a port that is not open: %v", err)
	}
	sent(c.ClosePort(t.Context(), me, machine, 53, sync))
	for m, want := range map[message.Hash]int{machine: 0, other: 1} {
		if ports, err := c.Ports(t.Context(), me.Address(), m); err != nil || len(ports) != want {
			t.Errorf("ports %v, %v", ports, err)
		}
	}

	sent(c.AttachDomain(t.Context(), me, "www.example.org", client.Domain{Message: machine, Target: client.DomainInstance}, sync))
	if d, err := c.Domains(t.Context(), me.Address()); err != nil || d["www.example.org"].Message != machine {
		t.Errorf("domains %v, %v", d, err)
	}
	sent(c.DetachDomain(t.Context(), me, "www.example.org", sync))
	if d, err := c.Domains(t.Context(), me.Address()); err != nil || len(d) != 0 {
		t.Errorf("domains %v, %v", d, err)
	}

	sent(c.PublishWebsite(t.Context(), me, "site", machine, nil, sync))
	sent(c.PublishWebsite(t.Context(), me, "site", other, nil, sync))
	sites, err := c.Websites(t.Context(), me.Address())
	if s := sites["site"]; err != nil || s.Version != 2 || s.Volume != other || s.History["1"] != machine || s.Created == 0 {
		t.Errorf("websites %+v, %v", sites, err)
	}
	sent(c.UnpublishWebsite(t.Context(), me, "site", sync))
	if sites, err := c.Websites(t.Context(), me.Address()); err != nil || len(sites) != 0 {
		t.Errorf("websites %+v, %v", sites, err)
	}
}
