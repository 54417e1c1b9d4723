// Command diagnostics answers as the network's diagnostic program does when all is well (spec/crn.md §2.5.1), and prints what it is
// told to. A PUT to /break/<path> makes that path answer with an empty object.
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
)

func main() {
	fmt.Println("diagnostics: started")
	var mu sync.Mutex
	broken, counter, cache := map[string]bool{}, 0, map[string]string{}
	answers := map[string]any{
		"/": map[string]string{"Example": "example_fastapi"},
		"/environ": map[string]string{
			"ALEPH_API_HOST": "", "ALEPH_API_UNIX_SOCKET": "", "ALEPH_REMOTE_CRYPTO_HOST": "", "ALEPH_REMOTE_CRYPTO_UNIX_SOCKET": "",
			"ALEPH_ADDRESS_TO_USE": "",
		},
		"/messages":      map[string]any{"Messages": map[string]any{"messages": []any{map[string]string{"item_hash": "ab"}}}},
		"/dns":           map[string]string{"ipv4": "127.0.0.1", "ipv6": "::1"},
		"/ip/4":          map[string]bool{"result": true},
		"/ip/6":          map[string]bool{"result": true},
		"/internet":      map[string]int{"result": 200},
		"/get_a_message": map[string]string{"item_hash": "ab"},
		"/lifespan":      map[string]bool{"Lifespan": true},
	}
	answer := func(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }
	http.HandleFunc("PUT /break/{path...}", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		path := "/" + r.PathValue("path")
		broken[path] = !broken[path]
	})
	http.HandleFunc("POST /print", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(os.Stderr, r.URL.Query().Get("line"))
	})
	http.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		path := r.URL.Path
		v, ok := answers[path]
		switch {
		case broken[path]:
			answer(w, struct{}{})
		case ok:
			answer(w, v)
		case path == "/state/increment":
			counter++
			answer(w, map[string]int{"counter": counter})
		case path == "/raise":
			http.Error(w, "Traceback (most recent call last):", http.StatusInternalServerError)
		case path == "/cache/keys":
			keys := []string{}
			for key := range cache {
				keys = append(keys, key)
			}
			answer(w, keys)
		case strings.HasPrefix(path, "/cache/set/"):
			key, value, _ := strings.Cut(strings.TrimPrefix(path, "/cache/set/"), "/")
			cache[key] = value
			answer(w, true)
		case strings.HasPrefix(path, "/cache/get/"):
			answer(w, cache[strings.TrimPrefix(path, "/cache/get/")])
		default:
			http.NotFound(w, r)
		}
	})
	if err := http.ListenAndServe("127.0.0.1:8080", nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
