package guestapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aleph-im/aleph-go/message"
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
	h := a.For(as, "label-of-"+string(as[:4]))
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "secret")
	h.ServeHTTP(w, r)
	return w
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

// Nothing is kept of a program that sends nothing, and a new machine gives it no more to send.
func TestIdleProgramsAreNotRemembered(t *testing.T) {
	c := newCore(t)
	a := newAPI(t, c.URL, t.TempDir())
	machine := a.For(first)
	a.forgetIdle()
	if n := len(a.programs); n != 0 {
		t.Errorf("%d programs are remembered that did nothing", n)
	}
	for range sendBurst {
		w := httptest.NewRecorder()
		machine.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "POST", "/api/v0/ipfs/add_json", strings.NewReader("{}")))
		if w.Code != http.StatusOK {
			t.Fatalf("got %d", w.Code)
		}
	}
	a.forgetIdle()
	a.For(first)
	if a.programs[first].sending.full() { // which takes it a minute
		t.Error("with a new machine it may send as much again")
	}
}
