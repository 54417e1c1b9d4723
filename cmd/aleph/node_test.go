package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/client/clienttest"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// realNode is a core node of a network of its own, and a fakeNode in the place of the compute nodes and of the plan that names
// them.
type realNode struct {
	*httptest.Server
	core    *clienttest.Node
	compute *fakeNode
	network string // file of the network's parameters
}

// newRealNode runs a node on which addresses have ALEPH and credits, and which knows a runtime and two registered nodes.
func newRealNode(t *testing.T, addresses ...string) *realNode {
	t.Helper()
	n := &realNode{core: clienttest.Start(t), compute: newFakeNode(t), network: filepath.Join(t.TempDir(), "network.json")}
	n.compute.node = exampleCompute
	p := n.core.Params
	raw, err := json.Marshal(map[string]any{
		"profile": "devnet", "balances": p.Balances, "credits": p.Credits, "scores": p.Scores, "corechannel": p.Corechannel, "pricing": p.Pricing,
	})
	if err == nil {
		err = os.WriteFile(n.network, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range addresses {
		n.core.Fund(address, 1_000_000)
		n.core.GiveCredits(address, 5_000_000_000)
	}
	stored := n.core.Account(1)
	runtime, err := n.core.Client().UploadFile(t.Context(), stored, strings.NewReader("runtime"), client.UploadOptions{Sync: true})
	if err != nil {
		t.Fatal(err)
	}
	n.core.SetAggregate("runtimes", map[string]any{"default": runtime.MessageHash, "runtimes": map[string]any{"python3-fastapi": runtime.MessageHash}})
	n.core.SetAggregate("corechannel", map[string]any{
		"nodes": []any{map[string]any{
			"hash": exampleCore, "name": "core-1", "owner": exampleAddress, "status": "active", "multiaddress": "/ip4/127.0.0.1/tcp/1",
			"resource_nodes": []string{exampleCompute},
		}},
		"resource_nodes": []any{map[string]any{
			"hash": exampleCompute, "name": "crn-1", "owner": exampleAddress, "status": "linked", "address": n.compute.URL, "parent": exampleCore,
		}},
	})
	core, err := url.Parse(n.core.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(core)
	proxy.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	mux := http.NewServeMux()
	for _, path := range []string{"/api/v0/allocation/", "/vm/", "/v2/about/", "/control/"} {
		mux.Handle(path, n.compute.Config.Handler)
	}
	mux.Handle("/", proxy)
	n.Server = httptest.NewServer(mux)
	t.Cleanup(n.Close)
	return n
}

func (u *user) address() string {
	u.t.Helper()
	return u.addressOf(u.env["ALEPH_PRIVATE_KEY"])
}

func (u *user) addressOf(secret string) string {
	u.t.Helper()
	account, err := ethereum.FromHex(secret)
	if err != nil {
		u.t.Fatal(err)
	}
	return account.Address()
}

// result runs a command that has to succeed and reads what it printed as JSON into dst.
func (u *user) result(dst any, args ...string) {
	u.t.Helper()
	code, out, errOut := u.run(append([]string{"-o", "json", "--yes"}, args...)...)
	if code != 0 {
		u.t.Fatalf("aleph %s: exit code %d: %s", strings.Join(args, " "), code, errOut)
	}
	if dst == nil {
		return
	}
	if err := json.NewDecoder(bytes.NewReader([]byte(out))).Decode(dst); err != nil {
		u.t.Fatalf("aleph %s: %v: %s", strings.Join(args, " "), err, out)
	}
}
