package execution

import (
	"fmt"
	"net/http"
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

// guestAPI returns what is served to the program; nil when its message does not ask for it.
func (p *Pool) guestAPI(x *Execution) (http.Handler, error) {
	if !x.offersAPI() {
		return nil, nil
	}
	return p.cfg.GuestAPI(x.hash)
}

func (x *Execution) offersAPI() bool {
	return x.program.Environment.AlephAPI && x.pool.cfg.GuestAPI != nil
}
