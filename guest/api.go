package guest

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"github.com/hashicorp/yamux"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// hostAPI takes the program's connections to the guest API and joins each to a stream of its own to the host. Nothing but the
// listeners outlives a connection or a session: connections of a session that ended are closed, and new ones wait for the next.
type hostAPI struct {
	mu      sync.Mutex
	arrived *sync.Cond     // signals a session
	mux     *yamux.Session // the session there is; nil without one
}

func newHostAPI() *hostAPI {
	a := &hostAPI{}
	a.arrived = sync.NewCond(&a.mu)
	return a
}

// attach says which session leads to the host; nil for none.
func (a *hostAPI) attach(mux *yamux.Session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mux = mux
	a.arrived.Broadcast()
}

// session waits until there is one.
func (a *hostAPI) session() *yamux.Session {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.mux == nil {
		a.arrived.Wait()
	}
	return a.mux
}

// listen opens what the configuration names.
func (a *hostAPI) listen(c *wire.API) error {
	if c == nil {
		return nil
	}
	socket, err := net.Listen("unix", c.Socket)
	if err != nil {
		return fmt.Errorf("guest API: %w", err)
	}
	if err := os.Chmod(c.Socket, 0o666); err != nil { // the program may drop its rights
		return fmt.Errorf("guest API: %w", err)
	}
	port, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", c.Port))
	if err != nil {
		return fmt.Errorf("guest API: %w", err)
	}
	slots := make(chan struct{}, wire.MaxAPIStreams)
	for _, listener := range []net.Listener{socket, port} {
		go func() {
			for {
				slots <- struct{}{} // more connections wait in the kernel's queue
				conn, err := listener.Accept()
				if err != nil {
					fmt.Println("aleph guest: guest API:", err)
					return
				}
				go func() {
					defer func() { <-slots }()
					a.join(conn)
				}()
			}
		}()
	}
	return nil
}

// join copies both ways until both ends are done.
func (a *hostAPI) join(conn net.Conn) {
	defer conn.Close()
	stream, err := a.session().OpenStream()
	if err != nil {
		return
	}
	defer stream.Close()
	if _, err := stream.Write([]byte{wire.StreamAPI}); err != nil {
		return
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.Copy(stream, conn)
		stream.Close() // the host sees the end and may still answer
	}()
	_, _ = io.Copy(conn, stream)
	conn.Close()
	<-sent
}
