package crn

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestConnectionsToTheNodeAreBounded(t *testing.T) {
	n := &CRN{cfg: Config{Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)}}
	if err := n.listen(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	n.server.Handler = http.NotFoundHandler()
	served := make(chan error, 1)
	go func() { served <- n.server.Serve(n.listener) }()
	defer func() {
		n.server.Close()
		<-served
	}()
	connect := func() net.Conn {
		conn, err := net.Dial("tcp", n.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(time.Minute)) // so that a test that fails ends
		return conn
	}
	first := connect()
	for range maxConnections {
		connect()
	}
	last := connect()
	if _, err := io.WriteString(last, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(last); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.0 404") {
		t.Errorf("the newest gets %q, %v", answer, err)
	}
	begin := time.Now()
	if n, err := first.Read(make([]byte, 1)); n > 0 || err == nil || time.Since(begin) > 10*time.Second {
		t.Errorf("the oldest is still open: %d, %v", n, err)
	}
}
