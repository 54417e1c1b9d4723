package files_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/files/filestest"
	"github.com/aleph-im/aleph-go/message"
)

func open(t *testing.T) *files.Disk {
	t.Helper()
	d, err := files.OpenDisk(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDisk(t *testing.T) {
	filestest.Run(t, func(t *testing.T) files.Store { return open(t) }, filestest.SHA256)
}

func TestInterruptedUploadsAreRemovedAtTheStart(t *testing.T) {
	dir := t.TempDir()
	d, err := files.OpenDisk(dir)
	if err != nil {
		t.Fatal(err)
	}
	h, _, err := d.Put(t.Context(), strings.NewReader("kept"), 0)
	if err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(dir, "tmp", "put-1")
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	other, err := files.OpenDisk(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the remains are still there: %v", err)
	}
	defer other.Close()
	if _, err := d.Stat(t.Context(), h); err != nil {
		t.Fatal(err)
	}
}

func TestUploadsOfAnotherProcessAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	first, err := files.OpenDisk(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	opened := readerFunc(func([]byte) (int, error) {
		second, err := files.OpenDisk(dir)
		if err != nil {
			return 0, err
		}
		if err := second.Close(); err != nil {
			return 0, err
		}
		return 0, io.EOF
	})
	if _, _, err := first.Put(t.Context(), io.MultiReader(strings.NewReader("half"), opened), 0); err != nil {
		t.Fatal(err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestExpireNeverTakesWhatWasKeptSince(t *testing.T) {
	d := open(t)
	h, _, err := d.Put(t.Context(), strings.NewReader("wanted"), 0)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 40 {
		decided := time.Now()
		if _, err := d.Keep(t.Context(), h); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if deleted, err := d.Expire(t.Context(), h, decided); deleted || err != nil {
				t.Error(deleted, err)
			}
		})
	}
	wg.Wait()
}

func TestVerifyFindsOtherBytes(t *testing.T) {
	dir := t.TempDir()
	d, err := files.OpenDisk(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	h, _, err := d.Put(t.Context(), strings.NewReader("right"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, string(h[:2]), string(h)), []byte("wrong"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Verify(t.Context(), h); !errors.Is(err, files.ErrWrongHash) {
		t.Fatalf("got %v", err)
	}
}

const text = "some file\nof a peer"

var hash = message.HashBytes([]byte(text))

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.URL
}

func fetcher(t *testing.T, peers ...string) *files.Fetcher {
	return files.NewFetcher(files.FetcherConfig{
		Store: open(t), Peers: func() []string { return peers }, Hedge: 10 * time.Millisecond, Timeout: 10 * time.Second,
	})
}

func raw(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/api/v0/storage/raw/"+string(hash) {
		http.NotFound(w, r)
		return
	}
	w.Write([]byte(text))
}

func TestFetchTakesBothFormsOfAnswer(t *testing.T) {
	mime := base64.StdEncoding.EncodeToString([]byte(text))
	mime = mime[:8] + "\n" + mime[8:] + "\n"
	encoded := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v0/storage/"+string(hash) {
			http.NotFound(w, r)
			return
		}
		json.NewEncoder(w).Encode(map[string]string{"status": "success", "hash": string(hash), "engine": "storage", "content": mime})
	}
	for name, handler := range map[string]http.HandlerFunc{"raw": raw, "base64": encoded} {
		t.Run(name, func(t *testing.T) {
			size, err := fetcher(t, serve(t, handler)).Fetch(t.Context(), hash, 1000)
			if err != nil || size != int64(len(text)) {
				t.Fatalf("got %d, %v", size, err)
			}
		})
	}
}

func TestFetchGoesOnAfterPeersThatLieOrHang(t *testing.T) {
	hung := make(chan struct{})
	lies := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("something else")) })
	hangs := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-hung:
		}
	})
	defer close(hung)
	garbage := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`{"content": 5}`)) })
	f := fetcher(t, lies, hangs, garbage, "http://127.0.0.1:1", serve(t, raw))
	if _, err := f.Fetch(t.Context(), hash, 1000); err != nil {
		t.Fatal(err)
	}
}

func TestFetchRefusesEncodedAnswersAndOtherHosts(t *testing.T) {
	var elsewhere atomic.Int32
	other := strings.Replace(serve(t, func(w http.ResponseWriter, r *http.Request) {
		elsewhere.Add(1)
		raw(w, r)
	}), "127.0.0.1", "localhost", 1)
	redirects := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other+r.URL.Path, http.StatusFound)
	})
	zipped := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if accept := r.Header.Get("Accept-Encoding"); accept != "identity" {
			t.Errorf("asked for encoding %q", accept)
		}
		w.Header().Set("Content-Encoding", "gzip")
		raw(w, r)
	})
	if _, err := fetcher(t, redirects, zipped).Fetch(t.Context(), hash, 1000); !errors.Is(err, files.ErrNotFound) {
		t.Fatalf("got %v", err)
	}
	if n := elsewhere.Load(); n != 0 {
		t.Fatalf("%d requests went to another host", n)
	}
}

func TestFetchGivesUpPeersThatFallSilent(t *testing.T) {
	silent := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(text[:4]))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	f := files.NewFetcher(files.FetcherConfig{Store: open(t), Peers: func() []string { return []string{silent} }, Timeout: 50 * time.Millisecond})
	if _, err := f.Fetch(t.Context(), hash, 1000); !errors.Is(err, files.ErrNotFound) || errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
}

func TestFetchTriesIPFSLast(t *testing.T) {
	const cid = "QmYULJoNGPDmoRq4WNWTDTUvJGJv1hosox8H6vVd1kCsY8"
	var asked []string
	peer := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		http.NotFound(w, r)
	})
	f := files.NewFetcher(files.FetcherConfig{
		Store: files.Combine(open(t), open(t)), Peers: func() []string { return []string{peer} },
		IPFS: func(_ context.Context, h message.Hash, limit int64) (files.Info, error) {
			if h != cid || limit != 1000 {
				t.Errorf("%s of at most %d bytes", h, limit)
			}
			asked = append(asked, "ipfs")
			return files.Info{Hash: h, Size: 7}, nil
		},
	})
	if size, err := f.Fetch(t.Context(), cid, 1000); err != nil || size != 7 {
		t.Fatalf("%d, %v", size, err)
	}
	if c := f.Counts(); c.Peers.Tried != 1 || c.Peers.Failed != 1 || c.Peers.Time <= 0 || c.IPFS.Tried != 1 || c.IPFS.Failed != 0 {
		t.Errorf("counted %+v", c)
	}
	if want := "[/api/v0/storage/raw/" + cid + " /api/v0/storage/" + cid + " ipfs]"; fmt.Sprint(asked) != want {
		t.Fatalf("asked %v", asked)
	}
}

func TestFetchFailsWhenNobodyHasTheFile(t *testing.T) {
	missing := serve(t, http.NotFound)
	for _, peers := range [][]string{nil, {missing}, {missing, missing}} {
		if _, err := fetcher(t, peers...).Fetch(t.Context(), hash, 0); !errors.Is(err, files.ErrNotFound) {
			t.Fatalf("%d peers: %v", len(peers), err)
		}
	}
	if _, err := fetcher(t, serve(t, raw)).Fetch(t.Context(), hash, 3); !errors.Is(err, files.ErrTooLarge) {
		t.Fatalf("too large: %v", err)
	}
}

func TestFetchesOfOneFileShareATransfer(t *testing.T) {
	var calls atomic.Int32
	release := make(chan struct{})
	peer := serve(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		<-release
		raw(w, r)
	})
	f := files.NewFetcher(files.FetcherConfig{Store: open(t), Peers: func() []string { return []string{peer} }})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := f.Fetch(t.Context(), hash, 0); err != nil {
				t.Error(err)
			}
		})
	}
	close(release)
	wg.Wait()
	if n := calls.Load(); n != 1 {
		t.Fatalf("%d requests", n)
	}
}
