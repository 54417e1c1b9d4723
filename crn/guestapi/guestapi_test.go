package guestapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

var (
	first  = message.HashBytes([]byte("first"))
	second = message.HashBytes([]byte("second"))
)

// core is a fake core node: it notes what it is asked.
type core struct {
	*httptest.Server
	mu       sync.Mutex
	requests []request
}

type request struct {
	method, uri, body string
	header            http.Header
}

func newCore(t *testing.T) *core {
	c := &core{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.requests = append(c.requests, request{r.Method, r.RequestURI, string(body), r.Header})
		w.Header().Set("Content-Type", "text/special")
		w.Header().Set("Set-Cookie", "a=b")
		switch r.URL.Path {
		case "/api/v0/elsewhere":
			http.Redirect(w, r, "http://169.254.169.254/", http.StatusFound)
			return
		case "/api/v0/messages":
			w.WriteHeader(http.StatusAccepted)
		}
		fmt.Fprint(w, "the answer")
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *core) last(t *testing.T) request {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.requests) == 0 {
		t.Fatal("the core node was not asked")
	}
	return c.requests[len(c.requests)-1]
}

func newAPI(t *testing.T, core, dir string) *API {
	t.Helper()
	a, err := New(Config{CoreNode: core, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// ask sends a request as a program.
func ask(t *testing.T, a *API, as message.Hash, method, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	h, err := a.For(as, "label-of-"+string(as[:4]))
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "secret")
	h.ServeHTTP(w, r)
	return w
}

func TestTheCacheBehavesAsTheReferences(t *testing.T) {
	dir := t.TempDir()
	a := newAPI(t, "http://127.0.0.1:1", dir)
	for _, step := range []struct {
		as                 message.Hash
		method, path, body string
		status             int
		says               string
	}{
		{first, "GET", "/cache/absent", "", 404, "No such key in cache"},
		{first, "PUT", "/cache/one", "value\x00", 200, "true"},
		{first, "GET", "/cache/one", "", 200, "value\x00"},
		{second, "GET", "/cache/one", "", 404, "No such key in cache"},
		{second, "DELETE", "/cache/one", "", 200, "0"},
		{first, "PUT", "/cache/one", "new", 200, "true"},
		{first, "PUT", "/cache/two", "2", 200, "true"},
		{first, "PUT", "/cache/clé_3", "3", 200, "true"},
		{first, "GET", "/cache/", "", 200, `["clé_3","one","two"]`},
		{first, "GET", "/cache/?pattern=t*", "", 200, `["two"]`},
		{first, "GET", "/cache/?pattern=?n?", "", 200, `["one"]`},
		{first, "GET", "/cache/?pattern=absent", "", 200, `[]`},
		{first, "GET", "/cache/?pattern=a%2Fb", "", 400, "Invalid key"},
		{first, "GET", "/cache/?pattern=", "", 400, "Invalid key"},
		{first, "PUT", "/cache/empty", "", 200, "true"},
		{first, "GET", "/cache/empty", "", 404, "No such key in cache"},
		{first, "GET", "/cache/not-a-key", "", 400, "Invalid key"},
		{first, "GET", "/cache/..%2F..%2Fsecret", "", 400, "Invalid key"},
		{first, "PUT", "/cache/" + strings.Repeat("k", 81), "", 400, "Invalid key"},
		{first, "DELETE", "/cache/two", "", 200, "1"},
		{first, "DELETE", "/cache/two", "", 200, "0"},
		{first, "PUT", "/cache/large", strings.Repeat("x", maxValue+1), 413, "more than 1048576 bytes"},
		{second, "GET", "/cache/", "", 200, "[]"},
	} {
		w := ask(t, a, step.as, step.method, step.path, step.body)
		if w.Code != step.status || !strings.HasPrefix(strings.TrimSpace(w.Body.String()), step.says) && !strings.Contains(w.Body.String(), step.says) {
			t.Errorf("%s %s: got %d %q, want %d %q", step.method, step.path, w.Code, w.Body, step.status, step.says)
		}
	}
	// Another node on the same folder has it all.
	a = newAPI(t, "http://127.0.0.1:1", dir)
	if w := ask(t, a, first, "GET", "/cache/one", ""); w.Body.String() != "new" {
		t.Errorf("after a restart: %d %q", w.Code, w.Body)
	}
	a.Forget(first)
	if w := ask(t, a, first, "GET", "/cache/", ""); w.Body.String() != "[]" {
		t.Errorf("a forgotten program has %s", w.Body)
	}
}

func TestCachesAreBounded(t *testing.T) {
	a := newAPI(t, "http://127.0.0.1:1", t.TempDir())
	value := strings.Repeat("x", maxValue)
	for i := range maxCache / maxValue {
		if w := ask(t, a, first, "PUT", fmt.Sprintf("/cache/k%d", i), value); w.Code != 200 {
			t.Fatalf("value %d: %d %s", i, w.Code, w.Body)
		}
	}
	if w := ask(t, a, first, "PUT", "/cache/more", "x"); w.Code != http.StatusInsufficientStorage {
		t.Errorf("beyond the bytes of a program: %d %s", w.Code, w.Body)
	}
	if w := ask(t, a, first, "PUT", "/cache/k0", "shorter"); w.Code != 200 {
		t.Errorf("in place of a longer one: %d %s", w.Code, w.Body)
	}
	if w := ask(t, a, first, "PUT", "/cache/more", "x"); w.Code != 200 {
		t.Errorf("after room was made: %d %s", w.Code, w.Body)
	}
	if w := ask(t, a, second, "PUT", "/cache/k", "x"); w.Code != 200 {
		t.Errorf("another program: %d %s", w.Code, w.Body)
	}
	// The number of entries, without a file for each.
	entries := map[string]cached{}
	for i := range maxEntries {
		entries[fmt.Sprint("e", i)] = cached{0, time.Now().Add(time.Hour)}
	}
	a.cache.programs["many"] = entries
	if err := a.cache.put("many", "more", nil); err == nil || !strings.Contains(err.Error(), "4096 entries") {
		t.Errorf("beyond the entries: %v", err)
	}
	a.cache.bytes = maxCaches
	if err := a.cache.put(second, "k", []byte("longer")); err == nil || !strings.Contains(err.Error(), "all programs") {
		t.Errorf("beyond the bytes of all: %v", err)
	}
}

func TestValuesExpireAfterAWeek(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c, err := openCache(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"a", "b"} {
			if err := c.put(first, key, []byte("value")); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(3 * 24 * time.Hour)
		if err := c.put(first, "b", []byte("again")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * 24 * time.Hour)
		all := glob("*")
		if got := c.keys(first, all); !slices.Equal(got, []string{"b"}) {
			t.Errorf("after a week: %v", got)
		}
		if value, err := c.get(first, "a"); value != nil || err != nil {
			t.Errorf("an expired value: %q %v", value, err)
		}
		if c, err = openCache(dir); err != nil {
			t.Fatal(err)
		}
		if got := c.keys(first, all); !slices.Equal(got, []string{"b"}) {
			t.Errorf("read again: %v", got)
		}
		c.expire()
		if left, _ := os.ReadDir(c.folder(first)); len(left) != 1 || c.bytes != 5 {
			t.Errorf("%d files and %d bytes left", len(left), c.bytes)
		}
		time.Sleep(8 * 24 * time.Hour)
		c.expire()
		if left, _ := os.ReadDir(dir); len(left) != 0 || c.bytes != 0 {
			t.Errorf("%v and %d bytes left", left, c.bytes)
		}
	})
}

// The index agrees with a map, and the bytes with the sum, whatever programs do.
func TestTheCacheIsAMapForEachProgram(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		c, err := openCache(dir)
		if err != nil {
			rt.Fatal(err)
		}
		model := map[string]string{}
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			program := rapid.SampledFrom([]message.Hash{first, second}).Draw(rt, "program")
			key := rapid.SampledFrom([]string{"a", "b", "c_é", "D"}).Draw(rt, "key")
			at := string(program) + key
			switch rapid.SampledFrom([]string{"put", "get", "remove", "drop", "open"}).Draw(rt, "do") {
			case "put":
				value := rapid.StringN(0, 50, 200).Draw(rt, "value")
				if err := c.put(program, key, []byte(value)); err != nil {
					rt.Fatal(err)
				}
				model[at] = value
			case "get":
				if got, err := c.get(program, key); err != nil || string(got) != model[at] {
					rt.Fatalf("got %q, %v", got, err)
				}
			case "remove":
				_, want := model[at]
				if got, err := c.remove(program, key); err != nil || got != want {
					rt.Fatalf("removed %v, %v", got, err)
				}
				delete(model, at)
			case "drop":
				if err := c.drop(program); err != nil {
					rt.Fatal(err)
				}
				for k := range model {
					if strings.HasPrefix(k, string(program)) {
						delete(model, k)
					}
				}
			case "open":
				if c, err = openCache(dir); err != nil {
					rt.Fatal(err)
				}
			}
		}
		sum, keys := 0, len(c.keys(first, glob("*")))+len(c.keys(second, glob("*")))
		for _, value := range model {
			sum += len(value)
		}
		if int64(sum) != c.bytes || keys != len(model) {
			rt.Fatalf("%d bytes and %d keys, want %d and %d", c.bytes, keys, sum, len(model))
		}
	})
}

func FuzzKeysStayInTheirFolder(f *testing.F) {
	for _, seed := range []string{"a", "..", "../../x", "a/b", ".new-1", "\x00", "é", "%2e%2e"} {
		f.Add(seed)
	}
	dir := f.TempDir()
	a, err := New(Config{CoreNode: "http://127.0.0.1:1", Dir: dir})
	if err != nil {
		f.Fatal(err)
	}
	h, err := a.For(first)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, key string) {
		r := httptest.NewRequestWithContext(t.Context(), "PUT", "/cache/x", strings.NewReader("value"))
		r.URL.Path, r.URL.RawPath = "/cache/"+key, ""
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		files, err := filepath.Glob(filepath.Join(dir, "cache", "*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if filepath.Dir(file) != a.cache.folder(first) {
				t.Errorf("%q is at %s", key, file)
			}
		}
		if top, _ := os.ReadDir(dir); len(top) != 2 {
			t.Errorf("%q left %v", key, top)
		}
		a.Forget(first)
	})
}

// fields decodes an object of texts.
func fields(t *testing.T, raw []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return m
}

func TestEachProgramSignsWithAKeyOfItsOwn(t *testing.T) {
	dir := t.TempDir()
	a := newAPI(t, "http://127.0.0.1:1", dir)
	mine := fields(t, ask(t, a, first, "GET", "/properties", "").Body.Bytes())
	others := fields(t, ask(t, a, second, "GET", "/properties", "").Body.Bytes())
	again := fields(t, ask(t, newAPI(t, "http://127.0.0.1:1", dir), first, "GET", "/properties", "").Body.Bytes())
	elsewhere := fields(t, ask(t, newAPI(t, "http://127.0.0.1:1", t.TempDir()), first, "GET", "/properties", "").Body.Bytes())
	if mine["address"] == others["address"] || mine["address"] == elsewhere["address"] || mine["address"] != again["address"] || mine["chain"] != "ETH" || mine["curve"] != "secp256k1" {
		t.Errorf("mine %v, another program's %v, after a restart %v, on another node %v", mine, others, again, elsewhere)
	}
	if info, err := os.Stat(filepath.Join(dir, "secret")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("secret: %v, %v", info, err)
	}

	content := func(address string) (text string, hash message.Hash) {
		raw, _ := json.Marshal(map[string]any{"address": address, "type": "note", "time": 1.5, "content": map[string]any{"n": 1}})
		return string(raw), message.HashBytes(raw)
	}
	body := func(change map[string]any, address string) string {
		text, hash := content(address)
		m := map[string]any{"type": "POST", "item_type": "inline", "item_content": text, "item_hash": hash, "time": 1.5, "channel": "TEST"}
		for name, value := range change {
			m[name] = value
		}
		raw, _ := json.Marshal(m)
		return string(raw)
	}
	for _, address := range []string{"", string(first), "label-of-" + string(first[:4]), mine["address"].(string), "0x000000000000000000000000000000000000dEaD"} {
		w := ask(t, a, first, "POST", "/sign", body(nil, address))
		if w.Code != 200 {
			t.Fatalf("as %q: %d %s", address, w.Code, w.Body)
		}
		m, c, err := message.Parse(w.Body.Bytes())
		if err != nil {
			t.Fatalf("as %q: %v in %s", address, err, w.Body)
		}
		signer, err := ethereum.RecoverPersonal(m.SigningPayload(), m.Signature)
		if err != nil || m.Sender != mine["address"] || !strings.EqualFold(fmt.Sprint(signer), m.Sender) {
			t.Errorf("as %q: sender %s, signer %v, %v", address, m.Sender, signer, err)
		}
		want := m.Sender
		if strings.HasSuffix(address, "dEaD") {
			want = address // whether it may speak for that is the network's to decide
		}
		if c.Base().Address != want || *m.Channel != "TEST" {
			t.Errorf("as %q: the content is %s's", address, c.Base().Address)
		}
	}
	for name, wrong := range map[string]string{
		"not JSON": "message", "null": "null", "of another": body(map[string]any{"sender": others["address"]}, ""),
		"on another chain": body(map[string]any{"chain": "SOL"}, ""), "without type": body(map[string]any{"type": nil}, ""),
		"of other content": body(map[string]any{"item_hash": first}, "0x1"), "content that is none": body(map[string]any{"item_content": "[]"}, ""),
		"without hash": body(map[string]any{"item_content": nil, "item_hash": nil}, ""),
	} {
		if w := ask(t, a, first, "POST", "/sign", wrong); w.Code != 400 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

func TestMessagesOfProgramsAreSignedAndPublished(t *testing.T) {
	c := newCore(t)
	a := newAPI(t, c.URL, t.TempDir())
	address := fields(t, ask(t, a, first, "GET", "/properties", "").Body.Bytes())["address"]
	unsigned := `{"type":"POST","item_type":"inline","time":1.5,"item_content":"{\"type\":\"note\",\"time\":1.5,\"content\":{}}"}`

	w := ask(t, a, first, "POST", "/api/v0/messages", `{"sync":true,"message":`+unsigned+`}`)
	if w.Code != http.StatusAccepted || w.Body.String() != "the answer" {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	sent := c.last(t)
	var outer struct {
		Sync    bool
		Message json.RawMessage
	}
	if err := json.Unmarshal([]byte(sent.body), &outer); err != nil || !outer.Sync {
		t.Fatalf("sent %s, %v", sent.body, err)
	}
	if m, _, err := message.Parse(outer.Message); err != nil || m.Sender != address || m.Signature == "" {
		t.Errorf("sent %s, %v", sent.body, err)
	}
	if sent.header.Get("Authorization") != "" {
		t.Error("headers of the program reach the core node")
	}

	data, _ := json.Marshal(unsigned)
	ask(t, a, first, "POST", "/api/v0/p2p/pubsub/pub", `{"topic":"ALEPH-TEST","data":`+string(data)+`}`)
	sent = c.last(t)
	var legacy struct{ Topic, Data string }
	if err := json.Unmarshal([]byte(sent.body), &legacy); err != nil || legacy.Topic != "ALEPH-TEST" || sent.uri != "/api/v0/p2p/pubsub/pub" {
		t.Fatalf("sent %+v, %v", sent, err)
	}
	if m, _, err := message.Parse([]byte(legacy.Data)); err != nil || m.Sender != address {
		t.Errorf("sent %s, %v", legacy.Data, err)
	}

	// What somebody else signed is passed as it is.
	ask(t, a, first, "POST", "/api/v0/messages", `{"message":{"sender":"0xother","signature":"0xproof","item_hash":"x"}}`)
	if got := c.last(t).body; got != `{"message":{"item_hash":"x","sender":"0xother","signature":"0xproof"}}` {
		t.Errorf("sent %s", got)
	}
	ask(t, a, first, "POST", "/api/v0/storage/add_file", "the file")
	if got := c.last(t); got.body != "the file" || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("sent %+v", got)
	}
	for path, body := range map[string]string{
		"/api/v0/messages": `{"message":"text"}`, "/api/v0/ipfs/pubsub/pub": `{"topic":"a","data":{}}`,
		"/api/v0/storage/add_json": strings.Repeat("x", maxUpload+1),
	} {
		if w := ask(t, a, first, "POST", path, body); w.Code/100 != 4 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func TestOnlyTheCoreNodesAPIIsReadable(t *testing.T) {
	c := newCore(t)
	a := newAPI(t, c.URL, t.TempDir())
	w := ask(t, a, first, "GET", "/api/v0/aggregates/0x1.json?keys=a%2Cb&x=%20", "")
	if w.Code != 200 || w.Body.String() != "the answer" || w.Header().Get("Content-Type") != "text/special" || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("got %d %s %v", w.Code, w.Body, w.Header())
	}
	if got := c.last(t); got.uri != "/api/v0/aggregates/0x1.json?keys=a%2Cb&x=%20" || got.header.Get("Authorization") != "" {
		t.Errorf("asked %+v", got)
	}
	if ask(t, a, first, "GET", "/api/v0/a%2Fb", ""); c.last(t).uri != "/api/v0/a%2Fb" {
		t.Errorf("asked %+v", c.last(t))
	}
	for _, method := range []string{"HEAD", "OPTIONS"} {
		if w := ask(t, a, first, method, "/api/v0/version", ""); w.Code != 200 || c.last(t).method != method {
			t.Errorf("%s: %d, asked with %s", method, w.Code, c.last(t).method)
		}
	}
	if w := ask(t, a, first, "GET", "/api/v0/elsewhere", ""); w.Code != http.StatusFound || w.Header().Get("Location") != "" {
		t.Errorf("a redirection: %d %v", w.Code, w.Header())
	}
	asked := len(c.requests)
	for _, refused := range []struct{ method, path string }{
		{"GET", "/metrics"}, {"GET", "/"}, {"GET", "/api/../metrics"}, {"GET", "/api/%2e%2e/metrics"}, {"GET", "/api/x%2F..%2F..%2Fmetrics"},
		{"POST", "/api/v0/price/estimate"}, {"PUT", "/api/v0/messages"}, {"DELETE", "/api/v0/x"},
	} {
		if w := ask(t, a, first, refused.method, refused.path, ""); w.Code < 300 || len(c.requests) != asked {
			t.Errorf("%s %s: %d", refused.method, refused.path, w.Code)
		}
	}
	c.Close()
	if w := ask(t, a, first, "GET", "/api/v0/version", ""); w.Code != http.StatusBadGateway {
		t.Errorf("without a core node: %d %s", w.Code, w.Body)
	}
}

func TestAProgramMaySendOnlySoMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(sendBurst, sendRate)
		sent := 0
		for b.take() {
			sent++
		}
		time.Sleep(10 * time.Second)
		for b.take() {
			sent++
		}
		if sent != sendBurst+10 {
			t.Errorf("%d in ten seconds", sent)
		}
		time.Sleep(time.Hour)
		for sent = 0; b.take(); sent++ {
		}
		if sent != sendBurst {
			t.Errorf("%d after an hour", sent)
		}
	})
	c := newCore(t)
	a := newAPI(t, c.URL, t.TempDir())
	var w *httptest.ResponseRecorder
	for range sendBurst + 5 {
		w = ask(t, a, first, "POST", "/api/v0/ipfs/add_json", "{}")
	}
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("got %d %v", w.Code, w.Header())
	}
	if w := ask(t, a, second, "POST", "/api/v0/ipfs/add_json", "{}"); w.Code != 200 {
		t.Errorf("another program: %d", w.Code)
	}
	if !bytes.Contains(w.Body.Bytes(), []byte("too much")) {
		t.Errorf("says %s", w.Body)
	}
}
