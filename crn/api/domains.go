package api

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"time"
)

// instancePort is where an instance answers for the names that its owner has lead to it (spec/crn.md §4.9).
const instancePort = "80"

// Bounds of requests to instances. What is in the way of HAProxy's in the reference.
const (
	instanceDial   = 5 * time.Second
	instanceAnswer = 5 * time.Minute // until the answer begins
)

func newInstanceTransport() *http.Transport {
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: instanceDial}).DialContext,
		ResponseHeaderTimeout: instanceAnswer,
		MaxIdleConns:          256, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute,
		DisableCompression: true, MaxResponseHeaderBytes: 1 << 20,
	}
}

// reachInstance passes a request on to the instance that its host name leads to. Only the owner of an instance opens it to the
// world, so that name and instance must be of the same owner.
func (s *Server) reachInstance(w http.ResponseWriter, r *http.Request, to place) {
	address := ""
	if s.cfg.Instances != nil {
		for _, x := range s.cfg.Instances.List() {
			if x.Hash == to.hash && strings.EqualFold(x.Owner, to.owner) {
				address = x.Addresses.IPv4.String()
			}
		}
	}
	if address == "" {
		fail(w, http.StatusNotFound, fmt.Sprintf("404: The name %s leads to instance %s, which is not on this node or is not %s's", r.Host, to.hash, to.owner))
		return
	}
	proxy := httputil.ReverseProxy{
		Transport: s.instances,
		Rewrite: func(p *httputil.ProxyRequest) {
			passOn(p, net.JoinHostPort(address, instancePort), r.URL.EscapedPath())
		},
		FlushInterval: -1,
		ModifyResponse: func(response *http.Response) error {
			response.Header.Del("Server") // the node's own stays
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			var timeout net.Error
			switch {
			case r.Context().Err() != nil: // the caller is gone
			case errors.As(err, &timeout) && timeout.Timeout():
				fail(w, http.StatusGatewayTimeout, "504: The instance did not answer on port "+instancePort+" in time")
			default:
				fail(w, http.StatusBadGateway, "502: The instance does not answer on port "+instancePort)
			}
		},
		ErrorLog: s.broken,
	}
	_ = http.NewResponseController(w).EnableFullDuplex()
	proxy.ServeHTTP(w, r)
}

// passOn addresses a request to a host as it was made: under the same name, with those that it came through.
func passOn(p *httputil.ProxyRequest, host, path string) {
	p.Out.URL.Scheme, p.Out.URL.Host = "http", host
	setPath(p.Out.URL, path)
	p.Out.Host = p.In.Host
	p.Out.Header["X-Forwarded-For"] = p.In.Header["X-Forwarded-For"]
	p.SetXForwarded()
	p.Out.Header["X-Forwarded-Host"] = p.In.Header["X-Forwarded-Host"]
	if len(p.Out.Header["X-Forwarded-Host"]) == 0 {
		p.Out.Header.Set("X-Forwarded-Host", p.In.Host)
	}
}

// regenerate answers POST /control/proxy/regenerate (spec/crn.md §2.6.3): there is no map of names to write, only what is remembered of
// them.
func (s *Server) regenerate(w http.ResponseWriter, _ *http.Request, _ []byte) {
	s.named.forget()
	answer(w, http.StatusOK, struct {
		Success bool   `json:"success"`
		Message string `json:"message"`
	}{true, "HAProxy configuration regenerated successfully"})
}
