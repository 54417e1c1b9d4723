// Command hello-go is a program for the Aleph network in Go: any static Linux binary that listens on port 8080 will do.
package main

import (
	"encoding/json"
	"log"
	"net/http"
	"os"
	"runtime"
	"sync/atomic"
)

func main() {
	var calls atomic.Int64
	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		host, _ := os.Hostname()
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"message": "Hello from a virtual machine on Aleph",
			"go":      runtime.Version(),
			"host":    host,
			"calls":   calls.Add(1),
		})
	})
	http.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", nil))
}
