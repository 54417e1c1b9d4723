package instance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/crn/tap"
	"github.com/aleph-im/aleph-go/message"
)

// seed is what cloud-init finds on the disk labelled cidata (spec/crn.md §4.6): files by their name. They are JSON, which all
// readers of YAML read, and which leaves no question of quoting what a user wrote.
type seed map[string]any

// growEncrypted has an encrypted root disk fill what the message gives it.
var growEncrypted = []string{"growpart /dev/vda 2 || true", "cryptsetup resize cr_root || true", "resize2fs /dev/mapper/cr_root || true"}

// keepCards has the guest's kernel leave the addresses of cards as the host's firmware made them, from its next start on.
var keepCards = []string{
	`grep -q pci=realloc=off /etc/default/grub || sed -i 's/^GRUB_CMDLINE_LINUX="/&pci=realloc=off pci=noaer /' /etc/default/grub || true`,
	"update-grub || grub2-mkconfig -o /boot/grub2/grub.cfg || true",
}

func newSeed(r record, m *message.Instance, a tap.Addresses, nameservers []netip.Addr) seed {
	name := execution.HostLabel(r.Hash)
	keys := m.AuthorizedKeys
	if keys == nil {
		keys = []string{}
	}
	user := map[string]any{
		"hostname": name, "disable_root": false, "ssh_pwauth": false, "ssh_authorized_keys": keys, "resize_rootfs": true,
		"package_update": true,
		// An instance that comes from another node has other addresses here, also where its first boot was elsewhere.
		"updates": map[string]any{"network": map[string]any{"when": []string{"boot-new-instance", "boot"}}},
	}
	var early []string
	if r.confidential() {
		early = append(early, growEncrypted...) // and no agent, which would take the host's orders
	} else {
		user["packages"], user["runcmd"] = []string{"qemu-guest-agent"}, []string{"systemctl start qemu-guest-agent.service"}
	}
	if r.Hardware != nil && len(r.Hardware.GPUs) > 0 {
		early = append(early, keepCards...)
	}
	if early != nil {
		user["bootcmd"] = early
	}
	// The id is the message's: whatever number the instance gets here, or on another node, its first boot is its first.
	s := seed{"user-data": user, "meta-data": map[string]any{"instance-id": "iid-instance-" + string(r.Hash), "local-hostname": name}}
	ethernets := map[string]any{}
	if r.Internet {
		servers := []string{}
		for _, n := range nameservers {
			servers = append(servers, n.String())
		}
		ethernets["eth0"] = map[string]any{
			"match":     map[string]string{"driver": "virtio_net"},
			"addresses": []string{netip.PrefixFrom(a.IPv4, a.Prefix4().Bits()).String(), netip.PrefixFrom(a.IPv6, a.Prefix6().Bits()).String()},
			"gateway4":  a.IPv4Host.String(), "gateway6": a.IPv6Network.String(),
			"nameservers": map[string]any{"addresses": servers},
		}
	}
	s["network-config"] = map[string]any{"version": 2, "ethernets": ethernets}
	return s
}

// writeSeed writes the image of that disk.
func writeSeed(ctx context.Context, path string, s seed) error {
	dir, err := os.MkdirTemp(filepath.Dir(path), ".seed-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	args := []string{"-quiet", "-output", path + ".new", "-volid", "cidata", "-joliet", "-rock"}
	for name, content := range s {
		raw, err := json.Marshal(content)
		if err != nil {
			return err
		}
		if name == "user-data" {
			raw = append([]byte("#cloud-config\n"), raw...)
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, append(raw, '\n'), 0o600); err != nil {
			return err
		}
		args = append(args, file)
	}
	out, err := exec.CommandContext(ctx, "genisoimage", args...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return errors.New("genisoimage is missing: install the package of that name")
	}
	if err != nil {
		return fmt.Errorf("genisoimage: %w: %.300s", err, out)
	}
	return os.Rename(path+".new", path)
}
