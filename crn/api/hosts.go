package api

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/message"
)

// own are the paths that are the node's under any name but a program's.
var own = []string{"/about/", "/v2/", "/control/", "/status/", "/debug/", "/metrics", "/vm/"}

// programOfHost recognises requests whose host name is a program's (spec/crn.md §2.2): its label below whatever domain, or a name
// that says in the DNS which program it is for. With ok false the request is the node's own; without a hash, nobody's.
func (s *Server) programOfHost(r *http.Request) (hash message.Hash, ok bool) {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	label, _, found := strings.Cut(host, ".")
	if !found || strings.EqualFold(host, s.cfg.DomainName) {
		return "", false
	}
	if h, ok := execution.ParseHostLabel(label); ok {
		return h, true
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return "", false
	}
	if slices.ContainsFunc(own, func(prefix string) bool { return strings.HasPrefix(r.URL.Path, prefix) }) {
		return "", false
	}
	return s.named.lookup(r.Context(), strings.ToLower(host)), true
}

// Resolver asks the DNS; [net.Resolver] in a node.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Bounds of what strangers can make the node ask the DNS for.
const (
	namedAge   = time.Minute
	maxNamed   = 1024
	maxLookups = 16 // at the same time
	lookupTime = 5 * time.Second
)

// names are host names that belong to programs by a TXT record _aleph-id.<host>.
type names struct {
	resolver Resolver
	now      func() time.Time
	room     chan struct{}

	mu    sync.Mutex
	known map[string]namedProgram
}

type namedProgram struct {
	hash  message.Hash // empty when the name is nobody's
	until time.Time
}

func newNames(resolver Resolver, now func() time.Time) *names {
	return &names{resolver: resolver, now: now, room: make(chan struct{}, maxLookups), known: map[string]namedProgram{}}
}

// lookup returns the program of a host name; empty when there is none.
func (n *names) lookup(ctx context.Context, host string) message.Hash {
	n.mu.Lock()
	known, ok := n.known[host]
	n.mu.Unlock()
	if ok && n.now().Before(known.until) {
		return known.hash
	}
	select {
	case n.room <- struct{}{}:
		defer func() { <-n.room }()
	case <-ctx.Done():
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	var hash message.Hash
	values, err := n.resolver.LookupTXT(ctx, "_aleph-id."+host)
	var missing *net.DNSError
	if err != nil && !(errors.As(err, &missing) && missing.IsNotFound) {
		return "" // not known, which is not remembered
	}
	if len(values) > 0 {
		hash, _ = message.ParseHash(values[0])
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for name := range n.known {
		if len(n.known) < maxNamed {
			break
		}
		delete(n.known, name)
	}
	n.known[host] = namedProgram{hash, n.now().Add(namedAge)}
	return hash
}
