package crn

import (
	"github.com/aleph-im/aleph-go/crn"
	"github.com/aleph-im/aleph-go/devnet/chain"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

// crnOwner is the address of the operator of the rig's nodes.
func crnOwner() string { return chain.Accounts()[1].Address.Hex() }

const communityAddress = "0x0000000000000000000000000000000000C0FFEE"

// cost is what each program of the checks costs, in tokens per second, and its two parts in wei.
const (
	cost          = "0.00001"
	toNode        = 8_000_000_000_000
	toCommunity   = 2_000_000_000_000
	tooLittle     = 1_000_000_000_000
	statusOK      = "processed"
	priceAnswers  = "/api/v0/price/"
	statusAnswers = "/api/v0/messages/"
)

// paid publishes a program that somebody pays with a stream.
func (r *rig) paid(by chain.Account, name string) message.Hash {
	hash := r.program("probe", "./crn/testdata/probe", func(content map[string]any) {
		content["address"] = by.Address.Hex()
		content["payment"] = map[string]any{"chain": "AVAX", "type": "superfluid", "receiver": crnOwner()}
		content["metadata"] = map[string]any{"name": name}
	})
	r.core.Answer(priceAnswers+string(hash), 200, map[string]any{"cost": cost, "payment_type": "superfluid"})
	r.core.Answer(statusAnswers+string(hash), 200, map[string]any{"status": statusOK})
	return hash
}

// sweeps waits until a node has looked at a program a number of times.
func (r *rig) sweeps(hash message.Hash, n int) {
	r.Helper()
	path := statusAnswers + string(hash)
	before := r.core.Requests(path)
	// One more than asked for: a sweep that has asked may not have acted yet.
	r.until("sweeps", func() bool { return r.core.Requests(path) > before+n })
}

var paymentRows = []row{
	{number: 33, about: "streams must carry what runs", checks: []check{{"to the node and to the community", func(r *rig) {
		payer := chain.Accounts()[3]
		hash := r.paid(payer, "streams")
		r.chain.stream(r, payer, crnOwner(), toNode)
		r.chain.stream(r, payer, communityAddress, toCommunity)
		allocate := func() { r.Helper(); r.want("allocate", r.plan(r.node, string(hash)), 200) }
		runs := func(what string) {
			r.Helper()
			r.sweeps(hash, 2)
			if r.listed(r.node, hash) == nil {
				r.Fatalf("%s, and it was ended", what)
			}
		}
		ends := func(what string) {
			r.Helper()
			r.until(what+": it ends", func() bool { return r.listed(r.node, hash) == nil })
		}
		allocate()
		runs("enough to both")
		// What is not known ends nobody.
		r.core.Answer(priceAnswers+string(hash), 500, map[string]any{})
		r.chain.stream(r, payer, crnOwner(), tooLittle)
		runs("the price is not known")
		r.core.Answer(priceAnswers+string(hash), 200, map[string]any{"cost": cost, "payment_type": "superfluid"})
		ends("too little to the node")

		r.chain.stream(r, payer, crnOwner(), toNode)
		allocate()
		runs("enough again")
		r.chain.stream(r, payer, communityAddress, tooLittle)
		ends("too little to the community")
		r.plan(r.node)
	}}, {"before the community's date, to the node alone", func(r *rig) {
		payer := chain.Accounts()[4]
		hash := r.paid(payer, "early")
		r.settings("0xEarly", map[string]any{"community_wallet_address": communityAddress, "community_wallet_timestamp": 4_000_000_000})
		r.chain.stream(r, payer, crnOwner(), toNode+toCommunity)
		n := r.start(func(c *crn.Config) {
			network := *c.Network
			network.Pricing = params.Publisher{Addresses: []string{"0xEarly"}}
			c.Network = &network
		})
		defer n.end()
		r.want("allocate", r.plan(n, string(hash)), 200)
		r.sweeps(hash, 2)
		if r.listed(n, hash) == nil {
			r.Fatal("all went to the node, and it was ended")
		}
		r.chain.stream(r, payer, crnOwner(), toNode)
		r.until("it ends with a part of it", func() bool { return r.listed(n, hash) == nil })
	}}}},
	{number: 34, about: "what is gone for good is ended", checks: []check{{"at the third look", func(r *rig) {
		payer := chain.Accounts()[5]
		hash := r.paid(payer, "gone")
		r.chain.stream(r, payer, crnOwner(), toNode)
		r.chain.stream(r, payer, communityAddress, toCommunity)
		r.want("allocate", r.plan(r.node, string(hash)), 200)
		status := func(s string) { r.core.Answer(statusAnswers+string(hash), 200, map[string]any{"status": s}) }
		status("removing")
		r.sweeps(hash, 4)
		if r.listed(r.node, hash) == nil {
			r.Fatal("what is being removed was ended")
		}
		before := r.core.Requests(statusAnswers + string(hash))
		status("removed")
		r.until("it ends", func() bool { return r.listed(r.node, hash) == nil })
		if looks := r.core.Requests(statusAnswers+string(hash)) - before; looks < 3 {
			r.Errorf("ended after %d looks", looks)
		}
		r.until("it is forgotten", func() bool { return r.object(r.get("/v2/about/executions/list"))[string(hash)] == nil })
		r.plan(r.node)
	}}}},
	{number: 35, about: "a sweep asks for all states at once", elsewhere: place{"crn/meter", "TestFundsMustCoverWhatRuns"}},
}
