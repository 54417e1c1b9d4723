package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/internal/listen"
	"github.com/aleph-im/aleph-go/message"
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
	address, ok := s.addressOf(to)
	if !ok {
		fail(w, http.StatusNotFound, fmt.Sprintf("404: The name %s leads to instance %s, which is not on this node or is not %s's", r.Host, to.hash, to.owner))
		return
	}
	proxy := httputil.ReverseProxy{
		Transport: s.instances,
		Rewrite: func(p *httputil.ProxyRequest) {
			passOn(p, net.JoinHostPort(address.String(), instancePort), r.URL.EscapedPath())
		},
		FlushInterval: -1,
		BufferPool:    &s.buffers,
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
	defer unhurried(r)()
	_ = http.NewResponseController(w).EnableFullDuplex()
	proxy.ServeHTTP(w, r)
}

// unhurried lets the body of a call come as slowly as it likes, until end is called: what the callee left must come to an end.
func unhurried(r *http.Request) (end func()) {
	body, ok := r.Body.(*listen.Body)
	if !ok {
		return func() {}
	}
	return body.Unhurried()
}

// addressOf returns the address of an instance that a name leads to, if it is on this node and of the name's owner.
func (s *Server) addressOf(to place) (netip.Addr, bool) {
	if s.cfg.Instances != nil && to.instance {
		for _, x := range s.cfg.Instances.List() {
			if x.Hash == to.hash && strings.EqualFold(x.Owner, to.owner) {
				return x.Addresses.IPv4, true
			}
		}
	}
	return netip.Addr{}, false
}

// InstanceOf returns the address of the instance of this node that a host name leads to, if it leads to one.
func (s *Server) InstanceOf(ctx context.Context, name string) (netip.Addr, bool) {
	if !s.foreign(name) {
		return netip.Addr{}, false
	}
	return s.addressOf(s.named.lookup(ctx, strings.ToLower(name)))
}

// ProgramOf reports whether a host name is an owner's and leads to a program.
func (s *Server) ProgramOf(ctx context.Context, name string) bool {
	if !s.foreign(name) {
		return false
	}
	to := s.named.lookup(ctx, strings.ToLower(name))
	return to.hash != "" && !to.instance
}

// foreign reports whether a host name is neither the node's own, nor one that tells its program by itself, nor an address.
func (s *Server) foreign(name string) bool {
	label, _, found := strings.Cut(name, ".")
	if !found || strings.EqualFold(name, s.cfg.DomainName) {
		return false
	}
	if _, ok := execution.ParseHostLabel(label); ok {
		return false
	}
	_, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err != nil
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

// recreate answers POST /control/network/recreate (spec/crn.md §2.6.2). The rules of a node are always replaced whole, so that none is
// removed by itself.
func (s *Server) recreate(w http.ResponseWriter, r *http.Request, _ []byte) {
	type failure struct {
		Hash  message.Hash `json:"vm_hash"`
		Error string       `json:"error"`
	}
	var done []message.Hash
	failures := []failure{}
	if s.cfg.Instances != nil {
		ready, failed, err := s.cfg.Instances.Recreate(r.Context())
		if err != nil {
			answer(w, http.StatusInternalServerError, map[string]any{"success": false, "error": err.Error()})
			return
		}
		done = ready
		for _, hash := range slices.Sorted(maps.Keys(failed)) {
			failures = append(failures, failure{hash, failed[hash].Error()})
		}
	}
	status := http.StatusOK
	if len(failures) > 0 {
		status = http.StatusMultiStatus
	}
	answer(w, status, map[string]any{
		"success": len(failures) == 0, "removed_chains_count": 0, "removed_chains": []string{}, "recreated_count": len(done), "recreated_vms": list(done),
		"failed_count": len(failures), "failed_vms": failures,
	})
}
