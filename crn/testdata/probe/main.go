// Command probe is a program that tests run in machines: it does what its path asks for.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

func main() {
	fmt.Println("probe: started")
	fmt.Fprintln(os.Stderr, "probe: complaining")
	switch os.Getenv("MODE") {
	case "silent":
		time.Sleep(time.Hour)
	case "bomb":
		bomb()
	case "exit":
		fmt.Println("probe: giving up")
		os.Exit(3)
	}
	var calls atomic.Int64
	started := time.Now().UnixNano()
	http.HandleFunc("/count", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, started, " ", calls.Add(1)) })
	http.HandleFunc("/echo/", func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Add("Set-Cookie", "a=1")
		h.Add("Set-Cookie", "b=2")
		h.Set("Server", "probe")
		h.Set("X-Path", r.URL.EscapedPath())
		h.Set("X-Query", r.URL.RawQuery)
		h.Set("X-Host", r.Host)
		h.Set("X-Method", r.Method)
		h.Set("X-Forwarded", r.Header.Get("X-Forwarded-For"))
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.Copy(w, r.Body)
	})
	http.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		for i := range 3 {
			fmt.Fprintln(w, "part", i)
			w.(http.Flusher).Flush()
			if _, err := io.ReadFull(r.Body, make([]byte, 1)); err != nil {
				return
			}
		}
	})
	http.HandleFunc("/upgrade", func(w http.ResponseWriter, r *http.Request) {
		conn, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(conn, buffered)
	})
	http.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("probe: slow")
		<-r.Context().Done()
	})
	http.HandleFunc("/exit", func(w http.ResponseWriter, r *http.Request) { os.Exit(4) })
	http.HandleFunc("/eat", func(w http.ResponseWriter, r *http.Request) {
		var eaten [][]byte
		for {
			b := make([]byte, 8<<20)
			for i := range b {
				b[i] = byte(i)
			}
			eaten = append(eaten, b)
		}
	})
	http.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.Query().Get("path")
		if r.Method == http.MethodPut {
			body, _ := io.ReadAll(r.Body)
			if err := os.WriteFile(path, body, 0o644); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
			return
		}
		http.ServeFile(w, r, path)
	})
	http.HandleFunc("/large", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Query().Get("bytes"))
		_, _ = w.Write(make([]byte, n))
	})
	var events atomic.Pointer[[]string]
	events.Store(&[]string{})
	http.HandleFunc("/_aleph/event", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Aleph-Event") == "" && r.Header["Aleph_event"] == nil { // the second as WSGI has it
			http.Error(w, "not an event", http.StatusForbidden)
			return
		}
		list := append(slices.Clone(*events.Load()), fmt.Sprint(r.Method, " ", r.Header.Get("Aleph-Event"), " ", r.Header.Get("Aleph-Event-Id"), " ", string(body)))
		events.Store(&list)
	})
	http.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, strings.Join(*events.Load(), "\n")) })
	http.HandleFunc("/guest-api", askGuestAPI)
	http.HandleFunc("/env", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, os.Getenv(r.URL.Query().Get("name"))) })
	hostile(http.DefaultServeMux)
	if err := http.ListenAndServe("127.0.0.1:8080", nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// askGuestAPI sends the request's method and body to the path that its query names, over the socket or the port.
func askGuestAPI(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	base, transport := os.Getenv("ALEPH_GUEST_API"), &http.Transport{}
	if query.Get("over") == "socket" {
		base = os.Getenv("ALEPH_API_HOST")
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", os.Getenv("ALEPH_API_UNIX_SOCKET"))
		}
	}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(r.Context(), r.Method, base+query.Get("path"), r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer response.Body.Close()
	w.WriteHeader(response.StatusCode)
	_, _ = io.Copy(w, response.Body)
}
