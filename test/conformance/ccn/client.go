package ccn

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// client asks the node and signs messages with a key of its own.
type client struct {
	*testing.T
	target  Target
	account signature.Account
	clock   *time.Time // of the next message
	calls   *calls
}

func newClient(t *testing.T, target Target, called *calls) *client {
	// Later messages are dated later, and none in the future.
	clock := time.Now().Add(-10 * time.Minute).Truncate(time.Millisecond)
	return &client{t, target, newAccount(t), &clock, called}
}

func newAccount(t *testing.T) signature.Account {
	account, err := ethereum.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return account
}

// address is that of the client's key.
func (c *client) address() string { return c.account.Address() }

// as is the client with another key.
func (c *client) as(account signature.Account) *client {
	other := *c
	other.account = account
	return &other
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

// within fails the check when done does not become true in time. It asks again and again.
func (c *client) within(limit time.Duration, what string, done func() bool) {
	c.Helper()
	end := time.After(limit)
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for !done() {
		select {
		case <-again.C:
		case <-end:
			c.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// answer is what the node said.
type answer struct {
	c      *client
	path   string
	status int
	header http.Header
	body   []byte
}

func (c *client) do(method, path string, body []byte, header ...string) answer {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.target.URL+path, bytes.NewReader(body))
	if err != nil {
		c.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req) // redirects are answers too
	if err != nil {
		c.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		c.Fatal(err)
	}
	c.calls.add(method, path)
	return answer{c, path, resp.StatusCode, resp.Header, raw}
}

func (c *client) get(path string) answer { c.Helper(); return c.do(http.MethodGet, path, nil) }

func (c *client) postJSON(path, body string) answer {
	c.Helper()
	return c.do(http.MethodPost, path, []byte(body), "Content-Type", "application/json")
}

// want fails the check unless the answer has this status, and this body if one is given.
func (a answer) want(status int, body ...string) answer {
	a.c.Helper()
	if a.status != status {
		a.c.Errorf("%s: status %d, want %d: %s", a.path, a.status, status, clip(a.body))
	}
	if len(body) > 0 && string(a.body) != body[0] {
		a.c.Errorf("%s: body %s, want %s", a.path, clip(a.body), body[0])
	}
	return a
}

// wantJSON fails the check unless the answer has this status and is this JSON; the order of members and spaces do not matter.
func (a answer) wantJSON(status int, body string) answer {
	a.c.Helper()
	a.want(status)
	want, err := decode([]byte(body))
	if err != nil {
		a.c.Fatalf("%s: %v", body, err)
	}
	if got, err := decode(a.body); err != nil || !reflect.DeepEqual(got, want) {
		a.c.Errorf("%s: body %s, want %s", a.path, clip(a.body), body)
	}
	return a
}

// headers fails the check unless headers of the answer are as they should, "Name=value" each, "" for an absent one.
func (a answer) headers(fields ...string) answer {
	a.c.Helper()
	for _, field := range fields {
		name, want, _ := strings.Cut(field, "=")
		if got := a.header.Get(name); got != want {
			a.c.Errorf("%s: %s is %q, want %q", a.path, name, got, want)
		}
	}
	return a
}

// says fails the check unless the answer has this status and this text in its body.
func (a answer) says(status int, text string) answer {
	a.c.Helper()
	if a.want(status); !strings.Contains(string(a.body), text) {
		a.c.Errorf("%s: body %s, want %q in it", a.path, clip(a.body), text)
	}
	return a
}

// problems fails the check unless the answer is 422 with a list of what is wrong (§1.5, E4).
func (a answer) problems() answer {
	a.c.Helper()
	a.want(422)
	var list []map[string]any
	if json.Unmarshal(a.body, &list) != nil || len(list) == 0 {
		a.c.Errorf("%s: no list of problems: %s", a.path, clip(a.body))
		return a
	}
	for _, p := range list {
		if _, ok := p["loc"].([]any); !ok || p["type"] == nil || p["msg"] == nil {
			a.c.Errorf("%s: %v", a.path, p)
		}
	}
	return a
}

func clip(b []byte) string {
	if len(b) > 2000 {
		return string(b[:2000]) + "…"
	}
	return string(b)
}

// decode reads JSON with numbers as they are written.
func decode(raw []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err = d.Decode(&v); err == nil && d.More() {
		err = fmt.Errorf("more than one value")
	}
	return v, err
}

// value is the answer's JSON. Numbers are json.Number.
func (a answer) value() any {
	a.c.Helper()
	v, err := decode(a.body)
	if err != nil {
		a.c.Fatalf("%s: %d, no JSON: %v: %s", a.path, a.status, err, clip(a.body))
	}
	return v
}

func (a answer) object() object {
	a.c.Helper()
	v, ok := a.value().(map[string]any)
	if !ok {
		a.c.Fatalf("%s: %d, no JSON object: %s", a.path, a.status, clip(a.body))
	}
	return v
}

// list returns a list of objects of an answer.
func (a answer) list(name string) []object {
	a.c.Helper()
	list, ok := a.object().list(name)
	if !ok {
		a.c.Fatalf("%s: no list %s: %s", a.path, name, clip(a.body))
	}
	return list
}

// only returns the one object of a list.
func (a answer) only(name string) object {
	a.c.Helper()
	list := a.list(name)
	if len(list) != 1 {
		a.c.Fatalf("%s: %d %s, want one: %s", a.path, len(list), name, clip(a.body))
	}
	return list[0]
}

// object is a JSON object.
type object map[string]any

func (o object) text(name string) string { s, _ := o[name].(string); return s }

// number is the text of a number.
func (o object) number(name string) string { n, _ := o[name].(json.Number); return n.String() }

func (o object) float(name string) float64 {
	n, _ := o[name].(json.Number)
	f, _ := n.Float64()
	return f
}

func (o object) object(name string) object { m, _ := o[name].(map[string]any); return m }

func (o object) list(name string) ([]object, bool) {
	items, ok := o[name].([]any)
	list := make([]object, len(items))
	for i, item := range items {
		m, _ := item.(map[string]any)
		list[i] = m
	}
	return list, ok
}

func (o object) members() string { return strings.Join(slices.Sorted(maps.Keys(o)), " ") }

// hashes returns a member of each object of a list.
func column(list []object, name string) []string {
	texts := make([]string, len(list))
	for i, o := range list {
		texts[i] = o.text(name)
	}
	return texts
}

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
	if err == nil {
		err = signature.Sign(c.Context(), c.account, m)
	}
	if err != nil {
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
	*c.clock = c.clock.Add(time.Second)
	c.holdsAt(*c.clock, chain, amount)
}

func (c *client) holdsAt(at time.Time, chain string, amount json.Number) {
	c.Helper()
	by := c.authority()
	by.published(by.buildAt(message.TypePost, map[string]any{"type": c.target.Network.Balances.PostTypes[0], "content": map[string]any{
		"chain": chain, "main_height": at.Unix(), "balances": map[string]any{c.address(): amount},
	}}, at, "CONFORMANCE"))
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

// sign signs a message that was made in another way.
func (c *client) sign(m *message.Message) signed {
	c.Helper()
	if err := signature.Sign(c.Context(), c.account, m); err != nil {
		c.Fatal(err)
	}
	return signed{string(m.ItemHash), m.AppendJSON(nil)}
}
