package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"pgregory.net/rapid"

	"github.com/aleph-im/aleph-go/guest/wire"
)

func TestHeadsAreRead(t *testing.T) {
	for text, want := range map[string]struct {
		status int
		header string
	}{
		"Content-Type: text/html\r\n\r\n":                 {200, "Content-Type=text/html"},
		"content-type:text/html\n\n":                      {200, "Content-Type=text/html"},
		"Status: 404 Not Found\nX-A: 1\nX-A: 2\n\n":       {404, "X-A=1,2"},
		"Status: 204\n\n":                                 {204, ""},
		"Location: /there\n\n":                            {302, "Location=/there"},
		"Location: /there\nStatus: 201 Created\n\n":       {201, "Location=/there"},
		"Content-Length: 12\nTransfer-Encoding: x\n\n":    {200, "Content-Length=12"},
		"Connection: close\nUpgrade: websocket\nA: b\n\n": {200, "A=b"},
		"A:\n\n": {200, "A="},
	} {
		length := headLength([]byte(text + "body"))
		if length != len(text) {
			t.Errorf("%q: length %d", text, length)
			continue
		}
		h, err := parseHead([]byte(text))
		var fields []string
		for name, values := range h.header {
			fields = append(fields, name+"="+strings.Join(values, ","))
		}
		if err != nil || h.status != want.status || strings.Join(fields, " ") != want.header {
			t.Errorf("%q: %d %v, %v", text, h.status, fields, err)
		}
	}
}

func TestHeadsThatAreNoneAreRefused(t *testing.T) {
	for _, text := range []string{
		"\n", "\r\n\r\n", "hello\n\n", "<html>\n\n", ": x\n\n", "A b: x\n\n", "A: b\n continued\n\n", "A: b\x00c\n\n", "A: b\rc\n\n",
		"Status: 101\n\n", "Status: 99\n\n", "Status: 600\n\n", "Status: OK\n\n", "Status:\n\n", "Content-Length: -1\n\n", "Content-Length: x\n\n",
		"Content-Length: 1\nContent-Length: 2\n\n", "Content-Length: 99999999999999999999\n\n", "HTTP/1.1 200 OK\n\n", "\xff: x\n\n",
	} {
		length := headLength([]byte(text))
		if length == 0 {
			t.Errorf("%q is taken for a part of a header", text)
		} else if h, err := parseHead([]byte(text)[:length]); err == nil {
			t.Errorf("%q became %+v", text, h)
		}
	}
}

func FuzzHead(f *testing.F) {
	f.Add([]byte("Status: 200 OK\r\nContent-Type: text/plain\r\n\r\nbody"))
	f.Add([]byte("Location: /\nContent-Length: 3\n\nabc"))
	f.Add([]byte("\n"))
	f.Add([]byte("A: b\n c\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		length := headLength(b)
		if length == 0 {
			return
		}
		h, err := parseHead(b[:length])
		if err != nil {
			return
		}
		if h.status < 200 || h.status > 599 {
			t.Errorf("status %d", h.status)
		}
		// What is passed on must be one header to every reader of HTTP.
		var wire bytes.Buffer
		if err := h.header.Write(&wire); err != nil {
			t.Fatal(err)
		}
		fields := 0
		for name, values := range h.header {
			if hopByHop[name] || name == "Status" {
				t.Errorf("%s is passed on", name)
			}
			fields += len(values)
		}
		if got := strings.Count(wire.String(), "\n"); got != fields {
			t.Errorf("%d fields became %d lines: %q", fields, got, wire.String())
		}
	})
}

func TestRequestsBecomeVariables(t *testing.T) {
	r := httptest.NewRequest("POST", "http://program.test:81/a%20b?x=%20y", strings.NewReader("body"))
	for name, value := range map[string]string{
		"Content-Type": "text/plain", "X-Forwarded-For": "10.0.0.1, 10.0.0.2", "X-Forwarded-Proto": "https", "Cookie": "a=1", "Proxy": "evil", "X-A": "1",
	} {
		r.Header.Set(name, value)
	}
	r.Header.Add("Cookie", "b=2")
	r.Header.Add("X-A", "2")
	v := variables(r)
	for name, want := range map[string]string{
		"REQUEST_METHOD": "POST", "PATH_INFO": "/a b", "REQUEST_URI": "/a%20b?x=%20y", "QUERY_STRING": "x=%20y", "CONTENT_LENGTH": "4",
		"CONTENT_TYPE": "text/plain", "REMOTE_ADDR": "10.0.0.2", "HTTPS": "on", "HTTP_COOKIE": "a=1; b=2", "HTTP_X_A": "1, 2",
		"SERVER_NAME": "program.test", "SERVER_PORT": "81", "HTTP_HOST": "program.test:81", "SCRIPT_NAME": "",
	} {
		if got, ok := v[name]; got != want || !ok {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if _, ok := v["HTTP_PROXY"]; ok {
		t.Error("the caller sets HTTP_PROXY")
	}
}

// The parts of an answer arrive as they were written, however the header is cut.
func TestAnswersMayBeWrittenInAnyParts(t *testing.T) {
	const whole = "Status: 201\r\nX-A: b\r\n\r\n\n\nthe body\n"
	rapid.Check(t, func(t *rapid.T) {
		w := httptest.NewRecorder()
		c := newCall(w)
		for rest := whole; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "length")
			if wrote, err := c.Write([]byte(rest[:n])); wrote != n || err != nil {
				t.Fatalf("wrote %d of %d, %v", wrote, n, err)
			}
			rest = rest[n:]
		}
		if w.Code != 201 || w.Header().Get("X-A") != "b" || w.Body.String() != "\n\nthe body\n" {
			t.Fatalf("got %d %v %q", w.Code, w.Header(), w.Body)
		}
	})
}

func TestHeadersAreBounded(t *testing.T) {
	for _, part := range []int{1, 1000, 200_000} {
		c := newCall(httptest.NewRecorder())
		var err error
		for sent := 0; sent < 200_000 && err == nil; sent += part {
			_, err = c.Write(bytes.Repeat([]byte("x"), part))
		}
		if err == nil || len(c.start) > maxHead+part {
			t.Errorf("in parts of %d: %v, %d bytes kept", part, err, len(c.start))
		}
	}
}

func newCall(w http.ResponseWriter) *call {
	ctx, cancel := context.WithCancelCause(context.Background())
	c := &call{program: &program{}, ctx: ctx, cancel: cancel, w: w, flush: func() error { return nil }}
	c.watch = time.NewTimer(time.Hour)
	c.patience = time.Hour
	return c
}

func TestOutputBecomesLinesOfBoundedLength(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.SampledFrom([]rune("ab\n")), 0, 40_000, -1).Draw(t, "text")
		text += strings.Repeat("z", rapid.IntRange(0, 3*wire.MaxLine).Draw(t, "long"))
		l := &logs{make(chan wire.LogLine, len(text)+10)}
		output := &lines{logs: l}
		for rest := []byte(text); len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "length")
			_, _ = output.Write(rest[:n])
			rest = rest[n:]
		}
		output.close()
		close(l.lines)
		var got strings.Builder
		for line := range l.lines {
			if len(line.Text) > wire.MaxLine || strings.Contains(line.Text, "\n") {
				t.Fatalf("line of %d bytes", len(line.Text))
			}
			got.WriteString(line.Text)
		}
		if got.String() != strings.ReplaceAll(text, "\n", "") {
			t.Fatal("something was lost")
		}
	})
}

// Whatever instances take and give back, together they never have more than the limit, and in the end all of it is free.
func TestMemoryIsNeverMoreThanTheLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Int64Range(1<<16, 1<<24).Draw(t, "limit")
		m := newMemory(limit, 1<<16)
		var shares []*share
		t.Repeat(map[string]func(*rapid.T){
			"enter": func(t *rapid.T) {
				ended, cancel := context.WithCancel(context.Background())
				cancel() // who has no room does not wait
				if s, err := m.enter(ended); err == nil {
					shares = append(shares, s)
				} else if len(shares) == 0 {
					t.Fatal("no room in an empty memory")
				}
			},
			"take": func(t *rapid.T) {
				if len(shares) > 0 {
					rapid.SampledFrom(shares).Draw(t, "share").take(rapid.Int64Range(0, 1<<25).Draw(t, "size"))
				}
			},
			"leave": func(t *rapid.T) {
				if len(shares) > 0 {
					shares[0].leave()
					shares = shares[1:]
				}
			},
			"": func(t *rapid.T) {
				var sum int64
				for _, s := range shares {
					sum += s.reserved
					if s.used > s.reserved {
						t.Fatalf("%d used of %d", s.used, s.reserved)
					}
				}
				if sum != m.reserved || sum > limit || m.expected > limit {
					t.Fatalf("%d reserved, %d together, %d expected, limit %d", m.reserved, sum, m.expected, limit)
				}
			},
		})
		for _, s := range shares {
			s.leave()
		}
		if m.reserved != 0 {
			t.Fatalf("%d left", m.reserved)
		}
	})
}

func TestMemoryThatIsUsedAgainIsEmpty(t *testing.T) {
	m := newMemory(1<<24, 0)
	for range 3 {
		s, err := m.enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		l := s.Allocate(0, 1<<32)
		b := l.Reallocate(1 << 20)
		if len(b) != 1<<20 || bytes.ContainsFunc(b, func(r rune) bool { return r != 0 }) {
			t.Fatal("an instance sees what another left")
		}
		for i := range b {
			b[i] = 7
		}
		b = l.Reallocate(2 << 20)
		if b[0] != 7 || b[1<<20-1] != 7 || b[1<<20] != 0 {
			t.Fatal("growing lost something")
		}
		if l.Reallocate(1<<24+1) != nil || !s.refused {
			t.Error("it grew beyond the limit")
		}
		l.Free()
		s.leave()
	}
	if len(m.spare) != 1 {
		t.Errorf("%d spare", len(m.spare))
	}
}

func TestCallersWaitForRoom(t *testing.T) {
	m := newMemory(1000, 1000)
	first, err := m.enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var waiting sync.WaitGroup
	for range 10 {
		waiting.Go(func() {
			s, err := m.enter(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			s.leave()
		})
	}
	first.leave()
	waiting.Wait()
	gone, cancel := context.WithCancelCause(t.Context())
	held, _ := m.enter(t.Context())
	cancel(os.ErrDeadlineExceeded)
	if _, err := m.enter(gone); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	held.leave()
}

// FuzzModule runs whatever compiles, with little memory: the process must live, and answer.
func FuzzModule(f *testing.F) {
	const start = "\x07\x0a\x01\x06_start\x00\x00"
	f.Add([]byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00" + start + "\x0a\x05\x01\x03\x00\x00\x0b"))
	f.Add([]byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x05\x03\x01\x00\x01" + start + "\x0a\x09\x01\x07\x00\x41\x7f\x40\x00\x1a\x0b"))
	f.Add([]byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x05\x04\x01\x00\x80\x20" + start + "\x0a\x04\x01\x02\x00\x0b"))
	f.Fuzz(func(t *testing.T, code []byte) {
		ctx := t.Context()
		r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithCloseOnContextDone(true))
		defer r.Close(ctx)
		module, err := r.CompileModule(ctx, code)
		if err != nil || len(module.ImportedFunctions()) > 0 {
			return
		}
		if _, err := check(module); err != nil {
			return
		}
		// Calls may not end; those are tested where the process can be killed. Loops are interrupted.
		if bytes.ContainsAny(code, "\x10\x11") {
			return
		}
		p := &program{runtime: r, module: module, config: wazero.NewModuleConfig().WithName(""), memory: newMemory(1<<20, 0), memoryMiB: 1, patience: 100 * time.Millisecond, logs: newLogs()}
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		var answer struct{ Error string }
		if err := json.Unmarshal(w.Body.Bytes(), &answer); w.Code != 502 || err != nil || answer.Error == "" {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
	})
}
