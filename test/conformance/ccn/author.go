package ccn

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature"
)

// unknown is a hash that nothing has.
const unknown = "0000000000000000000000000000000000000000000000000000000000000000"

// signed is a message that is ready to be sent.
type signed struct {
	hash     string
	envelope []byte
}

// build makes a message of the client's key, dated after those before.
func (c *client) build(t message.Type, content map[string]any) signed {
	c.Helper()
	*c.clock = c.clock.Add(time.Second)
	return c.buildAt(t, content, *c.clock, "CONFORMANCE")
}

func (c *client) buildAt(t message.Type, content map[string]any, at time.Time, channel string) signed {
	c.Helper()
	full := map[string]any{"address": c.address(), "time": float64(at.UnixMilli()) / 1000}
	maps.Copy(full, content)
	m, upload, err := message.Build(c.address(), c.account.Chain(), t, full, &channel, at)
	if err == nil && upload != nil {
		err = fmt.Errorf("%d bytes of content are too many", len(upload))
	}
	if err != nil {
		c.Fatal(err)
	}
	return c.sign(m)
}

// sign signs a message that was made in another way.
func (c *client) sign(m *message.Message) signed {
	c.Helper()
	if err := signature.Sign(c.Context(), c.account, m); err != nil {
		c.Fatal(err)
	}
	return signed{string(m.ItemHash), m.AppendJSON(nil)}
}

func (c *client) post(kind, ref string, content any) signed {
	c.Helper()
	full := map[string]any{"type": kind, "content": content}
	if ref != "" {
		full["ref"] = ref
	}
	return c.build(message.TypePost, full)
}

func (c *client) aggregate(key string, content any) signed {
	c.Helper()
	return c.build(message.TypeAggregate, map[string]any{"key": key, "content": content})
}

// storing makes a STORE message of a file.
func (c *client) storing(file string, extra map[string]any) signed {
	c.Helper()
	content := map[string]any{"item_type": message.Hash(file).Kind(), "item_hash": file}
	maps.Copy(content, extra)
	return c.build(message.TypeStore, content)
}

// instance is the content of a small virtual machine whose disk starts from a STORE message.
func instance(rootfs string, extra map[string]any) map[string]any {
	content := map[string]any{
		"allow_amend": false, "metadata": map[string]any{"name": "conformance"},
		"environment": map[string]any{"internet": true, "aleph_api": true, "reproducible": false, "shared_cache": false, "hypervisor": "qemu"},
		"resources":   map[string]any{"vcpus": 1, "memory": 2048, "seconds": 30}, "volumes": []any{},
		"rootfs": map[string]any{"parent": map[string]any{"ref": rootfs, "use_latest": false}, "persistence": "host", "size_mib": 20480},
	}
	maps.Copy(content, extra)
	return content
}

// program is the content of a program whose code and runtime are STORE messages.
func program(code, runtime string, on map[string]any) map[string]any {
	return map[string]any{
		"type": "vm-function", "allow_amend": true,
		"code":        map[string]any{"encoding": "zip", "entrypoint": "main:app", "ref": code, "use_latest": false},
		"runtime":     map[string]any{"ref": runtime, "use_latest": false, "comment": ""},
		"environment": map[string]any{"internet": false, "aleph_api": false, "reproducible": false, "shared_cache": false},
		"resources":   map[string]any{"vcpus": 1, "memory": 128, "seconds": 30}, "volumes": []any{}, "on": on, "payment": byCredits(),
	}
}

// byCredits is how what has to be paid with credits says so.
func byCredits() map[string]any { return map[string]any{"chain": "ETH", "type": "credit"} }

func (c *client) forget(hashes ...string) signed {
	c.Helper()
	return c.build(message.TypeForget, map[string]any{"hashes": hashes})
}

func (c *client) publish(m signed, sync bool) answer {
	c.Helper()
	return c.do(http.MethodPost, "/api/v0/messages", fmt.Appendf(nil, `{"message":%s,"sync":%t}`, m.envelope, sync))
}

// published publishes a message and returns its hash once it is processed.
func (c *client) published(m signed) string {
	c.Helper()
	if a := c.publish(m, true); a.status != http.StatusOK {
		c.Fatalf("message %s was not processed: %d %s: %s", m.hash, a.status, clip(a.body), clip(c.get("/api/v0/messages/"+m.hash).body))
	}
	return m.hash
}

// uploaded puts a file on the node without paying and returns its hash.
func (c *client) uploaded(content string) string {
	c.Helper()
	return c.do(http.MethodPost, "/api/v0/storage/add_file", []byte(content), "Content-Type", "application/octet-stream").want(200).object().text("hash")
}

// stored puts a file on the node and keeps it by a STORE message.
func (c *client) stored(content string, extra map[string]any) (file, hash string) {
	c.Helper()
	file = c.uploaded(content)
	return file, c.published(c.storing(file, extra))
}

// holds publishes how much ALEPH the client's account holds on a chain.
func (c *client) holds(chain string, amount json.Number) {
	c.Helper()
	by := c.authority()
	by.published(by.post(c.target.Network.Balances.PostTypes[0], "", map[string]any{
		"chain": chain, "main_height": c.clock.Unix(), "balances": map[string]any{c.address(): amount},
	}))
}

// credits publishes a movement of credits of that kind: distribution, expense or transfer.
func (c *client) credits(by *client, kind string, body map[string]any) string {
	c.Helper()
	channel := "CONFORMANCE"
	if channels := c.target.Network.Credits.Channels; len(channels) > 0 {
		channel = channels[0]
	}
	*c.clock = c.clock.Add(time.Second)
	content := map[string]any{"type": "aleph_credit_" + kind, "content": map[string]any{kind: body}}
	return c.published(by.buildAt(message.TypePost, content, *c.clock, channel))
}

// authority is the client with the key that the network trusts.
func (c *client) authority() *client {
	c.Helper()
	if c.target.Authority == nil {
		c.Skip("needs the key of the network's authority")
	}
	return c.as(c.target.Authority)
}

// rich is a client whose account has credits. Others may use the account at the same time.
func (c *client) rich() *client {
	c.Helper()
	switch {
	case c.target.Funded != nil:
		return c.as(c.target.Funded)
	case c.target.Authority == nil:
		c.Skip("needs the key of an account that has credits, or of the network's authority")
	}
	c.credits(c.authority(), "distribution", map[string]any{"token": "ALEPH", "chain": "ETH", "credits": []any{map[string]any{
		"address": c.address(), "amount": 1_000_000_000, "price": "0.000001", "tx_hash": "0xabc", "provider": "WALLET",
	}}})
	return c
}
