package api

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/message"
)

// strange are values that parsers stumble over.
var strange = []string{
	"", "0", "-1", "1", "1.0", "1_000", "_1", " 1 ", "+1", "nan", "inf", "1e400", "99999999999999999999", "253402300800", "true", "maybe",
	"time", "tx-time", "POST", "post", "POST,STORE", ",", "a,b,,c", "ETH", "forgotten", "removed", "processed,removing", "full", "headers",
	"e30", "bm90IGpzb24", "eyJoIjoiIiwidCI6IiJ9", "eyJoIjoxLCJ0IjoyfQ", "eyJhIjoiYiIsInYiOjF9", strings.Repeat("0", 64), "\x00", "\xff", "%",
	"\U0001F600", strings.Repeat("a,", 300), "' OR 1=1 --", "last_modified", "creation_time",
}

// target is a route with a method, and the parameters that it reads.
type target struct {
	path  string
	names []string
}

// targets lists the routes of a method, always in the same order.
func (r *rig) targets(method string) []target {
	r.t.Helper()
	all := r.handler.(*API).routes()
	var list []target
	for _, pattern := range slices.Sorted(maps.Keys(all)) {
		path, ok := strings.CutPrefix(pattern, method+" ")
		if !ok {
			continue
		}
		h := all[pattern]
		if l, ok := h.(long); ok {
			h = l.handler
		}
		one := target{path: path}
		if q, ok := h.(query); ok {
			read, err := readBy(q)
			if err != nil {
				r.t.Fatal(err)
			}
			for _, p := range read {
				one.names = append(one.names, p.names...)
			}
		}
		list = append(list, one)
	}
	return list
}

var pathParameter = regexp.MustCompile(`\{\w+\}`)

// with fills in the parameters of the path.
func (t target) with(value string) string {
	if value == "" {
		value = "x"
	}
	return pathParameter.ReplaceAllLiteralString(t.path, url.PathEscape(value))
}

func FuzzQueriesAreAnsweredOrRefused(f *testing.F) {
	r := newRig(f)
	list := r.targets(http.MethodGet)
	n := 0
	for i, one := range list {
		f.Add(i, "cursor", "", "x", strange[i%len(strange)])
		for j, name := range one.names {
			for range 3 { // values in turn, so that each meets each kind of parameter
				n++
				f.Add(i, name, strange[n%len(strange)], one.names[(j+n)%len(one.names)], strange[n*7%len(strange)])
			}
		}
	}
	f.Fuzz(func(t *testing.T, path int, name, value, name2, value2 string) {
		query := url.Values{name: {value}}
		query.Add(name2, value2)
		target := list[uint(path)%uint(len(list))].with(value2) + "?" + query.Encode()
		w := httptest.NewRecorder()
		r.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
		if w.Code >= 500 {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	})
}

func FuzzBodiesAreTakenOrRefused(f *testing.F) {
	r := newRig(f)
	list, good := r.targets(http.MethodPost), string(r.post(1))
	stored := string(r.storing(message.HashBytes([]byte("file")), nil))
	for _, body := range []string{
		"", "{", "null", "[]", "0", `""`, `{}`, `{"message":null}`, `{"message":[]}`, `{"message":{}}`, `{"message":` + good + `}`,
		`{"message":` + good + `,"sync":"x"}`, `{"message":` + good + `,"message":{}}`, `{"message":` + strings.Repeat(`{"a":`, 20000) + strings.Repeat("}", 20001),
		strings.Repeat("[", 100000), `{"message":{"time":NaN}}`, `{"message":{"time":1e999}}`, `{"message":{"time":` + strings.Repeat("9", 5000) + `}}`,
		`{"message":{"item_content":"\ud800"}}`, `{"message":{"item_content":"\u0000"}}`, "{\"message\":{\"sender\":\"\xff\"}}",
		`{"message":{"item_content":"` + strings.Repeat("x", 1<<20) + `"}}`, `{"topic":"ALEPH_DEVNET_TEST","data":"{}"}`,
		`{"topic":"ALEPH_DEVNET_TEST","data":{}}`, `{"topic":1}`, `{"topic":"ALEPH_DEVNET_TEST","data":"\ud800"}`,
		strings.Replace(good, `"time":`, `"time":-1e300,"x":`, 1), strings.Replace(good, "POST", "\x00", 1),
		`{"message":` + strings.Replace(good, `"item_hash":"`, `"item_hash":"../../`, 1) + `,"sync":true}`,
		`{"message":` + stored + `}`, `{"message":` + strings.Replace(stored, `"item_type":"inline"`, `"item_type":"storage"`, 1) + `}`,
		`{"message":{"type":"INSTANCE","item_hash":"` + strings.Repeat("0", 64) + `"}}`, `{"message":{"type":"STORE","item_hash":1}}`,
		`{"address":"0x1","environment":{},"resources":{"vcpus":1e300},"rootfs":{"parent":{"ref":"x"},"size_mib":-1}}`,
		`{"address":"0x1","environment":{},"resources":{"vcpus":9223372036854775807,"memory":9223372036854775807},"rootfs":{"parent":{"ref":"` +
			strings.Repeat("ca", 32) + `"},"persistence":"host","size_mib":9223372036854775807},"payment":{"type":"credit"}}`,
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, one := range list {
			w := httptest.NewRecorder()
			r.handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, one.with("x"), strings.NewReader(body)))
			if w.Code >= 500 {
				t.Errorf("%s: %d %s", one.path, w.Code, w.Body)
			}
		}
	})
}
