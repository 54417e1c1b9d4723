package wire

import (
	"bytes"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/yamux"
)

// counted counts writes.
type counted struct {
	io.ReadWriteCloser
	writes atomic.Int64
}

func (c *counted) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.ReadWriteCloser.Write(b)
}

func TestAFrameIsOneWrite(t *testing.T) {
	near, far := net.Pipe()
	wire := &counted{ReadWriteCloser: near}
	client, err := yamux.Client(Joined(wire), Mux())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := yamux.Server(Joined(far), Mux())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		stream, err := server.AcceptStream()
		if err != nil {
			return
		}
		_, _ = io.Copy(stream, stream)
		_ = stream.Close()
	}()
	stream, err := client.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	// Bodies of all lengths around that of a header, and such as look like one.
	var sent []byte
	before := wire.writes.Load()
	const frames = 40
	for n := 1; n <= frames; n++ {
		body := bytes.Repeat([]byte{0}, n)
		body[n-1] = byte(n)
		sent = append(sent, body...)
		if _, err := stream.Write(body); err != nil {
			t.Fatal(err)
		}
	}
	if got := wire.writes.Load() - before; got > frames+1 { // the answers may ask for one update of the window
		t.Errorf("%d frames took %d writes", frames, got)
	}
	big := bytes.Repeat([]byte("0123456789ab"), 100_000)
	go func() {
		_, _ = stream.Write(big)
		_ = stream.Close()
	}()
	back, err := io.ReadAll(stream)
	if err != nil || !bytes.Equal(back, append(sent, big...)) {
		t.Errorf("%d of %d bytes came back, %v", len(back), len(sent)+len(big), err)
	}
}
