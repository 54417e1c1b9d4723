package wire

import (
	"encoding/binary"
	"io"
)

// Joined is a connection for yamux, which writes the header of a frame and then its body. Here they are one write: on the serial
// port each costs the guest a way out of its machine and an interrupt, and who reads a turn that brings nothing but a header.
func Joined(conn io.ReadWriteCloser) io.ReadWriteCloser { return &joined{ReadWriteCloser: conn} }

// joined is written to by one goroutine, as yamux does.
type joined struct {
	io.ReadWriteCloser
	frame []byte // a header whose body comes next; empty when there is none
}

// Write implements io.Writer. A header is not written before its body is.
func (j *joined) Write(b []byte) (int, error) {
	if len(j.frame) == 0 {
		if !announcesBody(b) {
			return j.ReadWriteCloser.Write(b)
		}
		j.frame = append(j.frame, b...)
		return len(b), nil
	}
	j.frame = append(j.frame, b...)
	_, err := j.ReadWriteCloser.Write(j.frame)
	j.frame = j.frame[:0]
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

// muxHeader is the size of a header of yamux: version, type, flags, stream and length.
const muxHeader = 12

// announcesBody reports whether a write of yamux is the header of a frame of data that is not empty. Only such have a body.
func announcesBody(b []byte) bool {
	const data = 0
	return len(b) == muxHeader && b[1] == data && binary.BigEndian.Uint32(b[8:]) > 0
}
