package api

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Connectivity is what the node tries to reach when it is asked whether it is on the Internet (spec/crn.md §2.5). What is empty is
// not reached.
type Connectivity struct {
	IPv4URL  string   // by its address
	IPv6URL  string   // by its address
	HostName string   // resolved in both families
	HTTPURLs []string // by name; one of them suffices
}

// reachWithin bounds one attempt.
const reachWithin = 5 * time.Second

// reach is what one family of addresses can do.
type reach struct {
	Egress bool `json:"egress"`
	DNS    bool `json:"dns"`
	Domain bool `json:"domain"`
	HTTP   bool `json:"http"` // for information
}

func (r reach) complete() bool { return r.Egress && r.DNS && r.Domain }

// checkHost answers GET /status/check/host.
func (s *Server) checkHost(w http.ResponseWriter, r *http.Request) {
	var both struct {
		IPv4 reach `json:"ipv4"`
		IPv6 reach `json:"ipv6"`
	}
	c := s.cfg.Connectivity
	var checks sync.WaitGroup
	for _, family := range []struct {
		result   *reach
		suffix   string
		egressTo string
	}{{&both.IPv4, "4", c.IPv4URL}, {&both.IPv6, "6", c.IPv6URL}} {
		checks.Go(func() { family.result.Egress = reaches(r.Context(), family.suffix, family.egressTo) })
		checks.Go(func() { family.result.DNS = s.resolves(r.Context(), family.suffix, c.HostName) })
		checks.Go(func() { family.result.Domain = s.resolves(r.Context(), family.suffix, s.cfg.DomainName) })
		checks.Go(func() {
			for _, target := range c.HTTPURLs {
				if family.result.HTTP = reaches(r.Context(), family.suffix, target); family.result.HTTP {
					return
				}
			}
		})
	}
	checks.Wait()
	status := http.StatusOK
	if !both.IPv4.complete() || !both.IPv6.complete() {
		status = http.StatusServiceUnavailable
	}
	answer(w, status, both)
}

// reaches reports whether a URL answers at all over a family of addresses, "4" or "6".
func reaches(ctx context.Context, family, target string) bool {
	if target == "" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, reachWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return false
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp"+family, address)
		},
		DisableKeepAlives: true,
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return true
}

func (s *Server) resolves(ctx context.Context, family, name string) bool {
	if ip, err := netip.ParseAddr(name); err == nil {
		return ip.Is4() == (family == "4")
	}
	if name == "" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, reachWithin)
	defer cancel()
	found, err := s.cfg.Resolver.LookupNetIP(ctx, "ip"+family, name)
	return err == nil && len(found) > 0
}

// checkIPv6 answers GET /status/check/ipv6: whether the host, and the diagnostic program, reach the Internet over IPv6.
func (s *Server) checkIPv6(w http.ResponseWriter, r *http.Request) {
	var host, machine bool
	var checks sync.WaitGroup
	checks.Go(func() { host = reaches(r.Context(), "6", s.cfg.Connectivity.IPv6URL) })
	checks.Go(func() {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		x, err := s.cfg.Pool.Acquire(ctx, s.cfg.Diagnostics)
		if err != nil {
			return
		}
		defer x.Release()
		got, err := ask(ctx, x, "/ip/6")
		machine = err == nil && hasResult(got)
	})
	checks.Wait()
	answer(w, http.StatusOK, map[string]bool{"host": host, "vm": machine})
}
