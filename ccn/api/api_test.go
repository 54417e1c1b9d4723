package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/aleph-im/aleph-go/ccn/authority"
	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/files/ipfs"
	"github.com/aleph-im/aleph-go/ccn/files/partial"
	"github.com/aleph-im/aleph-go/ccn/intake"
	"github.com/aleph-im/aleph-go/ccn/state"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
	"github.com/aleph-im/aleph-go/signature"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// rig is the API on a real store, state and intake.
type rig struct {
	t         testing.TB
	url       string
	handler   http.Handler
	params    *params.Network
	db        *store.Store
	ipfs      *ipfs.Node
	stopping  chan struct{}
	account   *ethereum.Account
	published [][]byte
}

func newRig(t testing.TB, change ...func(*Config)) *rig {
	t.Helper()
	p := params.Devnet()
	dir := t.TempDir()
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(dir, "aleph.db"))
	if err != nil {
		t.Fatal(err)
	}
	disk, err := files.OpenDisk(filepath.Join(dir, "files"))
	if err != nil {
		t.Fatal(err)
	}
	decides := state.New(state.Config{Params: p, Now: time.Now})
	pipeline, err := intake.New(intake.Config{
		Params: p, Store: db, State: decides, Files: disk,
		Fetch: func(context.Context, message.Hash, int64) (int64, error) {
			return 0, files.ErrNotFound
		},
		Verify: signature.Default().Verify, Journal: filepath.Join(dir, "journal"),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- pipeline.Run(ctx) }()
	blocks, err := files.OpenDisk(filepath.Join(dir, "blocks"))
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, params: p, db: db, stopping: make(chan struct{})}
	if r.ipfs, err = ipfs.New(ipfs.Config{Dir: filepath.Join(dir, "ipfs"), Blocks: blocks}); err != nil {
		t.Fatal(err)
	}
	uploads, err := partial.Open(filepath.Join(dir, "uploads"), time.Now, partial.Free)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Params: p, Store: db, Files: disk, IPFS: r.ipfs, Uploads: uploads, Stopping: r.stopping, Intake: pipeline, Version: "test", Addresses: func() []string { return nil },
		Covers: decides.Covers,
		Publish: func(_ context.Context, envelope []byte) error {
			r.published = append(r.published, envelope)
			return nil
		},
	}
	for _, f := range change {
		f(&cfg)
	}
	r.handler = New(cfg)
	server := httptest.NewServer(r.handler)
	t.Cleanup(func() {
		server.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := errors.Join(r.ipfs.Close(), blocks.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	r.url = server.URL
	if r.account, err = ethereum.Generate(); err != nil {
		t.Fatal(err)
	}
	return r
}

// answer is a response that was read.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (r *rig) do(method, path string, body io.Reader, header ...string) answer {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, body)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, raw}
}

func (r *rig) get(path string) answer { return r.do(http.MethodGet, path, nil) }

func (a answer) object(t *testing.T) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("answer %d is not a JSON object: %s", a.status, a.body)
	}
	return v
}

// envelope signs a message without sending it.
func (r *rig) envelope(make func(*authority.Author) error) []byte {
	r.t.Helper()
	var signed []byte
	author := &authority.Author{
		Account: r.account, Channel: "TEST", MaxInline: message.MaxInlineContent,
		Submit: func(_ context.Context, envelope []byte) error { signed = envelope; return nil },
	}
	if err := make(author); err != nil {
		r.t.Fatal(err)
	}
	return signed
}

func (r *rig) post(number int) []byte {
	return r.envelope(func(a *authority.Author) error {
		return a.Post(r.t.Context(), "note", "", map[string]int{"number": number})
	})
}

func (r *rig) send(envelope []byte, sync bool) answer {
	return r.do(http.MethodPost, "/api/v0/messages", bytes.NewReader(fmt.Appendf(nil, `{"message":%s,"sync":%t}`, envelope, sync)))
}

func hashIn(t *testing.T, envelope []byte) message.Hash {
	t.Helper()
	m, _, err := message.Parse(envelope)
	if err != nil {
		t.Fatal(err)
	}
	return m.ItemHash
}

func TestPublishingAnswersAsTheSpecificationSays(t *testing.T) {
	r := newRig(t)
	good := r.post(1)
	forged := bytes.Replace(r.post(2), []byte(`"signature":"0x`), []byte(`"signature":"0x00`), 1)
	badHash := bytes.Replace(r.post(3), []byte(`"item_hash":"`), []byte(`"item_hash":"0`), 1)
	for _, c := range []struct {
		name   string
		answer answer
		status int
		body   string
	}{
		{"sync", r.send(good, true), 200, `{"publication_status":{"status":"success","failed":[]},"message_status":"processed"}`},
		{"sync again", r.send(good, true), 200, `"message_status":"processed"`},
		{"async", r.send(r.post(4), false), 202, `"message_status":"pending"`},
		{"forged signature", r.send(forged, true), 422, `"message_status":"rejected"`},
		{"wrong hash", r.send(badHash, true), 422, "InvalidMessageFormat"},
		{"unknown type", r.send(bytes.Replace(r.post(5), []byte(`"POST"`), []byte(`"NOTE"`), 1), true), 422, "InvalidMessageFormat"},
		{"not JSON", r.do(http.MethodPost, "/api/v0/messages", strings.NewReader("{")), 422, "422: Unprocessable Entity"},
		{"not UTF-8", r.send([]byte("{\"type\":\"POST\",\"sender\":\"\xff\"}"), true), 422, ""},
		{"no message", r.do(http.MethodPost, "/api/v0/messages", strings.NewReader(`{"sync":true}`)), 422, `"loc":["message"]`},
		{"too large", r.do(http.MethodPost, "/api/v0/messages", strings.NewReader(strings.Repeat(" ", maxBody+1))), 413, "Maximum request body size 1048576 exceeded."},
	} {
		if c.answer.status != c.status || !strings.Contains(string(c.answer.body), c.body) {
			t.Errorf("%s: %d %s, want %d %s", c.name, c.answer.status, c.answer.body, c.status, c.body)
		}
	}
	if len(r.published) != 2 {
		t.Errorf("%d messages were gossiped, want the two that were accepted, once each", len(r.published))
	}
	rejected := r.get("/api/v0/messages/" + string(hashIn(t, forged))).object(t)
	if rejected["status"] != "rejected" || rejected["error_code"] != 1.0 {
		t.Errorf("the forged message shows as %v", rejected)
	}
}

func TestMembersOfMessagesAreExact(t *testing.T) {
	r := newRig(t)
	envelope := r.post(1)
	r.send(envelope, true)
	list := r.get("/api/v0/messages.json").object(t)
	inList := list["messages"].([]any)[0].(map[string]any)
	want := []string{"chain", "channel", "confirmations", "confirmed", "content", "item_content", "item_hash", "item_type", "sender", "signature", "size", "time", "type"}
	if got := slices.Sorted(maps.Keys(inList)); !slices.Equal(got, want) {
		t.Errorf("members in a list: %v", got)
	}
	for _, member := range []string{"pagination_item", "pagination_page", "pagination_per_page", "pagination_total"} {
		if _, ok := list[member]; !ok {
			t.Errorf("the list lacks %s", member)
		}
	}
	single := r.get("/api/v0/messages/" + string(hashIn(t, envelope))).object(t)
	want = slices.DeleteFunc(want, func(s string) bool { return s == "size" })
	if got := slices.Sorted(maps.Keys(single["message"].(map[string]any))); !slices.Equal(got, want) {
		t.Errorf("members of a single message: %v", got)
	}
	if without := r.get("/api/v0/messages.json?excludeContent=true").object(t)["messages"].([]any)[0].(map[string]any); without["content"] != nil {
		t.Error("content is there although excluded")
	}
}

func TestCursorWalksEveryMessageOnce(t *testing.T) {
	r := newRig(t)
	const n = 7
	for i := range n { // the envelope's time is not signed: these share one
		envelope := r.post(i)
		m, _, err := message.Parse(envelope)
		if err != nil {
			t.Fatal(err)
		}
		m.Time = message.TimeFromSeconds(1700000000)
		raw, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if a := r.send(raw, true); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	for _, order := range []string{"1", "-1"} {
		seen := map[string]int{}
		cursor := ""
		for {
			page := r.get("/api/v0/messages.json?pagination=1&sortOrder=" + order + "&cursor=" + cursor).object(t)
			for _, m := range page["messages"].([]any) {
				seen[m.(map[string]any)["item_hash"].(string)]++
			}
			next, more := page["next_cursor"].(string)
			if !more {
				break
			}
			cursor = next
		}
		if len(seen) != n {
			t.Errorf("order %s: %d of %d messages", order, len(seen), n)
		}
		for hash, times := range seen {
			if times != 1 {
				t.Errorf("order %s: %s came %d times", order, hash, times)
			}
		}
	}
}

func TestParametersThatMakeNoSenseAreRefused(t *testing.T) {
	r := newRig(t)
	for _, query := range []string{"msgTypes=post", "hashes=xyz", "pagination=-1", "page=0", "startDate=nan", "startDate=1700000000000", "sortOrder=2", "startDate=2&endDate=1", "cursor=%21", "cursor=&pagination=0"} {
		if a := r.get("/api/v0/messages.json?" + query); a.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d %s", query, a.status, a.body)
		}
	}
	for _, query := range []string{"find", "sort_order=1", "pagination=10000000000", "hashes[]=x"} {
		if a := r.get("/api/v0/messages.json?" + query); a.status != http.StatusOK {
			t.Errorf("%s: %d %s", query, a.status, a.body)
		}
	}
}

// A database takes so many parameters of a statement and no more.
func TestListsAreAnsweredUpToABound(t *testing.T) {
	r := newRig(t)
	var values []string
	for i := range maxListed {
		values = append(values, fmt.Sprint("v", i))
	}
	some := values[:16] // are looked up one by one
	tagged := r.envelope(func(a *authority.Author) error {
		return a.Post(t.Context(), "note", "", map[string]any{"tags": values})
	})
	if a := r.send(tagged, true); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	lists := []string{"addresses", "owners", "refs", "contentTypes", "channels", "tags", "keys", "exclude_payment_method"}
	for _, one := range r.targets(http.MethodGet) {
		for _, name := range one.names {
			if !slices.Contains(lists, name) || strings.Contains(one.path, "{page}") {
				continue
			}
			path := one.with("x") + "?" + name + "="
			for query, refused := range map[string]bool{
				path + strings.Join(values, ","):                                                         false,
				path + strings.Join(values, ",") + ",one too many":                                       true,
				path + strings.Repeat(",", 60_000):                                                       false,
				path + strings.Join(some, ",") + "&channels=" + strings.Join(values[:maxListed-16], ","): false,
			} {
				w := httptest.NewRecorder()
				r.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, strings.ReplaceAll(query, " ", "+"), nil))
				if w.Code >= 500 || refused && w.Code == http.StatusOK {
					t.Errorf("%.60s… of %d bytes: %d %s", query, len(query), w.Code, w.Body)
				}
			}
		}
	}
}

func TestAggregateIsMergedAndMissingOnesAre404(t *testing.T) {
	r := newRig(t)
	for _, content := range []string{`{"a":1,"big":123456789012345678901234567890}`, `{"b":2}`} {
		a := r.send(r.envelope(func(a *authority.Author) error {
			return a.Aggregate(t.Context(), "profile", json.RawMessage(content))
		}), true)
		if a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	path := "/api/v0/aggregates/" + r.account.Address() + ".json"
	a := r.get(path + "?keys=profile")
	for _, part := range []string{`"a":1`, `"b":2`, `123456789012345678901234567890`, `"info":{}`} {
		if !strings.Contains(string(a.body), part) {
			t.Errorf("answer lacks %s: %s", part, a.body)
		}
	}
	if a := r.get(path + "?keys=missing"); a.status != 404 {
		t.Errorf("missing key: %d", a.status)
	}
	if a := r.get(path + "?keys=profile&value_only=true").object(t); a["b"] != 2.0 {
		t.Errorf("bare value: %v", a)
	}
}

func TestBalanceOfAnUnknownAddressIsZero(t *testing.T) {
	r := newRig(t)
	a := r.get("/api/v0/addresses/0xnobody/balance")
	want := `{"address":"0xnobody","balance":0.0,"credit_balance":0,"credit_balance_details":null,"details":{},"locked_amount":0.0}`
	if a.status != 200 || string(a.body) != want {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := r.get("/api/v0/addresses/x/balance?chain=eth"); a.status != 422 {
		t.Errorf("unknown chain: %d", a.status)
	}
}

func TestBrowsersMayReadEveryAnswer(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{"/api/v0/version", "/api/v0/messages/xyz", "/api/v0/messages/" + strings.Repeat("0", 64)} {
		if a := r.do(http.MethodGet, path, nil, "Origin", "https://app.example"); a.header.Get("Access-Control-Allow-Origin") != "https://app.example" {
			t.Errorf("%s: %d has no CORS header", path, a.status)
		}
	}
	pre := r.do(http.MethodOptions, "/api/v0/messages", nil, "Origin", "https://app.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type")
	if pre.status != 200 || pre.header.Get("Access-Control-Allow-Headers") != "CONTENT-TYPE" {
		t.Errorf("preflight: %d %v", pre.status, pre.header)
	}
	if a := r.do(http.MethodOptions, "/api/v0/messages", nil); a.status != 403 {
		t.Errorf("OPTIONS without origin: %d", a.status)
	}
}

func TestWebSocketSendsHistoryThenLiveMessagesOnce(t *testing.T) {
	r := newRig(t)
	old := r.post(1)
	r.send(old, true)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(r.url, "http")+"/api/ws0/messages?channels=TEST", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	next := func() map[string]any {
		_, raw, err := conn.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	if m := next(); m["item_hash"] != string(hashIn(t, old)) {
		t.Errorf("history: %v", m["item_hash"])
	}
	fresh := r.post(2)
	r.send(fresh, true)
	if m := next(); m["item_hash"] != string(hashIn(t, fresh)) || m["size"] != nil {
		t.Errorf("live: %v, size %v", m["item_hash"], m["size"])
	}
	if a := r.get("/api/ws0/messages"); a.status != 400 {
		t.Errorf("without upgrade: %d", a.status)
	}
}

func TestPostShowsItsNewestAmendment(t *testing.T) {
	r := newRig(t)
	original := r.post(1)
	r.send(original, true)
	hash := hashIn(t, original)
	amend := r.envelope(func(a *authority.Author) error {
		return a.Post(t.Context(), message.PostTypeAmend, string(hash), map[string]int{"number": 2})
	})
	if a := r.send(amend, true); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	list := r.get("/api/v0/posts.json?hashes=" + string(hash)).object(t)["posts"].([]any)
	if len(list) != 1 {
		t.Fatalf("%d posts", len(list))
	}
	p := list[0].(map[string]any)
	if p["original_item_hash"] != string(hash) || p["item_hash"] != string(hashIn(t, amend)) || p["content"].(map[string]any)["number"] != 2.0 {
		t.Errorf("post is %v", p)
	}
}

func TestEstimateNamesEveryComponent(t *testing.T) {
	r := newRig(t)
	content := `{"address":"0x1","item_type":"storage","item_hash":"` + strings.Repeat("ca", 32) + `","time":1,"estimated_size_mib":30}`
	raw, err := json.Marshal(map[string]any{"message": map[string]any{"type": "STORE", "item_hash": message.HashBytes([]byte(content)), "item_type": "inline", "item_content": content}})
	if err != nil {
		t.Fatal(err)
	}
	a := r.do(http.MethodPost, "/api/v0/price/estimate", bytes.NewReader(raw))
	if a.status != 200 || a.object(t)["cost"] != "9.999999990000000000" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := r.do(http.MethodPost, "/api/v0/price/estimate", strings.NewReader("{}")); a.status != 422 {
		t.Errorf("without message: %d", a.status)
	}
}
