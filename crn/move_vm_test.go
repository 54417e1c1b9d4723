package crn_test

import (
	"net/url"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/crn/network/networktest"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

// register has the network know the nodes under the addresses that they have now.
func register(core *networktest.CoreNode, nodes ...*host) {
	list := []any{}
	for i, n := range nodes {
		list = append(list, map[string]any{"hash": message.HashBytes([]byte{byte(i)}), "owner": networktest.Owner, "address": n.url})
	}
	core.Aggregate(params.Mainnet().Corechannel.Addresses[0], map[string]any{"corechannel": map[string]any{"nodes": []any{}, "resource_nodes": list}})
}

func TestAnInstanceMovesToAnotherNodeWithItsFiles(t *testing.T) {
	if !inOwnNetwork(t, "small") {
		return
	}
	from := newHost(t)
	to := from.beside()
	content := networktest.Instance(from.storeImage("instance-small.img"), 512, from.publicKey())
	content["volumes"] = []any{map[string]any{"persistence": "host", "name": "kept", "mount": "/kept", "size_mib": 64}}
	hash := from.core.Publish(message.TypeInstance, content)
	from.start()
	to.start()
	register(from.core, from, to)
	if status, answer := from.allocate(hash); status != 200 {
		t.Fatalf("got %d %v", status, answer)
	}
	from.ssh(hash, "echo precious > /vol/vdc/file; sync")

	begin := time.Now()
	export := "/control/machine/" + string(hash) + "/migration/export"
	if status, answer := from.order("POST", export, nil); status != 202 {
		t.Fatalf("got %d %v", status, answer)
	}
	var left map[string]any
	eventually(t, "the instance is ready to leave", func() bool {
		_, left = from.order("GET", export+"/status", nil)
		return left["state"] == "exported"
	})
	t.Logf("ready to be fetched after %v", time.Since(begin).Round(time.Millisecond))
	if log := from.pids(); len(log) != 0 {
		t.Errorf("it runs on: %v", log)
	}
	source, err := url.Parse(from.url)
	if err != nil {
		t.Fatal(err)
	}
	port, _ := strconv.Atoi(source.Port())
	order := map[string]any{
		"vm_hash": hash, "source_host": source.Hostname(), "source_port": port, "export_token": left["export_token"], "disk_files": left["disk_files"],
		"parent": left["parent"], "stopped": left["stopped"],
	}
	if status, answer := to.order("POST", "/control/migrate", order); status != 202 {
		t.Fatalf("got %d %v", status, answer)
	}
	// In the middle of it the node that it goes to is killed, and comes back.
	to.kill()
	to.start()
	eventually(t, "the instance is on the other node", func() bool {
		_, arriving := to.order("GET", "/control/migrate/"+string(hash)+"/status", nil)
		return arriving["state"] == "imported"
	})
	if got := to.ssh(hash, "cat /vol/vdc/file"); got != "precious" {
		t.Errorf("the file holds %q", got)
	}
	t.Logf("SSH answers on the other node %v after the order", time.Since(begin).Round(time.Millisecond))
	if status, answer := to.allocate(hash); status != 200 {
		t.Errorf("the plan there: %d %v", status, answer)
	}
	if status, answer := from.allocate(hash); status != 503 {
		t.Errorf("the node that it left takes it back: %d %v", status, answer)
	}
	if x := from.execution(hash); x.Kind != "" {
		t.Errorf("the node that it left shows %+v", x)
	}
	if status, answer := from.order("POST", "/control/machine/"+string(hash)+"/migration/cleanup", nil); status != 200 {
		t.Errorf("got %d %v", status, answer)
	}
	for _, pattern := range []string{"run/*", "disks/*", "parents/*", "logs/*"} {
		if left, _ := filepath.Glob(filepath.Join(from.dir, "instances", pattern)); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}
