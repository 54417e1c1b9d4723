package crn

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/aleph-im/aleph-go/crn/backup"
	"github.com/aleph-im/aleph-go/crn/gpu"
	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/crn/tap"
	"github.com/aleph-im/aleph-go/params"
)

// vcpusPerCore is how many virtual processors a core of the host may stand for (spec/crn.md §4.11).
const vcpusPerCore = 4

// openInstances makes the pool of instances and their backups. There is none where this process may not make networks: programs need
// none.
func (n *CRN) openInstances(ctx context.Context, p *parts) error {
	p.neighbours = neighbourhood(n.cfg.NetworkInterface, p.pool6)
	dir := filepath.Join(n.cfg.DataDir, "instances")
	nameservers := n.cfg.nameservers()
	guests, err := tap.New(ctx, tap.Config{Owner: n.cfg.DataDir, Nameservers: nameservers, Rate: n.cfg.NetworkRate, Uid: os.Getuid(), Interface: p.neighbours})
	if errors.Is(err, tap.ErrUnprivileged) {
		n.cfg.Log.Warn("no instances, only programs", "reason", err)
		return nil
	}
	if err != nil {
		return err
	}
	machines, err := p.driver.Instances(filepath.Join(dir, "run"))
	if err != nil {
		return err
	}
	processor, noProcessor := machines.SecureProcessor(ctx)
	if noProcessor != nil {
		n.cfg.Log.Info("confidential instances are not offered", "reason", noProcessor)
	} else {
		n.secure = processor.Certificates
	}
	host := gpu.Host{Root: n.cfg.HostRoot}
	cards, refused, err := host.Cards(n.cfg.GPUs)
	if err != nil {
		return err
	}
	for _, reason := range refused {
		n.cfg.Log.Warn("a graphics card is not given to machines", "reason", reason)
	}
	if n.instances, err = instance.New(ctx, instance.Config{
		SEV: processor, NoSEV: noProcessor, Cards: gpu.NewTable(cards), CardHost: host,
		Network: p.source, Driver: instance.QEMU{Instances: machines}, Guests: guests, Dir: dir, IPv6Pool: p.pool6, Nameservers: nameservers,
		MemoryMiB: n.cfg.InstanceMemoryMiB, OverheadMiB: n.print.OverheadMiB, VCPUs: cmp.Or(n.cfg.VCPUs, runtime.NumCPU()*vcpusPerCore), StopTimeout: n.cfg.InstanceStopTimeout,
		EndWithin: n.cfg.EndInstancesWithin, ReplicaBytes: n.cfg.ReplicaBytes, Log: n.cfg.Log,
	}); err != nil {
		return err
	}
	n.backups, err = n.openBackups()
	return err
}

// knownCards are the cards that the network's parameters know.
func knownCards(list []params.GPU) []gpu.Model {
	models := make([]gpu.Model, 0, len(list))
	for _, g := range list {
		models = append(models, gpu.Model{Model: g.Model, DeviceID: g.DeviceID})
	}
	return models
}

// openBackups opens the backups of instances. Links to them stay valid when the node is started again.
func (n *CRN) openBackups() (*backup.Store, error) {
	secret, err := secretFile(filepath.Join(n.cfg.DataDir, "backup_secret"))
	if err != nil {
		return nil, err
	}
	return backup.New(backup.Config{Machines: n.instances, Dir: filepath.Join(n.cfg.DataDir, "backups"), Secret: secret, Log: n.cfg.Log})
}

// nameservers are those that guests are to use.
func (c *Config) nameservers() []netip.Addr {
	if len(c.Nameservers) > 0 {
		return distinct(c.Nameservers)
	}
	return distinct(hostNameservers())
}

// hostNameservers returns those of the host that guests can reach as well, or else public ones.
func hostNameservers() []netip.Addr {
	for _, path := range []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if list := parseNameservers(string(raw)); len(list) > 0 {
			return list
		}
	}
	return []netip.Addr{netip.MustParseAddr("9.9.9.9"), netip.MustParseAddr("1.1.1.1")}
}

// parseNameservers reads resolv.conf(5), without those that only the host itself can reach.
func parseNameservers(text string) (list []netip.Addr) {
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil && !a.IsLoopback() && !a.IsLinkLocalUnicast() {
			list = append(list, a)
		}
	}
	return list
}

// distinct leaves out what has come before.
func distinct(list []netip.Addr) (once []netip.Addr) {
	for _, a := range list {
		if !slices.Contains(once, a) {
			once = append(once, a)
		}
	}
	return once
}
