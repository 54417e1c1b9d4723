package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

// fakeNode is not a node: it stands in for a core node and a compute node at once, with canned answers in the shapes of the
// specification. It keeps what it is sent, so that tests can look at it.
type fakeNode struct {
	*httptest.Server
	balance   string // of everybody, in ALEPH
	reject    string // details with which every message but a STORE is rejected for want of funds; "" takes all
	booting   int    // calls that the program leaves unanswered first
	noStreams bool   // of logs
	disks     []byte // of the instance, as a backup
	backup    []byte // that there is
	secure    *securePlatform
	node      string // hash of the compute node that runs everything
	unplanned bool   // the scheduler knows nothing of it
	replica   string // how each instance is kept a second time, in JSON; "" for not at all

	mu       sync.Mutex
	messages map[message.Hash]*message.Message
	files    map[message.Hash][]byte
	uploads  int
	operated []string              // operations and their queries
	machines map[message.Hash]bool // that somebody asked for, and that so run here
}

func newFakeNode(t *testing.T) *fakeNode {
	t.Helper()
	n := &fakeNode{balance: "1000", node: "r1", messages: map[message.Hash]*message.Message{}, files: map[message.Hash][]byte{}, machines: map[message.Hash]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v0/messages", n.publish)
	mux.HandleFunc("POST /api/v0/storage/add_file", n.addFile)
	mux.HandleFunc("GET /api/v0/messages/{hash}", n.message)
	mux.HandleFunc("GET /api/v0/messages.json", n.list)
	mux.HandleFunc("POST /api/v0/price/estimate", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"required_tokens":200.0,"payment_type":"hold","cost":"200.000000000000000000","detail":[],"charged_address":"0x1"}`)
	})
	mux.HandleFunc("GET /api/v0/addresses/{address}/balance", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"address":%q,"balance":%s,"details":{},"locked_amount":0.0,"credit_balance":0}`, r.PathValue("address"), n.balance)
	})
	mux.HandleFunc("GET /api/v0/aggregates/{owner}", func(w http.ResponseWriter, r *http.Request) {
		switch owner := strings.TrimSuffix(r.PathValue("owner"), ".json"); {
		case owner == params.DevnetAuthority && r.URL.Query().Get("keys") == "runtimes":
			hash := message.HashBytes([]byte("runtime"))
			fmt.Fprintf(w, `{"data":{"runtimes":{"default":%q,"runtimes":{"python3-fastapi":%q}}}}`, hash, hash)
		case owner == params.DevnetAuthority && n.secure != nil:
			fmt.Fprintf(w, `{"data":{"corechannel":{"nodes":[],"resource_nodes":[{"hash":%q,"name":"secure","status":"linked","address":%q}]}}}`, exampleCompute, n.URL)
		case owner == params.DevnetAuthority:
			fmt.Fprint(w, `{"data":{"corechannel":{"nodes":[{"hash":"c1","name":"core-1","status":"active","score":0.5,"multiaddress":"/ip4/127.0.0.1/tcp/1"}],"resource_nodes":[{"hash":"r1","name":"crn-1","status":"linked","score":0.25,"address":"http://127.0.0.1:1","parent":"c1"}]}}}`)
		default:
			http.Error(w, "No aggregate found for this address", http.StatusNotFound)
		}
	})
	mux.HandleFunc("GET /api/v0/allocation/{hash}", func(w http.ResponseWriter, r *http.Request) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.unplanned {
			http.NotFound(w, r)
			return
		}
		n.machines[message.Hash(r.PathValue("hash"))] = true
		fmt.Fprintf(w, `{"vm_hash":%q,"vm_type":"micro_vm","vm_ipv6":null,"period":{"start_timestamp":"2023-11-14T22:13:20Z","duration_seconds":60},"node":{"node_id":%q,"url":%q,"name":"crn-1","ipv6":null,"supports_ipv6":false},"ccn":{"node_id":"c1","name":"core-1"}}`, r.PathValue("hash"), n.node, n.URL)
	})
	mux.HandleFunc("GET /api/v0/storage/metadata/{hash}", func(w http.ResponseWriter, r *http.Request) {
		n.mu.Lock()
		defer n.mu.Unlock()
		b, ok := n.files[message.Hash(r.PathValue("hash"))]
		if !ok {
			http.Error(w, "No file found", http.StatusNotFound)
			return
		}
		fmt.Fprintf(w, `{"file_hash":%q,"type":"file","size":%d}`, r.PathValue("hash"), len(b))
	})
	mux.HandleFunc("/vm/{hash}/{path...}", n.program)
	mux.HandleFunc("GET /v2/about/executions/list", n.executions)
	mux.HandleFunc("POST /control/machine/{hash}/{operation}", n.operate)
	n.keepsBackups(mux)
	n.runsConfidential(mux)
	mux.HandleFunc("POST /control/machine/{hash}/update", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{}`) })
	mux.HandleFunc("GET /control/machine/{hash}/logs", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `[{"SYSLOG_IDENTIFIER":"vm","MESSAGE":"listening","file":"stdout","__REALTIME_TIMESTAMP":"2023-11-14 22:13:20"}]`)
	})
	mux.HandleFunc("GET /control/machine/{hash}/stream_logs", func(w http.ResponseWriter, r *http.Request) {
		if n.noStreams {
			http.NotFound(w, r)
			return
		}
		streamLines(w, r)
	})
	mux.HandleFunc("GET /api/v0/storage/raw/{hash}", func(w http.ResponseWriter, r *http.Request) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if b, ok := n.files[message.Hash(r.PathValue("hash"))]; ok {
			_, _ = w.Write(b)
			return
		}
		http.Error(w, "Not found", http.StatusNotFound)
	})
	n.Server = httptest.NewServer(mux)
	t.Cleanup(n.Close)
	return n
}

// executions lists each instance that was published: as running, or on a secure processor as waiting for its session.
func (n *fakeNode) executions(w http.ResponseWriter, _ *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := map[message.Hash]json.RawMessage{}
	for hash, m := range n.messages {
		n.machines[hash] = m.Type == message.TypeInstance
	}
	for hash, here := range n.machines {
		if here {
			list[hash] = json.RawMessage(fmt.Sprintf(`{"networking":{"ipv4_network":"172.24.0.0/24","host_ipv4":"198.51.100.7","ipv6_network":"fc00::/124","ipv6_ip":"fc00::1","ipv4_ip":"172.24.0.2","mapped_ports":{"22":{"host":24007,"tcp":true,"udp":false}}},"status":{"defined_at":null},"running":%t,"awaiting_confidential_init":%t,"vm_type":"instance","replica":%s}`, n.secure == nil, n.secure != nil, cmp.Or(n.replica, "null")))
		}
	}
	_ = json.NewEncoder(w).Encode(list)
}

// streamLines says two lines to whoever brings both proofs.
func streamLines(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	var first struct {
		Auth map[string]struct{ Payload, Signature string } `json:"auth"`
	}
	err = wsjson.Read(r.Context(), conn, &first)
	frames := []any{map[string]string{"status": "connected"}, map[string]string{"type": "stdout", "message": "listening"},
		map[string]string{"type": "stderr", "message": "a warning\x1b[2J"}, map[string]string{"type": "system", "message": "VM has stopped"}}
	if err != nil || first.Auth["X-SignedPubKey"].Signature == "" || first.Auth["X-SignedOperation"].Signature == "" {
		frames = []any{map[string]string{"status": "failed", "reason": "unauthorized sender"}}
	}
	for _, f := range frames {
		if wsjson.Write(r.Context(), conn, f) != nil {
			return
		}
	}
	_ = conn.Close(websocket.StatusNormalClosure, "")
}

func (n *fakeNode) operate(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.operated = append(n.operated, r.PathValue("operation")+"?"+r.URL.RawQuery)
	if r.Header.Get("X-SignedPubKey") == "" || r.Header.Get("X-SignedOperation") == "" {
		http.Error(w, `{"error":"Missing X-SignedPubKey header"}`, http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "Done to VM with ref %s", r.PathValue("hash"))
}

func (n *fakeNode) keep(raw []byte) (*message.Message, error) {
	m, _, err := message.Parse(raw)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.messages[m.ItemHash] = m
	return m, nil
}

func (n *fakeNode) publish(w http.ResponseWriter, r *http.Request) {
	var body struct{ Message json.RawMessage }
	err := json.NewDecoder(r.Body).Decode(&body)
	if err == nil {
		_, err = n.keep(body.Message)
	}
	switch {
	case err != nil:
		http.Error(w, "InvalidMessageFormat: "+err.Error(), http.StatusUnprocessableEntity)
	case n.reject != "":
		w.WriteHeader(http.StatusUnprocessableEntity)
		fmt.Fprint(w, `{"publication_status":{"status":"success","failed":[]},"message_status":"rejected"}`)
	default:
		fmt.Fprint(w, `{"publication_status":{"status":"success","failed":[]},"message_status":"processed"}`)
	}
}

func (n *fakeNode) addFile(w http.ResponseWriter, r *http.Request) {
	var metadata struct{ Message json.RawMessage }
	if err := json.Unmarshal([]byte(r.FormValue("metadata")), &metadata); err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	file, _, err := r.FormFile("file")
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	b, _ := io.ReadAll(file)
	if _, err := n.keep(metadata.Message); err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.uploads++
	n.files[message.HashBytes(b)] = b
	fmt.Fprintf(w, `{"status":"success","hash":%q}`, message.HashBytes(b))
}

func (n *fakeNode) message(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	m, ok := n.messages[message.Hash(r.PathValue("hash"))]
	switch {
	case !ok:
		http.Error(w, "404: Not Found", http.StatusNotFound)
	case n.reject != "" && m.Type != message.TypeStore:
		fmt.Fprintf(w, `{"status":"rejected","item_hash":%q,"reception_time":"2023-11-14T22:13:20Z","message":{},"error_code":5,"details":{"errors":[%s]}}`, m.ItemHash, n.reject)
	default:
		fmt.Fprintf(w, `{"status":"processed","item_hash":%q,"reception_time":"2023-11-14T22:13:20Z","message":%s,"content":%s}}`, m.ItemHash, bytes.TrimSuffix(m.AppendJSON(nil), []byte("}")), m.ItemContent)
	}
}

func (n *fakeNode) list(w http.ResponseWriter, _ *http.Request) {
	const content = `{"address":"0x1","time":1700000000.5,"metadata":{"name":"hello"}}`
	fmt.Fprintf(w, `{"messages":[{"sender":"0x1","chain":"ETH","type":"PROGRAM","item_type":"inline","item_hash":%q,"item_content":%q,"time":1700000000.5,"channel":"TEST","content":%[2]s,"size":1,"confirmed":true,"confirmations":[]}],"next_cursor":null,"pagination_per_page":20}`,
		message.HashBytes([]byte(content)), content)
}

func (n *fakeNode) program(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.booting > 0 {
		n.booting--
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Aleph-Program-ItemHash", r.PathValue("hash"))
	body, _ := io.ReadAll(r.Body)
	if r.PathValue("path") == "missing" {
		w.WriteHeader(http.StatusNotFound)
	}
	fmt.Fprintf(w, `{"method":%q,"path":%q,"body":%q}`, r.Method, "/"+r.PathValue("path"), body)
}

// user runs command lines as one user of one node.
type user struct {
	t            *testing.T
	api, network string
	env          map[string]string
	in           string
}

func newUser(t *testing.T, api string) *user {
	return &user{t: t, api: api, network: "devnet", env: map[string]string{"ALEPH_CONFIG_HOME": t.TempDir(), "ALEPH_PRIVATE_KEY": strings.Repeat("5a", 32)}}
}

func (u *user) run(args ...string) (code int, stdout, stderr string) {
	u.t.Helper()
	var out, errOut bytes.Buffer
	term := terminal{in: strings.NewReader(u.in), out: &out, err: &errOut, getenv: func(name string) string { return u.env[name] }}
	code = run(u.t.Context(), append([]string{"--network", u.network, "--api", u.api, "--timeout", "10s"}, args...), term)
	return code, out.String(), errOut.String()
}

// fastAPI writes a program into a new folder named hello.
func fastAPI(t *testing.T) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "hello")
	if err := os.MkdirAll(filepath.Join(folder, "__pycache__"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"main.py": "from fastapi import FastAPI\n\napp = FastAPI()\n", "data.txt": "data", "__pycache__/main.pyc": "no",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}
