// Package ccn holds a core channel node, of whatever make and wherever it is, to spec/ccn-api.md from the outside: it
// publishes messages of fresh keys and looks at the answers. Its own tests run it against this project's node, also when
// that is several processes behind a proxy, and against the node at ALEPH_CONFORMANCE_URL.
//
// There is a check for each row of the specification's acceptance list (§20), for the quirks of §18 and the regressions of
// §19 that clients can see, and for each route of §2. Where docs/decisions departs from the reference, it is what holds.
package ccn

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/params"
	"github.com/aleph-im/aleph-go/signature"
)

// Target is the node that is held to the specification. URL and Network are required. A check that needs one of the others
// is skipped where it is missing.
type Target struct {
	URL     string // base URL, without a slash at its end
	Network *params.Network

	// Authority is the account that the network believes on balances, credits and measurements of nodes.
	Authority signature.Account

	// Funded is an account that has a million credits and does not mind if some are spent. With the authority's key, which
	// can give credits away, it is not needed.
	Funded signature.Account

	// Confirm makes the node believe that a transaction anchored a message.
	Confirm func(ctx context.Context, hash string, height int64, at time.Time) error

	// Token makes a token of that moment for the routes that recalculate costs.
	Token func(at time.Time) string
}

// Tally counts checks by what became of them.
type Tally struct{ Passed, Failed, Skipped int }

// atOnce is how many checks run at the same time. Most of them wait for the node.
const atOnce = 8

// Run makes every check and prints how many passed.
func Run(t *testing.T, target Target) Tally {
	var tally Tally
	var mu sync.Mutex
	called := &calls{}
	run := func(c check) {
		t.Run(c.name, func(t *testing.T) {
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				switch {
				case t.Failed():
					tally.Failed++
				case t.Skipped():
					tally.Skipped++
				default:
					tally.Passed++
				}
			}()
			c.run(newClient(t, target, called))
		})
	}
	var group sync.WaitGroup
	room := make(chan struct{}, atOnce)
	for _, c := range checks() {
		room <- struct{}{}
		group.Go(func() {
			defer func() { <-room }()
			run(c)
		})
	}
	group.Wait()
	for _, c := range lastChecks {
		run(c)
	}
	fmt.Printf("conformance of %s: %d of %d checks passed, %d skipped\n", t.Name(), tally.Passed, tally.Passed+tally.Failed+tally.Skipped, tally.Skipped)
	return tally
}

// check is one statement of the specification.
type check struct {
	name string // with the section, or the row of §20
	run  func(*client)
}

// checks lists what does not disturb each other. Those that take longest come first.
func checks() (list []check) {
	for _, group := range [][]check{
		socketChecks, fundChecks, messageChecks, stateChecks, orderChecks, publishChecks, postChecks, aggregateChecks, storageChecks, ipfsChecks,
		addressChecks, balanceChecks, creditChecks, priceChecks, costChecks, metricChecks, aboutChecks, transportChecks, flowChecks,
	} {
		list = append(list, group...)
	}
	return list
}

// lastChecks run alone, after all others.
var lastChecks = []check{
	{"§20.19 a socket of messages beyond the capacity is closed with 1013", func(c *client) {
		c.fill("messages", socketPath+"?history=0&addresses="+c.address())
	}},
	{"§14.2 a socket of metrics beyond the capacity is closed with 1013", func(c *client) { c.fill("status", "/api/ws0/status") }},
	{"§2 every route was called", everyRouteCalled},
}
