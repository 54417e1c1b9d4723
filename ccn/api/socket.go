package api

import (
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

const (
	pingEvery   = 30 * time.Second
	pongWithin  = 15 * time.Second
	writeWithin = 30 * time.Second // shorter, and who reads slowly would be cut off before it can be told
	packFrom    = 512              // bytes of a text from which it is compressed for clients that unpack
	maxFrame    = 64 << 10         // bytes of what a client may send; it is not looked at
)

// socket is the connection of a subscriber. The library opens it, reads, answers pings and closes; texts go past it as
// frames that are made, and compressed, once for all subscribers: so each costs its own connection nothing but the bytes
// on their way, however many there are. Compression starts anew with each frame, which therefore fits every client.
type socket struct {
	*websocket.Conn
	out     *gate
	unpacks bool // the client takes compressed frames

	leave func() // takes back what accepting counted

	attending sync.WaitGroup
}

// gate lets one frame through after the other, whoever writes it, and gives up who does not take one in time.
type gate struct {
	net.Conn
	mu sync.Mutex // held while a frame is written
}

func (g *gate) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.SetWriteDeadline(time.Now().Add(writeWithin)); err != nil {
		return 0, err
	}
	return g.Conn.Write(p)
}

// writeAll writes frames that nothing may come between.
func (g *gate) writeAll(frames net.Buffers) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.SetWriteDeadline(time.Now().Add(writeWithin)); err != nil {
		return err
	}
	_, err := frames.WriteTo(g.Conn)
	return err
}

// gated is the answer to a request that becomes a socket, with its connection behind a gate.
type gated struct {
	http.ResponseWriter
	gate *gate
}

// Hijack implements http.Hijacker.
func (g *gated) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(g.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	g.gate = &gate{Conn: conn}
	// Only the library's own frames go through this buffer, which are at most 127 bytes long.
	return g.gate, bufio.NewReadWriter(buffered.Reader, bufio.NewWriterSize(g.gate, 128)), nil
}

// accept makes a request a socket, one of at most most that open counts. When it returns nil, the request was answered.
func (a *API) accept(w http.ResponseWriter, r *http.Request, open, rejected *atomic.Int64, most int64) *socket {
	writer := &gated{ResponseWriter: w}
	conn, err := websocket.Accept(writer, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, CompressionMode: websocket.CompressionNoContextTakeover,
	})
	if err != nil {
		return nil // Accept has answered
	}
	conn.SetReadLimit(maxFrame)
	if open.Add(1) > most {
		open.Add(-1)
		rejected.Add(1)
		conn.Close(websocket.StatusTryAgainLater, "Too many connections")
		return nil
	}
	return &socket{
		Conn: conn, out: writer.gate, unpacks: w.Header().Get("Sec-WebSocket-Extensions") != "",
		leave: func() { open.Add(-1) },
	}
}

// attend reads and drops what the client sends, and pings it, until one of both ends the connection or ctx ends. Then the
// context ends that it returns.
func (s *socket) attend(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	s.attending.Go(func() {
		defer cancel()
		for {
			_, frame, err := s.Reader(ctx)
			if err == nil {
				_, err = io.Copy(io.Discard, frame)
			}
			if err != nil {
				return
			}
		}
	})
	s.attending.Go(func() {
		defer cancel()
		s.ping(ctx)
	})
	return ctx
}

// ping pings until ctx ends or no pong comes.
func (s *socket) ping(ctx context.Context) {
	ticker := time.NewTicker(pingEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			late, done := context.WithTimeout(ctx, pongWithin)
			err := s.Ping(late)
			done()
			if err != nil {
				return
			}
		}
	}
}

// end closes what is still open and waits for who attended.
func (s *socket) end() {
	s.CloseNow() // it says only that the connection was closed before
	s.attending.Wait()
	s.leave()
}

// send sends a text that nobody else gets.
func (s *socket) send(text []byte) error {
	return s.out.writeAll(net.Buffers{textFrame(text, s.unpacks)})
}

// Bits of the first byte of a frame (RFC 6455 §5.2, RFC 7692 §6).
const (
	finalFrame  = 0x80
	packedFrame = 0x40
	isText      = 0x01
)

// textFrame makes the frame of a text, compressed when packed is true and the text is worth it.
func textFrame(text []byte, packed bool) []byte {
	first := byte(finalFrame | isText)
	if packed && len(text) >= packFrom {
		first |= packedFrame
		text = pack(text)
	}
	frame := make([]byte, 0, len(text)+10)
	switch n := len(text); {
	case n < 126:
		frame = append(frame, first, byte(n))
	case n < 1<<16:
		frame = binary.BigEndian.AppendUint16(append(frame, first, 126), uint16(n))
	default:
		frame = binary.BigEndian.AppendUint64(append(frame, first, 127), uint64(n))
	}
	return append(frame, text...)
}

var packers = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, flate.BestSpeed)
	if err != nil {
		panic(err) // the level is one that exists
	}
	return w
}}

// pack compresses a text as RFC 7692 §7.2.1 says: without the last four bytes, which are always the same.
func pack(text []byte) []byte {
	var b bytes.Buffer
	w := packers.Get().(*flate.Writer)
	defer packers.Put(w)
	w.Reset(&b)
	_, _ = w.Write(text) // a buffer takes everything
	_ = w.Flush()
	return b.Bytes()[:b.Len()-4]
}
