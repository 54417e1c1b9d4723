package ccn

import (
	"strings"
	"sync"
)

// routes are those of the route table (§2), and what comes with it.
var routes = strings.Fields(`
GET/
GET/api/ws0/status
GET/api/ws0/messages
GET/api/v0/messages.json
GET/api/v0/messages/page/{page}.json
POST/api/v0/messages
GET/api/v0/messages/hashes
GET/api/v0/messages/{item_hash}
GET/api/v0/messages/{item_hash}/content
GET/api/v0/messages/{item_hash}/status
GET/api/v0/messages/{item_hash}/consumed_credits
POST/api/v0/ipfs/pubsub/pub
POST/api/v0/p2p/pubsub/pub
GET/api/v0/posts.json
GET/api/v0/posts/page/{page}.json
GET/api/v1/posts.json
GET/api/v1/posts/page/{page}.json
GET/api/v0/aggregates/{address}.json
GET/api/v0/aggregates
GET/api/v0/aggregates.json
GET/api/v0/authorizations/granted/{address}.json
GET/api/v0/authorizations/received/{address}.json
GET/api/v0/channels/list.json
GET/api/v0/info/public.json
GET/version
GET/api/v0/version
GET/api/v0/programs/on/message
GET/api/v0/costs
GET/api/v0/price/{item_hash}
POST/api/v0/price/estimate
POST/api/v0/price/estimate/instance
POST/api/v0/price/recalculate
POST/api/v0/price/{item_hash}/recalculate
GET/api/v0/addresses/stats.json
GET/api/v1/addresses/stats.json
GET/api/v0/addresses/{address}/balance
GET/api/v0/balances
GET/api/v0/credit_balances
GET/api/v0/addresses/{address}/files
GET/api/v0/addresses/{address}/post_types
GET/api/v0/addresses/{address}/channels
GET/api/v0/addresses/{address}/credit_history
GET/api/v0/addresses/{address}/credit_history/summary
POST/api/v0/storage/add_file
POST/api/v0/storage/add_json
POST/api/v0/ipfs/add_file
POST/api/v0/ipfs/add_car
POST/api/v0/ipfs/add_json
GET/api/v0/storage/limits.json
GET/api/v0/storage/{file_hash}
GET/api/v0/storage/raw/{file_hash}
HEAD/api/v0/storage/raw/{file_hash}
GET/api/v0/storage/by-message-hash/{message_hash}
GET/api/v0/storage/by-ref/{ref}
GET/api/v0/storage/by-ref/{address}/{ref}
GET/api/v0/storage/metadata/{file_hash}
GET/api/v0/storage/count/{hash}
GET/metrics
GET/metrics.json
GET/api/v0/core/{node_id}/metrics
GET/api/v0/compute/{node_id}/metrics
`)

// calls remembers which routes were called.
type calls struct {
	mu   sync.Mutex
	seen map[string]bool // guarded by mu; by route
}

func (s *calls) add(method, path string) {
	path, _, _ = strings.Cut(path, "?")
	route := routeOf(method, path)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = map[string]bool{}
	}
	s.seen[route] = true
}

// routeOf finds the route that a request is for: a literal is preferred to a parameter. It is "" when there is none.
func routeOf(method, path string) string {
	best, literals := "", -1
	for _, route := range routes {
		known, pattern, _ := strings.Cut(route, "/")
		if known != method {
			continue
		}
		n, ok := fits(strings.Split(pattern, "/"), strings.Split(path[1:], "/"))
		if ok && n > literals {
			best, literals = route, n
		}
	}
	return best
}

// fits counts the literal segments of a pattern that a path fits.
func fits(pattern, path []string) (literals int, ok bool) {
	if len(pattern) != len(path) {
		return 0, false
	}
	for i, want := range pattern {
		_, suffix, parameter := strings.Cut(want, "}")
		switch {
		case !parameter && want != path[i], !strings.HasSuffix(path[i], suffix), parameter && path[i] == suffix:
			return 0, false
		case !parameter:
			literals++
		}
	}
	return literals, true
}

// everyRouteCalled looks whether the other checks left a route out.
func everyRouteCalled(c *client) {
	c.calls.mu.Lock()
	defer c.calls.mu.Unlock()
	for _, route := range routes {
		if !c.calls.seen[route] {
			method, path, _ := strings.Cut(route, "/")
			c.Errorf("%s /%s was never called", method, path)
		}
	}
}
