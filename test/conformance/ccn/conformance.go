// Package ccn holds a core channel node, of whatever make and wherever it is, to spec/ccn-api.md from the outside: it
// publishes messages of fresh keys and looks at the answers. Its own tests run it against this project's node, and against
// the node at ALEPH_CONFORMANCE_URL.
package ccn

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/aleph-im/aleph-go/ccn/authority"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// Target is the node that is held to the specification.
type Target struct {
	URL   string // base URL, without a slash at its end
	Topic string // of the network's messages, for the legacy publish routes
}

// Run makes every check and prints how many passed.
func Run(t *testing.T, target Target) {
	var passed, failed atomic.Int64
	for _, group := range [][]check{messageChecks, postChecks, aggregateChecks, transportChecks, socketChecks} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) {
				defer func() {
					if t.Failed() {
						failed.Add(1)
					} else {
						passed.Add(1)
					}
				}()
				c.run(newClient(t, target))
			})
		}
	}
	fmt.Printf("conformance of %s: %d of %d checks passed\n", target.URL, passed.Load(), passed.Load()+failed.Load())
}

// check is one statement of the specification.
type check struct {
	name string // with the section, or the row of §20
	run  func(*client)
}

// client asks the node and signs messages with a key of its own.
type client struct {
	*testing.T
	target  Target
	account *ethereum.Account
}

func newClient(t *testing.T, target Target) *client {
	account, err := ethereum.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return &client{t, target, account}
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
	req, err := http.NewRequestWithContext(c.Context(), method, c.target.URL+path, bytes.NewReader(body))
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
	return answer{c, path, resp.StatusCode, resp.Header, raw}
}

func (c *client) get(path string) answer { c.Helper(); return c.do(http.MethodGet, path, nil) }

// want fails the check unless the answer has this status, and this body if one is given.
func (a answer) want(status int, body ...string) answer {
	a.c.Helper()
	if a.status != status {
		a.c.Errorf("%s: status %d, want %d: %s", a.path, a.status, status, a.body)
	}
	if len(body) > 0 && string(a.body) != body[0] {
		a.c.Errorf("%s: body %s, want %s", a.path, a.body, body[0])
	}
	return a
}

func (a answer) object() map[string]any {
	a.c.Helper()
	var v map[string]any
	if err := json.Unmarshal(a.body, &v); err != nil {
		a.c.Fatalf("%s: %d, no JSON object: %s", a.path, a.status, a.body)
	}
	return v
}

// list returns a list of objects of an answer.
func (a answer) list(name string) []map[string]any {
	a.c.Helper()
	items, ok := a.object()[name].([]any)
	if !ok {
		a.c.Fatalf("%s: no list %s: %s", a.path, name, a.body)
	}
	list := make([]map[string]any, len(items))
	for i, item := range items {
		list[i], _ = item.(map[string]any)
	}
	return list
}

// sign makes a message of the client's key.
func (c *client) sign(write func(context.Context, *authority.Author) error) []byte {
	c.Helper()
	var signed []byte
	author := &authority.Author{
		Account: c.account, Channel: "CONFORMANCE", MaxInline: message.MaxInlineContent,
		Submit: func(_ context.Context, envelope []byte) error { signed = envelope; return nil },
	}
	if err := write(c.Context(), author); err != nil {
		c.Fatal(err)
	}
	return signed
}

func (c *client) post(kind, ref string, content any) []byte {
	c.Helper()
	return c.sign(func(ctx context.Context, a *authority.Author) error { return a.Post(ctx, kind, ref, content) })
}

func (c *client) aggregate(key string, content any) []byte {
	c.Helper()
	return c.sign(func(ctx context.Context, a *authority.Author) error { return a.Aggregate(ctx, key, content) })
}

func (c *client) publish(envelope []byte, sync bool) answer {
	c.Helper()
	return c.do(http.MethodPost, "/api/v0/messages", fmt.Appendf(nil, `{"message":%s,"sync":%t}`, envelope, sync))
}

// published publishes a message and returns its hash once it is processed.
func (c *client) published(envelope []byte) string {
	c.Helper()
	c.publish(envelope, true).want(200)
	return c.hash(envelope)
}

func (c *client) hash(envelope []byte) string {
	c.Helper()
	m, _, err := message.Parse(envelope)
	if err != nil {
		c.Fatal(err)
	}
	return string(m.ItemHash)
}
