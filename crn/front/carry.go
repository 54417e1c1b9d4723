package front

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// carry copies between two connections, in both directions, until both have ended or nothing has been said in either for a while.
func carry(a, b net.Conn, idle time.Duration) {
	var said sync.Mutex // guards last
	last := time.Now()
	alive := func() time.Time {
		said.Lock()
		defer said.Unlock()
		last = time.Now()
		return last.Add(idle)
	}
	until := func() time.Time {
		said.Lock()
		defer said.Unlock()
		return last.Add(idle)
	}
	one := func(to, from net.Conn) {
		buffer := make([]byte, 16<<10)
		for {
			_ = from.SetReadDeadline(until())
			n, err := from.Read(buffer)
			if n > 0 {
				_ = to.SetWriteDeadline(alive())
				if _, err := to.Write(buffer[:n]); err != nil {
					to.Close()
					from.Close()
					return
				}
			}
			if timeout, ok := err.(net.Error); ok && timeout.Timeout() && time.Now().Before(until()) {
				continue // the other direction is not idle
			}
			if err == io.EOF {
				closeWrite(to) // what the other side still has to say comes through
				return
			}
			if err != nil {
				to.Close()
				from.Close()
				return
			}
		}
	}
	var back sync.WaitGroup
	back.Go(func() { one(a, b) })
	one(b, a)
	back.Wait()
}

func closeWrite(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
		return
	}
	c.Close()
}

// counter bounds connections, together and of one source.
type counter struct {
	most, each int

	mu   sync.Mutex
	all  int
	from map[netip.Prefix]int
}

func newCounter(most, each int) *counter {
	return &counter{most: most, each: each, from: map[netip.Prefix]int{}}
}

func (c *counter) enter(source netip.Prefix) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all >= c.most || c.from[source] >= c.each {
		return false
	}
	c.all++
	c.from[source]++
	return true
}

func (c *counter) leave(source netip.Prefix) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	if c.from[source]--; c.from[source] == 0 {
		delete(c.from, source)
	}
}

// counted is a connection that is counted until it is closed.
type counted struct {
	net.Conn
	leave func()
}

// Close implements [net.Conn].
func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// CloseWrite ends what is said to the other side, which may go on.
func (c *counted) CloseWrite() error {
	return c.Conn.(*net.TCPConn).CloseWrite()
}

// sourceOf is what connections are counted by: an IPv4 address, or the network that one owner of IPv6 addresses has at least.
func sourceOf(remote net.Addr) netip.Prefix {
	tcp, ok := remote.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	address := tcp.AddrPort().Addr().Unmap()
	bits := 64
	if address.Is4() {
		bits = 32
	}
	prefix, _ := address.Prefix(bits)
	return prefix
}
