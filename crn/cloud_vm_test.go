package crn_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/crn/image/imagetest"
	"github.com/aleph-im/aleph-go/crn/tap"
)

// firstSlot is the first network that a node gives to an instance.
const firstSlot = 2048

// A machine of the distribution, as clouds offer it: what cloud-init makes of the seed is what counts here. Emulated on two
// processors it boots for a minute, several beside other work, and its image is built for two, so it runs on demand only:
// ALEPH_CLOUD_IMAGE=1.
func TestCloudImageTakesKeysAndAddressesFromTheSeed(t *testing.T) {
	if os.Getenv("ALEPH_CLOUD_IMAGE") == "" {
		t.Skip("set ALEPH_CLOUD_IMAGE=1 to boot a cloud image, which takes minutes where it is emulated")
	}
	if !imagetest.InOwnNetwork(t, "debian") {
		return
	}
	begin := time.Now()
	// Both nodes are on one host here, and each takes the first address that is free there. That is not the same for both.
	first := tap.Name(firstSlot)
	if out, err := exec.Command("ip", "tuntap", "add", "dev", first, "mode", "tap").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	m := newMovingOf(t, "instance-debian.qcow2", 2048, func(content map[string]any) {
		content["resources"] = map[string]any{"vcpus": 2, "memory": 768, "seconds": 30}
	})
	h, hash := m.hosts[0], m.hash
	for _, h := range m.hosts {
		h.patience = 12 * time.Minute
	}
	name := h.ssh(hash, "hostname")
	t.Logf("SSH answers after %v", time.Since(begin).Round(time.Second))
	if name != execution.HostLabel(hash) {
		t.Errorf("it is called %q", name)
	}
	check := func(h *host) {
		for command, want := range map[string]string{
			"cat /var/lib/cloud/data/instance-id":                            "iid-instance-" + string(hash),
			"ip -4 -o addr show dev eth0 | awk '{print $4}'":                 h.execution(hash).Networking.IPv4 + "/24",
			"ip -6 -o addr show dev eth0 scope global | awk '{print $4}'":    h.execution(hash).Networking.IPv6 + "/124",
			"[ $(df --output=size -m / | tail -1) -gt 1500 ] && echo bigger": "bigger",
		} {
			if got := h.ssh(hash, command); got != want {
				t.Errorf("%s: %q, want %q", command, got, want)
			}
		}
	}
	check(h)
	if out, err := exec.Command("ip", "tuntap", "del", "dev", first, "mode", "tap").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// It moves without its memory, and has other addresses on the other node.
	address := h.execution(hash).Networking.IPv4
	keys := h.ssh(hash, "cat /etc/ssh/ssh_host_*.pub")
	h.order("POST", "/control/machine/"+string(hash)+"/migration/export", nil)
	m.carry(t, h, m.hosts[1], m.roads[0])
	begin, h = time.Now(), m.hosts[1]
	if now := h.execution(hash).Networking.IPv4; now == address {
		t.Errorf("both nodes give it the address %s", now)
	}
	check(h)
	t.Logf("SSH answers %v after the move", time.Since(begin).Round(time.Second))
	if now := h.ssh(hash, "cat /etc/ssh/ssh_host_*.pub"); now != keys {
		t.Error("it went through its first boot again")
	}
	if got := h.operate(hash, client.MachineErase, nil); !strings.HasPrefix(got, "Erased") {
		t.Errorf("got %q", got)
	}
}
