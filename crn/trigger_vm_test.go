package crn_test

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aleph-im/aleph-go/crn"
	"github.com/aleph-im/aleph-go/crn/image/imagetest"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// One machine serves all of these, until a new version of its code ends it.
func TestProgramsGetEventsAndTheGuestAPI(t *testing.T) {
	signer, err := ethereum.NewAccount(ownerKey)
	if err != nil {
		t.Fatal(err)
	}
	n := start(t, func(c *crn.Config) { c.AllocationSigners = []string{signer.Address()} })
	var code message.Hash
	hash := n.probe(t, func(c map[string]any) {
		c["on"] = map[string]any{"http": true, "message": []any{map[string]any{"type": "POST", "content": map[string]any{"type": "order"}}}}
		c["environment"] = map[string]any{"aleph_api": true}
		c["volumes"] = []any{map[string]any{"persistence": "host", "name": "kept", "mount": "/kept", "size_mib": 16}}
		source := c["code"].(map[string]any)
		source["use_latest"] = true
		code = source["ref"].(message.Hash)
	})
	n.allocate(t, signer, fmt.Sprintf(`{"persistent_vms":[],"on_demand_vms":[%q]}`, hash))
	eventually(t, "the node follows messages", func() bool { return n.core.Watchers() == 1 })
	before := n.get(t, hash, "/count")
	if before.status != 200 {
		t.Fatalf("got %+v", before)
	}

	t.Run("a message that it subscribed to reaches it", func(t *testing.T) {
		n.core.Publish(message.TypePost, map[string]any{"type": "note", "content": map[string]any{}})
		order := n.core.Publish(message.TypePost, map[string]any{"type": "order", "content": map[string]any{"n": 1}})
		var events string
		eventually(t, "the event arrived", func() bool { events = n.get(t, hash, "/events").body; return events != "" })
		if want := "POST aleph.message " + string(order) + ` {"sender":`; !strings.HasPrefix(events, want) || strings.Contains(events, "\n") {
			t.Errorf("got %s, want %s", events, want)
		}
		eventually(t, "it is counted", func() bool {
			return strings.Contains(n.do(t, "GET", "/metrics", "").body, `aleph_crn_events_total{kind="aleph.message",outcome="done"} 1`)
		})
	})

	t.Run("nobody else can send one", func(t *testing.T) {
		for _, name := range []string{"Aleph-Event", "aleph-event", "ALEPH_EVENT"} {
			request, err := http.NewRequestWithContext(t.Context(), "POST", n.url+"/vm/"+string(hash)+"/_aleph/event", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			request.Header[name] = []string{"aleph.message"}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != 403 {
				t.Errorf("%s: got %s", name, response.Status)
			}
		}
	})

	api := func(method, over, path, body string) reply {
		return n.do(t, method, "/vm/"+string(hash)+"/guest-api?over="+over+"&path="+url.QueryEscape(path), body)
	}
	t.Run("the guest API answers over socket and port", func(t *testing.T) {
		for _, over := range []string{"socket", "port"} {
			if r := api("PUT", over, "/cache/"+over, "value of "+over); r.status != 200 || r.body != "true" {
				t.Errorf("put over %s: %+v", over, r)
			}
			if r := api("GET", over, "/cache/"+over, ""); r.status != 200 || r.body != "value of "+over {
				t.Errorf("get over %s: %+v", over, r)
			}
		}
		if r := api("GET", "port", "/cache/?pattern=*o*", ""); r.body != `["port","socket"]` {
			t.Errorf("keys: %+v", r)
		}
		if r := api("GET", "socket", "/properties", ""); r.status != 200 || !strings.Contains(r.body, `"curve":"secp256k1"`) {
			t.Errorf("properties: %+v", r)
		}
		if r := api("GET", "socket", "/api/v0/messages.json?hashes="+string(hash), ""); r.status != 200 || !strings.Contains(r.body, string(code)) {
			t.Errorf("its own message: %+v", r)
		}
		large := strings.Repeat("0123456789abcdef", 60_000)
		if r := api("PUT", "socket", "/cache/large", large); r.status != 200 {
			t.Errorf("large: %+v", r)
		}
		var asking sync.WaitGroup
		for range 8 {
			asking.Go(func() {
				if r := api("GET", "port", "/cache/large", ""); r.body != large {
					t.Errorf("large one came back with %d bytes", len(r.body))
				}
			})
		}
		asking.Wait()
	})

	t.Run("a new version of its code takes over, and finds the cache", func(t *testing.T) {
		raw, err := os.ReadFile(filepath.Join(imagetest.Root(), "build", "guest", "probe"))
		if err != nil {
			t.Fatal(err)
		}
		amend := func(address string) message.Hash {
			file := n.core.AddFile(imagetest.Zip(t, map[string]string{"bin/probe": string(raw), "version": address}))
			return n.core.Publish(message.TypeStore, map[string]any{"address": address, "item_type": "storage", "item_hash": file, "ref": code})
		}
		amend("0xstranger")
		newer := amend(signer.Address())
		eventually(t, "the old machine ended", func() bool {
			return !strings.Contains(n.do(t, "GET", "/v2/about/executions/list", "").body, string(hash))
		})
		after := n.get(t, hash, "/count")
		if after.status != 200 || strings.Fields(after.body)[0] == strings.Fields(before.body)[0] {
			t.Errorf("got %+v after %+v", after, before)
		}
		if got := after.header.Get("Aleph-Program-Code-Ref"); got != string(newer) {
			t.Errorf("runs %s, want %s", got, newer)
		}
		if r := api("GET", "port", "/cache/socket", ""); r.body != "value of socket" {
			t.Errorf("cache: %+v", r)
		}
	})

	t.Run("forgotten, it goes with its volumes", func(t *testing.T) {
		volumes := filepath.Join(n.dir, "executions", "volumes", string(hash))
		if _, err := os.Stat(volumes); err != nil {
			t.Fatal(err)
		}
		n.core.Publish(message.TypeForget, map[string]any{"address": "0xstranger", "hashes": []message.Hash{hash}})
		n.core.Forget(hash)
		n.core.Publish(message.TypeForget, map[string]any{"hashes": []message.Hash{hash}})
		eventually(t, "its volumes are removed", func() bool { _, err := os.Stat(volumes); return os.IsNotExist(err) })
		if r := n.get(t, hash, "/count"); r.status != 404 {
			t.Errorf("got %+v", r)
		}
	})
}
