package registry

import (
	"cmp"
	"encoding/json"
	"math/big"
	"slices"
)

// Event is one of [Balances], [Operation] and [Scores].
type Event interface {
	position() position
}

// Balances tells what everybody holds on one platform. Only platforms whose tokens count for nodes and stakes are fed
// to the registry.
type Balances struct {
	Height   int64
	Platform string              // such as "ETH"; what an address holds is the sum over all platforms
	Amounts  map[string]*big.Int // wei by address; the amounts must not be changed later
	Partial  bool                // who is absent keeps what it has, instead of holding nothing
}

// Operation is a post that somebody signed to register or change nodes and stakes.
type Operation struct {
	Hash        string          // item hash of the message
	Actor       string          // the content's address, not the message's sender: delegation is settled before
	Height      int64           // lowest confirmation on the ordering chain, or its head while there is none
	Time        float64         // the envelope's time, seconds since 1970
	ContentTime float64         // the content's time, likewise; 0 if it has none
	Type        string          // the post's type: Params.OperationType or "amend"
	Ref         string          // the post's ref: hash of the node concerned; empty to create one
	Content     json.RawMessage // the post's own content: tags, action, details
}

// Scores is a post with measurements of nodes, by somebody whose measurements count.
type Scores struct {
	Hash        string
	Height      int64
	Time        float64
	ContentTime float64
	Content     json.RawMessage // the post's own content: scores.ccn and scores.crn
}

// position orders events as spec §2.1 does: balances come first in their block, messages by the time of signing.
type position struct {
	height int64
	time   float64
	hash   string
	kind   string
	tie    string
}

func (e Balances) position() position {
	return position{height: e.Height, kind: "balance-update", tie: e.Platform}
}

func (e Operation) position() position {
	return position{e.Height, cmp.Or(e.ContentTime, e.Time), e.Hash, "staking-update", ""}
}

func (e Scores) position() position {
	return position{e.Height, cmp.Or(e.ContentTime, e.Time), e.Hash, "score-update", ""}
}

// SortEvents brings events into the order in which they must be applied.
func SortEvents(events []Event) {
	slices.SortStableFunc(events, func(a, b Event) int {
		p, q := a.position(), b.position()
		return cmp.Or(
			cmp.Compare(p.height, q.height),
			cmp.Compare(p.time, q.time),
			cmp.Compare(p.hash, q.hash),
			cmp.Compare(p.kind, q.kind),
			cmp.Compare(p.tie, q.tie),
		)
	})
}
