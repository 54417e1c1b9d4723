package front

import (
	"maps"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// How many names of others the authority is asked for: whoever has a domain can lead any number of names below it here, and authorities
// bound what one account orders; Let's Encrypt, 300 in three hours. The node's own name does not count.
const (
	namesAtOnce = 20
	nameEvery   = 2 * time.Minute // one more
	orderTakes  = time.Minute     // for so long a name is asked for once, however many clients want it
)

// pace is what names of others may be asked for. The zero pace is ready.
type pace struct {
	mu      sync.Mutex
	names   *rate.Limiter
	asked   map[string]time.Time // of late
	refuses bool                 // as of the last name
}

// take reports whether a name may be asked for now, and whether it is the first that may not.
func (p *pace) take(name string) (ok, first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.names == nil {
		p.names, p.asked = rate.NewLimiter(rate.Every(nameEvery), namesAtOnce), map[string]time.Time{}
	}
	maps.DeleteFunc(p.asked, func(_ string, at time.Time) bool { return now.Sub(at) > orderTakes })
	if _, ok := p.asked[name]; ok {
		return true, false
	}
	if !p.names.AllowN(now, 1) {
		first, p.refuses = !p.refuses, true
		return false, first
	}
	p.asked[name], p.refuses = now, false
	return true, false
}
