package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// movingNode stands in for a core node, for the compute nodes at /from and /to, and for an instance that moves between them, one stage
// each time the plan is asked for.
type movingNode struct {
	*httptest.Server
	hash  string   // of the instance
	owner string   // of it
	words []string // aggregates that were published: owner, key and content
	asked bool
	looks int // at the plan since the move was asked for
}

func newMovingNode(t *testing.T, change func(content map[string]any)) *movingNode {
	t.Helper()
	owner, err := ethereum.FromHex(strings.Repeat("6b", 32))
	if err != nil {
		t.Fatal(err)
	}
	content := map[string]any{
		"address": owner.Address(), "time": 1700000000.5, "allow_amend": false, "environment": map[string]any{}, "volumes": []any{},
		"resources": map[string]any{"vcpus": 1, "memory": 128, "seconds": 30}, "payment": map[string]any{"chain": "ETH", "type": "hold"},
		"rootfs": map[string]any{"parent": map[string]any{"ref": exampleImage}, "persistence": "host", "size_mib": 1000},
	}
	if change != nil {
		change(content)
	}
	m, _, err := client.Sign(t.Context(), owner, message.TypeInstance, content, "")
	if err != nil {
		t.Fatal(err)
	}
	n := &movingNode{hash: string(m.ItemHash), owner: owner.Address()}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v0/messages/{hash}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"status":"processed","item_hash":%q,"reception_time":"2023-11-14T22:13:20Z","message":%s,"content":%s}}`, n.hash, bytes.TrimSuffix(m.AppendJSON(nil), []byte("}")), m.ItemContent)
	})
	mux.HandleFunc("GET /api/v0/aggregates/{owner}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"data":{"corechannel":{"nodes":[],"resource_nodes":[{"hash":"r1","name":"crn-1","address":"%s/from"},{"hash":"r2","name":"crn-2","address":"%[1]s/to"},{"hash":"r3","name":"crn-3","address":"%[1]s/off"}]}}}`, n.URL)
	})
	mux.HandleFunc("GET /api/v0/nodes", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"nodes":[{"node_id":"r1"},{"node_id":"r2"}]}`)
	})
	mux.HandleFunc("POST /api/v0/messages", func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Message struct {
				Content string `json:"item_content"`
			}
		}
		var content message.Aggregate
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || json.Unmarshal([]byte(body.Message.Content), &content) != nil {
			t.Error(err, body)
		}
		n.words, n.asked = append(n.words, content.Address+" "+content.Key+" "+string(content.Content)), true
		fmt.Fprint(w, `{"publication_status":{"status":"success","failed":[]},"message_status":"processed"}`)
	})
	mux.HandleFunc("GET /api/v0/allocation/{hash}", func(w http.ResponseWriter, r *http.Request) {
		node, path := "r1", "/from"
		if n.asked {
			n.looks++
		}
		if n.looks > 1 {
			node, path = "r2", "/to"
		}
		fmt.Fprintf(w, `{"vm_hash":%q,"node":{"node_id":%q,"url":"%s%s","name":"crn-%s"}}`, r.PathValue("hash"), node, n.URL, path, node[1:])
	})
	mux.HandleFunc("GET /{place}/v2/about/executions/list", func(w http.ResponseWriter, r *http.Request) {
		place, entry := r.PathValue("place"), `{%q:{"vm_type":"instance","running":%t}}`
		switch {
		case place == "from" && n.looks <= 2, place == "to" && n.looks == 4:
			fmt.Fprintf(w, entry, n.hash, place == "from")
		case place == "to" && n.looks > 4:
			fmt.Fprintf(w, entry, n.hash, true)
		default:
			fmt.Fprint(w, `{}`)
		}
	})
	n.Server = httptest.NewServer(mux)
	t.Cleanup(n.Close)
	return n
}

func TestAMoveIsFollowedUntilTheInstanceRunsThere(t *testing.T) {
	n := newMovingNode(t, nil)
	u := newUser(t, n.URL)
	code, out, errOut := u.run("instance", "move", n.hash, "--to", "crn-2", "--yes")
	if code != 0 || !strings.Contains(out, "crn-2") || !strings.Contains(out, "running   yes") {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
	rest := errOut
	for _, stage := range []string{"on another node still", "it is on crn-1 until the other node can take it", "its disks are on their way", "it starts on crn-2"} {
		_, after, said := strings.Cut(rest, stage)
		if !said {
			t.Errorf("it does not say %q in its turn: %s", stage, errOut)
		}
		rest = after
	}
	// The word is that of the instance's owner, whoever signs it.
	want := fmt.Sprintf(`%s instance-nodes {%q:"r2"}`, n.owner, n.hash)
	if len(n.words) != 1 || n.words[0] != want {
		t.Errorf("published %q, want %q", n.words, want)
	}
	if code, _, errOut := u.run("instance", "move", n.hash, "--anywhere", "--yes", "--wait=false"); code != 0 || !strings.HasSuffix(n.words[1], `":""}`) {
		t.Errorf("exit code %d: %s, published %q", code, errOut, n.words)
	}
}

func TestWhatCannotBeMovedIsSaidBeforeAnythingIsDone(t *testing.T) {
	for name, test := range map[string]struct {
		change func(content map[string]any)
		to     string
		code   int
		says   string
	}{
		"paid by a stream": {change: func(c map[string]any) {
			c["payment"] = map[string]any{"chain": "AVAX", "type": "superfluid", "receiver": exampleAddress}
			c["requirements"] = map[string]any{"node": map[string]any{"node_hash": exampleCompute}}
		}, code: exitUsage, says: "paid by a stream"},
		"confidential": {change: func(c map[string]any) {
			c["environment"] = map[string]any{"hypervisor": "qemu", "trusted_execution": map[string]any{"policy": 1}}
		}, code: exitUsage, says: "is confidential"},
		"a node that is none":       {to: "crn-9", code: exitUsage, says: "no compute node has this"},
		"a node that takes nothing": {to: "crn-3", code: exitFailed, says: "takes no workloads"},
	} {
		n := newMovingNode(t, test.change)
		if test.to == "" {
			test.to = "crn-2"
		}
		code, _, errOut := newUser(t, n.URL).run("instance", "move", n.hash, "--to", test.to, "--yes")
		if code != test.code || !strings.Contains(errOut, test.says) || len(n.words) > 0 {
			t.Errorf("%s: exit code %d: %s, published %v", name, code, errOut, n.words)
		}
	}
}

func TestANodeIsDrainedByItsOwnerAlone(t *testing.T) {
	node, u, _ := funded(t)
	node.core.SetAggregate("corechannel", map[string]any{"resource_nodes": []any{
		map[string]any{"hash": exampleCompute, "name": "crn-1", "owner": exampleAddress, "address": node.compute.URL},
	}})
	if code, _, errOut := u.run("node", "drain", "crn-1", "--yes"); code != exitUsage || !strings.Contains(errOut, exampleAddress) {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	node.core.SetAggregate("corechannel", map[string]any{"resource_nodes": []any{
		map[string]any{"hash": exampleCompute, "name": "crn-1", "owner": u.address(), "address": node.compute.URL},
	}})
	words := func() map[string]any {
		t.Helper()
		var content map[string]any
		if err := node.core.Client().Aggregate(t.Context(), u.address(), "crn-draining", &content); err != nil {
			t.Fatal(err)
		}
		return content
	}
	u.result(nil, "node", "drain", "crn-1", "--until-empty")
	if got := words(); got[exampleCompute] != true {
		t.Errorf("got %v", got)
	}
	u.result(nil, "node", "drain", "crn-1", "--end")
	if got := words(); got[exampleCompute] != nil {
		t.Errorf("got %v", got)
	}
}
