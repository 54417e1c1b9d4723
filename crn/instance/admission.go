package instance

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn/tap"
	"github.com/aleph-im/aleph-go/message"
)

// What an instance asks of this node, and whether there is room for it.

// offered refuses at once what this node does not do.
func (p *Pool) offered(m *message.Instance) error {
	if h := m.Environment.Hypervisor; h != nil && *h != "qemu" {
		return fmt.Errorf("hypervisor %q is %w", *h, ErrUnsupported)
	}
	for i, v := range m.Volumes {
		if v.Kind == message.VolumePersistent && (v.Persistence == nil || *v.Persistence != "host") {
			return fmt.Errorf("volume %d: a persistent volume that is not kept on the host is %w", i, ErrUnsupported)
		}
	}
	return p.hasHardware(m)
}

func diskMiB(m *message.Instance) int64 {
	total := m.Rootfs.SizeMiB
	for _, v := range m.Volumes {
		if v.Kind != message.VolumeImmutable {
			total += v.SizeMiB
		}
	}
	return total
}

// admit checks that there is room for an instance beside the others (spec/crn.md §4.11), and notes the graphics cards that it gets.
// p.mu is held.
func (p *Pool) admit(r *record) error {
	need := r.MemoryMiB + p.cfg.OverheadMiB
	memory, vcpus := need, r.VCPUs
	promised := r.DiskMiB << 20
	for hash, x := range p.instances {
		if hash == r.Hash {
			continue
		}
		if n := x.memory(); n > 0 {
			memory += n
			vcpus += x.rec.VCPUs
		}
		if x.rec.Refusal == "" {
			promised += x.rec.DiskMiB << 20
		}
	}
	for hash, e := range p.errands {
		if hash != r.Hash && p.instances[hash] == nil {
			promised += e.bytes
		}
	}
	switch {
	case memory > p.cfg.MemoryMiB:
		return fmt.Errorf("instance %s needs %d MiB of memory and %d MiB are free: %w", r.Hash, need, p.cfg.MemoryMiB-memory+need, ErrNoRoom)
	case vcpus > p.cfg.VCPUs:
		return fmt.Errorf("instance %s needs %d processors and %d are free: %w", r.Hash, r.VCPUs, p.cfg.VCPUs-vcpus+r.VCPUs, ErrNoRoom)
	}
	left, err := p.diskLeft()
	if err != nil {
		return err
	}
	if promised > left {
		return fmt.Errorf("instance %s needs %d MiB of disk and %d MiB are free: %w", r.Hash, r.DiskMiB, max(0, left-promised+r.DiskMiB<<20)>>20, ErrNoRoom)
	}
	return p.chooseCards(r)
}

// diskLeft is what instances may have of this node's disk together, in bytes: what is free, and what they have already.
func (p *Pool) diskLeft() (int64, error) {
	var disk unix.Statfs_t
	if err := unix.Statfs(p.cfg.Dir, &disk); err != nil {
		return 0, fmt.Errorf("look at the disk of this node: %w", err)
	}
	return int64(disk.Bavail)*disk.Bsize + p.diskUsed(), nil
}

// DiskRoom checks that so many bytes can be written beside what instances were promised. The error is ErrNoRoom.
func (p *Pool) DiskRoom(bytes int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	promised := int64(0)
	for _, x := range p.instances {
		if x.rec.Refusal == "" {
			promised += x.rec.DiskMiB << 20
		}
	}
	left, err := p.diskLeft()
	if err != nil {
		return err
	}
	if promised+bytes > left {
		return fmt.Errorf("%w: %d MiB of disk are needed and %d MiB are free", ErrNoRoom, (bytes+1<<20-1)>>20, max(0, left-promised)>>20)
	}
	return nil
}

// Room reports whether an instance that is not here yet is offered and fits beside those that are.
func (p *Pool) Room(m *message.Instance) error {
	if err := p.offered(m); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.admit(&record{Owner: m.Address, VCPUs: m.Resources.VCPUs, MemoryMiB: m.Resources.MemoryMiB, DiskMiB: diskMiB(m), Hardware: hardwareOf(m)})
}

// freeSlot returns the lowest number that nobody on this host has, and that is none of those. p.mu is held.
func (p *Pool) freeSlot(foreign []int) (int, error) {
	used := map[int]bool{}
	for _, x := range p.instances {
		used[x.rec.Slot] = true
	}
	for slot := firstSlot; slot <= tap.MaxSlot; slot++ {
		if !used[slot] && !slices.Contains(foreign, slot) && !tap.Taken(slot) {
			return slot, nil
		}
	}
	return 0, fmt.Errorf("all %d networks of instances are taken: %w", tap.MaxSlot-firstSlot+1, ErrNoRoom)
}
