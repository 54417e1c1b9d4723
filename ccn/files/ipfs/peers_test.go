package ipfs

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/message"
)

func TestAFolderIsFetchedBlockByBlockFromPeers(t *testing.T) {
	from := open(t)
	root, _, err := from.AddFolder(t.Context(), fstest.MapFS{
		"index.html": {Data: []byte("<h1>home</h1>")}, "css/large.css": {Data: []byte(strings.Repeat("0123456789", 100_000))},
	}, 1)
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	serve := func(answer func(w http.ResponseWriter, raw []byte, err error)) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.RawQuery != "format=raw" || r.Header.Get("Accept") != BlockType {
				t.Errorf("asked for %s as %s", r.URL, r.Header.Get("Accept"))
			}
			raw, err := from.Block(r.Context(), message.Hash(strings.TrimPrefix(r.URL.Path, "/ipfs/")))
			answer(w, raw, err)
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	empty := serve(func(w http.ResponseWriter, _ []byte, _ error) { asked++; http.Error(w, "no", http.StatusNotFound) })
	liar := serve(func(w http.ResponseWriter, raw []byte, _ error) { _, _ = w.Write(append(raw, 'x')) })
	endless := serve(func(w http.ResponseWriter, _ []byte, _ error) { _, _ = w.Write(make([]byte, maxBlock+2)) })
	elsewhere := serve(func(w http.ResponseWriter, _ []byte, _ error) {
		w.Header().Set("Location", empty)
		w.WriteHeader(http.StatusFound)
	})
	honest := serve(func(w http.ResponseWriter, raw []byte, err error) {
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(raw)
	})
	to := open(t)
	to.exchange = NewPeers(func() []string { return []string{empty, liar, endless, elsewhere} })
	if _, err := to.Fetch(t.Context(), root, 0); !errors.Is(err, files.ErrNotFound) {
		t.Fatalf("nobody has it: %v", err)
	}
	asked = 0
	to.exchange = NewPeers(func() []string { return []string{empty, liar, endless, elsewhere, honest + "/"} })
	if info, err := to.Fetch(t.Context(), root, 0); err != nil || !info.Dir {
		t.Fatalf("%+v, %v", info, err)
	}
	if asked != 1 {
		t.Errorf("a peer that has nothing was asked %d times for the blocks of one folder", asked)
	}
	if err := to.Verify(t.Context(), root); err != nil {
		t.Error(err)
	}
}

// A peer that takes requests and never answers is overtaken, and asked last from then on.
func TestASilentPeerIsOvertakenAndAskedLast(t *testing.T) {
	from := open(t)
	root, _, err := from.AddFolder(t.Context(), fstest.MapFS{"large": {Data: []byte(strings.Repeat("0123456789", 100_000))}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int32
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		<-r.Context().Done()
	}))
	defer silent.Close()
	blocks := 0
	honest := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		blocks++
		raw, err := from.Block(r.Context(), message.Hash(strings.TrimPrefix(r.URL.Path, "/ipfs/")))
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(raw)
	}))
	defer honest.Close()
	peers := NewPeers(func() []string { return []string{silent.URL, honest.URL} })
	peers.hedge = time.Second
	to := open(t)
	to.exchange = peers
	if _, err := to.Fetch(t.Context(), root, 0); err != nil {
		t.Fatal(err)
	}
	if n := asked.Load(); n != 1 || blocks < 4 {
		t.Errorf("the silent peer was asked for %d of %d blocks", n, blocks)
	}
}
