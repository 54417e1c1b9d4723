package crn

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/aleph-im/aleph-go/crn"
	"github.com/aleph-im/aleph-go/message"
)

var ownHash, otherHash = message.HashBytes([]byte("this node")), message.HashBytes([]byte("another node"))

// registered is an entry of the registry of nodes.
func registered(hash message.Hash, owner, address string) map[string]any {
	return map[string]any{"hash": hash, "owner": owner, "address": address, "name": "x", "status": "linked"}
}

// register sets the registry of nodes.
func (r *rig) register(nodes ...any) {
	r.core.Aggregate(registryAddress, map[string]any{"corechannel": map[string]any{"resource_nodes": nodes}})
}

// instance publishes an instance. It is paid with credits, for the node with the given hash unless that is empty.
func (r *rig) instance(node message.Hash, change func(map[string]any)) message.Hash {
	content := map[string]any{
		"allow_amend": false, "environment": map[string]any{"hypervisor": "qemu"}, "resources": map[string]any{"vcpus": 1, "memory": 128, "seconds": 30},
		"volumes": []any{}, "payment": map[string]any{"chain": "ETH", "type": "credit"},
		"rootfs": map[string]any{"parent": map[string]any{"ref": r.probe, "use_latest": false}, "persistence": "host", "size_mib": 1000},
	}
	if node != "" {
		content["requirements"] = map[string]any{"node": map[string]any{"node_hash": node}}
	}
	if change != nil {
		change(content)
	}
	return r.core.Publish(message.TypeInstance, content)
}

// notify asks a node for an instance.
func (r *rig) notify(n *node, hash message.Hash) reply {
	r.Helper()
	return r.ask(n, "POST", "/control/allocation/notify", fmt.Sprintf(`{"instance":%q}`, hash))
}

// hashOf is the hash that a node gives as its own; nil when it knows none.
func (r *rig) hashOf(n *node) any {
	r.Helper()
	return r.object(r.ask(n, "GET", "/status/config", ""))["node_hash"]
}

var identityRows = []row{
	{number: 23, about: "a notice that is no JSON", checks: []check{{"and other bodies that say nothing", func(r *rig) {
		const path = "/control/allocation/notify"
		r.want("no JSON", r.ask(r.node, "POST", path, "{"), 400, `{"error":"Body is not valid JSON"}`)
		for _, body := range []string{"[]", "null", "{}", `{"instance":1}`, `{"instance":"x"}`} {
			if got := r.ask(r.node, "POST", path, body); got.status != 400 || !strings.HasPrefix(got.body, `"[{`) {
				r.Errorf("%s: %+v", body, got)
			}
		}
		r.want("not there", r.notify(r.node, message.HashBytes([]byte("absent"))), 404)
		r.want("no instance", r.notify(r.node, r.probe), 400, `{"error":"400: Message is not an instance"}`)
	}}}},
	{number: 24, about: "instances for other nodes are refused", checks: []check{{"by their hash", func(r *rig) {
		r.until("the node knows its hash", func() bool { return r.hashOf(r.node) != nil })
		r.want("another's", r.notify(r.node, r.instance(otherHash, nil)), 400, `{"error":"400: Instance is allocated to a different node"}`)
		n := r.start(func(c *crn.Config) { c.Owner = "" })
		defer n.end()
		r.want("own hash unknown", r.notify(n, r.instance(otherHash, nil)), 503, `{"error":"503: Node hash not yet discovered, cannot accept targeted allocations"}`)
	}}}},
	{number: 25, about: "the node says its hash", checks: []check{{"or null", func(r *rig) {
		r.until("the node knows its hash", func() bool { return r.hashOf(r.node) == string(ownHash) })
		n := r.start(func(c *crn.Config) { c.Owner = "" })
		defer n.end()
		if got := r.object(r.ask(n, "GET", "/status/config", "")); got["node_hash"] != nil {
			r.Errorf("got %v", got["node_hash"])
		} else if _, there := got["node_hash"]; !there {
			r.Error("node_hash is missing")
		}
	}}}},
	{number: 26, about: "where the node knows its hash from", checks: []check{{"operator, then file, then registry", func(r *rig) {
		r.until("the node knows its hash", func() bool { return r.hashOf(r.node) == string(ownHash) })
		file := filepath.Join(r.node.dir, "node-hash")
		r.until("it is kept", func() bool {
			raw, err := os.ReadFile(file)
			return err == nil && strings.TrimSpace(string(raw)) == string(ownHash)
		})
		cached := r.TempDir()
		if err := os.WriteFile(filepath.Join(cached, "node-hash"), []byte(otherHash+"\n"), 0o600); err != nil {
			r.Fatal(err)
		}
		for name, test := range map[string]struct {
			explicit message.Hash
			want     message.Hash
		}{"file": {"", otherHash}, "operator": {ownHash, ownHash}} {
			n := r.start(func(c *crn.Config) { c.DataDir, c.NodeHash = cached, string(test.explicit) })
			if got := r.hashOf(n); got != string(test.want) {
				r.Errorf("%s: %v", name, got)
			}
			n.end()
			r.until("the node has ended", n.ended)
		}
	}}, {"one entry of the registry, whatever else is in it", func(r *rig) {
		account := crnOwner()
		defer r.register(registered(ownHash, account, publicURL))
		r.register("nonsense", nil, map[string]any{"hash": 7, "address": publicURL}, registered(otherHash, stranger.Address(), publicURL),
			registered(otherHash, account, "https://other.test"), registered(ownHash, account, publicURL+"/"))
		n := r.start(nil)
		r.until("it finds itself", func() bool { return r.hashOf(n) == string(ownHash) })
		n.end()
		before := r.core.Requests("/api/v0/aggregates/" + registryAddress + ".json")
		r.register(registered(otherHash, account, publicURL), registered(ownHash, account, publicURL))
		n = r.start(nil)
		defer n.end()
		r.until("it looks", func() bool { return r.core.Requests("/api/v0/aggregates/"+registryAddress+".json") > before })
		if got := r.hashOf(n); got != nil {
			r.Errorf("of two it took %v", got)
		}
	}}}},
	{number: 27, about: "who streams of payment go to", checks: []check{{"the operator, or who it names", func(r *rig) {
		receiver := func(n *node) any {
			return member(r.object(r.ask(n, "GET", "/status/config", "")), "payment", "PAYMENT_RECEIVER_ADDRESS")
		}
		if got := receiver(r.node); got != crnOwner() {
			r.Errorf("by default %v", got)
		}
		n := r.start(func(c *crn.Config) { c.Receiver = stranger.Address() })
		defer n.end()
		if got := receiver(n); got != stranger.Address() {
			r.Errorf("named: %v", got)
		}
	}}}},
}
