package guest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// fakeGuest speaks the guest's part of the protocol over a pipe and gives the test its end of the multiplexer.
func fakeGuest(t *testing.T) (*Session, *yamux.Session) {
	t.Helper()
	host, far := net.Pipe()
	muxes := make(chan *yamux.Session, 1)
	go func() {
		if _, err := wire.GuestHandshake(far); err != nil {
			close(muxes)
			return
		}
		mux, err := yamux.Server(far, wire.Mux())
		if err != nil {
			close(muxes)
			return
		}
		for range 2 { // logs and control
			stream, err := mux.AcceptStream()
			if err != nil {
				break
			}
			go func() { _, _ = io.Copy(io.Discard, stream) }()
		}
		muxes <- mux
	}()
	session, err := Open(t.Context(), host, wire.Config{}, func(wire.LogLine) {})
	if err != nil {
		t.Fatal(err)
	}
	mux, ok := <-muxes
	if !ok {
		t.Fatal("the guest's end did not come up")
	}
	t.Cleanup(func() { mux.Close() })
	return session, mux
}

// dial opens a stream of a kind.
func dial(t *testing.T, mux *yamux.Session, kind byte) net.Conn {
	t.Helper()
	stream, err := mux.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	_ = stream.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := stream.Write([]byte{kind}); err != nil {
		t.Fatal(err)
	}
	return stream
}

func TestRequestsOfTheGuestReachTheGuestAPI(t *testing.T) {
	session, mux := fakeGuest(t)
	session.ServeAPI(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_ = json.NewEncoder(w).Encode(r.Method + " " + r.URL.Path + " " + string(body))
	}))
	conn := dial(t, mux, wire.StreamAPI)
	reader := bufio.NewReader(conn)
	for i := range 3 { // the connection is kept
		fmt.Fprintf(conn, "PUT /cache/%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody", i)
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		if err := json.NewDecoder(response.Body).Decode(&got); err != nil || got != fmt.Sprintf("PUT /cache/%d body", i) {
			t.Errorf("got %q, %v", got, err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
	}

	wrong := dial(t, mux, wire.StreamProxy)
	fmt.Fprint(wrong, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if answer, _ := io.ReadAll(wrong); len(answer) > 0 {
		t.Errorf("a stream of another kind is answered: %s", answer)
	}
	session.Close()
	if _, err := reader.ReadByte(); err == nil {
		t.Error("the connection outlives the session")
	}
}

func TestAGuestThatOpensManyStreamsIsHeldBack(t *testing.T) {
	session, mux := fakeGuest(t)
	entered, busy := make(chan struct{}, 10*wire.MaxAPIStreams), make(chan struct{})
	session.ServeAPI(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-busy
	}))
	for range 10 * wire.MaxAPIStreams {
		stream, err := mux.OpenStream()
		if err != nil {
			break
		}
		_ = stream.SetDeadline(time.Now().Add(10 * time.Second))
		go fmt.Fprintf(stream, "%cGET / HTTP/1.1\r\nHost: localhost\r\n\r\n", wire.StreamAPI)
	}
	for range wire.MaxAPIStreams {
		<-entered
	}
	if n := session.mux.NumStreams(); n > 2+2*wire.MaxAPIStreams {
		t.Errorf("%d streams on the host", n)
	}
	session.mux.Close()
	close(busy)
	session.Close()
	if n := len(entered); n > 0 {
		t.Errorf("%d more requests at the same time", n)
	}
}
