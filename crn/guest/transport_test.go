package guest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// carried leads to a program behind a card that treats its connections as told, and counts them.
func carried(t *testing.T, treat func(n int32, conn net.Conn)) (*Transport, *atomic.Int32) {
	t.Helper()
	host, listener, _ := cards(t)
	var taken atomic.Int32
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			n := taken.Add(1)
			go func() {
				defer conn.Close()
				treat(n, conn)
			}()
		}
	}()
	transport := newTransport(func(ctx context.Context) (Conn, error) { return host.dial(ctx) })
	t.Cleanup(transport.CloseIdleConnections)
	return transport, &taken
}

// answers gives each request on a connection the same answer.
func answers(conn net.Conn, answer string) {
	reader := bufio.NewReader(conn)
	for {
		if _, err := http.ReadRequest(reader); err != nil {
			return
		}
		if _, err := io.WriteString(conn, answer); err != nil {
			return
		}
	}
}

func ask(ctx context.Context, t *testing.T, transport *Transport, method, body string) (*http.Response, string, error) {
	t.Helper()
	var from io.Reader
	if body != "" {
		from = strings.NewReader(body)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://program/path?q=1", from)
	if err != nil {
		t.Fatal(err)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	return response, string(raw), err
}

const hello = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

func TestRequestsFollowEachOtherOnOneConnection(t *testing.T) {
	var asked atomic.Pointer[http.Request]
	transport, taken := carried(t, func(_ int32, conn net.Conn) {
		reader := bufio.NewReader(conn)
		for {
			request, err := http.ReadRequest(reader)
			if err != nil {
				return
			}
			asked.Store(request)
			switch request.Method {
			case http.MethodHead:
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
			case http.MethodOptions:
				_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
			default:
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n5\r\nhello\r\n0\r\nSum: 9\r\n\r\n")
			}
		}
	})
	var over Conn
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { over, _ = i.Conn.(Conn) }})
	for range 3 {
		for method, want := range map[string]string{"GET": "hello", "HEAD": "", "OPTIONS": ""} {
			response, body, err := ask(ctx, t, transport, method, "")
			if err != nil || body != want || method == "GET" && response.Trailer.Get("Sum") != "9" {
				t.Fatalf("%s: %q, trailer %v, %v", method, body, response.Trailer, err)
			}
			if r := asked.Load(); r.Method != method || r.RequestURI != "/path?q=1" || r.Host != "program" {
				t.Errorf("the program was asked %s %s of %s", r.Method, r.RequestURI, r.Host)
			}
		}
	}
	if over == nil || over.Elapsed() < 0 {
		t.Error("who traces is not told of the connection")
	}
	if n := taken.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestRequestsWithABodyAreCarried(t *testing.T) {
	transport, _ := carried(t, func(_ int32, conn net.Conn) {
		request, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		body, _ := io.ReadAll(request.Body)
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	})
	if _, body, err := ask(t.Context(), t, transport, "POST", "words"); err != nil || body != "words" {
		t.Errorf("got %q, %v", body, err)
	}
}

func TestAConnectionThatTheProgramEndedServesNoOther(t *testing.T) {
	for name, treat := range map[string]func(conn net.Conn){
		"it hangs up": func(conn net.Conn) { readRequest(conn); _, _ = io.WriteString(conn, hello) },
		"it says so": func(conn net.Conn) {
			answers(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello")
		},
		"the answer ends with it":           func(conn net.Conn) { readRequest(conn); _, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\nhello") },
		"it says more than the answer":      func(conn net.Conn) { answers(conn, hello+"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n") },
		"it hangs up when it is asked more": func(conn net.Conn) { r := readRequest(conn); _, _ = io.WriteString(conn, hello); _, _ = r.Peek(1) },
	} {
		t.Run(name, func(t *testing.T) {
			transport, taken := carried(t, func(_ int32, conn net.Conn) { treat(conn) })
			for range 4 {
				if response, body, err := ask(t.Context(), t, transport, "GET", ""); err != nil || body != "hello" || response.StatusCode != 200 {
					t.Fatalf("got %v %q, %v", response, body, err)
				}
			}
			if n := taken.Load(); n != 4 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

func readRequest(conn net.Conn) *bufio.Reader {
	reader := bufio.NewReader(conn)
	_, _ = http.ReadRequest(reader)
	return reader
}

func TestAnswersThatAreNone(t *testing.T) {
	for name, test := range map[string]struct {
		answer string
		says   func(error) bool
	}{
		"nothing":      {"", func(err error) bool { return errors.Is(err, io.EOF) }},
		"noise":        {"what?\r\n\r\n", func(err error) bool { return strings.Contains(err.Error(), "malformed") }},
		"half a head":  {"HTTP/1.1 200 OK\r\nA: b\r\n", func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		"half a body":  {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		"a long head":  {"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("a", maxHead) + "\r\n\r\n", func(err error) bool { return strings.Contains(err.Error(), "more than 1048576 bytes") }},
		"many a head":  {strings.Repeat("HTTP/1.1 100 Continue\r\nA: b\r\n\r\n", maxHead/30), func(err error) bool { return strings.Contains(err.Error(), "more than 1048576 bytes") }},
		"another tune": {"HTTP/1.1 101 Switching Protocols\r\n\r\n", func(err error) bool { return err == nil }},
	} {
		t.Run(name, func(t *testing.T) {
			transport, taken := carried(t, func(_ int32, conn net.Conn) { readRequest(conn); _, _ = io.WriteString(conn, test.answer) })
			if _, _, err := ask(t.Context(), t, transport, "GET", ""); !test.says(err) {
				t.Errorf("got %v", err)
			}
			if n := taken.Load(); n != 1 {
				t.Errorf("it was asked %d times", n)
			}
			if len(transport.idle) > 0 {
				t.Error("the connection is kept")
			}
		})
	}
}

func TestWhatPrecedesAnAnswerIsHandedOn(t *testing.T) {
	transport, _ := carried(t, func(_ int32, conn net.Conn) {
		answers(conn, "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"+hello)
	})
	var hints []string
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, head textproto.MIMEHeader) error {
		hints = append(hints, fmt.Sprint(code, head.Get("Link")))
		return nil
	}})
	if _, body, err := ask(ctx, t, transport, "GET", ""); err != nil || body != "hello" || len(hints) != 1 || hints[0] != "103</style.css>" {
		t.Errorf("got %q after %q, %v", body, hints, err)
	}
}

func TestACallerWhoLeavesEndsTheExchange(t *testing.T) {
	for name, answer := range map[string]string{"before the answer": "", "within it": "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			transport, _ := carried(t, func(_ int32, conn net.Conn) {
				reader := readRequest(conn)
				_, _ = io.WriteString(conn, answer)
				cancel()
				_, err := reader.Peek(1)
				ended <- err
			})
			if _, _, err := ask(ctx, t, transport, "GET", ""); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			if err := <-ended; err == nil {
				t.Error("the connection goes on")
			}
		})
	}
}

func TestAnAnswerThatNobodyReadsToItsEndTakesItsConnectionAlong(t *testing.T) {
	transport, taken := carried(t, func(_ int32, conn net.Conn) { answers(conn, hello) })
	request, err := http.NewRequestWithContext(t.Context(), "GET", "http://program/", nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		response, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
	}
	if n := taken.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

func TestIdleConnectionsAreNotKeptForLong(t *testing.T) {
	ended := make(chan struct{}, 1)
	transport, _ := carried(t, func(_ int32, conn net.Conn) { answers(conn, hello); ended <- struct{}{} })
	if _, _, err := ask(t.Context(), t, transport, "GET", ""); err != nil {
		t.Fatal(err)
	}
	transport.mu.Lock()
	transport.idle[0].patience.Reset(time.Millisecond) // as if so much of its time were left
	transport.mu.Unlock()
	<-ended
	if _, body, err := ask(t.Context(), t, transport, "GET", ""); err != nil || body != "hello" {
		t.Errorf("got %q, %v", body, err)
	}
}

func TestTheChannelTellsWhetherAConnectionIsQuiet(t *testing.T) {
	session, mux := fakeGuest(t)
	defer session.Close()
	conn, err := session.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stream, err := mux.AcceptStream()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // to look changes nothing
		if !conn.Quiet() {
			t.Error("nothing has come, and it is not quiet")
		}
	}
	frame := make([]byte, wire.FrameHeaderSize)
	wire.FrameHeader{Length: 2}.Put(frame)
	if _, err := stream.Write(append(frame, "ab"...)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 1)
	for _, want := range []string{"a", "b"} { // what was looked at is read all the same
		if _, err := conn.Read(got); err != nil || string(got) != want {
			t.Fatalf("read %q, %v", got, err)
		}
		if quiet := want == "b"; conn.Quiet() != quiet {
			t.Errorf("after %q: quiet is %v", want, !quiet)
		}
	}
	if err := stream.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(got); err == nil || conn.Quiet() {
		t.Errorf("the program hung up, and it is quiet (%v)", err)
	}
}
