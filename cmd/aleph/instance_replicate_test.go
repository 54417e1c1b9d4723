package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/message"
)

// replicates has the network say that an instance is kept a second time on crn-2.
func (n *realNode) replicates(instance message.Hash) {
	second := message.HashBytes([]byte("crn-2"))
	n.core.SetAggregate("corechannel", map[string]any{
		"nodes": []any{map[string]any{"hash": exampleCore, "name": "core-1", "owner": n.core.Authority(), "status": "active"}},
		"resource_nodes": []any{
			map[string]any{"hash": exampleCompute, "name": "crn-1", "status": "linked", "address": n.compute.URL, "parent": exampleCore},
			map[string]any{"hash": second, "name": "crn-2", "status": "linked", "address": "http://127.0.0.1:1", "parent": exampleCore},
		},
	})
	n.core.SetAggregate("instance-homes", map[string]any{string(instance): map[string]any{"node": exampleCompute, "replica": second, "since": 1}})
}

func TestAnInstanceIsKeptASecondTimeUntilItsOwnerEndsIt(t *testing.T) {
	node, u, other := funded(t)
	folder := t.TempDir()
	image, key := filepath.Join(folder, "disk.img"), filepath.Join(folder, "key.pub")
	for path, content := range map[string]string{image: "a disk", key: "ssh-ed25519 AAAA me\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var created struct {
		ItemHash message.Hash `json:"item_hash"`
	}
	u.result(&created, "instance", "create", "--image", image, "--ssh-key", key, "--wait=false")
	hash := string(created.ItemHash)
	asked := func() int64 { // seconds
		var wishes map[string]*struct{ Every int64 }
		u.result(&wishes, "aggregate", "get", "instance-replicas")
		if wishes[hash] == nil {
			return 0
		}
		return wishes[hash].Every
	}
	if code, out, errOut := u.run("--timeout", "2s", "instance", "replicate", hash); code != exitPending || !strings.Contains(errOut, "no compute node has agreed") {
		t.Errorf("before a node keeps it: exit code %d: %s%s", code, out, errOut)
	}
	node.replicates(created.ItemHash)
	var v replicaView
	u.result(&v, "instance", "replicate", hash, "--every", "90s")
	if v.CRN != "crn-2" || v.Every != "1m30s" || asked() != 90 {
		t.Errorf("%+v, asked for every %d s", v, asked())
	}
	u.result(&v, "instance", "replicate", hash, "--end")
	if got := asked(); got != 0 {
		t.Errorf("ended, and asked for every %d s", got)
	}
	if code, _, errOut := u.run("instance", "replicate", hash, "--every", "1ms"); code != exitUsage || !strings.Contains(errOut, "15m") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	if code, _, errOut := other.run("instance", "replicate", hash); code != exitRejected {
		t.Errorf("a stranger: exit code %d: %s", code, errOut)
	}
}
