// Package corenodetest is a core node for tests of the compute node: it serves messages and files that the test put in, over
// HTTP, without judging them.
package corenodetest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// Owner is the address that publishes everything.
const Owner = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"

// Node serves what it was given.
type Node struct {
	URL string

	t        testing.TB
	mu       sync.Mutex
	messages []json.RawMessage
	hashes   map[message.Hash]json.RawMessage
	files    map[message.Hash][]byte
	requests map[string]int
	watchers map[chan json.RawMessage]struct{}
	ended    chan struct{} // closed with the test: connections of watchers do not end by themselves
	answers  map[string]set
	refusals map[string]*refusal
	now      time.Time
}

// refusal is what is answered at a path for some time, whatever is there.
type refusal struct {
	times, status int
	header        []string
}

// set is an answer that the test has set.
type set struct {
	status int
	body   any
}

// New starts a core node that lives as long as the test.
func New(t testing.TB) *Node {
	n := &Node{t: t, hashes: map[message.Hash]json.RawMessage{}, files: map[message.Hash][]byte{}, requests: map[string]int{}, answers: map[string]set{}, refusals: map[string]*refusal{}, watchers: map[chan json.RawMessage]struct{}{}, ended: make(chan struct{}), now: time.Unix(1_700_000_000, 0)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v0/messages.json", n.list)
	mux.HandleFunc("GET /api/v0/storage/raw/{hash}", n.raw)
	mux.HandleFunc("GET /api/ws0/messages", n.watch)
	mux.HandleFunc("GET /api/v0/", n.other)
	server := httptest.NewServer(n.refusing(mux))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(n.ended) })
	n.URL = server.URL
	return n
}

// Publish adds a message with the given content, signed by nobody.
func (n *Node) Publish(kind message.Type, content map[string]any) message.Hash {
	n.t.Helper()
	return n.PublishAs("", kind, content)
}

// PublishAs is Publish by another sender than the content's address; empty for that address.
func (n *Node) PublishAs(sender string, kind message.Type, content map[string]any) message.Hash {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.now = n.now.Add(time.Second)
	if content["address"] == nil {
		content["address"] = Owner
	}
	if sender == "" {
		sender, _ = content["address"].(string)
	}
	content["time"] = float64(n.now.Unix())
	raw, err := json.Marshal(content)
	if err != nil {
		n.t.Fatal(err)
	}
	hash := message.HashBytes(raw)
	envelope, err := json.Marshal(map[string]any{
		"sender": sender, "chain": "ETH", "type": kind, "signature": "0x00", "item_type": "inline", "item_content": string(raw),
		"item_hash": hash, "time": n.now.Unix(), "channel": "TEST", "content": json.RawMessage(raw), "confirmed": false,
	})
	if err != nil {
		n.t.Fatal(err)
	}
	n.messages = append(n.messages, envelope)
	n.hashes[hash] = envelope
	for live := range n.watchers {
		select {
		case live <- envelope:
		default:
			n.t.Error("a watcher does not take its messages")
		}
	}
	return hash
}

// Store adds a file and the message that names it.
func (n *Node) Store(content []byte) message.Hash {
	n.t.Helper()
	return n.Publish(message.TypeStore, map[string]any{"item_type": "storage", "item_hash": n.AddFile(content)})
}

// AddFile adds a file alone.
func (n *Node) AddFile(content []byte) message.Hash {
	n.mu.Lock()
	defer n.mu.Unlock()
	hash := message.HashBytes(content)
	n.files[hash] = content
	return hash
}

// Corrupt makes the node serve other bytes under a name.
func (n *Node) Corrupt(hash message.Hash, content []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.files[hash] = content
}

// Forget removes a message.
func (n *Node) Forget(hash message.Hash) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.messages = slices.DeleteFunc(n.messages, func(m json.RawMessage) bool { return string(m) == string(n.hashes[hash]) })
	delete(n.hashes, hash)
}

// Answer sets what is answered at a path, whatever the query, as JSON: an account, an aggregate, a price, the state of a message.
// Before, it is 404.
func (n *Node) Answer(path string, status int, body any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answers[path] = set{status, body}
}

// Aggregate sets all that an address has in its aggregate.
func (n *Node) Aggregate(address string, data map[string]any) {
	n.Answer("/api/v0/aggregates/"+address+".json", http.StatusOK, map[string]any{"address": address, "data": data})
}

// Refuse answers the next requests of a path with a status and headers, names and values in turn.
func (n *Node) Refuse(path string, times, status int, header ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refusals[path] = &refusal{times, status, header}
}

func (n *Node) refusing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.mu.Lock()
		no := n.refusals[r.URL.Path]
		if no == nil || no.times == 0 {
			n.mu.Unlock()
			next.ServeHTTP(w, r)
			return
		}
		no.times--
		n.requests[r.URL.Path]++
		n.mu.Unlock()
		for i := 0; i+1 < len(no.header); i += 2 {
			w.Header().Set(no.header[i], no.header[i+1])
		}
		w.WriteHeader(no.status)
	})
}

// Requests returns how often a path was asked for.
func (n *Node) Requests(path string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.requests[path]
}

func (n *Node) list(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.requests[r.URL.Path]++
	found := []json.RawMessage{}
	q := r.URL.Query()
	if hash := q.Get("hashes"); hash != "" {
		if m := n.hashes[message.Hash(hash)]; m != nil {
			found = append(found, m)
		}
	}
	if ref := q.Get("refs"); ref != "" {
		for _, m := range slices.Backward(n.messages) {
			var envelope struct{ Content struct{ Ref, Address string } }
			if json.Unmarshal(m, &envelope) == nil && envelope.Content.Ref == ref && (q.Get("owners") == "" || envelope.Content.Address == q.Get("owners")) {
				found = append(found, m)
				break
			}
		}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"messages": found, "pagination_total": len(found)})
}

func (n *Node) other(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	n.requests[r.URL.Path]++
	a, ok := n.answers[r.URL.Path]
	n.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.WriteHeader(a.status)
	_ = json.NewEncoder(w).Encode(a.body)
}

func (n *Node) raw(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	n.requests[r.URL.Path]++
	content, ok := n.files[message.Hash(r.PathValue("hash"))]
	n.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	_, _ = w.Write(content)
}

// Instance is the content of an instance message with what most tests want.
func Instance(parent message.Hash, sizeMiB int, keys ...string) map[string]any {
	return map[string]any{
		"allow_amend": false, "authorized_keys": keys,
		"environment": map[string]any{"internet": true, "aleph_api": false, "hypervisor": "qemu"},
		"resources":   map[string]any{"vcpus": 1, "memory": 256, "seconds": 30},
		"rootfs":      map[string]any{"parent": map[string]any{"ref": parent, "use_latest": false}, "persistence": "host", "size_mib": sizeMiB},
		"volumes":     []any{},
	}
}

// Program is the content of a program message with what most tests want; the test changes what it is about.
func Program(code, runtime message.Hash, encoding message.Encoding, entrypoint string) map[string]any {
	return map[string]any{
		"type": "vm-function", "allow_amend": false, "on": map[string]any{"http": true},
		"code":        map[string]any{"encoding": encoding, "entrypoint": entrypoint, "ref": code, "use_latest": false},
		"runtime":     map[string]any{"ref": runtime, "use_latest": false, "comment": "test"},
		"environment": map[string]any{}, "resources": map[string]any{"vcpus": 1, "memory": 128, "seconds": 30}, "volumes": []any{},
	}
}
