package guest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// proxy joins a stream to a new connection to the program. It knows nothing of HTTP; what it adds is the time that the program
// took, measured on this side of the channel (see wire.FrameHeader).
func proxy(stream *yamux.Stream) {
	conn, err := net.DialTimeout("tcp4", fmt.Sprintf("127.0.0.1:%d", wire.ProgramPort), 10*time.Second)
	if err != nil {
		return // the host sees the stream end without an answer
	}
	defer conn.Close()

	started := time.Now()
	var lastSent atomic.Int64 // nanoseconds after started
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		defer conn.Close() // the host closes its end only when nobody waits for an answer any more
		buffer := make([]byte, 32<<10)
		for {
			n, err := stream.Read(buffer)
			if n > 0 {
				// Before the write: the program may answer before this goroutine runs again.
				lastSent.Store(int64(time.Since(started)))
				if _, err := conn.Write(buffer[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	buffer := make([]byte, wire.FrameHeaderSize+32<<10)
	for {
		n, err := conn.Read(buffer[wire.FrameHeaderSize:])
		if n > 0 {
			elapsed := time.Since(started) - time.Duration(lastSent.Load())
			wire.FrameHeader{Length: uint32(n), Elapsed: elapsed}.Put(buffer)
			if _, err := stream.Write(buffer[:wire.FrameHeaderSize+n]); err != nil {
				break
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				fmt.Println("aleph guest: connection to the program:", err)
			}
			break
		}
	}
	stream.Close()
	conn.Close()
	<-sent
}
