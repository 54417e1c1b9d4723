package crn

import (
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// machine is the path of an operation on a workload.
func machine(hash message.Hash, operation string) string {
	return "/control/machine/" + string(hash) + "/" + operation
}

// order makes an operation as a wallet.
func (r *rig) order(w wallet, hash message.Hash, operation string) reply {
	r.Helper()
	path, query, _ := strings.Cut(machine(hash, operation), "?")
	target := path
	if query != "" {
		target += "?" + query
	}
	return r.ask(r.node, "POST", target, "", w.headers("POST", path)...)
}

const notAllowed = "Unauthorized sender"

// trust publishes whom the owner trusts, and with what.
func (r *rig) trust(authorizations ...any) {
	r.core.Aggregate(owner.Address(), map[string]any{"security": map[string]any{"authorizations": authorizations}})
}

// distrust makes the core node fail to answer whom the owner trusts.
func (r *rig) distrust(status int) {
	r.core.Answer("/api/v0/aggregates/"+owner.Address()+".json", status, map[string]any{})
}

func trusted(w wallet, types ...string) map[string]any {
	return map[string]any{"address": strings.ToLower(w.Address()), "types": types}
}

// running makes sure that the probe runs, and returns what tells one machine of it from the next.
func (r *rig) running() string {
	r.Helper()
	got := r.get("/vm/" + string(r.probe) + "/count")
	r.want("the probe", got, 200)
	return strings.Fields(got.body + " ?")[0]
}

var ownerRows = []row{
	{number: 11, about: "who orders an operation proves who it is", checks: []check{{"what is wrong is said", func(r *rig) {
		path := machine(r.probe, "logs")
		e := newEphemeral()
		key := func(changes map[string]any) string {
			d := e.delegation(owner.Address(), "ETH", changes)
			return signedHex{hex.EncodeToString(d), owner.sign(d)}.String()
		}
		op := func(changes map[string]any) string { return e.operation("GET", path, changes).String() }
		unsigned := func(text string) string { return strings.Replace(text, `"signature":"`, `"signature":"00`, 1) }
		forged := e.delegation(owner.Address(), "ETH", nil)
		for name, test := range map[string]struct {
			key, operation string
			status         int
			reason         string
		}{
			"no key":                {"", op(nil), 400, "Missing X-SignedPubKey header"},
			"key is no JSON":        {"{", op(nil), 400, "Invalid X-SignedPubKey format"},
			"key is another JSON":   {`{"payload":1}`, op(nil), 400, "Invalid X-SignedPubKey data"},
			"expired":               {key(map[string]any{"expires": "2020-01-01T00:00:00Z"}), op(nil), 401, "Token expired"},
			"expires at no time":    {key(map[string]any{"expires": 7}), op(nil), 400, "Invalid X-SignedPubKey data"},
			"another chain":         {key(map[string]any{"chain": "TEZOS"}), op(nil), 400, "Invalid X-SignedPubKey data"},
			"signed by another":     {signedHex{hex.EncodeToString(forged), stranger.sign(forged)}.String(), op(nil), 401, "Invalid signature"},
			"signature is none":     {signedHex{hex.EncodeToString(forged), strings.Repeat("00", 65)}.String(), op(nil), 401, "Invalid signature"},
			"no operation":          {key(nil), "", 400, "Missing X-SignedOperation header"},
			"operation is none":     {key(nil), "{}", 400, "Invalid X-SignedOperation fields"},
			"too old":               {key(nil), op(map[string]any{"time": time.Now().Add(-3 * time.Minute).UTC().Format(time.RFC3339)}), 400, "Invalid X-SignedOperation fields"},
			"too early":             {key(nil), op(map[string]any{"time": time.Now().Add(3 * time.Minute).UTC().Format(time.RFC3339)}), 400, "Invalid X-SignedOperation fields"},
			"for another node":      {key(nil), op(map[string]any{"domain": "other.test"}), 401, "Invalid domain: Signed: 'other.test' != Request: '" + domain + "'"},
			"for another path":      {key(nil), op(map[string]any{"path": "/x"}), 401, "Invalid path. Signed: '/x' !=  requested path: '" + path + "'"},
			"for another method":    {key(nil), op(map[string]any{"method": "POST"}), 401, "Invalid method. Signed: 'POST' !=  request:'GET"},
			"signed by no key":      {key(nil), unsigned(op(nil)), 401, "Signature could not verified"},
			"signed by another key": {key(nil), newEphemeral().operation("GET", path, nil).String(), 401, "Signature could not verified"},
		} {
			r.want(name, r.get(path, "X-SignedPubKey", test.key, "X-SignedOperation", test.operation), test.status, `{"error":"`+test.reason+`"}`)
		}
	}}, {"Ethereum and Solana", func(r *rig) {
		r.running()
		path := machine(r.probe, "logs")
		r.want("the owner's", r.get(path, owner.headers("GET", path)...), 200)
		r.trust(map[string]any{"address": newSolana().Address()})
		defer r.trust()
		r.want("a delegate's", r.get(path, newSolana().headers("GET", path)...), 200)
	}}, {"and then whether the machine is there", func(r *rig) {
		absent := message.HashBytes([]byte("absent"))
		r.want("no hash", r.order(owner, "nonsense", "stop"), 400)
		r.want("absent", r.order(owner, absent, "stop"), 404, `{"error":"No virtual machine with ref `+string(absent)+`"}`)
	}}}},
	{number: 12, about: "owners trust others with their machines", checks: []check{{"by their security aggregate", func(r *rig) {
		r.running()
		defer r.trust()
		// An operation that an owner is answered 400 for shows who is allowed, and ends nothing.
		may := func(name string, allowed bool) {
			r.Helper()
			if got := r.order(stranger, r.probe, "expire"); allowed {
				r.want(name, got, 400, `{"error":"Invalid timeout duration"}`)
			} else {
				r.want(name, got, 403, notAllowed)
			}
		}
		r.distrust(404)
		may("nobody is trusted", false)
		r.trust()
		may("an empty list", false)
		r.trust(trusted(stranger))
		may("with everything", true)
		r.trust(map[string]any{"address": stranger.Address()})
		may("without types", true)
		r.trust(trusted(stranger, "POST", "INSTANCE"))
		may("with instances", true)
		r.trust(trusted(stranger, "POST", "PROGRAM"))
		may("with other types", false)
		r.trust(trusted(otherScheduler))
		may("another is trusted", false)
		r.trust("nonsense")
		may("nonsense", false)
		r.distrust(500)
		may("the core node fails", false)
		r.want("the owner, while it fails", r.order(owner, r.probe, "expire"), 400)
	}}, {"and nobody else", func(r *rig) {
		r.running()
		for _, operation := range []string{"stop", "reboot", "erase", "reinstall", "expire"} {
			got := r.order(stranger, r.probe, operation)
			r.want(operation, got, 403, notAllowed)
			if !strings.HasPrefix(got.header.Get("Content-Type"), "text/plain") {
				r.Errorf("%s: %q", operation, got.header.Get("Content-Type"))
			}
		}
	}}}},
	{number: 13, about: "an owner stops a program", checks: []check{{"and the next call starts it anew", func(r *rig) {
		before := r.running()
		r.want("stop", r.order(owner, r.probe, "stop"), 200, "Stopped VM with ref "+string(r.probe))
		if r.listed(r.node, r.probe) != nil {
			r.Error("still listed")
		}
		r.want("stop again", r.order(owner, r.probe, "stop"), 404)
		if after := r.running(); after == before {
			r.Error("the machine is the same")
		}
	}}}},
	{number: 15, about: "reinstall, by owners and delegates", checks: []check{{"with the volumes or without", func(r *rig) {
		before := r.running()
		r.want("write", r.ask(r.node, "PUT", "/vm/"+string(r.probe)+"/file?path=/kept/x", "kept"), 200)
		kept := func() int { r.Helper(); return r.get("/vm/" + string(r.probe) + "/file?path=/kept/x").status }
		r.want("by a stranger", r.order(stranger, r.probe, "reinstall?erase_volumes=false"), 403, notAllowed)
		r.trust(trusted(stranger, "INSTANCE"))
		defer r.trust()
		r.want("by a delegate", r.order(stranger, r.probe, "reinstall?erase_volumes=false"), 200, "Reinstalled VM with ref "+string(r.probe))
		if r.running() == before {
			r.Error("the machine is the same")
		}
		if kept() != http.StatusOK {
			r.Error("the volume was lost")
		}
		r.want("by the owner", r.order(owner, r.probe, "reinstall"), 200)
		if kept() != http.StatusNotFound {
			r.Error("the volume was kept")
		}
	}}}},
}
