//go:build e2e

package e2e

import (
	"crypto/ed25519"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/crn/image/imagetest"
	"github.com/aleph-im/aleph-go/devnet/chain"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/ethereum"
	"github.com/aleph-im/aleph-go/test/conformance/official"
)

// officialMachines deploys what the published clients operate, on the first compute node: an instance paid with credits, which
// its owner asks that node for, one that asks for a confidential machine, and a program.
func officialMachines(t *testing.T) official.Machines {
	t.Helper()
	owner, err := ethereum.NewAccount(chain.Accounts()[officialOperator].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	api := client.New(client.Config{BaseURL: network.Core[0].URL})
	store := func(path string) message.Hash {
		t.Helper()
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		stored, err := api.UploadFile(t.Context(), owner, file, client.UploadOptions{Sync: true})
		if err != nil {
			t.Fatal(err)
		}
		return stored.MessageHash
	}
	publish := func(kind message.Type, content map[string]any) string {
		t.Helper()
		content["address"], content["time"] = owner.Address(), float64(time.Now().UnixMilli())/1000
		sent, _, err := api.Send(t.Context(), owner, kind, content, client.SendOptions{Sync: true})
		if err != nil {
			t.Fatal(err)
		}
		return string(sent.ItemHash)
	}
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	node := network.Info().Compute[0]
	image := store(filepath.Join(root, "build", "guest", "instance-small.img"))
	instance := map[string]any{
		"allow_amend": false, "metadata": map[string]any{"name": "operated"},
		"authorized_keys": []string{strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))},
		"environment":     map[string]any{"internet": true, "aleph_api": true, "hypervisor": "qemu"},
		"resources":       map[string]any{"vcpus": 1, "memory": 256, "seconds": 30},
		"payment":         map[string]any{"chain": "ETH", "type": "credit"},
		"requirements":    map[string]any{"node": map[string]any{"node_hash": node.Hash}},
		"rootfs":          map[string]any{"parent": map[string]any{"ref": image, "use_latest": true}, "persistence": "host", "size_mib": 512},
		"volumes":         []any{map[string]any{"persistence": "host", "name": "kept", "mount": "/kept", "size_mib": 8}},
	}
	confidential := maps.Clone(instance)
	confidential["environment"] = map[string]any{
		"internet": true, "aleph_api": true, "hypervisor": "qemu", "trusted_execution": map[string]any{"firmware": image, "policy": 1},
	}
	binary := filepath.Join(t.TempDir(), "probe")
	if err := imagetest.BuildGo("./crn/testdata/probe", binary); err != nil {
		t.Fatal(err)
	}
	program := map[string]any{
		"type": "vm-function", "allow_amend": false, "on": map[string]any{"http": true},
		"code":        map[string]any{"encoding": message.EncodingPlain, "entrypoint": "probe", "ref": store(binary), "use_latest": true},
		"runtime":     map[string]any{"ref": network.Info().Runtime, "use_latest": true, "comment": "Python"},
		"environment": map[string]any{"internet": false, "aleph_api": false, "reproducible": false, "shared_cache": false},
		"resources":   map[string]any{"vcpus": 1, "memory": 128, "seconds": 30},
		"payment":     map[string]any{"chain": "ETH", "type": "hold"},
		"volumes":     []any{},
	}
	return official.Machines{
		Key: walletKey(officialOperator), Node: node.URL, List: listOfNodes(t),
		Instance:     publish(message.TypeInstance, instance),
		Confidential: publish(message.TypeInstance, confidential),
		Program:      publish(message.TypeProgram, program),
	}
}

// listOfNodes serves the list of compute nodes in which clients look for the address of one (spec/crn.md §6.6). A program of the
// public network publishes it; like that one, this asks every node what it has.
func listOfNodes(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var list []map[string]any
		for _, node := range network.Info().Compute {
			var usage map[string]any
			if err := get(r.Context(), node.URL+"/about/usage/system", &usage); err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
			list = append(list, map[string]any{
				"hash": node.Hash, "name": node.Name, "address": node.URL, "qemu_support": true, "system_usage": usage, "payment_receiver_address": nil,
			})
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"crns": list})
	}))
	t.Cleanup(server.Close)
	return server.URL + "/crns.json"
}
