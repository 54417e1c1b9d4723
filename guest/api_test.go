package guest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// freePort returns a TCP port of the loopback that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// attachHost gives the API a session whose host answers each stream with its kind and first line.
func attachHost(t *testing.T, a *hostAPI) *yamux.Session {
	t.Helper()
	near, far := net.Pipe()
	mux, err := yamux.Server(near, wire.Mux())
	if err != nil {
		t.Fatal(err)
	}
	host, err := yamux.Client(far, wire.Mux())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mux.Close(); host.Close() })
	go func() {
		for {
			stream, err := host.AcceptStream()
			if err != nil {
				return
			}
			go func() {
				defer stream.Close()
				line, _ := bufio.NewReader(stream).ReadString('\n')
				fmt.Fprintf(stream, "host got %s", line)
			}()
		}
	}()
	a.attach(mux)
	return mux
}

func TestConnectionsToTheGuestAPIReachTheHostOverAnySession(t *testing.T) {
	a := newHostAPI()
	c := &wire.API{Socket: filepath.Join(t.TempDir(), "api"), Port: freePort(t)}
	if err := a.listen(c); err != nil {
		t.Fatal(err)
	}
	ask := func(network, address string) net.Conn {
		conn, err := net.Dial(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprintln(conn, network)
		return conn
	}
	port := fmt.Sprintf("127.0.0.1:%d", c.Port)
	early := ask("unix", c.Socket) // before there is a session
	first := attachHost(t, a)
	for want, conn := range map[string]net.Conn{"host got Aunix\n": early, "host got Atcp\n": ask("tcp", port)} {
		if got, err := io.ReadAll(conn); err != nil || string(got) != want {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	a.attach(nil)
	first.Close()
	between := ask("unix", c.Socket)
	attachHost(t, a)
	if got, err := io.ReadAll(between); err != nil || string(got) != "host got Aunix\n" {
		t.Errorf("over the next session: %q, %v", got, err)
	}
	if err := a.listen(&wire.API{Socket: filepath.Join(t.TempDir(), "absent", "api")}); err == nil {
		t.Error("a socket in a folder that is not there")
	}
	if err := a.listen(nil); err != nil {
		t.Error(err)
	}
}
