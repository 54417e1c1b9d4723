// Package redirect says how far the HTTP clients of nodes follow redirections of other nodes, which may lead them into networks that
// those cannot reach themselves. Clients of the core node and of the compute node use it.
package redirect

import "net/http"

// SameHost is an http.Client.CheckRedirect that stays on the host that was asked, where a proxy may lead from HTTP to HTTPS. The
// caller gets any other redirection as the answer that it is.
func SameHost(next *http.Request, via []*http.Request) error {
	if len(via) > 3 || next.URL.Hostname() != via[0].URL.Hostname() {
		return http.ErrUseLastResponse
	}
	return nil
}
