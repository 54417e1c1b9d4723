package instance

import (
	"errors"

	"golang.org/x/sys/unix"
)

// claims are the ports of the host that guests are reached at. Each is held by sockets that are bound and do not listen: so no other
// node of this host gives it to its guests, and a program that asks for it is told that it is in use instead of never being reached.
type claims map[uint16][]int // sockets, by port

// take claims a port, for TCP and UDP, and reports whether nobody else has it.
func (c claims) take(port uint16) bool {
	if c[port] != nil {
		return true
	}
	var sockets []int
	for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM} {
		socket, err := bind(kind, port)
		if err != nil {
			closeAll(sockets)
			return false
		}
		sockets = append(sockets, socket)
	}
	c[port] = sockets
	return true
}

// keep gives back all claims but these.
func (c claims) keep(used map[uint16]bool) {
	for port, sockets := range c {
		if !used[port] {
			closeAll(sockets)
			delete(c, port)
		}
	}
}

func bind(kind int, port uint16) (socket int, err error) {
	if socket, err = unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0); err != nil {
		return 0, err
	}
	// What comes by a protocol that is not forwarded is not to pile up.
	err = errors.Join(unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_RCVBUF, 0), unix.Bind(socket, &unix.SockaddrInet4{Port: int(port)}))
	if err != nil {
		unix.Close(socket)
	}
	return socket, err
}

func closeAll(sockets []int) {
	for _, socket := range sockets {
		unix.Close(socket)
	}
}
