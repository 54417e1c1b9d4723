package instance

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/tap"
	"github.com/aleph-im/aleph-go/message"
)

// Ports of the host that are given to guests (spec/crn.md §4.9).
const (
	firstPort = 24000
	lastPort  = 65534
)

// maxForwards bounds the ports of one instance.
const maxForwards = 200

// portsLimit bounds the question for an owner's ports: a start waits for it.
const portsLimit = 20 * time.Second

// wish is how a port of the guest is to be reachable.
type wish struct {
	TCP bool `json:"tcp"`
	UDP bool `json:"udp"`
}

// wishes reads which ports the owner of an instance wants forwarded. SSH is, unless the owner says otherwise.
func (p *Pool) wishes(ctx context.Context, owner string, hash message.Hash) (map[uint16]wish, error) {
	ctx, cancel := context.WithTimeout(ctx, portsLimit)
	defer cancel()
	ports := map[uint16]wish{22: {TCP: true}}
	var all map[string]json.RawMessage
	err := p.cfg.Network.Aggregate(ctx, owner, "port-forwarding", 0, &all)
	if errors.Is(err, corenode.ErrNotFound) {
		return ports, nil
	}
	if err != nil {
		return nil, err
	}
	if all[string(hash)] == nil {
		return ports, nil
	}
	var one struct {
		Ports map[string]wish `json:"ports"`
	}
	if err := json.Unmarshal(all[string(hash)], &one); err != nil {
		return nil, fmt.Errorf("ports of instance %s: %w", hash, err)
	}
	for text, w := range one.Ports {
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil || port == 0 {
			return nil, fmt.Errorf("ports of instance %s: %q is no port", hash, text)
		}
		if ports[uint16(port)] = w; !w.TCP && !w.UDP {
			delete(ports, uint16(port))
		}
	}
	if len(ports) > maxForwards {
		return nil, fmt.Errorf("ports of instance %s: %d are wanted and at most %d are forwarded", hash, len(ports), maxForwards)
	}
	return ports, nil
}

// PortsChanged has the ports read again that an owner wants forwarded, as a message says that they are others. The notice of the owner
// (Update) may come before this node's core node has that message.
func (p *Pool) PortsChanged(owner string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range p.instances {
		if x.here() && x.rec.Internet && x.rec.Owner == owner {
			p.portsDue[x.hash] = true
		}
	}
	select {
	case p.portsNews <- struct{}{}:
	default:
	}
}

// followPorts does what PortsChanged asks for, until the pool ends.
func (p *Pool) followPorts() {
	for {
		select {
		case <-p.portsNews:
		case <-p.life.Done():
			return
		}
		p.mu.Lock()
		var due []*instance
		for hash := range p.portsDue {
			if x := p.instances[hash]; x != nil && x.here() {
				due = append(due, x)
			}
		}
		clear(p.portsDue)
		p.mu.Unlock()
		for _, x := range due {
			if err := p.refreshPorts(p.life, x); err != nil && p.life.Err() == nil {
				p.cfg.Log.Warn("ports of an instance stay as they were", "hash", x.hash, "error", err)
			}
		}
		if len(due) == 0 {
			continue
		}
		if err := p.applyNetwork(p.life); err != nil && p.life.Err() == nil {
			p.cfg.Log.Error("changed ports of instances are not forwarded", "error", err)
		}
	}
}

// refreshPorts brings the forwarded ports to what the owner wants. A port that stays keeps its number on the host. When the wish
// cannot be had, what is forwarded stays; an instance with nothing forwarded gets SSH.
func (p *Pool) refreshPorts(ctx context.Context, x *instance) error {
	x.portsReading.Lock()
	defer x.portsReading.Unlock()
	p.mu.Lock()
	owner, internet, none := x.rec.Owner, x.rec.Internet, len(x.rec.Ports) == 0
	p.mu.Unlock()
	if !internet {
		return nil
	}
	wanted, err := p.wishes(ctx, owner, x.hash)
	if err != nil {
		if !none {
			return err
		}
		p.cfg.Log.Warn("ports of an instance are not known, only SSH is forwarded", "hash", x.hash, "error", err)
		wanted = map[uint16]wish{22: {TCP: true}}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !x.networked() {
		return nil
	}
	changed := x.rec
	if changed.Ports, err = p.assign(x.rec.Ports, wanted); err != nil {
		return err
	}
	if slices.Equal(changed.Ports, x.rec.Ports) {
		return nil
	}
	if err := p.records.save(changed); err != nil {
		return err
	}
	x.rec = changed
	return nil
}

// assign gives each wanted port one of the host, the one that it had if it had one. p.mu is held.
func (p *Pool) assign(have []tap.Forward, wanted map[uint16]wish) ([]tap.Forward, error) {
	var ports []tap.Forward
	for guest, w := range wanted {
		f := tap.Forward{GuestPort: guest, TCP: w.TCP, UDP: w.UDP}
		if i := slices.IndexFunc(have, func(f tap.Forward) bool { return f.GuestPort == guest }); i >= 0 {
			f.HostPort = have[i].HostPort
		} else {
			var err error
			if f.HostPort, err = p.freePort(); err != nil {
				return nil, err
			}
		}
		ports = append(ports, f)
	}
	slices.SortFunc(ports, func(a, b tap.Forward) int { return cmp.Compare(a.GuestPort, b.GuestPort) })
	return ports, nil
}

// freePort claims the next port of the host, after the one last given, that no guest and no program has. p.mu is held.
func (p *Pool) freePort() (uint16, error) {
	used := p.usedPorts()
	for range lastPort - firstPort + 1 {
		if p.lastPort++; p.lastPort > lastPort || p.lastPort < firstPort {
			p.lastPort = firstPort
		}
		if !used[p.lastPort] && p.claims.take(p.lastPort) {
			return p.lastPort, nil
		}
	}
	return 0, fmt.Errorf("no port of this host is free for a guest: %w", ErrNoRoom)
}

// usedPorts are those of the host that guests have. p.mu is held.
func (p *Pool) usedPorts() map[uint16]bool {
	used := map[uint16]bool{}
	for _, x := range p.instances {
		for _, f := range x.rec.Ports {
			used[f.HostPort] = true
		}
	}
	return used
}

// claimPorts claims those that guests have, and gives another number to those that a program of the host took while no node was there.
func (p *Pool) claimPorts() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range p.instances {
		changed := x.rec
		changed.Ports = slices.Clone(x.rec.Ports)
		for i, f := range changed.Ports {
			if p.claims.take(f.HostPort) {
				continue
			}
			port, err := p.freePort()
			if err != nil {
				return err
			}
			p.cfg.Log.Warn("a port of an instance was taken by a program, it gets another", "hash", x.hash, "was", f.HostPort, "is", port)
			changed.Ports[i].HostPort = port
		}
		if !slices.Equal(changed.Ports, x.rec.Ports) {
			if err := p.records.save(changed); err != nil {
				return err
			}
			x.rec = changed
		}
	}
	return nil
}
