package crn

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aleph-im/aleph-go/crn"
	"github.com/aleph-im/aleph-go/params"
)

const (
	allocations = "/control/allocations"
	emptyPlan   = `{"persistent_vms":[]}`
	emptyResult = `{"errors":{},"failing":[],"stopped":[],"success":true,"successful":[]}`
	notTheirs   = `{"error":"Authentication token received is invalid"}`
)

// push sends a plan with an Authorization header.
func (r *rig) push(n *node, body, authorization string) reply {
	r.Helper()
	return r.ask(n, "POST", allocations, body, "Authorization", authorization)
}

// plan is a plan that keeps some programs, signed by the scheduler.
func (r *rig) plan(n *node, hashes ...string) reply {
	r.Helper()
	body := `{"persistent_vms":[]}`
	if len(hashes) > 0 {
		body = `{"persistent_vms":["` + strings.Join(hashes, `","`) + `"]}`
	}
	return r.push(n, body, scheduler.allocation(body, nil))
}

var allocationRows = []row{
	{number: 1, about: "a token allocates", checks: []check{{"an empty plan", func(r *rig) {
		r.want("token", r.ask(r.node, "POST", allocations, emptyPlan, "X-Auth-Signature", token), 200, emptyResult)
	}}}},
	{number: 2, about: "a wrong token does not", checks: []check{{"wrong, none, empty", func(r *rig) {
		r.want("wrong", r.ask(r.node, "POST", allocations, emptyPlan, "X-Auth-Signature", "tset"), 401, notTheirs)
		r.want("none", r.ask(r.node, "POST", allocations, emptyPlan), 401, notTheirs)
		r.want("empty", r.ask(r.node, "POST", allocations, emptyPlan, "X-Auth-Signature", ""), 401, notTheirs)
	}}}},
	{number: 3, about: "what is no hash is said", checks: []check{{"in the plan", func(r *rig) {
		const body = `{"persistent_vms":["not-an-ItemHash"]}`
		r.want("no hash", r.push(r.node, body, scheduler.allocation(body, nil)), 400, `[{"loc":["persistent_vms",0],"msg":"Value error, Could not determine hash type: 'not-an-ItemHash'","type":"value_error","ctx":{"error":"Could not determine hash type: 'not-an-ItemHash'"},"input":"not-an-ItemHash"}]`)
		r.want("no JSON", r.push(r.node, "{", scheduler.allocation("{", nil)), 400)
	}}}},
	{number: 4, about: "a signature allocates once", checks: []check{{"and no second time", func(r *rig) {
		header := scheduler.allocation(emptyPlan, nil)
		r.want("first", r.push(r.node, emptyPlan, header), 200, emptyResult)
		r.want("second", r.push(r.node, emptyPlan, header), 401, notTheirs)
	}}}},
	{number: 5, about: "of two at the same time one counts", checks: []check{{"of eight as well", func(r *rig) {
		header := scheduler.allocation(emptyPlan, nil)
		var accepted atomic.Int32
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				if got := r.push(r.node, emptyPlan, header); got.status == 200 {
					accepted.Add(1)
				}
			})
		}
		group.Wait()
		if n := accepted.Load(); n != 1 {
			r.Errorf("%d were accepted", n)
		}
	}}}},
	{number: 6, about: "the time alone repeats nothing", checks: []check{{"other bodies and later times", func(r *rig) {
		at := time.Now().Unix()
		for i, body := range []string{emptyPlan, `{"instances":[]}`, `{}`} {
			r.want(body, r.push(r.node, body, scheduler.allocation(body, map[string]any{"iat": at, "nonce": 0})), 200, emptyResult)
			r.want("later", r.push(r.node, body, scheduler.allocation(body, map[string]any{"iat": at + int64(i) + 1, "nonce": 0})), 200, emptyResult)
		}
	}}}},
	{number: 7, about: "five minutes are the limit of its age", checks: []check{{"on both sides", func(r *rig) {
		// The very second is held in crn/api, on a clock that stands still.
		for age, want := range map[int64]int{-298: 200, 298: 200, -303: 401, 303: 401} {
			r.want(fmt.Sprint(age), r.push(r.node, emptyPlan, scheduler.allocation(emptyPlan, map[string]any{"iat": time.Now().Unix() - age})), want)
		}
	}}, {"other kinds of numbers", func(r *rig) {
		for _, at := range []any{true, float64(time.Now().Unix()) + 0.5, fmt.Sprint(time.Now().Unix()), nil} {
			r.want(fmt.Sprint(at), r.push(r.node, emptyPlan, scheduler.allocation(emptyPlan, map[string]any{"iat": at})), 401, notTheirs)
		}
	}}}},
	{number: 8, about: "a signature is for one request", checks: []check{{"and no other", func(r *rig) {
		good := func() string { return scheduler.allocation(emptyPlan, nil) }
		for name, got := range map[string]reply{
			"method":          r.push(r.node, emptyPlan, scheduler.allocation(emptyPlan, map[string]any{"method": "GET"})),
			"path":            r.push(r.node, emptyPlan, scheduler.allocation(emptyPlan, map[string]any{"path": allocations + "/"})),
			"body":            r.push(r.node, emptyPlan+" ", good()),
			"payload":         r.push(r.node, emptyPlan, good()+"20"),
			"signer":          r.push(r.node, emptyPlan, stranger.allocation(emptyPlan, nil)),
			"query":           r.ask(r.node, "POST", allocations+"?x=1", emptyPlan, "Authorization", good()),
			"extra parameter": r.push(r.node, emptyPlan, good()+",x=1"),
			"twice":           r.push(r.node, emptyPlan, good()+",sig=00"),
			"one missing":     r.push(r.node, emptyPlan, strings.Split(good(), ",")[0]),
			"too long":        r.push(r.node, strings.Repeat(" ", 1<<20+1), scheduler.allocation(strings.Repeat(" ", 1<<20+1), nil)),
		} {
			r.want(name, got, 401, notTheirs)
		}
	}}, {"without Content-Length", func(r *rig) {
		conn, err := net.Dial("tcp", r.node.Addr().String())
		if err != nil {
			r.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n%x\r\n%s\r\n0\r\n\r\n",
			allocations, domain, scheduler.allocation(emptyPlan, nil), len(emptyPlan), emptyPlan)
		if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, " 401 ") {
			r.Errorf("got %q, %v", line, err)
		}
	}}}},
	{number: 9, about: "a signature decides alone", checks: []check{{"no token helps a bad one", func(r *rig) {
		for _, header := range []string{"Bearer x", "Aleph-EIP191-V1 sig=00,payload=00", stranger.allocation(emptyPlan, nil)} {
			r.want(header, r.ask(r.node, "POST", allocations, emptyPlan, "Authorization", header, "X-Auth-Signature", token), 401, notTheirs)
		}
		other := strings.Replace(scheduler.allocation(emptyPlan, nil), "Aleph-EIP191-V1", "aleph-eip191-v1", 1)
		r.want("scheme in another case", r.push(r.node, emptyPlan, other), 200, emptyResult)
	}}}},
	{number: 10, about: "who may allocate", checks: []check{{"the operator's word first", func(r *rig) {
		r.settings(settingsAddress, map[string]any{"authorized_allocation_signers": []string{otherScheduler.Address()}})
		defer r.settings(settingsAddress, map[string]any{"community_wallet_address": communityAddress, "community_wallet_timestamp": 1})
		r.want("named by the operator", r.push(r.node, emptyPlan, scheduler.allocation(emptyPlan, nil)), 200)
		r.want("named by the network", r.push(r.node, emptyPlan, otherScheduler.allocation(emptyPlan, nil)), 401)
	}}, {"then the network's settings, then its parameters", func(r *rig) {
		n := r.start(func(c *crn.Config) {
			network := *c.Network
			network.Pricing = params.Publisher{Addresses: []string{"0xOther"}}
			network.Schedule.Signers = []string{stranger.Address()}
			c.Network, c.AllocationSigners = &network, nil
		})
		defer n.end()
		who := func(step string, scheduled, byDefault int) {
			r.Helper()
			r.want(step+": settings", r.push(n, emptyPlan, otherScheduler.allocation(emptyPlan, nil)), scheduled)
			r.want(step+": parameters", r.push(n, emptyPlan, stranger.allocation(emptyPlan, nil)), byDefault)
		}
		who("no settings", 401, 200)
		r.settings("0xOther", map[string]any{"authorized_allocation_signers": []string{}})
		who("an empty list", 401, 200)
		r.settings("0xOther", map[string]any{"authorized_allocation_signers": []string{otherScheduler.Address()}})
		who("a list", 200, 401)
		r.core.Answer("/api/v0/aggregates/0xOther.json", 500, map[string]any{})
		who("the core node fails", 200, 401)
	}}, {"spelt with their checksum", func(r *rig) {
		_, err := crn.New(crn.Config{
			Listen: "127.0.0.1:0", DataDir: r.TempDir(), CoreNode: r.core.URL, GuestDir: guestDir(), GuestProgram: guestProgram(), Accelerator: "tcg",
			AllocationSigners: []string{strings.ToLower(scheduler.Address())},
		})
		if err == nil || !strings.Contains(err.Error(), "checksum") {
			r.Errorf("got %v", err)
		}
	}}}},
}
