//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/client/payg"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

// paidByAStream creates an instance as its user does: the compute node starts it when it has found the stream in the contract, and
// deleting it ends the stream. It is backed up and restored on the way.
func paidByAStream(t *testing.T) {
	raw, err := os.ReadFile(network.ParametersPath())
	if err != nil {
		t.Fatal(err)
	}
	var parameters struct{ Streams []params.StreamChain }
	if err := json.Unmarshal(raw, &parameters); err != nil {
		t.Fatal(err)
	}
	streams, err := payg.New(payg.Config{Chain: parameters.Streams[0]})
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "key.pub")
	if err := os.WriteFile(key, []byte("ssh-ed25519 AAAA nobody\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _, code := alephOf(t, network.Info().Wallets[0].KeyFile, "-o", "json", "--yes", "--network", network.ParametersPath(), "--timeout", "150s",
		"instance", "create", "--payment", "stream", "--image", filepath.Join(root, "build", "guest", "instance-small.img"),
		"--memory", "256", "--disk", "512", "--ssh-key", key)
	var created struct {
		ItemHash message.Hash `json:"item_hash"`
		CRN      string       `json:"crn_url"`
		Running  bool         `json:"running"`
	}
	if err := json.Unmarshal([]byte(out), &created); err != nil || code != 0 || !created.Running {
		t.Fatalf("exit code %d, %v", code, err)
	}
	c := client.New(client.Config{BaseURL: network.Core[0].URL})
	receiver, err := c.StreamReceiver(t.Context(), created.CRN, parameters.Streams[0].Chain)
	if err != nil {
		t.Fatal(err)
	}
	sign := func() int {
		t.Helper()
		rate, err := streams.Flow(t.Context(), network.Info().Wallets[0].Address, receiver)
		if err != nil {
			t.Fatal(err)
		}
		return rate.Sign()
	}
	if sign() != 1 {
		t.Error("it runs, and nothing is streamed")
	}
	backsUp(t, created.ItemHash)
	if _, code := aleph(t, "--yes", "--network", network.ParametersPath(), "instance", "delete", string(created.ItemHash)); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	if sign() != 0 {
		t.Error("it is deleted, and the stream goes on")
	}
	if list, err := c.Executions(t.Context(), created.CRN); err != nil || list[created.ItemHash].Running {
		t.Errorf("it runs still: %v", err)
	}
}
