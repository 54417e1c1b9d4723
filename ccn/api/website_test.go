package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/files/ipfs"
	"github.com/aleph-im/aleph-go/message"
)

// visit asks for a page of a host, without following redirects.
func (r *rig) visit(method, host, path string) answer {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Host = host
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, raw}
}

// Blocks of what is refused stay until they are collected.
func TestWhatIsNoFileIsNoWebsite(t *testing.T) {
	r := newRig(t)
	archive, root := carOf([]byte{10, 2, 8, 99}) // of an unknown type
	if _, _, err := r.ipfs.ImportCAR(t.Context(), bytes.NewReader(archive), 0, nil); !errors.Is(err, ipfs.ErrMalformed) {
		t.Fatal(err)
	}
	for _, path := range []string{"", "/", "/index.html", "/a/b"} {
		r.get("/ipfs/"+string(root)+path).check(t, path, http.StatusNotFound, "404: this node has no ")
	}
}

// What is in a folder has no pin of its own. A part of it costs no more than that part, however large it is.
func TestAPartOfAWebsiteIsAllThatIsRead(t *testing.T) {
	var read countedBlocks
	r := newRig(t, func(c *Config) { read.IPFS, c.IPFS = c.IPFS, &read })
	text := strings.Repeat("0123456789abcdef", 256<<10)
	root, _, err := r.ipfs.AddFolder(t.Context(), fstest.MapFS{"video/large.bin": {Data: []byte(text)}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	path := "/ipfs/" + string(root) + "/video/large.bin"
	if a := r.do(http.MethodGet, path, nil, "Range", "bytes=1000000-1000015"); a.status != http.StatusPartialContent || string(a.body) != text[1000000:1000016] {
		t.Errorf("%d %q", a.status, a.body)
	}
	if read.stats > 0 {
		t.Errorf("all of it was looked through %d times", read.stats)
	}
	ranges := "bytes=0-0" + strings.Repeat(",1-1", maxRanges)
	if a := r.do(http.MethodGet, path, nil, "Range", ranges); a.status != http.StatusOK || string(a.body) != text {
		t.Errorf("%d parts: %d with %d bytes, want all of it", maxRanges+1, a.status, len(a.body))
	}
	if a := r.do(http.MethodGet, path, nil, "Range", strings.TrimSuffix(ranges, ",1-1")); a.status != http.StatusPartialContent {
		t.Errorf("%d parts: %d", maxRanges, a.status)
	}
}

// countedBlocks counts how often all blocks of something are looked through.
type countedBlocks struct {
	IPFS
	stats int
}

func (c *countedBlocks) Stat(ctx context.Context, h message.Hash) (files.Info, error) {
	c.stats++
	return c.IPFS.Stat(ctx, h)
}

func TestFoldersAreServedAsWebsites(t *testing.T) {
	r := newRig(t)
	root, _, err := r.ipfs.AddFolder(t.Context(), fstest.MapFS{
		"index.html":        {Data: []byte("<h1>home</h1>")},
		"css/main.css":      {Data: []byte("h1 { color: red }")},
		"blog/index.html":   {Data: []byte("<h1>blog</h1>")},
		"blog/caf é?.html":  {Data: []byte("<h1>coffee</h1>")},
		"css/very/deep.txt": {Data: []byte("deep")},
	}, 1)
	if err != nil {
		t.Fatal(err)
	}
	own, shared := string(root)+".ipfs.localhost:4024", "node.example"
	page, err := r.ipfs.Lookup(t.Context(), root, "index.html")
	if err != nil {
		t.Fatal(err)
	}
	absent := strings.Replace(string(root), "bafy", "bafk", 1)
	for _, c := range []struct {
		name, method, host, path string
		status                   int
		body, kind               string
	}{
		{"home", "GET", own, "/", 200, "<h1>home</h1>", "text/html; charset=utf-8"},
		{"file", "GET", own, "/css/main.css", 200, "h1 { color: red }", "text/css; charset=utf-8"},
		{"folder", "GET", own, "/blog/", 200, "<h1>blog</h1>", "text/html; charset=utf-8"},
		{"escaped name", "GET", own, "/blog/caf%20%C3%A9%3F.html", 200, "<h1>coffee</h1>", "text/html; charset=utf-8"},
		{"folder without a slash", "GET", own, "/blog?q=1", 301, "", ""},
		{"folder without an index", "GET", own, "/css/", 404, "404: /css/ in " + string(root) + " has no index.html", "text/plain; charset=utf-8"},
		{"nothing there", "GET", own, "/nothing", 404, "404: this node has no /nothing in " + string(root), "text/plain; charset=utf-8"},
		{"below a file", "GET", own, "/index.html/x", 404, "404: this node has no /index.html/x in " + string(root), "text/plain; charset=utf-8"},
		{"other methods", "POST", own, "/", 405, "405: Method Not Allowed", "text/plain; charset=utf-8"},
		{"the API under that host", "GET", own, "/api/v0/info/public.json", 404, "404: this node has no /api/v0/info/public.json in " + string(root), "text/plain; charset=utf-8"},
		{"by path", "GET", shared, "/ipfs/" + string(root) + "/", 200, "<h1>home</h1>", "text/html; charset=utf-8"},
		{"file by path", "GET", shared, "/ipfs/" + string(root) + "/css/very/deep.txt", 200, "deep", "text/plain; charset=utf-8"},
		{"by path without a slash", "GET", shared, "/ipfs/" + string(root), 301, "", ""},
		{"a block", "GET", shared, "/ipfs/" + string(page) + "?format=raw", 200, "<h1>home</h1>", "application/vnd.ipld.raw"},
		{"a block that is not there", "GET", shared, "/ipfs/" + absent + "?format=raw", 404, "404: this node has no block " + absent, "text/plain; charset=utf-8"},
		{"unknown folder", "GET", shared, "/ipfs/" + absent + "/", 404, "404: this node has no / in " + absent, "text/plain; charset=utf-8"},
		{"no CID", "GET", shared, "/ipfs/../etc/passwd", 404, "404: this node has no /etc/passwd in ..", "text/plain; charset=utf-8"},
		{"a host that only looks like one", "GET", "api.ipfs.example", "/api/v0/info/public.json", 200, "", "application/json; charset=utf-8"},
	} {
		got := r.visit(c.method, c.host, c.path)
		if got.status != c.status || c.body != "" && string(got.body) != c.body || got.header.Get("Content-Type") != c.kind {
			t.Errorf("%s: %d %s %q, want %d %s %q", c.name, got.status, got.header.Get("Content-Type"), got.body, c.status, c.kind, c.body)
		}
	}

	if to := r.visit("GET", own, "/blog?q=1").header.Get("Location"); to != "blog/?q=1" {
		t.Errorf("redirect to %q", to)
	}
	mine, others := r.visit("GET", own, "/").header, r.visit("HEAD", shared, "/ipfs/"+string(root)+"/").header
	if policy := mine.Get("Content-Security-Policy"); policy != "" {
		t.Errorf("a site with an origin of its own is confined: %s", policy)
	}
	if policy := others.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "sandbox") || strings.Contains(policy, "allow-same-origin") {
		t.Errorf("a site on the node's origin is not confined: %q", policy)
	}
	if mine.Get("Etag") == "" || mine.Get("Etag") != others.Get("Etag") || !strings.Contains(mine.Get("Cache-Control"), "immutable") {
		t.Errorf("what never changes cannot be kept: %v", mine)
	}
}
