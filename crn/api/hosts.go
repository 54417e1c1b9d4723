package api

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/message"
)

// own are the paths that are the node's under any name but a program's.
var own = []string{"/about/", "/v2/", "/control/", "/status/", "/debug/", "/metrics", "/vm/"}

// place is what a host name leads to; nothing when it has no hash.
type place struct {
	hash     message.Hash
	instance bool   // or else a program
	owner    string // of a name that leads to an instance
}

// placeOfHost recognises requests whose host name is that of a program (spec/crn.md §2.2), its label below whatever domain, or a
// name that says in the DNS what it leads to. With ok false the request is the node's own; without a hash, nobody's.
func (s *Server) placeOfHost(r *http.Request) (to place, ok bool) {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	label, _, found := strings.Cut(host, ".")
	if !found || strings.EqualFold(host, s.cfg.DomainName) {
		return place{}, false
	}
	if h, ok := execution.ParseHostLabel(label); ok {
		return place{hash: h}, true
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return place{}, false
	}
	if slices.ContainsFunc(own, func(prefix string) bool { return strings.HasPrefix(r.URL.Path, prefix) }) {
		return place{}, false
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
	maxLookups = 16               // at the same time
	lookupTime = 5 * time.Second  // with the wait for others to end
	failedAge  = 10 * time.Second // of an answer that could not be had again
	maxOwner   = 128              // bytes of an address
)

// names are host names that lead to programs and instances: by a TXT record _aleph-id.<host> with the hash of a program, or by a
// TXT record _control.<host> with the address of an owner whose domains name the host (decision 0030).
type names struct {
	resolver Resolver
	network  *corenode.Client
	now      func() time.Time
	room     chan struct{}

	mu    sync.Mutex
	known map[string]knownPlace
}

type knownPlace struct {
	place
	until time.Time
}

func newNames(resolver Resolver, network *corenode.Client, now func() time.Time) *names {
	return &names{resolver: resolver, network: network, now: now, room: make(chan struct{}, maxLookups), known: map[string]knownPlace{}}
}

// forget makes the next request for each name ask again what that leads to.
func (n *names) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.known)
}

// lookup returns what a host name leads to: where it led last, when that cannot be asked.
func (n *names) lookup(ctx context.Context, host string) place {
	n.mu.Lock()
	known, ok := n.known[host]
	n.mu.Unlock()
	if ok && n.now().Before(known.until) {
		return known.place
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	if !n.enter(ctx, !ok) {
		return known.place
	}
	defer func() { <-n.room }()
	to, err := n.find(ctx, host)
	age := namedAge
	if err != nil {
		if !ok {
			return place{} // not known, which is not remembered
		}
		to, age = known.place, failedAge
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.known) >= maxNamed {
		n.makeRoom()
	}
	n.known[host] = knownPlace{to, n.now().Add(age)}
	return to
}

// makeRoom forgets names that lead nowhere, of which everybody can make up any number, and when there are none any other. n.mu is
// held.
func (n *names) makeRoom() {
	maps.DeleteFunc(n.known, func(_ string, k knownPlace) bool { return k.hash == "" })
	for name := range n.known {
		if len(n.known) < maxNamed {
			break
		}
		delete(n.known, name)
	}
}

// enter takes the room of a lookup, if there is any; with wait it waits for some.
func (n *names) enter(ctx context.Context, wait bool) bool {
	select {
	case n.room <- struct{}{}:
		return true
	default:
	}
	if !wait {
		return false
	}
	select {
	case n.room <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// find asks the DNS, and then the network, what a host name leads to. The error says that they did not answer.
func (n *names) find(ctx context.Context, host string) (to place, err error) {
	id, err := n.text(ctx, "_aleph-id."+host)
	if err != nil || id != "" {
		to.hash, _ = message.ParseHash(id)
		return to, err
	}
	owner, err := n.text(ctx, "_control."+host)
	if err != nil || owner == "" || len(owner) > maxOwner {
		return to, err
	}
	var raw json.RawMessage
	if err := n.network.Aggregate(ctx, owner, "domains", 0, &raw); err != nil {
		if errors.Is(err, corenode.ErrNotFound) {
			err = nil
		}
		return to, err
	}
	// What the owner wrote for other names is none of this one's business, whatever it is.
	var domains map[string]json.RawMessage
	var domain client.Domain
	if json.Unmarshal(raw, &domains) != nil || json.Unmarshal(domains[host], &domain) != nil {
		return to, nil
	}
	hash, err := message.ParseHash(string(domain.Message))
	switch {
	case err != nil:
	case domain.Target == client.DomainProgram:
		to.hash = hash
	case domain.Target == client.DomainInstance:
		to = place{hash: hash, instance: true, owner: owner}
	}
	return to, nil
}

// text returns the first TXT record of a name; "" when it has none.
func (n *names) text(ctx context.Context, name string) (string, error) {
	values, err := n.resolver.LookupTXT(ctx, name)
	var missing *net.DNSError
	if err != nil && !(errors.As(err, &missing) && missing.IsNotFound) {
		return "", err
	}
	if len(values) == 0 {
		return "", nil
	}
	return values[0], nil
}
