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

	"github.com/aleph-im/aleph-go/signature"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// client asks the node and signs messages with a key of its own.
type client struct {
	*testing.T
	target  Target
	account signature.Account
	clock   *time.Time // date of the last message
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

// column returns a member of each object of a list.
func column(list []object, name string) []string {
	texts := make([]string, len(list))
	for i, o := range list {
		texts[i] = o.text(name)
	}
	return texts
}
