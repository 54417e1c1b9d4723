// Package tap is the network of guests: a tap and addresses for each, and the rules by which packets pass between guests and
// the world. crn/instance calls it.
//
// There is no bridge: each guest has a routed tap of its own. Rules are in one table of nftables that is this node's alone and
// is always replaced whole, in one transaction. So what is in force is what the node last said, whatever was there before;
// connections that are open stay open.
package tap

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Guest is a machine with a network card.
type Guest struct {
	Slot      int
	Addresses Addresses
	// Inside are the addresses that the guest itself knows, where they are others: it came with its memory from a node that gave it
	// these. Its packets bear them up to its tap, and those above beyond. nil for most.
	Inside   *Addresses
	MAC      string // of its network card; of use with Inside only
	Forwards []Forward
}

// GatewayMAC is the hardware address of the host on all taps, so that a guest that comes from another node finds it as it knows it.
const GatewayMAC = "52:55:00:00:00:01"

// Forward makes a port of a guest reachable on the same port number of the host, for TCP, UDP or both.
type Forward struct {
	GuestPort, HostPort uint16
	TCP, UDP            bool
}

// ErrUnprivileged: this process may not make networks.
var ErrUnprivileged = errors.New("the network of guests needs the capability CAP_NET_ADMIN, the device /dev/net/tun and the programs ip and nft: run the node as root, or give its service AmbientCapabilities=CAP_NET_ADMIN, and install iproute2 and nftables")

// Config of the network of guests.
type Config struct {
	// Owner tells the taps and rules of this node from those of another node on the same host; the path of the node's data folder.
	Owner string
	// Nameservers are the addresses that guests may reach for DNS also where they are private ones.
	Nameservers []netip.Addr
	// Rate bounds what each guest sends to the world, and what it gets from there, in bytes a second; 0 is no bound.
	Rate int64
	// Uid is the user that may open the taps: the node's own, which hands them to QEMU.
	Uid int
	// Interface is where the host answers its neighbours for the IPv6 addresses of guests; nowhere when empty.
	Interface string
}

// Host is the network of guests on this host. Safe for concurrent use.
type Host struct {
	cfg  Config
	tag  string // of this node: the name of its table, the alias of its taps, and their name while they are made
	mark uint8  // of this node, on neighbours; not below 128, which are the kernel's and routing daemons'

	mu sync.Mutex // one change at a time
}

// New looks at what this process may do. The error is ErrUnprivileged when that is not enough. Nothing is changed before the
// first guest comes.
func New(ctx context.Context, cfg Config) (*Host, error) {
	sum := sha256.Sum256([]byte(cfg.Owner))
	h := &Host{cfg: cfg, tag: "aleph-" + hex.EncodeToString(sum[:4]), mark: sum[4] | 128}
	for _, tool := range []string{"ip", "nft"} {
		if _, err := lookPath(tool); err != nil {
			return nil, fmt.Errorf("%w (no program %s)", ErrUnprivileged, tool)
		}
	}
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrUnprivileged, err)
	}
	f.Close()
	// Making a table and taking it back shows whether we may. The table of an earlier node stays in force: its guests go on.
	trial := h.tag + "-trial"
	if err := h.run(ctx, "nft", fmt.Sprintf("table inet %s\ndelete table inet %s\n", trial, trial), "-f", "-"); err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrUnprivileged, err)
	}
	return h, nil
}

// forwardPackets sets what routing between guests and the world needs. A host that forwards IPv6 stops heeding router
// advertisements, and may lose its own address by that, unless told otherwise.
func forwardPackets() error {
	if err := setSysctl("net/ipv4/ip_forward", "0", "1"); err != nil {
		return err
	}
	interfaces, err := os.ReadDir("/proc/sys/net/ipv6/conf")
	if errors.Is(err, os.ErrNotExist) {
		return nil // a host without IPv6
	}
	if err != nil {
		return err
	}
	for _, entry := range interfaces {
		if err := setSysctl("net/ipv6/conf/"+entry.Name()+"/accept_ra", "1", "2"); err != nil {
			return err
		}
	}
	return setSysctl("net/ipv6/conf/all/forwarding", "0", "1")
}

// hasIPv6 reports whether new interfaces of this host take IPv6 addresses.
func hasIPv6() (bool, error) {
	raw, err := os.ReadFile("/proc/sys/net/ipv6/conf/default/disable_ipv6")
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return string(bytes.TrimSpace(raw)) == "0", err
}

func setSysctl(name, from, to string) error {
	path := "/proc/sys/" + name
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if string(bytes.TrimSpace(raw)) != from {
		return nil
	}
	return os.WriteFile(path, []byte(to), 0o644)
}

// Name of the interface of a slot.
func Name(slot int) string { return "vmtap" + strconv.Itoa(slot) }

// Taken reports whether the host has an interface of the slot's name, whoever made it.
func Taken(slot int) bool {
	_, err := net.InterfaceByName(Name(slot))
	return err == nil
}

// TakenError names the guests of an Apply that have no network, by their numbers: another node or program of this host has an
// interface of that name. It holds until they get other numbers.
type TakenError struct{ Slots []int }

func (e *TakenError) Error() string {
	return fmt.Sprintf("network of guests: other programs of this host have the interfaces of the numbers %v", e.Slots)
}

// Apply makes the taps, rules and neighbours of these guests and removes all others that this node, or an earlier one on the same data
// folder, has made. After a [*TakenError] it has done so for all guests but those that it names.
func (h *Host) Apply(ctx context.Context, guests []Guest) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	have, err := h.taps(ctx)
	if err != nil {
		return fmt.Errorf("network of guests: %w", err)
	}
	var connected []Guest
	var taken TakenError
	for _, g := range guests {
		if name := Name(g.Slot); !have[name] {
			if g.Inside != nil && strict() {
				return errors.New("network of guests: a guest keeps its addresses on a host only where net.ipv4.conf.all.rp_filter is 0 or 2")
			}
			if err := h.makeTap(ctx, name); err != nil {
				if !Taken(g.Slot) {
					return fmt.Errorf("network of guests: make the tap %s: %w", name, err)
				}
				taken.Slots = append(taken.Slots, g.Slot)
				continue
			}
			have[name] = true
		}
		connected = append(connected, g)
	}
	if err := h.connect(ctx, connected, have); err != nil {
		return err
	}
	if taken.Slots != nil {
		return &taken
	}
	return nil
}

// makeTap makes a tap that is down; it fails where there is an interface of that name. The tap gets its name last, when it is marked as
// ours, so that one which is cut short is found and removed the next time.
func (h *Host) makeTap(ctx context.Context, name string) error {
	err := h.run(ctx, "ip", fmt.Sprintf("tuntap add dev %[1]s mode tap user %[2]d\nlink set dev %[1]s address %[3]s alias %[1]s\nlink set dev %[1]s name %[4]s\n",
		h.tag, h.cfg.Uid, GatewayMAC, name), "-batch", "-")
	if err != nil {
		err = errors.Join(err, h.removeUnfinished(context.WithoutCancel(ctx)))
	}
	return err
}

// removeUnfinished removes a tap that has not got its name, if there is one.
func (h *Host) removeUnfinished(ctx context.Context) error {
	return h.run(ctx, "ip", "", "tuntap", "delete", "dev", h.tag, "mode", "tap")
}

// connect makes all but the taps themselves, of which have are those that are ours. Those of other guests are removed.
func (h *Host) connect(ctx context.Context, guests []Guest, have map[string]bool) error {
	addresses, err := h.addresses(ctx)
	if err != nil {
		return fmt.Errorf("network of guests: %w", err)
	}
	ipv6, err := hasIPv6()
	if err != nil {
		return fmt.Errorf("network of guests: %w", err)
	}
	var commands strings.Builder
	for _, g := range guests {
		name := Name(g.Slot)
		delete(have, name)
		fmt.Fprintf(&commands, "address replace %s dev %s\n", netip.PrefixFrom(g.Addresses.IPv4Host, bits4), name)
		if ipv6 {
			fmt.Fprintf(&commands, "address replace %s dev %s nodad\n", g.Addresses.Prefix6(), name)
		}
		fmt.Fprintf(&commands, "link set dev %s up\n", name)
		keepInside(g, ipv6, &commands)
		forgetInside(g, addresses[name], &commands)
	}
	for name := range have {
		fmt.Fprintf(&commands, "link delete dev %s\n", name)
	}
	if ipv6 {
		if err := h.proxy(ctx, guests, &commands); err != nil {
			return fmt.Errorf("network of guests: answer for them on %s: %w", h.cfg.Interface, err)
		}
	}
	if len(guests) > 0 {
		if err := forwardPackets(); err != nil {
			return fmt.Errorf("network of guests: let the host forward packets: %w", err)
		}
	}
	// The rules come first: no tap is up without them.
	if err := h.run(ctx, "nft", h.table(guests), "-f", "-"); err != nil {
		return fmt.Errorf("network of guests: set the rules: %w", err)
	}
	if err := h.run(ctx, "ip", commands.String(), "-batch", "-"); err != nil {
		return fmt.Errorf("network of guests: set up the taps: %w", err)
	}
	if err := heedInside(guests); err != nil {
		return fmt.Errorf("network of guests: %w", err)
	}
	return nil
}

// taps returns the names of the interfaces that are ours. One that was not made to its end is removed.
func (h *Host) taps(ctx context.Context) (map[string]bool, error) {
	out, err := h.output(ctx, "ip", "", "-json", "link", "show")
	if err != nil {
		return nil, err
	}
	var links []struct{ Ifname, Ifalias string }
	if err := json.Unmarshal(out, &links); err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	names := map[string]bool{}
	for _, l := range links {
		switch {
		case l.Ifname == h.tag:
			if err := h.removeUnfinished(ctx); err != nil {
				return nil, fmt.Errorf("remove an unfinished tap: %w", err)
			}
		case l.Ifalias == h.tag:
			names[l.Ifname] = true
		}
	}
	return names, nil
}

// commandLimit bounds one run of ip or nft. They take some milliseconds.
const commandLimit = 20 * time.Second

func (h *Host) run(ctx context.Context, tool, input string, args ...string) error {
	_, err := h.output(ctx, tool, input, args...)
	return err
}

func (h *Host) output(ctx context.Context, tool, input string, args ...string) ([]byte, error) {
	path, err := lookPath(tool)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil, fmt.Errorf("%s: %w: %.500s", tool, err, bytes.TrimSpace(exit.Stderr))
	}
	return out, err
}

// lookPath also finds what is not in the PATH of ordinary users.
func lookPath(tool string) (string, error) {
	path, err := exec.LookPath(tool)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin/", "/sbin/"} {
		if unix.Access(dir+tool, unix.X_OK) == nil {
			return dir + tool, nil
		}
	}
	return "", err
}
