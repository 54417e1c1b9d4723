package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
	"github.com/mr-tron/base58"

	"github.com/aleph-im/aleph-go/ccn/authority"
	"github.com/aleph-im/aleph-go/ccn/state"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/internal/vectors"
	"github.com/aleph-im/aleph-go/message"
)

// TestAnswersFitTheDescription asks a node for everything, with messages of every type in every state, and compares each
// answer with what the node says of itself. Every success that is described must have been answered.
func TestAnswersFitTheDescription(t *testing.T) {
	d := newDescribedRig(t)
	d.publishes(t)
	d.showsEveryContent(t)
	d.showsEveryState(t)
	d.showsState(t)
	d.takesFiles(t)
	d.takesFilesInPieces()
	d.showsAccounts(t)
	d.showsPrices(t)
	d.showsItself(t)
	d.watches(t)

	elsewhere := []string{"GET /api/v0/allocation/{hash} 200"} // needs a network with nodes: test/e2e
	for path, methods := range d.doc.Paths {
		for method, o := range methods {
			for status := range o.Responses {
				what := strings.ToUpper(method) + " " + path + " " + status
				if status < "4" && !d.seen[what] && !slices.Contains(elsewhere, what) {
					t.Errorf("nothing answered %s", what)
				}
			}
		}
	}
}

// lists are the paths and queries in which lists are asked for.
func (d *description) list(path, query string) {
	d.t.Helper()
	for _, paging := range []string{"", "pagination=1", "page=1000", "cursor=&pagination=1", "cursor=&pagination=100"} {
		a := d.ask(http.MethodGet, path+"?"+query+"&"+paging, nil)
		var page struct {
			Next string `json:"next_cursor"`
		}
		if json.Unmarshal(a.body, &page) == nil && page.Next != "" {
			d.ask(http.MethodGet, path+"?"+query+"&"+paging+"&cursor="+url.QueryEscape(page.Next), nil)
		}
	}
}

// publishes sends a message in each way.
func (d *description) publishes(t *testing.T) {
	for i, sync := range []bool{true, false} {
		d.ask(http.MethodPost, "/api/v0/messages", bytes.NewReader(fmt.Appendf(nil, `{"message":%s,"sync":%t}`, d.post(i), sync)))
	}
	forged := bytes.Replace(d.post(3), []byte(`"signature":"0x`), []byte(`"signature":"0x00`), 1)
	for _, body := range []string{`{"message":` + string(forged) + `,"sync":true}`, "", "{}", "[]"} {
		d.ask(http.MethodPost, "/api/v0/messages", strings.NewReader(body))
	}
	for i, path := range []string{"/api/v0/ipfs/pubsub/pub", "/api/v0/p2p/pubsub/pub"} {
		for _, topic := range []string{d.params.MessageTopic, "OTHER"} {
			body, err := json.Marshal(map[string]string{"topic": topic, "data": string(d.post(10 + i))})
			if err != nil {
				t.Fatal(err)
			}
			d.ask(http.MethodPost, path, bytes.NewReader(body))
		}
		d.ask(http.MethodPost, path, strings.NewReader("{"))
	}
}

// insert puts a message into the database that nobody judged.
func (d *description) insert(t *testing.T, typ message.Type, raw []byte, status message.Status) message.Hash {
	t.Helper()
	c, err := message.ParseContent(typ, raw)
	if err != nil {
		t.Fatal(err)
	}
	payment := string(message.PaymentCredit)
	row := &store.MessageRow{
		Message: message.Message{
			Sender: "0xsender", Chain: "ETH", Signature: "0x1", Type: typ, ItemType: message.ItemInline, ItemContent: string(raw),
			ItemHash: message.HashBytes(raw), Time: message.TimeFromSeconds(1700000000.25),
		},
		Content: raw, Size: int64(len(raw)), Status: status, ReceptionTime: message.TimeFromSeconds(1700000001), Owner: c.Base().Address,
		ContentTime: c.Base().Time, PaymentType: &payment,
	}
	if err := d.db.Write(t.Context(), func(tx *store.Tx) error { return tx.InsertMessage(row, &store.ContentColumns{}) }); err != nil {
		t.Fatal(err)
	}
	return row.Message.ItemHash
}

// showsEveryContent shows messages with every content of the vectors.
func (d *description) showsEveryContent(t *testing.T) {
	known := map[message.Hash]bool{}
	for _, typ := range message.Types() {
		var file struct {
			Fixtures, Own []struct {
				Content  json.RawMessage
				Expected string
			}
		}
		vectors.Load(t, "content_"+strings.ToLower(string(typ))+".json", &file)
		shown := 0
		for _, v := range append(file.Own, file.Fixtures...) {
			if v.Expected != "valid" || known[message.HashBytes(v.Content)] {
				continue
			}
			h := d.insert(t, typ, v.Content, message.StatusProcessed)
			known[h] = true
			d.ask(http.MethodGet, "/api/v0/messages/"+string(h), nil)
			d.ask(http.MethodGet, "/api/v0/messages/"+string(h)+"/content", nil)
			shown++
		}
		if shown == 0 {
			t.Errorf("no content of %s was shown", typ)
		}
	}
	d.list("/api/v0/messages.json", "")
	d.list("/api/v0/messages.json", "contentFormat=headers&sortOrder=1")
	d.list("/api/v0/messages.json", "excludeContent=true")
	d.ask(http.MethodGet, "/api/v0/programs/on/message", nil)
	d.ask(http.MethodGet, "/api/v0/programs/on/message?x=1", nil)
}

// showsEveryState shows messages in every state that they can be in.
func (d *description) showsEveryState(t *testing.T) {
	hashes := map[message.Status]message.Hash{}
	done := d.post(20)
	d.send(done, true)
	hashes[message.StatusProcessed] = hashIn(t, done)
	forged := bytes.Replace(d.post(21), []byte(`"signature":"0x`), []byte(`"signature":"0x00`), 1)
	d.send(forged, true)
	hashes[message.StatusRejected] = hashIn(t, forged)
	waiting := d.storing(message.HashBytes([]byte("a file that is nowhere")), nil)
	d.send(waiting, false)
	hashes[message.StatusPending] = hashIn(t, waiting)
	old := d.post(22)
	d.send(old, true)
	forget := d.signed(message.TypeForget, map[string]any{"address": d.account.Address(), "time": 1.6e9, "hashes": []message.Hash{hashIn(t, old)}})
	d.send(forget, true).check(t, "FORGET", 200, "")
	hashes[message.StatusForgotten] = hashIn(t, old)
	hashes[message.StatusRemoving] = d.insert(t, message.TypePost, []byte(`{"address":"0x1","time":1,"type":"leaving"}`), message.StatusRemoving)
	hashes[message.StatusRemoved] = message.HashBytes([]byte("removed"))
	size := int64(7)
	removed := &store.RemovedRow{Message: message.Message{ItemHash: hashes[message.StatusRemoved], Type: message.TypeStore}, Owner: "0x1", Size: &size, RemovedAt: 1}
	if err := d.db.Write(t.Context(), func(tx *store.Tx) error { return tx.InsertRemoved(removed) }); err != nil {
		t.Fatal(err)
	}
	for status, h := range hashes {
		path := "/api/v0/messages/" + string(h)
		if got := d.ask(http.MethodGet, path, nil).object(t)["status"]; got != string(status) {
			t.Errorf("want a %s message, got a %v one", status, got)
		}
		d.ask(http.MethodGet, path+"/status", nil)
		d.ask(http.MethodGet, path+"/content", nil)
		d.ask(http.MethodGet, path+"/consumed_credits", nil)
		d.ask(http.MethodGet, "/api/v0/price/"+string(h), nil)
		query := "msgStatuses=" + string(status)
		if status == message.StatusForgotten || status == message.StatusRemoved {
			d.ask(http.MethodGet, "/api/v0/messages.json?"+query, nil)
			d.ask(http.MethodGet, "/api/v0/messages.json?"+query+"&tags=x", nil)
		} else {
			d.list("/api/v0/messages.json", query)
		}
		d.ask(http.MethodGet, "/api/v0/messages/hashes?status="+string(status), nil)
	}
	for _, h := range []string{"xyz", strings.Repeat("0", 64)} {
		for _, path := range []string{"", "/status", "/content"} {
			d.ask(http.MethodGet, "/api/v0/messages/"+h+path, nil)
		}
		d.ask(http.MethodGet, "/api/v0/price/"+h, nil)
	}
	for _, path := range []string{
		"/api/v0/messages/page/1.json", "/api/v0/messages/page/x.json", "/api/v0/messages/page/0.json", "/api/v0/messages/hashes?hash_only=false",
		"/api/v0/messages/hashes?page=0", "/api/v0/messages.json?hashes=x", "/api/v0/channels/list.json",
	} {
		d.ask(http.MethodGet, path, nil)
	}
}

// showsState shows posts, aggregates and grants.
func (d *description) showsState(t *testing.T) {
	amend := d.envelope(func(a *authority.Author) error {
		return a.Post(t.Context(), message.PostTypeAmend, string(hashIn(t, d.sent(t, 30))), map[string]any{"number": "new"})
	})
	d.send(amend, true).check(t, "amend", 200, "")
	for key, content := range map[string]string{
		"profile":  `{"name":"x","big":123456789012345678901234567890}`,
		"security": `{"authorizations":[{"address":"0xB","types":["POST"],"chain":"ETH"},{"address":"0xC"}]}`,
	} {
		d.send(d.envelope(func(a *authority.Author) error {
			return a.Aggregate(t.Context(), key, json.RawMessage(content))
		}), true).check(t, key, 200, "")
	}
	for _, version := range []string{"v0", "v1"} {
		d.list("/api/"+version+"/posts.json", "")
		d.ask(http.MethodGet, "/api/"+version+"/posts.json?sortBy=x", nil)
		d.ask(http.MethodGet, "/api/"+version+"/posts/page/1.json", nil)
		d.ask(http.MethodGet, "/api/"+version+"/posts/page/x.json", nil)
	}
	d.list("/api/v0/aggregates", "")
	d.list("/api/v0/aggregates.json", "sortBy=creation_time")
	d.ask(http.MethodGet, "/api/v0/aggregates?pagination=0", nil)
	d.ask(http.MethodGet, "/api/v0/aggregates?cursor=!", nil)
	mine := "/api/v0/aggregates/" + d.account.Address() + ".json"
	for _, query := range []string{"", "?with_info=true", "?keys=profile&value_only=true", "?keys=none", "?limit=x"} {
		d.ask(http.MethodGet, mine+query, nil)
	}
	for _, path := range []string{"granted/" + d.account.Address(), "received/0xB", "received/nobody"} {
		for _, query := range []string{"", "?types=POST", "?page=0"} {
			d.ask(http.MethodGet, "/api/v0/authorizations/"+path+".json"+query, nil)
		}
	}
}

// sent publishes a post and returns it.
func (d *description) sent(t *testing.T, number int) []byte {
	t.Helper()
	envelope := d.post(number)
	d.send(envelope, true).check(t, "post", 200, "")
	return envelope
}

// car is an archive of one file with a block of its own.
func car(file []byte) (archive []byte, root message.Hash) {
	data := append([]byte{8, 2, 18, byte(len(file))}, file...)
	data = append(data, 24, byte(len(file)))
	return carOf(append([]byte{10, byte(len(data))}, data...))
}

// carOf is an archive of one block.
func carOf(block []byte) (archive []byte, root message.Hash) {
	sum := sha256.Sum256(block)
	id := append([]byte{0x12, 0x20}, sum[:]...)
	header := append([]byte("\xa2\x65roots\x81\xd8\x2a\x58\x23\x00"), id...)
	header = append(header, "\x67version\x01"...)
	archive = append(binary.AppendUvarint(nil, uint64(len(header))), header...)
	archive = binary.AppendUvarint(archive, uint64(len(id)+len(block)))
	archive = append(append(archive, id...), block...)
	return archive, message.Hash(base58.Encode(id))
}

// takesFiles uploads in each way and looks at what was uploaded.
func (d *description) takesFiles(t *testing.T) {
	upload := func(path string, parts ...part) answer {
		body, contentType := formOf(t, parts...)
		return d.ask(http.MethodPost, path, body, "Content-Type", contentType)
	}
	var named []message.Hash
	for i, sync := range []bool{true, false} {
		file := fmt.Appendf(nil, "file %d", i)
		envelope := d.storing(message.HashBytes(file), map[string]any{"ref": "mine"})
		upload("/api/v0/storage/add_file", part{"file", "", file}, metadataOf(envelope, sync))
		upload("/api/v0/storage/add_file", part{"file", "", []byte("another")}, metadataOf(envelope, sync))
		named = append(named, hashIn(t, envelope))

		upload("/api/v0/ipfs/add_file", part{"file", "name.txt", file})
		cid := message.Hash(upload("/api/v0/ipfs/add_file", part{"file", "", file}).object(t)["hash"].(string))
		upload("/api/v0/ipfs/add_file", part{"file", "", file}, metadataOf(d.storing(cid, nil), sync))

		archive, root := car(file)
		upload("/api/v0/ipfs/add_car", part{"file", "", archive}, metadataOf(d.storing(root, map[string]any{"ref": "car"}), sync))
		upload("/api/v0/ipfs/add_car", part{"file", "", archive[:9]}, metadataOf(d.storing(root, nil), sync))
	}
	d.ask(http.MethodPost, "/api/v0/storage/add_file", strings.NewReader("raw"))
	for _, engine := range []string{"storage", "ipfs"} {
		d.ask(http.MethodPost, "/api/v0/"+engine+"/add_json", strings.NewReader(`{"a":1}`))
		d.ask(http.MethodPost, "/api/v0/"+engine+"/add_json", strings.NewReader(`{`))
		d.ask(http.MethodPost, "/api/v0/"+engine+"/add_file", http.NoBody, "Content-Type", "multipart/form-data")
	}
	hash := string(message.HashBytes([]byte("file 0")))
	d.ask(http.MethodGet, "/api/v0/storage/raw/"+hash, nil, "Range", "bytes=1-2")
	d.ask(http.MethodGet, "/api/v0/storage/raw/"+hash, nil, "Range", "bytes=99-")
	for _, path := range []string{
		"limits.json", "raw/" + hash, hash, "metadata/" + hash, "count/" + hash, "by-message-hash/" + string(named[0]), "by-ref/" + d.account.Address() + "/mine",
		"raw/x", "x", "metadata/x", "count/x", "by-message-hash/x", "by-ref/x", "by-ref/x/y", "raw/" + strings.Repeat("0", 64), strings.Repeat("0", 64),
		"by-message-hash/" + hash, "by-ref/" + hash,
	} {
		d.ask(http.MethodGet, "/api/v0/storage/"+path, nil)
	}
	plain := d.storing(message.HashBytes([]byte("file 0")), nil)
	d.send(plain, true).check(t, "without ref", 200, "")
	d.ask(http.MethodGet, "/api/v0/storage/by-ref/"+string(hashIn(t, plain)), nil)
}

// showsAccounts shows what addresses hold, sent and spent.
func (d *description) showsAccounts(t *testing.T) {
	mine := "/api/v0/addresses/" + d.account.Address()
	text, n, expires := "0.5", int64(3), message.TimeFromSeconds(4e9)
	err := d.db.Write(t.Context(), func(tx *store.Tx) error {
		for i, chain := range []message.Chain{"ETH", "SOL"} {
			row := &store.BalanceRow{Address: d.account.Address(), Chain: chain, Balance: "1000000.25", Message: "x", LastUpdate: message.Time(i)}
			if err := tx.PutBalance(row); err != nil {
				return err
			}
		}
		for i, amount := range []int64{1_000_000, -5} {
			row := &store.CreditRow{Ref: message.HashBytes([]byte("credits")), Index: int64(i), Address: d.account.Address(), Amount: amount, ContentTime: 1.5}
			if i == 0 {
				row.Price, row.BonusAmount, row.Expiration, row.ExpenseCount, row.ExpenseSizeMiB = &text, &n, &expires, &n, &text
				row.TxHash, row.Token, row.Chain, row.Provider, row.Origin, row.OriginRef, row.PaymentMethod = &text, &text, &text, &text, &text, &text, &text
			}
			if err := tx.InsertCredit(row); err != nil {
				return err
			}
			lot := &store.CreditLot{Ref: row.Ref, Index: int64(i), Remaining: 1_000_000, Expiration: row.Expiration, ContentTime: 1.5}
			if err := tx.PutCreditLot(d.account.Address(), lot); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{"", "?chain=SOL", "?chain=x", "?include_credit_details=true"} {
		d.ask(http.MethodGet, mine+"/balance"+query, nil)
	}
	d.list("/api/v0/balances", "")
	d.list("/api/v0/credit_balances", "min_balance=1")
	d.ask(http.MethodGet, "/api/v0/balances?min_balance=0", nil)
	d.ask(http.MethodGet, "/api/v0/credit_balances?page=x", nil)
	d.list(mine+"/files", "")
	d.list(mine+"/credit_history", "")
	d.list(mine+"/credit_history", "sort_by=expiration_date&sort_order=1")
	d.ask(http.MethodGet, mine+"/files?page=x", nil)
	d.ask(http.MethodGet, mine+"/credit_history/summary", nil)
	d.ask(http.MethodGet, mine+"/credit_history/summary?direction=x", nil)
	for _, path := range []string{"post_types", "channels"} {
		d.ask(http.MethodGet, mine+"/"+path, nil)
	}
	d.ask(http.MethodGet, "/api/v0/addresses/stats.json", nil)
	d.ask(http.MethodGet, "/api/v0/addresses/stats.json?addresses[]="+d.account.Address(), nil)
	d.list("/api/v1/addresses/stats.json", "")
	d.ask(http.MethodGet, "/api/v1/addresses/stats.json?sortBy=x", nil)
}

// operatorToken is what an operator sends to have costs computed again.
func operatorToken(key *secp256k1.PrivateKey, at time.Time) string {
	text := fmt.Sprint(at.Unix())
	digest := sha256.Sum256([]byte(text))
	signature := base64.StdEncoding.EncodeToString(ecdsa.Sign(key, digest[:]).Serialize())
	return base64.StdEncoding.EncodeToString([]byte(text + ":" + signature))
}

// showsPrices asks what messages cost.
func (d *description) showsPrices(t *testing.T) {
	file := []byte(strings.Repeat("large ", 10))
	d.params.MaxUnauthenticated = 1 << 20
	d.do(http.MethodPost, addFilePath, bytes.NewReader(file))
	stored := d.storing(message.HashBytes(file), map[string]any{"payment": map[string]any{"chain": "ETH", "type": "credit"}})
	d.send(stored, true).check(t, "STORE", 200, "processed")
	hash := string(hashIn(t, stored))
	for _, query := range []string{"", "?include_size=true"} {
		d.ask(http.MethodGet, "/api/v0/price/"+hash+query, nil)
	}
	question, err := json.Marshal(map[string]any{"message": json.RawMessage(stored)})
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{string(question), "{}"} {
		d.ask(http.MethodPost, "/api/v0/price/estimate", strings.NewReader(body))
	}
	instance := `{"address":"0x1","environment":{},"resources":{"vcpus":2,"memory":4096},"payment":{"type":"credit"},"rootfs":{"parent":{"ref":"` +
		strings.Repeat("ca", 32) + `"},"persistence":"host","size_mib":40960},"volumes":[{"mount":"/data","persistence":"host","name":"data","size_mib":10}]}`
	for _, body := range []string{instance, "{}", "{"} {
		d.ask(http.MethodPost, "/api/v0/price/estimate/instance", strings.NewReader(body))
	}
	for _, query := range []string{"", "include_details=1", "address=" + d.account.Address() + "&include_details=2&include_size=true", "item_hash=" + hash, "payment_type=x"} {
		d.ask(http.MethodGet, "/api/v0/costs?"+query, nil)
	}
	for _, path := range []string{"/api/v0/price/recalculate", "/api/v0/price/" + hash + "/recalculate", "/api/v0/price/x/recalculate"} {
		d.ask(http.MethodPost, path, nil)
		d.ask(http.MethodPost, path, nil, "X-Auth-Token", operatorToken(d.operator, time.Now()))
	}
}

// showsItself asks for what the node says of itself and of other nodes.
func (d *description) showsItself(t *testing.T) {
	for _, kind := range []string{state.KindCore, state.KindCompute} {
		one := 1.0
		values := make([]*float64, len(state.Quantities(kind)))
		values[0] = &one
		post := d.insert(t, message.TypePost, fmt.Appendf(nil, `{"address":"0x1","time":1,"type":"%s"}`, kind), message.StatusProcessed)
		row := &store.NodeMetricRow{NodeID: "node", Kind: kind, MeasuredAt: message.TimeFrom(time.Now()), Message: post, Values: values}
		if err := d.db.Write(t.Context(), func(tx *store.Tx) error { return tx.PutNodeMetric(row) }); err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range []string{"core", "compute"} {
		for _, path := range []string{"node/metrics", "other/metrics", "node/metrics?sort=x"} {
			d.ask(http.MethodGet, "/api/v0/"+kind+"/"+path, nil)
		}
	}
	for _, path := range []string{
		"/", "/version", "/api/v0/version", "/api/v0/info/public.json", "/health", "/ready", "/metrics", "/metrics.json", "/api/openapi.json",
		"/api/docs/", "/api/docs/swagger.json", "/api/v0/plan", "/api/v0/nodes", "/api/v0/allocation/x", "/api/ws0/messages", "/api/ws0/status",
	} {
		d.ask(http.MethodGet, path, nil)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Get(d.url + "/api/docs")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	d.answered(http.MethodGet, "/api/docs", answer{resp.StatusCode, resp.Header, nil})
	if resp.Header.Get("Location") != "/api/docs/" {
		t.Errorf("/api/docs leads to %q", resp.Header.Get("Location"))
	}
}

// watches reads frames of both sockets.
func (d *description) watches(t *testing.T) {
	for _, path := range []string{"/api/ws0/messages", "/api/ws0/status"} {
		pattern := "GET " + path
		conn, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(d.url, "http")+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetReadLimit(1 << 20)
		d.seen[pattern+" 101"] = true
		frame := func() []byte {
			raw, err := d.read(conn)
			if err != nil {
				t.Fatal(err)
			}
			d.fits("frame of "+path, d.doc.Paths[path]["get"].Frame.Ref, raw)
			return raw
		}
		raw := frame()
		if path == "/api/ws0/messages" {
			fresh := hashIn(t, d.sent(t, 40)) // with the history, when that is read later, or live
			for !bytes.Contains(raw, []byte(fresh)) {
				raw = frame()
			}
		}
		conn.CloseNow()
	}
}
