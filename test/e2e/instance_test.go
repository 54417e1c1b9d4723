//go:build e2e

package e2e

import (
	"crypto/ed25519"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/aleph-im/aleph-go/crn/image/imagetest"
	"github.com/aleph-im/aleph-go/message"
)

// TestAnInstance runs on a network of its own, because instances change the host's. Each part but the last ends its
// instance; the last but one destroys a node.
func TestAnInstance(t *testing.T) {
	if !imagetest.InOwnNetwork(t, "small") {
		return
	}
	t.Run("is paid by a stream", paidByAStream)
	t.Run("moves when its node drains and when its owner asks", movesWhenItsNodeDrainsAndWhenItsOwnerAsks)
	t.Run("comes back when its node died", comesBackWhenItsNodeDied)
	t.Run("runs until its network ends", runsUntilItsNetworkEnds)
}

// runsUntilItsNetworkEnds leaves an instance behind: run sees to it that nothing is left when the network has ended.
func runsUntilItsNetworkEnds(t *testing.T) {
	hash, key := createInstance(t)
	onInstance(t, hash, key, "", "true")
	if len(machines()) == 0 {
		t.Error("no node has a machine written down")
	}
}

// machines are the records of the machines of instances.
func machines() []string {
	records, _ := filepath.Glob(filepath.Join(filepath.Dir(network.InfoPath()), "crn*", "instances", "run", "*", "process.json"))
	return records
}

// createInstance creates a small instance with a volume, and returns the key that may log in.
func createInstance(t *testing.T) (message.Hash, ssh.Signer) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	keyFile := filepath.Join(t.TempDir(), "id.pub")
	if err := os.WriteFile(keyFile, ssh.MarshalAuthorizedKey(key.PublicKey()), 0o600); err != nil {
		t.Fatal(err)
	}
	out, code := aleph(t, "-o", "json", "instance", "create", "--image", filepath.Join(root, "build", "guest", "instance-small.img"),
		"--memory", "256", "--disk", "512", "--volume", "kept:32", "--ssh-key", keyFile, "--yes")
	var created struct {
		Hash message.Hash `json:"item_hash"`
	}
	if code != 0 || json.Unmarshal([]byte(out[strings.Index(out, "{"):strings.LastIndex(out, "}")+1]), &created) != nil {
		t.Fatalf("exit code %d", code)
	}
	return created.Hash, key
}
