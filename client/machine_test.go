package client_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/client/clienttest"
	"github.com/aleph-im/aleph-go/message"
)

// computeNode starts a server that stands in for a compute node and returns its address and a client.
func computeNode(t *testing.T, routes map[string]http.HandlerFunc) (string, *client.Client) {
	t.Helper()
	c := fake(t, routes)
	return c.BaseURL(), c
}

// proven wraps a handler of an owner's operation: both proofs must be there, and the operation be the one that is asked for.
func proven(t *testing.T, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"X-SignedPubKey", "X-SignedOperation"} {
			var v struct{ Payload, Signature string }
			raw, err := json.RawMessage(r.Header.Get(name)), error(nil)
			if err = json.Unmarshal(raw, &v); err != nil || v.Signature == "" {
				t.Errorf("%s: %q", name, raw)
			}
			payload, err := hex.DecodeString(v.Payload)
			if err != nil {
				t.Error(err)
			}
			if name == "X-SignedOperation" && (!bytes.Contains(payload, []byte(`"method":"`+r.Method+`"`)) || !bytes.Contains(payload, []byte(`"path":"`+r.URL.Path+`"`))) {
				t.Errorf("%s %s is asked for with a proof for %s", r.Method, r.URL.Path, payload)
			}
		}
		h(w, r)
	}
}

func TestInstanceIsStartedOrItIsSaidWhyNot(t *testing.T) {
	hash := message.HashBytes(nil)
	for _, test := range []struct {
		status int
		body   string
		want   string
		kind   client.Kind
	}{
		{200, `{"success":true,"successful":true,"failing":[],"errors":{}}`, "", ""},
		{503, fmt.Sprintf(`{"success":false,"successful":false,"failing":[%[1]q],"errors":{%[1]q:"no disk"}}`, hash), "no disk", client.KindFailed},
		{402, `{"error":"402: Empty payment stream for this instance"}`, "Empty payment stream", client.KindInsufficientFunds},
		{400, `"[{\"loc\":[]}]"`, "loc", client.KindBadRequest},
	} {
		url, c := computeNode(t, map[string]http.HandlerFunc{"POST /control/allocation/notify": func(w http.ResponseWriter, r *http.Request) {
			if raw, _ := io.ReadAll(r.Body); string(raw) != `{"instance":"`+string(hash)+`"}` {
				t.Errorf("asked for %s", raw)
			}
			reply(test.status, test.body)(w, r)
		}})
		err := c.NotifyAllocation(t.Context(), url, hash)
		if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) || client.KindOf(err) != test.kind) {
			t.Errorf("%d: %v", test.status, err)
		}
	}
}

func TestOwnerOperationsCarryTheirProof(t *testing.T) {
	hash := message.HashBytes(nil)
	archive := []byte("tar")
	sum := sha256.Sum256(archive)
	backup := fmt.Sprintf(`{"backup_id":"b1","size":3,"checksum":"sha256:%x","download_url":"https://elsewhere/control/machine/%s/backup/b1?signature=s&expires=1"}`, sum, hash)
	machine := "/control/machine/" + string(hash)
	asked := 0
	url, c := computeNode(t, map[string]http.HandlerFunc{
		"POST " + machine + "/expire": proven(t, func(w http.ResponseWriter, r *http.Request) {
			if raw, _ := io.ReadAll(r.Body); string(raw) != `{"timeout":90}` {
				t.Errorf("expire: %s", raw)
			}
		}),
		"POST /control/reserve_resources": proven(t, reply(200, `{"status":"reserved","expires":"2025-03-28 11:21:21+00:00"}`)),
		"POST " + machine + "/backup":     proven(t, reply(202, `{"status":"in_progress"}`)),
		"GET " + machine + "/backup": proven(t, func(w http.ResponseWriter, r *http.Request) {
			if asked++; asked == 1 {
				reply(202, `{"status":"in_progress"}`)(w, r)
				return
			}
			reply(200, backup)(w, r)
		}),
		"GET " + machine + "/backup/b1": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.RawQuery != "signature=s&expires=1" {
				t.Errorf("query %s", r.URL.RawQuery)
			}
			_, _ = w.Write(archive)
		},
		"DELETE " + machine + "/backup/b1": proven(t, reply(200, "Deleted backup b1")),
		"POST " + machine + "/restore":     proven(t, reply(200, `{"status":"restored"}`)),
		"POST " + machine + "/stop":        proven(t, reply(403, "Unauthorized sender")),
	})
	me := account(t)
	if err := c.ExpireMachine(t.Context(), me, url, hash, 90*time.Second); err != nil {
		t.Error(err)
	}
	if until, err := c.ReserveResources(t.Context(), me, url, &message.Instance{}); err != nil || until == "" {
		t.Errorf("%q, %v", until, err)
	}
	if _, err := c.StartBackup(t.Context(), me, url, hash, client.BackupOptions{Volumes: true, SkipFreeze: true}); !errors.Is(err, client.ErrInProgress) {
		t.Errorf("backup: %v", err)
	}
	b, err := c.AwaitBackup(t.Context(), me, url, hash)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := c.DownloadBackup(t.Context(), url, b, &got); err != nil || !bytes.Equal(got.Bytes(), archive) {
		t.Errorf("%q, %v", got.Bytes(), err)
	}
	b.Checksum = "sha256:00"
	if err := c.DownloadBackup(t.Context(), url, b, io.Discard); client.KindOf(err) != client.KindUntrusted {
		t.Errorf("wrong archive: %v", err)
	}
	if err := errors.Join(c.DeleteBackup(t.Context(), me, url, hash, b.ID), c.RestoreFile(t.Context(), me, url, hash, hash)); err != nil {
		t.Error(err)
	}
	if err := c.DeleteBackup(t.Context(), me, url, hash, "../x"); err == nil {
		t.Error("a path was taken for the name of a backup")
	}
	if _, err := c.OperateMachine(t.Context(), me, url, hash, client.MachineStop, nil); client.KindOf(err) != client.KindNotAllowed {
		t.Errorf("another's machine: %v", err)
	}
}

func TestComputeNodesAreToldChainsThatTheyKnow(t *testing.T) {
	for chain, want := range map[message.Chain]string{message.ChainBASE: "ETH", message.ChainETH: "ETH", message.ChainTEZOS: ""} {
		var told string
		url, c := computeNode(t, map[string]http.HandlerFunc{"POST /control/machine/{hash}/stop": func(_ http.ResponseWriter, r *http.Request) {
			var v struct{ Payload string }
			var delegation struct{ Chain string }
			err := json.Unmarshal([]byte(r.Header.Get("X-SignedPubKey")), &v)
			payload, hexErr := hex.DecodeString(v.Payload)
			if err := errors.Join(err, hexErr, json.Unmarshal(payload, &delegation)); err != nil {
				t.Error(err)
			}
			told = delegation.Chain
		}})
		_, err := c.OperateMachine(t.Context(), onChain{account(t), chain}, url, message.HashBytes(nil), client.MachineStop, nil)
		if told != want || (err == nil) != (want != "") {
			t.Errorf("%s: told %q, %v", chain, told, err)
		}
	}
}

// onChain is an account under the name of another chain.
type onChain struct {
	client.Account
	chain message.Chain
}

func (a onChain) Chain() message.Chain { return a.chain }

func TestLogsAreFollowed(t *testing.T) {
	hash := message.HashBytes(nil)
	serve := func(frames ...string) (string, *client.Client) {
		return computeNode(t, map[string]http.HandlerFunc{"GET /control/machine/{hash}/stream_logs": func(w http.ResponseWriter, r *http.Request) {
			conn, err := websocket.Accept(w, r, nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.CloseNow()
			_, raw, err := conn.Read(r.Context())
			var first struct {
				Auth map[string]struct{ Payload, Signature string }
			}
			if err := errors.Join(err, json.Unmarshal(raw, &first)); err != nil || first.Auth["X-SignedPubKey"].Signature == "" || first.Auth["X-SignedOperation"].Payload == "" {
				t.Errorf("first frame %s, %v", raw, err)
			}
			for _, f := range frames {
				_ = conn.Write(r.Context(), websocket.MessageText, []byte(f))
			}
			conn.Close(websocket.StatusNormalClosure, "")
		}})
	}
	url, c := serve(`{"status":"connected"}`, `{"type":"stdout","message":"one"}`, `{"type":"system","message":"VM is not running, past logs sent"}`)
	var got []string
	for line, err := range c.FollowLogs(t.Context(), account(t), url, hash) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, line.Stream+": "+line.Message)
	}
	if !slices.Equal(got, []string{"stdout: one", "system: VM is not running, past logs sent"}) {
		t.Errorf("got %q", got)
	}
	url, c = serve(`{"status":"failed","reason":"unauthorized sender"}`)
	for _, err := range c.FollowLogs(t.Context(), account(t), url, hash) {
		if client.KindOf(err) != client.KindNotAllowed || !strings.Contains(err.Error(), "unauthorized sender") {
			t.Errorf("another's machine: %v", err)
		}
	}
}

func TestRegistryIsChangedByPosts(t *testing.T) {
	node := clienttest.Start(t)
	c, me := node.Client(), node.Account(0)
	registry := client.Registry{Client: c, Tag: node.Params.Nodes.Tag, By: me}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	sent := must[*client.Sent](t)
	created := sent(registry.CreateCompute(ctx, client.NodeDetails{Name: "n", Address: "https://crn.example.org"}))
	sent(registry.Do(ctx, client.NodeUnlink, created.Hash))
	sent(registry.AmendCompute(ctx, created.Hash, client.NodeDetails{Description: "mine"}))
	var actions []string
	for p, err := range c.Posts(ctx, client.Filter{Addresses: []string{me.Address()}, Channels: []string{"FOUNDATION"}, OldestFirst: true}) {
		var content struct {
			Action  string
			Tags    []string
			Details client.NodeDetails
		}
		if err := errors.Join(err, json.Unmarshal(p.Content, &content)); err != nil || content.Tags[1] != node.Params.Nodes.Tag || p.OriginalType != "corechan-operation" {
			t.Errorf("%s, %v", p.Content, err)
		}
		actions = append(actions, content.Action+" "+content.Details.Description)
	}
	if slices.Sort(actions); !slices.Equal(actions, []string{"create-resource-node mine", "unlink "}) {
		t.Errorf("actions %q", actions)
	}
}

func TestSchedulerIsAskedWhereItIs(t *testing.T) {
	scheduler := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/v0/plan":
			reply(200, `{"period":{"start_timestamp":"2023-11-14T22:13:20Z","duration_seconds":60},"plan":{"n1":{"persistent_vms":["a"],"instances":["b"],"on_demand_vms":[],"jobs":[]}}}`)(w, r)
		case "/api/v0/nodes":
			reply(200, `{"nodes":[{"node_id":"n1","url":"http://n1","ipv6":null,"supports_ipv6":false}]}`)(w, r)
		}
	}))
	defer scheduler.Close()
	c := client.New(client.Config{BaseURL: "http://127.0.0.1:1", Scheduler: scheduler.URL + "/"})
	if p, err := c.Plan(t.Context()); err != nil || len(p.Nodes["n1"].Instances) != 1 || p.Period.Duration != 60 {
		t.Errorf("plan %+v, %v", p, err)
	}
	if n, err := c.SchedulerNodes(t.Context()); err != nil || len(n) != 1 || n[0].URL != "http://n1" {
		t.Errorf("nodes %+v, %v", n, err)
	}
}
