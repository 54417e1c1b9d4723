package guest

import (
	"fmt"
	"io"
	"net"
	"os"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// serveAPI takes the program's connections to the guest API and joins each to a stream of its own to the host. Nothing but the
// listeners outlives a connection.
func (m *machine) serveAPI(c *wire.API) error {
	if c == nil {
		return nil
	}
	unixSocket, err := net.Listen("unix", c.Socket)
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
	for _, listener := range []net.Listener{unixSocket, port} {
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
					m.toHost(conn)
				}()
			}
		}()
	}
	return nil
}

// toHost copies both ways until both ends are done.
func (m *machine) toHost(conn net.Conn) {
	defer conn.Close()
	stream, err := m.session.OpenStream()
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
