package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/aleph-im/aleph-go/ccn/authority"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// served is a rig that is served on a port of its own, within limits.
type served struct {
	*rig
	api     *API
	address string
	stop    context.CancelFunc
	ended   chan error
}

func serve(t *testing.T, limits Limits) *served {
	t.Helper()
	r := newRig(t, func(c *Config) { c.Limits = limits })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &served{rig: r, api: r.handler.(*API), address: listener.Addr().String(), stop: stop, ended: make(chan error, 1)}
	go func() { s.ended <- s.api.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-s.ended; err != nil {
			t.Error(err)
		}
	})
	r.url = "http://" + s.address
	return s
}

// ends waits for the end of the server, after which nobody is served any more.
func (s *served) ends() {
	s.t.Helper()
	s.stop()
	if err := <-s.ended; err != nil {
		s.t.Error(err)
	}
	s.ended <- nil
}

// connect opens a connection and says something on it.
func (s *served) connect(text string) net.Conn {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil { // so that a test that fails ends
		s.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// answers reads the status of an answer.
func answers(t *testing.T, conn net.Conn) int {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

// isClosed waits until the other side closed a connection.
func isClosed(t *testing.T, name string, conn net.Conn) {
	t.Helper()
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s: still open", name)
	}
}

// until waits for what another goroutine does.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("after a minute: not %s", what)
		}
	}
}

func TestWhoSendsNothingIsGivenUp(t *testing.T) {
	s := serve(t, Limits{Header: 20 * time.Millisecond})
	isClosed(t, "no request", s.connect(""))
	isClosed(t, "half a header", s.connect("GET /version HTTP/1.1\r\nHost: x\r\n"))
	s = serve(t, Limits{Idle: 20 * time.Millisecond, Silence: 20 * time.Millisecond})
	idle := s.connect("GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
	if got := answers(t, idle); got != http.StatusOK {
		t.Errorf("got %d", got)
	}
	isClosed(t, "idle", idle)
	for _, path := range []string{"/api/v0/messages", "/api/v0/price/estimate", "/api/v0/storage/add_json", "/api/v0/storage/add_file"} {
		if got := answers(t, s.connect("POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{")); got != http.StatusRequestTimeout {
			t.Errorf("%s: half a body gets %d", path, got)
		}
	}
	for _, path := range []string{"/api/v0/price/recalculate", "/nowhere", "/version"} {
		isClosed(t, "a body that nobody wants", s.connect("POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n"))
	}
	form := "POST " + addFilePath + " HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\nContent-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\nContent-Disposition: form-data; name=file\r\n\r\nx"
	if got := answers(t, s.connect(form)); got != http.StatusRequestTimeout {
		t.Errorf("half a form gets %d", got)
	}
}

func TestABodyThatIsNoneIsRefused(t *testing.T) {
	s := serve(t, Limits{})
	for name, body := range map[string]string{
		"no chunk":    "Transfer-Encoding: chunked\r\n\r\nno number\r\n",
		"half a body": "Content-Length: 99\r\n\r\n{",
	} {
		for _, path := range []string{"/api/v0/messages", "/api/v0/price/estimate", "/api/v0/storage/add_json", "/api/v0/storage/add_file"} {
			conn := s.connect("POST " + path + " HTTP/1.1\r\nHost: x\r\n" + body)
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got := answers(t, conn); got != http.StatusBadRequest && got != http.StatusUnprocessableEntity { // of what came of it
				t.Errorf("%s for %s: %d", name, path, got)
			}
		}
	}
}

func TestABodyThatDripsIsCutOff(t *testing.T) {
	s := serve(t, Limits{Silence: 100 * time.Millisecond, Rate: 1 << 20})
	conn := s.connect("POST /api/v0/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
	answer := make([]byte, 12)
	for {
		if _, err := conn.Write([]byte(" ")); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(5 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if n, err := io.ReadFull(conn, answer); err == nil {
			break
		} else if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(n, err)
		}
	}
	if string(answer) != "HTTP/1.1 408" {
		t.Errorf("got %q", answer)
	}
}

func TestWhoTakesNothingIsGivenUp(t *testing.T) {
	s := serve(t, Limits{Silence: 50 * time.Millisecond, Grace: time.Hour})
	file := bytes.Repeat([]byte("x"), 24<<20)
	hash, size, err := s.api.cfg.Files.Put(t.Context(), bytes.NewReader(file), 0)
	if err != nil {
		t.Fatal(err)
	}
	s.write(func(tx *store.Tx) error {
		_, err := tx.PutFile(&store.FileRow{Hash: hash, Size: size, Type: store.FileTypeFile})
		return err
	})
	conn := s.connect("GET /api/v0/storage/raw/" + string(hash) + " HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := io.ReadFull(conn, make([]byte, 12)); err != nil {
		t.Fatal(err)
	}
	s.ends() // which waits for all answers
	if n, _ := io.Copy(io.Discard, conn); n >= int64(len(file)) {
		t.Errorf("the whole file was sent to who does not read")
	}
}

func TestWhoAsksNothingMakesRoom(t *testing.T) {
	s := serve(t, Limits{Connections: 3})
	conns := []net.Conn{s.connect(""), s.connect("")}
	kept := s.connect("POST /api/v0/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{")
	until(t, "reading the body", func() bool { return s.api.memory.left.Load() < s.api.limits.Bodies })
	for range 20 { // each of them makes room for the next
		conns = append(conns, s.connect(""))
	}
	if got := answers(t, s.connect("GET /version HTTP/1.1\r\nHost: x\r\n\r\n")); got != http.StatusOK {
		t.Errorf("the newest gets %d", got)
	}
	for _, conn := range conns[:len(conns)-2] {
		isClosed(t, "who came first", conn)
	}
	if _, err := kept.Write([]byte("}")); err != nil {
		t.Fatal(err)
	}
	if got := answers(t, kept); got != http.StatusUnprocessableEntity {
		t.Errorf("who was being answered gets %d", got)
	}
}

func TestConnectionsThatAreInUseAreBounded(t *testing.T) {
	s := serve(t, Limits{Connections: 2})
	var conns []net.Conn
	for i := range 2 {
		conns = append(conns, s.connect("POST /api/v0/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{"))
		until(t, "reading the body", func() bool { return s.api.memory.left.Load() <= s.api.limits.Bodies-int64(i+1)<<12 })
	}
	isClosed(t, "one too many", s.connect(""))
	for _, conn := range conns {
		if _, err := conn.Write([]byte("}")); err != nil {
			t.Fatal(err)
		}
		answers(t, conn)
	}
}

func TestThousandsOfIdleConnectionsKeepNobodyOut(t *testing.T) {
	s := serve(t, Limits{Connections: 100})
	var open syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &open); err != nil {
		t.Fatal(err)
	}
	for i := range min(10_000, int(open.Cur)-1000) {
		conn, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		defer conn.Close()
		if i%500 == 0 {
			if _, err := io.WriteString(conn, "GET /version HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if got := answers(t, conn); got != http.StatusOK {
				t.Errorf("connection %d gets %d", i, got)
			}
		}
	}
}

func TestBodiesShareOneAllowanceOfMemory(t *testing.T) {
	s := serve(t, Limits{Bodies: 10 << 10})
	slow := s.connect("POST /api/v0/storage/add_json HTTP/1.1\r\nHost: x\r\nContent-Length: 7000\r\n\r\n[" + strings.Repeat(" ", 5000))
	until(t, "holding 8 KiB", func() bool { return s.api.memory.left.Load() == 2<<10 })
	for _, path := range []string{"/api/v0/messages", "/api/v0/storage/add_json", "/api/v0/price/estimate/instance"} {
		s.do(http.MethodPost, path, strings.NewReader("[]")).check(t, path, 503, "503: the node is busy")
	}
	s.form(addFilePath, part{"metadata", "", []byte("{}")}).check(t, "form", 503, "503: the node is busy")
	s.get("/version").check(t, "without a body", 200, "")
	if _, err := io.WriteString(slow, strings.Repeat(" ", 1998)+"]"); err != nil {
		t.Fatal(err)
	}
	if got := answers(t, slow); got != http.StatusOK {
		t.Errorf("the first body gets %d", got)
	}
	until(t, "giving all back", func() bool { return s.api.memory.left.Load() == 10<<10 })
}

func TestAnswersShareOneAllowanceOfMemory(t *testing.T) {
	s := serve(t, Limits{Answers: 2 << 20})
	for i := range 8 {
		text := strings.Repeat(string(rune('a'+i)), 50<<10)
		long := s.envelope(func(a *authority.Author) error {
			return a.Post(t.Context(), "note", "", map[string]string{"text": text})
		})
		s.send(long, true).check(t, "post", http.StatusOK, "")
	}
	for _, path := range []string{"/api/v0/messages.json", "/api/v0/posts.json", "/api/v1/posts.json"} {
		for _, all := range []string{"0", "1000000", "200", "200&cursor="} {
			s.get(path+"?pagination="+all).check(t, path+" "+all, http.StatusRequestEntityTooLarge, "413: the answer would be too large: ask for smaller pages")
		}
		s.get(path+"?pagination=2").check(t, path, http.StatusOK, "")
		s.get(path+"?pagination=2&cursor=").check(t, path, http.StatusOK, "")
	}
	conn, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(s.url, "http")+"/api/ws0/messages?history=100", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	conn.SetReadLimit(1 << 20)
	if _, text, err := conn.Read(t.Context()); err != nil || len(text) < 50<<10 {
		t.Errorf("what fits of the history is not sent: %d bytes, %v", len(text), err)
	}
	s.api.answers.left.Add(-2 << 20) // others hold it all
	s.get("/api/v0/messages.json?pagination=2").check(t, "while others hold all", http.StatusServiceUnavailable, "503: the node is busy")
	s.get("/api/v0/messages.json?msgTypes=STORE").check(t, "small, while others hold all", http.StatusOK, "")
	s.api.answers.left.Add(2 << 20)
	until(t, "giving all back", func() bool { return s.api.answers.left.Load() == 2<<20 })
}

func TestNoAnswerTakesForEver(t *testing.T) {
	s := serve(t, Limits{Answer: time.Nanosecond})
	s.get("/api/v0/messages.json").check(t, "list", 503, "503: there was no answer within 1ns")
}

func TestPartsThatBeginWithTooMuchAreRefused(t *testing.T) {
	r := newRig(t)
	long := strings.Repeat("x", maxPartHeader)
	for name, begin := range map[string]string{
		"long name":      "--b\r\nContent-Disposition: form-data; name=" + long + "\r\n\r\n\r\n--b--",
		"many headers":   "--b\r\n" + strings.Repeat("X: y\r\n", maxPartHeader/6+1) + "\r\n\r\n--b--",
		"long preamble":  long + "\r\n--b--",
		"endless header": "--b\r\nX: " + strings.Repeat(long, 20),
	} {
		a := r.do(http.MethodPost, addFilePath, strings.NewReader(begin), "Content-Type", "multipart/form-data; boundary=b")
		a.check(t, name, 400, "400: the form is malformed")
	}
	ignored := part{"other", "", bytes.Repeat([]byte("x"), 10*maxPartHeader)}
	r.form(addFilePath, ignored, part{"file", "", []byte("x")}, ignored).check(t, "large parts that are ignored", 200, fmt.Sprint(message.HashBytes([]byte("x"))))
}
