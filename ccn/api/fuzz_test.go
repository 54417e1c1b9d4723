package api

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// strange are values that parsers stumble over.
var strange = []string{
	"", "0", "-1", "1", "1.0", "1_000", "_1", " 1 ", "+1", "nan", "inf", "1e400", "99999999999999999999", "253402300800", "true", "maybe",
	"time", "tx-time", "POST", "post", "POST,STORE", ",", "a,b,,c", "ETH", "forgotten", "removed", "processed,removing", "full", "headers",
	"e30", "bm90IGpzb24", "eyJoIjoiIiwidCI6IiJ9", "eyJoIjoxLCJ0IjoyfQ", "eyJhIjoiYiIsInYiOjF9", strings.Repeat("0", 64), "\x00", "\xff", "%",
	"\U0001F600", strings.Repeat("a,", 300), "' OR 1=1 --", "last_modified", "creation_time",
}

func FuzzQueriesAreAnsweredOrRefused(f *testing.F) {
	handler := newRig(f).handler
	paths := []string{
		"/api/v0/messages.json", "/api/v0/messages/page/1.json", "/api/v0/messages/hashes", "/api/v0/posts.json", "/api/v1/posts.json",
		"/api/v0/aggregates", "/api/v0/aggregates/0xA.json", "/api/v0/authorizations/granted/0xA.json", "/api/v0/authorizations/received/0xA.json",
		"/api/v0/channels/list.json", "/api/v0/programs/on/message",
	}
	names := []string{
		"pagination", "page", "cursor", "sortBy", "sortOrder", "msgType", "msgTypes", "msgStatuses", "addresses", "refs", "contentHashes", "contentKeys",
		"contentTypes", "chains", "channels", "tags", "hashes", "paymentTypes", "startDate", "endDate", "startBlock", "endBlock", "excludeContent",
		"contentFormat", "keys", "limit", "with_info", "value_only", "types", "grantee", "status", "hash_only", "sort_order",
	}
	for i, name := range names {
		for j, value := range strange {
			f.Add(i+j, name, value, names[(i+j)%len(names)], strange[(i*7+j)%len(strange)])
		}
	}
	f.Fuzz(func(t *testing.T, path int, name, value, name2, value2 string) {
		query := url.Values{name: {value}}
		query.Add(name2, value2)
		target := paths[uint(path)%uint(len(paths))] + "?" + query.Encode()
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
		if w.Code >= 500 {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	})
}

func FuzzBodiesAreTakenOrRefused(f *testing.F) {
	r := newRig(f)
	handler, good := r.handler, string(r.post(1))
	for _, body := range []string{
		"", "{", "null", "[]", "0", `""`, `{}`, `{"message":null}`, `{"message":[]}`, `{"message":{}}`, `{"message":` + good + `}`,
		`{"message":` + good + `,"sync":"x"}`, `{"message":` + good + `,"message":{}}`, `{"message":` + strings.Repeat(`{"a":`, 20000) + strings.Repeat("}", 20001),
		strings.Repeat("[", 100000), `{"message":{"time":NaN}}`, `{"message":{"time":1e999}}`, `{"message":{"time":` + strings.Repeat("9", 5000) + `}}`,
		`{"message":{"item_content":"\ud800"}}`, `{"message":{"item_content":"\u0000"}}`, "{\"message\":{\"sender\":\"\xff\"}}",
		`{"message":{"item_content":"` + strings.Repeat("x", 1<<20) + `"}}`, `{"topic":"ALEPH_DEVNET_TEST","data":"{}"}`,
		`{"topic":"ALEPH_DEVNET_TEST","data":{}}`, `{"topic":1}`, `{"topic":"ALEPH_DEVNET_TEST","data":"\ud800"}`,
		strings.Replace(good, `"time":`, `"time":-1e300,"x":`, 1), strings.Replace(good, "POST", "\x00", 1),
		`{"message":` + strings.Replace(good, `"item_hash":"`, `"item_hash":"../../`, 1) + `,"sync":true}`,
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, path := range []string{"/api/v0/messages", "/api/v0/p2p/pubsub/pub"} {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, strings.NewReader(body)))
			if w.Code >= 500 {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
		}
	})
}
