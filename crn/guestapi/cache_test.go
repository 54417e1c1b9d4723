package guestapi

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/aleph-im/aleph-go/message"
)

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
	for i := range maxFiles / maxEntries {
		a.cache.programs[message.Hash(fmt.Sprint("program ", i))] = entries
	}
	if err := a.cache.put(second, "new", nil); err == nil || !strings.Contains(err.Error(), "all programs") {
		t.Errorf("beyond the entries of all: %v", err)
	}
	if err := a.cache.put(second, "k", nil); err != nil {
		t.Errorf("in place of another: %v", err)
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
	h := a.For(first)
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
