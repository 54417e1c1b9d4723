package instance

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/tap"
	"github.com/aleph-im/aleph-go/crn/vm/qemu"
	"github.com/aleph-im/aleph-go/message"
)

// maxImage bounds a parent image or an immutable volume, in bytes.
const maxImage = 64 << 30

// Names in an instance's folder of disks.
const (
	rootFile   = "rootfs.qcow2"
	seedFile   = "seed.iso"
	dataDir    = "data"    // persistent volumes
	scratchDir = "scratch" // disks that are new at each start
)

func (p *Pool) disks(hash message.Hash) string {
	return filepath.Join(p.cfg.Dir, diskDir, string(hash))
}

// boot prepares all that the machine needs and starts it. Of a confidential instance without a session there is none, and no error.
func (p *Pool) boot(ctx context.Context, x *instance, r record, s *session) (Machine, error) {
	m, err := p.cfg.Network.Instance(ctx, r.Hash)
	if err != nil {
		return nil, err
	}
	if err := p.offered(m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	x.forgetKept()
	if r.Internet {
		if err := p.refreshPorts(ctx, x); err != nil {
			p.cfg.Log.Warn("ports of an instance stay as they were", "hash", r.Hash, "error", err)
		}
	}
	if err := p.applyNetwork(ctx); err != nil {
		return nil, fmt.Errorf("instance %s: %w", r.Hash, err)
	}
	p.mu.Lock()
	r.Slot = x.rec.Slot // it may have got another one by that
	p.mu.Unlock()
	spec := p.newSpec(r, m)
	if err := os.MkdirAll(p.disks(r.Hash), 0o700); err != nil {
		return nil, fmt.Errorf("instance %s: %w", r.Hash, err)
	}
	if err := p.makeRoot(ctx, x, m, spec.Root); err != nil {
		return nil, fmt.Errorf("instance %s: root disk: %w", r.Hash, err)
	}
	spec.Backing = p.parent(x)
	if spec.Drives, err = p.makeVolumes(ctx, r.Hash, m); err != nil {
		return nil, fmt.Errorf("instance %s: %w", r.Hash, err)
	}
	addresses := tap.AddressesOf(p.cfg.IPv6Pool, r.Slot, r.Hash, tap.KindInstance)
	if err := writeSeed(ctx, spec.Seed, newSeed(r, m, addresses, p.cfg.Nameservers)); err != nil {
		return nil, fmt.Errorf("instance %s: cloud-init's disk: %w", r.Hash, err)
	}
	if r.confidential() {
		if err := p.prepareLaunch(ctx, &spec, m, s); err != nil {
			return nil, fmt.Errorf("instance %s: %w", r.Hash, err)
		}
		if s == nil {
			x.mark(&x.times.Prepared)
			return nil, nil
		}
	}
	console, err := p.openConsole(string(r.Hash))
	if err != nil {
		return nil, fmt.Errorf("instance %s: %w", r.Hash, err)
	}
	spec.Console = console
	if x.fencedNow() { // fetching the image may have taken long
		return nil, errors.Join(ErrFenced, console.Close())
	}
	x.mark(&x.times.Prepared)
	x.mark(&x.times.Starting)
	if spec.Cards, err = p.takeCards(r); err != nil {
		return nil, errors.Join(fmt.Errorf("instance %s: %w", r.Hash, err), console.Close())
	}
	machine, err := p.cfg.Driver.Start(ctx, spec)
	if err != nil {
		return nil, errors.Join(err, console.Close(), p.giveCardsBack(r))
	}
	return machine, nil
}

// newSpec describes the machine of an instance, but for the image under its root disk, its volumes and its console.
func (p *Pool) newSpec(r record, m *message.Instance) qemu.InstanceSpec {
	spec := qemu.InstanceSpec{
		ID: string(r.Hash), VCPUs: m.Resources.VCPUs, MemoryMiB: m.Resources.MemoryMiB,
		Root: filepath.Join(p.disks(r.Hash), rootFile), RootMiB: m.Rootfs.SizeMiB, Seed: filepath.Join(p.disks(r.Hash), seedFile),
	}
	if r.Internet {
		spec.Tap, spec.MAC = tap.Name(r.Slot), tap.MACOf(r.Hash)
	}
	return spec
}

// makeRoot makes the root disk on top of the parent image, unless it is there.
func (p *Pool) makeRoot(ctx context.Context, x *instance, m *message.Instance, path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	file, err := p.cfg.Network.File(ctx, m.Rootfs.Parent.Ref, m.Rootfs.Parent.UseLatest, maxImage)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrResource, err)
	}
	format, size, err := probeImage(file.Path)
	if err != nil {
		return fmt.Errorf("%w: parent image %s: %w", ErrResource, m.Rootfs.Parent.Ref, err)
	}
	if want := m.Rootfs.SizeMiB << 20; size > want {
		return fmt.Errorf("%w: the parent image has %d MiB, and the message allows %d", ErrRefused, (size+1<<20-1)>>20, m.Rootfs.SizeMiB)
	}
	parent, err := p.keepParent(x, file)
	if err != nil {
		return err
	}
	return createOverlay(ctx, path, parent, format, m.Rootfs.SizeMiB<<20)
}

// createOverlay makes an empty disk of so many bytes on top of an image, whole or not at all. The image itself is not opened.
func createOverlay(ctx context.Context, path, parent, format string, bytes int64) error {
	temporary := path + ".new"
	if err := os.RemoveAll(temporary); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", format, "-b", backingPath(filepath.Base(parent)), temporary,
		strconv.FormatInt(bytes, 10)).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return errors.New("qemu-img is missing: install the package qemu-utils")
	}
	if err != nil {
		return fmt.Errorf("qemu-img create: %w: %.300s", err, out)
	}
	return os.Rename(temporary, path)
}

// backingPath is what a root disk says of the image that it is based on. It is relative to the disk, so that the data folder may be
// moved, and the disk to another node.
func backingPath(parent string) string { return filepath.Join("..", "..", parentDir, parent) }

// qcow2ExternalData is the feature bit of an image whose data is in another file.
const qcow2ExternalData = 1 << 2

// keepParent holds on to a parent image for as long as a disk is based on it, whatever the cache forgets. Which it is, is
// written down first: an image that no record names is removed.
func (p *Pool) keepParent(x *instance, file corenode.File) (string, error) {
	p.mu.Lock()
	changed := x.rec
	changed.Parent = file.Hash
	err := p.records.save(changed)
	if err == nil {
		x.rec = changed
	}
	p.mu.Unlock()
	if err != nil {
		return "", err
	}
	path := p.parent(x)
	err = os.Link(file.Path, path)
	switch {
	case errors.Is(err, os.ErrExist): // another instance begins from it as well, maybe just now
		return path, nil
	case errors.Is(err, unix.EXDEV):
		return path, copyFile(path, file.Path)
	}
	return path, err
}

// parent is the path of the image under an instance's root disk.
func (p *Pool) parent(x *instance) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return filepath.Join(p.cfg.Dir, parentDir, string(x.rec.Parent))
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.CreateTemp(filepath.Dir(to), ".copy-*")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	if err := errors.Join(out.Sync(), out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), to)
}

// probeImage tells a qcow2 image from a raw disk, and its size in bytes as the guest sees it. Users make these images: one that
// names other files of this host as its parts is refused, before any tool opens it. The error is ErrRefused when the image is why.
func probeImage(path string) (format string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", 0, err
	}
	var head [512]byte
	if _, err := io.ReadFull(f, head[:]); err != nil {
		return "", 0, fmt.Errorf("%w: it is too short for a disk image", ErrRefused)
	}
	if string(head[:4]) != "QFI\xfb" {
		if head[510] != 0x55 || head[511] != 0xaa {
			return "", 0, fmt.Errorf("%w: it is neither a qcow2 image nor a raw disk with a boot sector", ErrRefused)
		}
		return "raw", info.Size(), nil
	}
	version, backing := binary.BigEndian.Uint32(head[4:]), binary.BigEndian.Uint64(head[8:])
	virtual := binary.BigEndian.Uint64(head[24:])
	switch {
	case version != 2 && version != 3:
		return "", 0, fmt.Errorf("%w: qcow2 version %d is not known", ErrRefused, version)
	case backing != 0:
		return "", 0, fmt.Errorf("%w: it is based on another image; images must be whole", ErrRefused)
	case version == 3 && binary.BigEndian.Uint64(head[72:])&qcow2ExternalData != 0:
		return "", 0, fmt.Errorf("%w: its data is in another file; images must be whole", ErrRefused)
	case virtual > 1<<50:
		return "", 0, fmt.Errorf("%w: it claims more than a pebibyte", ErrRefused)
	}
	return "qcow2", int64(virtual), nil
}

// removeDisks removes the root disk, and with data the persistent volumes as well.
func (p *Pool) removeDisks(hash message.Hash, data bool) error {
	err := os.RemoveAll(filepath.Join(p.disks(hash), rootFile))
	if data {
		err = errors.Join(err, os.RemoveAll(filepath.Join(p.disks(hash), dataDir)))
	}
	return err
}

// removeAll removes what else there is of an instance; what was fetched ahead waits for it to come after all.
func (p *Pool) removeAll(hash message.Hash) error {
	p.mu.Lock()
	comes := p.errands[hash] != nil
	p.mu.Unlock()
	err := removeExcept(p.disks(hash), func(name string) bool { return comes && strings.HasSuffix(name, aheadSuffix) })
	if !comes || errors.Is(err, os.ErrNotExist) {
		err = os.RemoveAll(p.disks(hash))
	}
	logs, _ := filepath.Glob(p.logPath(string(hash)) + "*")
	for _, path := range logs {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// removeParents removes images that no disk is based on any more.
func (p *Pool) removeParents() error {
	p.mu.Lock()
	defer p.mu.Unlock() // held, so that nobody begins to use one
	return p.removeOrphans()
}

// diskUsed is what the disks of all instances take up on this host, in bytes.
func (p *Pool) diskUsed() (used int64) {
	_ = filepath.WalkDir(filepath.Join(p.cfg.Dir, diskDir), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil // gone meanwhile
		}
		var s unix.Stat_t
		if unix.Stat(path, &s) == nil {
			used += s.Blocks * 512
		}
		return nil
	})
	return used
}
