package execution

import (
	"fmt"

	"github.com/aleph-im/aleph-go/crn/guest"
)

// Where a program finds the guest API: at the socket of the reference's runtimes (spec/crn.md §3.4.6), and at a port for those
// that do not speak HTTP over a socket. Port 53 of vsock, which is behind that socket there, does not exist: our machines have no
// vsock.
const (
	apiSocket = "/tmp/socat-socket"
	apiPort   = 4053
)

// apiVariables tell the program so.
func apiVariables() map[string]string {
	return map[string]string{
		"ALEPH_API_HOST": "http://localhost", "ALEPH_API_UNIX_SOCKET": apiSocket,
		"ALEPH_REMOTE_CRYPTO_HOST": "http://localhost", "ALEPH_REMOTE_CRYPTO_UNIX_SOCKET": apiSocket,
		"ALEPH_GUEST_API": fmt.Sprintf("http://127.0.0.1:%d", apiPort),
	}
}

func (x *Execution) offersAPI() bool {
	return x.program.Environment.AlephAPI && x.pool.cfg.GuestAPI != nil
}

// talk takes up the session of the program's machine: calls go over it, and requests to the guest API come.
func (x *Execution) talk(s *guest.Session) {
	x.session, x.http = s, s.Transport()
	if card := x.machine.Card(); card != nil {
		var outside *guest.Internet
		if x.program.Environment.Internet {
			outside = &x.pool.cfg.Internet
		}
		if err := s.UseCard(card, outside); err != nil {
			x.pool.cfg.Log.Warn("calls go over the serial port", "hash", x.hash, "error", err)
		}
	}
	if x.offersAPI() {
		s.ServeAPI(x.pool.cfg.GuestAPI(x.hash))
	}
}
