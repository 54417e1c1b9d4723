package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/ccn/files/partial"
	"github.com/aleph-im/aleph-go/message"
)

// beginning is the header of a request that begins an upload.
func beginning(length int, metadata []byte, format string) []string {
	said := "metadata " + base64.StdEncoding.EncodeToString(metadata)
	if format != "" {
		said += ",format " + base64.StdEncoding.EncodeToString([]byte(format))
	}
	return []string{"Tus-Resumable", "1.0.0", "Upload-Length", strconv.Itoa(length), "Upload-Metadata", said}
}

// paying is what pays for a file, signed after some time from now.
func (r *rig) paying(hash message.Hash, after time.Duration) []byte {
	at := map[string]any{"time": message.TimeFrom(time.Now().Add(after)).Seconds()}
	return metadataOf(r.storing(hash, at), true).body
}

// begins begins an upload and returns its path.
func (r *rig) begins(length int, hash message.Hash, format string) string {
	r.t.Helper()
	a := r.do(http.MethodPost, uploadsPath, nil, beginning(length, r.paying(hash, 0), format)...)
	if a.status != http.StatusCreated {
		r.t.Fatalf("begin: %d %s", a.status, a.body)
	}
	return a.header.Get("Location")
}

func pieceAt(offset int) []string {
	return []string{"Tus-Resumable", "1.0.0", "Content-Type", "application/offset+octet-stream", "Upload-Offset", strconv.Itoa(offset)}
}

func (r *rig) piece(path string, offset int, body io.Reader) answer {
	r.t.Helper()
	return r.do(http.MethodPatch, path, body, pieceAt(offset)...)
}

// offset is how much a node says that it has of an upload.
func (r *rig) offset(path string) string {
	r.t.Helper()
	a := r.do(http.MethodHead, path, nil, "Tus-Resumable", "1.0.0")
	return strconv.Itoa(a.status) + " " + a.header.Get("Upload-Offset") + "/" + a.header.Get("Upload-Length")
}

func TestUploadGoesOnWhereItBrokeOff(t *testing.T) {
	r := newRig(t)
	file := bytes.Repeat([]byte("0123456789"), 20_000)
	hash := message.HashBytes(file)
	path := r.begins(len(file), hash, "")
	if got := r.offset(path); got != "200 0/200000" {
		t.Errorf("at its beginning: %s", got)
	}
	// A client that breaks off: the body ends before the length that its header names.
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: node\r\nContent-Length: %d\r\n", path, len(file))
	for i, h := 0, pieceAt(0); i < len(h); i += 2 {
		fmt.Fprintf(conn, "%s: %s\r\n", h[i], h[i+1])
	}
	fmt.Fprintf(conn, "\r\n%s", file[:70_000])
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || resp.StatusCode != http.StatusBadRequest {
		t.Fatalf("the request did not break off: %v, %v", resp, err)
	}
	if got := r.offset(path); got != "200 70000/200000" {
		t.Errorf("after it broke off: %s", got)
	}
	r.piece(path, 69_999, bytes.NewReader(file[69_999:])).check(t, "wrong place", 409, "409: the upload has 70000 bytes")
	if again := r.begins(len(file), hash, ""); again != path {
		t.Errorf("begun again it is %s, was %s", again, path)
	}
	r.piece(path, 70_000, bytes.NewReader(file[70_000:100_000])).check(t, "a piece", 204, "")
	last := r.piece(path, 100_000, bytes.NewReader(file[100_000:]))
	last.check(t, "the last piece", 204, "")
	if got := last.header.Get("Upload-Offset"); got != "200000" {
		t.Errorf("at its end: %s", got)
	}
	r.get("/api/v0/storage/raw/"+string(hash)).check(t, "the file", 200, string(file))
	if a := r.get("/api/v0/storage/count/" + string(hash)); string(a.body) != "1" {
		t.Errorf("the file has %s pins", a.body)
	}
	if got := r.offset(path); got != "404 /" {
		t.Errorf("a finished upload: %s", got)
	}
	known := r.begins(len(file), hash, "")
	if got := r.offset(known); got != "200 200000/200000" {
		t.Errorf("of a file that the node has: %s", got)
	}
	r.piece(known, 200_000, nil).check(t, "of a file that the node has", 204, "")
}

func TestUploadIsTakenFromARequestThatHangs(t *testing.T) {
	dir := t.TempDir()
	uploads, err := partial.Open(dir, time.Now, partial.Free)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(c *Config) { c.Uploads = uploads })
	file := []byte("0123456789")
	path := r.begins(len(file), message.HashBytes(file), "")
	hanging, feed := io.Pipe()
	defer feed.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, r.url+path, hanging)
	if err != nil {
		t.Fatal(err)
	}
	for i, h := 0, pieceAt(0); i < len(h); i += 2 {
		req.Header.Set(h[i], h[i+1])
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if resp, err := http.DefaultClient.Do(req); err == nil { // or the connection is closed meanwhile
			resp.Body.Close()
		}
	}()
	if _, err := feed.Write(file[:4]); err != nil {
		t.Fatal(err)
	}
	for part := filepath.Join(dir, filepath.Base(path)+".part"); ; runtime.Gosched() { // until what was sent has come
		if info, err := os.Stat(part); err != nil || info.Size() == 4 {
			break
		}
	}
	if got := r.offset(path); got != "200 4/10" {
		t.Errorf("while a request hangs: %s", got)
	}
	r.piece(path, 4, bytes.NewReader(file[4:])).check(t, "the rest", 204, "")
	feed.Close()
	<-ended
}

func TestUploadsOfIPFSResume(t *testing.T) {
	r := newRig(t)
	file := []byte("a file of IPFS")
	cid := message.Hash(r.form("/api/v0/ipfs/add_file", part{"file", "", file}).object(t)["hash"].(string))
	archive, root := car([]byte("in an archive"))
	for _, c := range []struct {
		bytes  []byte
		hash   message.Hash
		format string
	}{{file, cid, ""}, {archive, root, "car"}} {
		path := r.begins(len(c.bytes), c.hash, c.format)
		r.piece(path, 0, bytes.NewReader(c.bytes[:6])).check(t, "first", 204, "")
		r.piece(path, 6, bytes.NewReader(c.bytes[6:])).check(t, "second", 204, "")
		r.get("/api/v0/storage/metadata/"+string(c.hash)).check(t, "stored", 200, string(c.hash))
	}
}

func TestArchiveThatIsThereIsJudgedWhenItBegins(t *testing.T) {
	r := newRig(t)
	archive, root := car(bytes.Repeat([]byte("x"), 50))
	begin := func() answer {
		return r.do(http.MethodPost, uploadsPath, nil, beginning(len(archive), r.paying(root, 0), "car")...)
	}
	r.params.MaxUnauthenticated = 20
	first := begin()
	first.check(t, "what nobody knows", 201, "")
	r.params.MaxUnauthenticated = 100
	r.piece(first.header.Get("Location"), 0, bytes.NewReader(archive)).check(t, "all of it", 204, "")
	r.params.MaxUnauthenticated = 20
	begin().check(t, "what is there", 402, "402: Payment Required")
}

// importing is an IPFS that tells when an archive is to be imported.
type importing struct {
	IPFS
	begins func(ctx context.Context)
}

func (i importing) ImportCAR(ctx context.Context, r io.Reader, limit int64, accept func(message.Hash) error) (message.Hash, int64, error) {
	i.begins(ctx)
	if err := ctx.Err(); err != nil {
		return "", 0, err
	}
	return i.IPFS.ImportCAR(ctx, r, limit, accept)
}

func TestWholeUploadIsStoredWithoutItsClient(t *testing.T) {
	var begins func(context.Context)
	r := newRig(t, func(c *Config) {
		c.IPFS = importing{c.IPFS, func(ctx context.Context) { begins(ctx) }}
		c.Limits.Grace = time.Millisecond
	})
	send := func(ctx context.Context, file string) (path string, status int, root message.Hash) {
		archive, root := car([]byte(file))
		path = r.begins(len(archive), root, "car")
		req := httptest.NewRequestWithContext(ctx, http.MethodPatch, path, bytes.NewReader(archive))
		for i, h := 0, pieceAt(0); i < len(h); i += 2 {
			req.Header.Set(h[i], h[i+1])
		}
		w := httptest.NewRecorder()
		r.handler.ServeHTTP(w, req)
		return path, w.Code, root
	}
	left, leave := context.WithCancel(t.Context())
	defer leave()
	begins = func(context.Context) { leave() }
	_, status, root := send(left, "the client leaves")
	if status != http.StatusNoContent {
		t.Errorf("without its client: %d", status)
	}
	r.get("/api/v0/storage/metadata/"+string(root)).check(t, "stored", 200, string(root))
	begins = func(ctx context.Context) {
		close(r.stopping)
		<-ctx.Done()
	}
	path, status, _ := send(t.Context(), "the node stops")
	if status != http.StatusServiceUnavailable {
		t.Errorf("while the node stops: %d", status)
	}
	if got := r.offset(path); !strings.HasPrefix(got, "200 ") {
		t.Errorf("after the node stopped: %s", got)
	}
}

func TestUploadsThatResumeAreRefusedAsOthers(t *testing.T) {
	r := newRig(t)
	r.params.MaxUnauthenticated, r.params.MaxFile = 1000, 2000
	file, large := []byte("content"), bytes.Repeat([]byte("x"), 1001)
	hash := message.HashBytes(file)
	good := r.paying(hash, 0)
	forged := bytes.Replace(good, []byte(`"signature":"0x`), []byte(`"signature":"0x00`), 1)
	post := fmt.Appendf(nil, `{"message":%s,"sync":true}`, r.post(1))
	for name, c := range map[string]struct {
		header []string
		status int
		body   string
	}{
		"another version":   {[]string{"Tus-Resumable", "0.2.2"}, 412, "412: say Tus-Resumable: 1.0.0"},
		"no length":         {[]string{"Tus-Resumable", "1.0.0"}, 400, "400: say the number of bytes"},
		"a negative length": {beginning(-1, good, ""), 400, "400: say the number of bytes"},
		"no metadata":       {[]string{"Tus-Resumable", "1.0.0", "Upload-Length", "7"}, 422, "422: metadata is required"},
		"no base64":         {[]string{"Tus-Resumable", "1.0.0", "Upload-Length", "7", "Upload-Metadata", "metadata !"}, 400, `400: Upload-Metadata: "metadata" is not base64`},
		"no JSON":           {beginning(7, []byte("{"), ""), 422, "422: Could not decode metadata: ["},
		"forged":            {beginning(7, forged, ""), 403, "403: Forbidden"},
		"not a STORE":       {beginning(7, post, ""), 422, "422: Invalid store message content: "},
		"an archive":        {beginning(7, good, "car"), 422, "422: Expected item_type=ipfs"},
		"larger than any":   {beginning(2001, good, ""), 413, "Maximum request body size 2000 exceeded."},
		"signed long ago":   {beginning(7, r.paying(hash, -25*time.Hour), ""), 422, "422: the STORE message is of "},
		"signed in advance": {beginning(7, r.paying(hash, 25*time.Hour), ""), 422, "422: the STORE message is of "},
		"no tokens":         {beginning(1001, r.paying(message.HashBytes(large), 0), ""), 402, "402: Payment Required"},
	} {
		r.do(http.MethodPost, uploadsPath, nil, c.header...).check(t, name, c.status, c.body)
	}
	wrong := r.begins(len(file), hash, "")
	r.piece(wrong, 0, strings.NewReader("contant")).check(t, "other bytes", 422, "422: File hash does not match ("+string(hash)+")")
	r.piece(wrong, 7, nil).check(t, "given up", 404, "404: there is no such upload")
	long := r.begins(len(file), hash, "")
	r.piece(long, 0, strings.NewReader("content and more")).check(t, "too many bytes", 413, "")
	r.do(http.MethodPatch, long, strings.NewReader("x"), "Tus-Resumable", "1.0.0").check(t, "no type", 415, "")
	r.do(http.MethodPost, long, nil, "Tus-Resumable", "1.0.0").check(t, "a POST", 405, "405: ")
	r.piece(uploadsPath+"/..%2f..%2faleph.db", 0, nil).check(t, "a path", 404, "404: ")
}

func TestUploadThatCannotBePaidAtItsEndIsPaidLater(t *testing.T) {
	r := newRig(t)
	file := []byte("content")
	path := r.begins(len(file), message.HashBytes(file), "")
	r.params.MaxUnauthenticated = 5 // from here on it costs something
	r.piece(path, 0, bytes.NewReader(file)).check(t, "unpaid", 402, "402: Payment Required")
	if got := r.offset(path); got != "200 7/7" {
		t.Errorf("unpaid: %s", got)
	}
	r.params.MaxUnauthenticated = 100
	r.piece(path, 7, nil).check(t, "paid", 204, "")
}

// TestMessageThatIsPublicBeginsNoUpload sends what anybody can read of a message, after it paid for a file.
func TestMessageThatIsPublicBeginsNoUpload(t *testing.T) {
	r := newRig(t)
	file := []byte("content")
	paid := r.paying(message.HashBytes(file), 0)
	begin := beginning(len(file), paid, "")
	path := r.do(http.MethodPost, uploadsPath, nil, begin...).header.Get("Location")
	if again := r.do(http.MethodPost, uploadsPath, nil, begin...).header.Get("Location"); path == "" || again != path {
		t.Errorf("begun again it is %q, was %q", again, path)
	}
	r.piece(path, 0, bytes.NewReader(file)).check(t, "the file", 204, "")
	r.do(http.MethodPost, uploadsPath, nil, begin...).check(t, "the message again", 409, "409: STORE message ")
}

// takesFilesInPieces uploads a file that breaks off, gives another up, and asks what makes no sense.
func (d *description) takesFilesInPieces() {
	d.ask(http.MethodOptions, uploadsPath, nil)
	begin := func(file string) string {
		header := beginning(len(file), d.paying(message.HashBytes([]byte(file)), 0), "")
		return d.ask(http.MethodPost, uploadsPath, nil, header...).header.Get("Location")
	}
	send := func(method, path string, offset int, body string, header ...string) {
		d.ask(method, path, strings.NewReader(body), append(pieceAt(offset), header...)...)
	}
	path := begin("in pieces")
	send(http.MethodPatch, path, 0, "in ")
	send(http.MethodGet, path, 0, "")
	send(http.MethodPatch, path, 0, "again")
	send(http.MethodPost, path, 3, "pieces", "X-HTTP-Method-Override", http.MethodPatch)
	send(http.MethodDelete, begin("given up"), 0, "")
	send(http.MethodPatch, begin("others"), 0, "bytes!")
	for _, method := range []string{http.MethodGet, http.MethodDelete, http.MethodPatch, http.MethodPost} {
		d.ask(method, path, nil)
		if method != http.MethodPost {
			send(method, path, 0, "")
		}
	}
	d.ask(http.MethodPost, uploadsPath, nil)
	d.ask(http.MethodPost, uploadsPath, nil, "Tus-Resumable", "1.0.0")
}
