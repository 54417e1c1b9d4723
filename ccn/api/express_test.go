package api

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestExpressTakesOnlyRequestsThatItKnowsWhole(t *testing.T) {
	const line = "POST /api/v0/messages HTTP/1.1\r\n"
	for _, test := range []struct {
		name, text string
		length     int64 // -1: left to the server
	}{
		{"as clients send it", line + "Host: x\r\nContent-Type: application/json\r\nUser-Agent: a/1 (b)\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\nContent-Length: 2\r\n\r\n{}", 2},
		{"names in small letters", line + "host: x\r\ncontent-length:12\r\nconnection: Keep-Alive\r\n\r\n", 12},
		{"empty body", line + "Host: x\r\nContent-Length: 0\r\n\r\n", 0},
		{"browser", line + "Host: x\r\nOrigin: http://y\r\nContent-Length: 2\r\n\r\n", -1},
		{"asks to go on", line + "Host: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", -1},
		{"chunks", line + "Host: x\r\nTransfer-Encoding: chunked\r\n\r\n", -1},
		{"no length", line + "Host: x\r\n\r\n", -1},
		{"two lengths", line + "Host: x\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n", -1},
		{"signed length", line + "Host: x\r\nContent-Length: +2\r\n\r\n", -1},
		{"length above the bound", line + fmt.Sprintf("Host: x\r\nContent-Length: %d\r\n\r\n", maxBody+1), -1},
		{"huge length", line + "Host: x\r\nContent-Length: 99999999999999999999\r\n\r\n", -1},
		{"no host", line + "Content-Length: 2\r\n\r\n", -1},
		{"two hosts", line + "Host: x\r\nHost: y\r\nContent-Length: 2\r\n\r\n", -1},
		{"last request", line + "Host: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n", -1},
		{"folded line", line + "Host: x\r\n y\r\nContent-Length: 2\r\n\r\n", -1},
		{"space before the colon", line + "Host : x\r\nContent-Length: 2\r\n\r\n", -1},
		{"bare line feed", line + "Host: x\nOrigin: y\r\nContent-Length: 2\r\n\r\n", -1},
		{"control character", line + "Host: x\x00\r\nContent-Length: 2\r\n\r\n", -1},
		{"half a header", line + "Host: x\r\nContent-Length: 2\r\n", -1},
		{"half a line", line[:20], -1},
		{"older protocol", "POST /api/v0/messages HTTP/1.0\r\nHost: x\r\nContent-Length: 2\r\n\r\n", -1},
		{"other path", "POST /api/v0/messages/ HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n", -1},
		{"other method", "GET /api/v0/messages HTTP/1.1\r\nHost: x\r\n\r\n", -1},
	} {
		in := bufio.NewReader(strings.NewReader(test.text))
		if _, err := in.Peek(1); err != nil {
			t.Fatal(err)
		}
		length, ok := expressRequest(in)
		if ok != (test.length >= 0) || ok && length != test.length {
			t.Errorf("%s: length %d, %v, want %d", test.name, length, ok, test.length)
		}
		rest, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		_, body, _ := strings.Cut(test.text, "\r\n\r\n")
		if want := test.text; ok && string(rest) != body || !ok && string(rest) != want {
			t.Errorf("%s: %q is left", test.name, rest)
		}
	}
}

// The express and the server answer the same, also in turn on one connection.
func TestExpressAnswersAsTheServerDoes(t *testing.T) {
	s := serve(t, Limits{})
	bodies := []string{
		``, `{`, `[]`, `{}`, `{"sync":true}`, `{"message":{}}`, `{"message":{},"sync":"x"}`, `{"message":{"item_hash":"x"},"sync":true}`,
		`{"MESSAGE":{},"other":1}`, "{\"message\":\"\xff\"}", `{"message":{}} x`, `{"sync":true,"message":{},"message":1}`,
		`{"message":{"text":"` + strings.Repeat("long ", expressBuffer) + `"}}`,
	}
	for _, body := range bodies {
		var got [2][]byte
		for i, more := range []string{"", "X-Slow: 1\r\n"} {
			conn := s.connect(fmt.Sprintf("POST /api/v0/messages HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s", more, len(body), body))
			got[i] = whole(t, bufio.NewReader(conn))
			conn.Close()
		}
		if !bytes.Equal(got[0], got[1]) {
			t.Errorf("%s is answered\n%s\nand\n%s", body, got[0], got[1])
		}
	}

	post := "POST /api/v0/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
	get := "GET /version HTTP/1.1\r\nHost: x\r\n\r\n"
	in := bufio.NewReader(s.connect(post + post + get + post + get)) // all at once
	for i, want := range []string{"422", "422", "200", "422", "200"} {
		if answer := whole(t, in); !bytes.HasPrefix(answer, []byte(want)) {
			t.Errorf("answer %d is %s, want %s", i, answer, want)
		}
	}
}

// whole returns status, headers and body of an answer without its date.
func whole(t *testing.T, in *bufio.Reader) []byte {
	t.Helper()
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Header.Get("Date") == "" {
		t.Error("an answer has no date")
	}
	resp.Header.Del("Date")
	var b bytes.Buffer
	fmt.Fprintf(&b, "%d %d %v\n%s", resp.StatusCode, resp.ContentLength, resp.Header, body)
	return b.Bytes()
}

// What waits for its next request does not keep the server from stopping.
func TestExpressStops(t *testing.T) {
	s := serve(t, Limits{})
	conn := s.connect("POST /api/v0/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
	if got := answers(t, conn); got != http.StatusUnprocessableEntity {
		t.Errorf("status %d", got)
	}
	s.ends()
	isClosed(t, "stopped", conn)
}

func FuzzExpressRequest(f *testing.F) {
	f.Add([]byte("POST /api/v0/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"))
	f.Add([]byte("POST /api/v0/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		in := bufio.NewReaderSize(bytes.NewReader(raw), expressBuffer)
		if _, err := in.Peek(1); err != nil {
			return
		}
		length, ok := expressRequest(in)
		if !ok {
			return
		}
		// The server would read it the same way.
		request, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			t.Fatalf("the server refuses %q: %v", raw, err)
		}
		if request.ContentLength != length || request.Method != http.MethodPost || request.URL.Path != "/api/v0/messages" || len(request.TransferEncoding) > 0 {
			t.Errorf("the server reads %+v of %q", request, raw)
		}
	})
}
