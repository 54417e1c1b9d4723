package guest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// served is an application under the server, in the Python of this machine, which shows it no packages.
type served struct {
	url, address string
	command      *exec.Cmd
	lines        chan string // of its output
}

func serveASGI(t *testing.T, application string) *served {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	_, port, _ := net.SplitHostPort(address)
	script, err := filepath.Abs("asgi.py")
	if err != nil {
		t.Fatal(err)
	}
	s := &served{url: "http://" + address, address: address, lines: make(chan string, 1000)}
	s.command = exec.Command("python3", "-S", "-B", script, application, "--host", "127.0.0.1", "--port", port, "--forwarded-allow-ips", "127.0.0.1,10.9.9.9", "--lifespan", "auto")
	s.command.Dir = "testdata"
	out, err := s.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.command.Stderr = s.command.Stdout
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(s.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			s.lines <- lines.Text()
		}
	})
	t.Cleanup(func() {
		_ = s.command.Process.Kill()
		reading.Wait()
		_ = s.command.Wait()
	})
	return s
}

// started returns the server once it listens.
func startASGI(t *testing.T) *served {
	s := serveASGI(t, "served:app")
	for {
		conn, err := net.Dial("tcp", s.address)
		if err == nil {
			conn.Close()
			return s
		}
		select {
		case line, ok := <-s.lines:
			t.Fatalf("it does not listen: %s %v", line, ok)
		case <-t.Context().Done():
			t.Fatal(err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// says waits for a line of output.
func (s *served) says(t *testing.T, want string) {
	t.Helper()
	for line := range s.lines {
		if strings.Contains(line, want) {
			return
		}
	}
	t.Errorf("it never said %q", want)
}

func (s *served) do(t *testing.T, method, path string, body io.Reader, header ...string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		t.Errorf("%s %s: %v", method, path, err)
	}
	return response, string(raw)
}

func TestAnApplicationIsServedByPythonAlone(t *testing.T) {
	s := startASGI(t)
	long := bytes.Repeat([]byte("0123456789"), 300_000)
	for _, test := range []struct {
		method, path string
		body         io.Reader
		header       []string
		status       int
		want         string
	}{
		{"GET", "/a%20b%2Fc?x=1&y=%20", nil, nil, 404, "/a b/c?x=1&y=%20 /a%20b%2Fc"},
		{"GET", "/state", nil, nil, 200, "yes 127.0.0.1 http"},
		{"GET", "/state", nil, []string{"X-Forwarded-For", "203.0.113.7, 10.9.9.9", "X-Forwarded-Proto", "https"}, 200, "yes 203.0.113.7 https"},
		{"GET", "/state", nil, []string{"X-Forwarded-For", "10.9.9.9"}, 200, "yes 10.9.9.9 http"},
		{"POST", "/count", bytes.NewReader(long), nil, 200, "3000000"},
		{"POST", "/count", io.MultiReader(bytes.NewReader(long)), nil, 200, "3000000"}, // without a length: in chunks
		{"POST", "/count", bytes.NewReader(long[:10]), []string{"Expect", "100-continue"}, 200, "10"},
		{"PUT", "/echo", io.MultiReader(bytes.NewReader(long)), nil, 201, string(long)},
		{"GET", "/empty", nil, nil, 204, ""},
		{"HEAD", "/state", nil, nil, 200, ""},
		{"GET", "/raises", nil, nil, 500, "Internal Server Error"},
		{"POST", "/unread", bytes.NewReader(long), nil, 200, "not read"},
		{"POST", "/_aleph/event", strings.NewReader(`{"type":"POST"}`), []string{"Aleph-Event", "aleph.message"}, 204, ""},
		{"POST", "/_aleph/event", strings.NewReader(`{}`), []string{"Aleph-Event", "aleph.cron"}, 404, "/_aleph/event? /_aleph/event"},
		{"GET", "/events", nil, nil, 200, `['{"type":"POST"}']`},
	} {
		response, body := s.do(t, test.method, test.path, test.body, test.header...)
		if response.StatusCode != test.status || body != test.want {
			t.Errorf("%s %s: %s %.200q", test.method, test.path, response.Status, body)
		}
	}
	request, _ := http.NewRequestWithContext(t.Context(), "GET", s.url+"/half", nil)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if raw, err := io.ReadAll(response.Body); err == nil || string(raw) != "half" {
		t.Errorf("an answer that breaks off looks whole: %q, %v", raw, err)
	}
}

func TestTheServerOfASGIKeepsConnectionsAndSeesClientsLeave(t *testing.T) {
	s := startASGI(t)
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	for i := range 3 {
		fmt.Fprintf(conn, "POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", i, "abc"[:i])
		response, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if raw, err := io.ReadAll(response.Body); string(raw) != fmt.Sprint(i) || err != nil || response.Close {
			t.Errorf("request %d: %q %v %v", i, raw, err, response.Close)
		}
	}
	fmt.Fprint(conn, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
	conn.Close()
	s.says(t, "the client left")

	for _, garbage := range []string{
		"\x00\x01\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/2.0\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n", "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
		"GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 200_000),
	} {
		conn, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, garbage)
		if raw, _ := io.ReadAll(conn); !bytes.HasPrefix(raw, []byte("HTTP/1.1 400 ")) && len(garbage) < 1000 { // the long one may be cut off
			t.Errorf("%.40q is answered with %.100q", garbage, raw)
		}
		conn.Close()
	}
	if _, body := s.do(t, "GET", "/state", nil); !strings.HasPrefix(body, "yes") {
		t.Errorf("after it: %q", body)
	}
}

func TestTheServerOfASGISpeaksWebSocket(t *testing.T) {
	s := startASGI(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dial := func(path string) (*websocket.Conn, *http.Response, error) {
		return websocket.Dial(ctx, s.url+path, &websocket.DialOptions{Subprotocols: []string{"first", "second"}})
	}
	if _, response, err := dial("/refused"); err == nil || response == nil || response.StatusCode != 403 {
		t.Errorf("a refusal: %v, %v", response, err)
	}
	conn, _, err := dial("/")
	if err != nil {
		t.Fatal(err)
	}
	if conn.Subprotocol() != "first" {
		t.Errorf("subprotocol %q", conn.Subprotocol())
	}
	conn.SetReadLimit(1 << 20)
	for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
		for _, size := range []int{0, 1, 125, 126, 65535, 65536, 300_000} {
			sent := bytes.Repeat([]byte("x"), size)
			if err := conn.Write(ctx, kind, sent); err != nil {
				t.Fatal(err)
			}
			got, raw, err := conn.Read(ctx)
			if err != nil || got != kind || !bytes.Equal(raw, sent) {
				t.Fatalf("%d bytes come back as %d of %v: %v", size, len(raw), got, err)
			}
		}
	}
	if err := conn.Write(ctx, websocket.MessageText, []byte("close")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.Read(ctx); websocket.CloseStatus(err) != 4001 {
		t.Errorf("closed with %v", err)
	}
	conn, _, err = dial("/")
	if err != nil {
		t.Fatal(err)
	}
	pinged := conn.CloseRead(ctx)
	if err := conn.Ping(pinged); err != nil {
		t.Errorf("ping: %v", err)
	}
	if err := conn.Close(websocket.StatusGoingAway, "bye"); err != nil {
		t.Error(err)
	}
	s.says(t, "socket ended with 1001")
	for name, frame := range map[string]string{"not masked": "\x81\x01a", "reserved bits": "\xf1\x81aaaa\x00", "nothing to continue": "\x80\x81aaaa\x00", "17 MiB": "\x82\xff\x00\x00\x00\x00\x01\x10\x00\x00aaaa", "no text": "\x81\x81\x00\x00\x00\x00\xff"} {
		raw, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(raw, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"+frame)
		if all, _ := io.ReadAll(raw); !bytes.Contains(all, []byte("\r\n\r\n\x88")) {
			t.Errorf("%s: %q", name, all)
		}
		raw.Close()
	}
}

func TestTheServerOfASGIEndsInOrder(t *testing.T) {
	s := startASGI(t)
	answered := make(chan string, 1)
	go func() {
		_, body := s.do(t, "GET", "/slow", nil)
		answered <- body
	}()
	s.says(t, "slow")
	if err := s.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if body := <-answered; body != "slow" {
		t.Errorf("the answer in progress: %q", body)
	}
	s.says(t, "ended in order")

	for application, want := range map[string]string{"served:missing": "has no missing", "absent:app": "cannot be imported"} {
		s := serveASGI(t, application)
		s.says(t, want)
	}
}

// A client that has its answer before it has sent all sends on: it may not look at the answer before that.
func TestAnAnswerOutlivesABodyThatNobodyReads(t *testing.T) {
	s := startASGI(t)
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const size = 3_000_000
	fmt.Fprintf(conn, "POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", size)
	in := bufio.NewReader(conn)
	if _, err := in.Peek(1); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(make([]byte, size)); err != nil {
		t.Errorf("the rest of the body: %v", err)
	}
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := io.ReadAll(response.Body); string(raw) != "not read" || err != nil {
		t.Errorf("the answer is %q, %v", raw, err)
	}
}
