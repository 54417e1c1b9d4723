package ledger

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/apd/v3"
	"pgregory.net/rapid"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// plainly is an account that goes through all its claims at each event, as the rule is written.
type plainly struct {
	grace  message.Time
	claims []*claim
	used   int64
	has    int64
}

func need(c *claim) int64 {
	n, err := c.Need.Int64()
	if err != nil {
		panic(err)
	}
	return n
}

func (p *plainly) event(e event) {
	switch {
	case e.begin != nil:
		c := &claim{Claim: e.begin, Verdict: Verdict{Status: store.ClaimRefused}}
		p.claims = append(p.claims, c)
		p.try(c)
		p.serve(message.TimeFromSeconds(e.time))
		return
	case e.end != "":
		for _, c := range p.claims {
			if c.Hash == e.end && c.Status != store.ClaimRemoved {
				p.leave(c, Verdict{Status: store.ClaimForgotten})
			}
		}
	default:
		p.has, _ = e.funds.Int64()
	}
	p.serve(message.TimeFromSeconds(e.time))
	p.tryAll()
}

func (p *plainly) try(c *claim) {
	if required := p.used + need(c); c.MustPay && p.has < required {
		c.Required, c.Has = apd.New(required, 0), apd.New(p.has, 0)
		return
	}
	c.Verdict = Verdict{Status: store.ClaimProcessed}
	p.used += need(c)
}

func (p *plainly) tryAll() {
	for _, c := range p.claims {
		if c.Status == store.ClaimRefused {
			p.try(c)
		}
	}
}

func (p *plainly) leave(c *claim, v Verdict) {
	if c.inForce() {
		p.used -= need(c)
	}
	c.Verdict = v
}

func (p *plainly) serve(t message.Time) {
	rest := p.has
	for _, c := range p.claims {
		if !c.inForce() {
			continue
		}
		served := rest >= need(c)
		rest = max(0, rest-need(c))
		switch {
		case served:
			c.Verdict = Verdict{Status: store.ClaimProcessed}
		case c.Status == store.ClaimProcessed && c.Removable:
			c.Verdict = Verdict{Status: store.ClaimRemoving, Since: t}
		}
	}
}

func (p *plainly) until(t message.Time) {
	for {
		var first *claim
		for _, c := range p.claims {
			if c.Status == store.ClaimRemoving && (first == nil || c.Since < first.Since) {
				first = c
			}
		}
		if first == nil || first.Since+p.grace >= t {
			return
		}
		end := first.Since + p.grace
		p.leave(first, Verdict{Status: store.ClaimRemoved, Since: end})
		p.serve(end)
		p.tryAll()
	}
}

func TestAccountsAreReplayedAsTheRuleIsWritten(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		at := rapid.IntRange(0, 20)
		var claims []Claim
		for i := range rapid.IntRange(0, 12).Draw(rt, "claims") {
			c := Claim{
				Hash: message.Hash(fmt.Sprint("c", i)), Time: float64(at.Draw(rt, "time")), Need: apd.New(rapid.Int64Range(0, 5).Draw(rt, "need"), 0),
				MustPay: rapid.Bool().Draw(rt, "must pay"), Removable: rapid.Bool().Draw(rt, "removable"), Ended: rapid.Bool().Draw(rt, "ended"),
			}
			if c.Ended {
				c.EndTime, c.EndHash = float64(at.Draw(rt, "end")), message.Hash(fmt.Sprint("e", i))
			}
			claims = append(claims, c)
		}
		var funds []Funds
		for i := range rapid.IntRange(0, 6).Draw(rt, "funds") {
			funds = append(funds, Funds{float64(at.Draw(rt, "time")), message.Hash(fmt.Sprint("f", i)), apd.New(rapid.Int64Range(0, 25).Draw(rt, "amount"), 0)})
		}
		grace := message.TimeFromSeconds(float64(rapid.IntRange(0, 6).Draw(rt, "grace")))
		now := message.TimeFromSeconds(float64(rapid.IntRange(0, 30).Draw(rt, "now")))

		got, err := Settle(claims, funds, grace, now)
		if err != nil {
			rt.Fatal(err)
		}
		want := &plainly{grace: grace}
		for _, e := range events(claims, funds) {
			want.until(message.TimeFromSeconds(e.time))
			want.event(e)
		}
		want.until(now)
		if used, _ := got.Used.Int64(); used != want.used {
			rt.Errorf("%d are used, want %d", used, want.used)
		}
		for _, c := range want.claims {
			if v := got.Verdicts[c.Hash]; said(v) != said(c.Verdict) {
				rt.Errorf("claim %s: %s, want %s", c.Hash, said(v), said(c.Verdict))
			}
		}
	})
}

func said(v Verdict) string {
	text := fmt.Sprint(v.Status, " ", v.Since)
	if v.Required != nil {
		text += fmt.Sprint(" ", v.Required, " of ", v.Has)
	}
	return text
}

// What an account with many files takes grows with their number, not with its square.
func BenchmarkSettle(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		claims := make([]Claim, n)
		for i := range claims {
			claims[i] = Claim{Hash: message.Hash(fmt.Sprint(i)), Time: float64(i), Need: apd.New(333333333, -9), Removable: true}
		}
		funds := []Funds{{0, "f", apd.New(int64(n)/6, 0)}}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if _, err := Settle(claims, funds, message.TimeFromSeconds(3600), message.TimeFromSeconds(float64(n))); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
