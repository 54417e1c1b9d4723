//go:build e2e

package e2e

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
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
	"github.com/aleph-im/aleph-go/params"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// movesWhenItsNodeDrainsAndWhenItsOwnerAsks creates an instance and moves it there and, with its memory, back.
func movesWhenItsNodeDrainsAndWhenItsOwnerAsks(t *testing.T) {
	owner, err := ethereum.NewAccount(chain.Accounts()[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	c := client.New(client.Config{BaseURL: network.Core[0].URL})
	image, err := os.Open(filepath.Join(root, "build", "guest", "instance-small.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	up, err := c.UploadFile(t.Context(), owner, image, client.UploadOptions{Sync: true})
	if err != nil {
		t.Fatal(err)
	}
	content := map[string]any{
		"address": owner.Address(), "time": float64(time.Now().UnixMilli()) / 1000, "allow_amend": false,
		"authorized_keys": []string{strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey())))},
		"environment":     map[string]any{"internet": true, "aleph_api": false, "hypervisor": "qemu"},
		"resources":       map[string]any{"vcpus": 1, "memory": 256, "seconds": 30},
		"rootfs":          map[string]any{"parent": map[string]any{"ref": up.MessageHash, "use_latest": false}, "persistence": "host", "size_mib": 512},
		"volumes":         []any{map[string]any{"persistence": "host", "name": "kept", "mount": "/kept", "size_mib": 32}},
	}
	m, _, err := c.Send(t.Context(), owner, message.TypeInstance, content, client.SendOptions{Sync: true})
	if err != nil {
		t.Fatal(err)
	}
	first, _ := onInstance(t, m.ItemHash, key, "", "echo precious > /vol/vdc/file; sync")

	begin := time.Now()
	from := registeredAt(t, c, first)
	operator := operatorKey(t, from.Owner)
	// The node that it goes to is killed while it comes.
	killed := make(chan error, 1)
	for _, p := range network.Compute {
		if p.URL == first {
			continue
		}
		go func() {
			for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
				if _, err := os.Stat(filepath.Join(filepath.Dir(network.InfoPath()), p.Name, "instances", "disks", string(m.ItemHash))); err == nil {
					break
				}
				if time.Now().After(deadline) {
					killed <- errors.New("its disks do not come")
					return
				}
			}
			killed <- errors.Join(p.Kill(), p.Start())
		}()
	}
	if _, code := alephAs(t, operator, "node", "drain", string(from.Hash), "--yes"); code != 0 {
		t.Fatal("the node does not drain")
	}
	if err := <-killed; err != nil {
		t.Fatal(err)
	}
	second, file := onInstance(t, m.ItemHash, key, first, "cat /vol/vdc/file")
	t.Logf("from %s to %s, SSH answers %v after the drain", first, second, time.Since(begin).Round(time.Millisecond))
	if file != "precious" {
		t.Errorf("the file holds %q", file)
	}
	oneCopy(t, m.ItemHash)
	if out, code := alephAs(t, operator, "node", "drain", string(from.Hash), "--until-empty", "--yes"); code != 0 || strings.Contains(out, string(m.ItemHash)) {
		t.Errorf("it is on the node that was drained: %s", out)
	}
	if _, code := alephAs(t, operator, "node", "drain", string(from.Hash), "--end"); code != 0 {
		t.Fatal("the node drains on")
	}
	// Back it goes with its memory: the guest does not notice.
	const alive = "cat /proc/sys/kernel/random/boot_id /tmp/process; tr '\\0' ' ' < /proc/$(cat /tmp/process)/cmdline"
	_, before := onInstance(t, m.ItemHash, key, "", "mkdir -p /tmp; sleep 100000 >/dev/null 2>&1 & echo $! > /tmp/process; "+alive)
	begin = time.Now()
	if out, code := aleph(t, "instance", "move", string(m.ItemHash), "--to", first, "--yes"); code != 0 || !strings.Contains(out, from.Name) {
		t.Fatalf("its owner cannot move it: %s", out)
	}
	t.Logf("back on %s %v after its owner asked", first, time.Since(begin).Round(time.Millisecond))
	if third, file := onInstance(t, m.ItemHash, key, second, "cat /vol/vdc/file"); third != first || file != "precious" {
		t.Errorf("on %s the file holds %q", third, file)
	}
	if _, after := onInstance(t, m.ItemHash, key, second, alive); after != before || !strings.Contains(after, "sleep 100000") {
		t.Errorf("it had %q and has %q: it moved without its memory", before, after)
	}
	oneCopy(t, m.ItemHash)
	if _, code := aleph(t, "instance", "delete", string(m.ItemHash), "--yes"); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// registeredAt returns the compute node of an address.
func registeredAt(t *testing.T, c *client.Client, address string) client.ComputeNode {
	t.Helper()
	nodes, err := c.Nodes(t.Context(), params.Devnet().Corechannel.Addresses[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes.Compute {
		if n.Address == address {
			return n
		}
	}
	t.Fatalf("no compute node is registered at %s", address)
	return client.ComputeNode{}
}

// operatorKey writes the key of an operator into a file.
func operatorKey(t *testing.T, owner string) (path string) {
	t.Helper()
	for _, account := range chain.Accounts() {
		if account.Address.Hex() == owner {
			path = filepath.Join(t.TempDir(), "operator.key")
			if err := os.WriteFile(path, []byte(hex.EncodeToString(account.PrivateKey)), 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}
	}
	t.Fatalf("%s is no account of the network", owner)
	return ""
}

// oneCopy waits until the disks of an instance are on one node alone.
func oneCopy(t *testing.T, hash message.Hash) {
	t.Helper()
	eventually(t, 30*time.Second, func(context.Context) error {
		left, err := filepath.Glob(filepath.Join(filepath.Dir(network.InfoPath()), "crn*", "instances", "disks", string(hash)))
		if err == nil && len(left) != 1 {
			err = fmt.Errorf("disks of one instance are at %v", left)
		}
		return err
	})
}

// onInstance runs a command in an instance, wherever the plan has it but on the node to avoid, and waits until that answers.
func onInstance(t *testing.T, hash message.Hash, key ssh.Signer, avoid, command string) (node, out string) {
	t.Helper()
	c := client.New(client.Config{BaseURL: network.Core[0].URL})
	eventually(t, 2*time.Minute, func(ctx context.Context) error {
		place, err := c.Allocation(ctx, hash)
		if err != nil {
			return err
		}
		if node = place.Node.URL; node == avoid {
			return fmt.Errorf("the plan has it on %s", node)
		}
		list, err := c.Executions(ctx, node)
		if err != nil {
			return err
		}
		port := list[hash].Networking.MappedPorts["22"].Host
		out, err = imagetest.SSH(fmt.Sprintf("%s:%d", imagetest.HostAddress, port), key, command)
		return err
	})
	return node, out
}
