package instance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn/image"
	"github.com/aleph-im/aleph-go/crn/vm/qemu"
	"github.com/aleph-im/aleph-go/message"
)

// Errors of copies and restorations.
var (
	// ErrNotRunning: the instance has no machine to copy the disks of.
	ErrNotRunning = errors.New("the instance does not run")
	// ErrBusy: its disks are being copied or restored.
	ErrBusy = errors.New("its disks are being copied or restored")
)

// Disk is a writable disk of an instance that stays.
type Disk struct {
	Name  string // of its copy: rootfs.qcow2, or that of the volume
	Bytes int64  // as the guest sees it

	path string
}

// Disks returns the root disk of an instance that runs, and with volumes its persistent ones.
func (p *Pool) Disks(ctx context.Context, hash message.Hash, volumes bool) ([]Disk, error) {
	p.mu.Lock()
	_, err := p.machineOf(hash)
	p.mu.Unlock()
	if err != nil {
		return nil, err
	}
	m, err := p.cfg.Network.Instance(ctx, hash)
	if err != nil {
		return nil, err
	}
	disks := []Disk{{rootFile, m.Rootfs.SizeMiB << 20, filepath.Join(p.disks(hash), rootFile)}}
	for i, v := range m.Volumes {
		if !volumes || v.Kind != message.VolumePersistent {
			continue
		}
		name := image.VolumeName(v, i)
		path := image.DiskPath(filepath.Join(p.disks(hash), dataDir), name)
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("volume %s: %w", name, err)
		}
		disks = append(disks, Disk{name + ".qcow2", info.Size(), path})
	}
	return disks, nil
}

// machineOf returns the machine of an instance that is to run and does. p.mu is held.
func (p *Pool) machineOf(hash message.Hash) (Machine, error) {
	x := p.instances[hash]
	switch {
	case x == nil || !x.here():
		return nil, fmt.Errorf("instance %s: %w", hash, ErrUnknown)
	case x.machine == nil || x.ending || x.rec.Wanted != wantedRunning:
		return nil, fmt.Errorf("instance %s: %w", hash, ErrNotRunning)
	}
	return x.machine, nil
}

// Copy brings the content that disks of an instance have at one moment into a folder, as compressed qcow2 images, while it runs.
// With freeze the guest's agent, where there is one, makes filesystems whole for that moment. The error is ErrNoRoom when the disk
// of this node could not hold the copies.
func (p *Pool) Copy(ctx context.Context, hash message.Hash, disks []Disk, dir string, freeze bool) error {
	p.mu.Lock()
	machine, err := p.machineOf(hash)
	x := p.instances[hash]
	if err == nil {
		err = x.occupy()
	}
	p.mu.Unlock()
	if err != nil {
		return err
	}
	defer x.vacate()
	var copies []qemu.DiskCopy
	defer func() {
		for _, c := range copies {
			c.To.Close()
		}
	}()
	for _, d := range disks {
		to, err := newCopy(ctx, filepath.Join(dir, d.Name), d.Bytes, 64<<10)
		if err != nil {
			return fmt.Errorf("copy %s of instance %s: %w", d.Name, hash, err)
		}
		copies = append(copies, qemu.DiskCopy{Disk: d.path, To: to})
	}
	// Now that the room is taken: others may have begun to take theirs at the same time.
	if err := p.DiskRoom(0); err != nil {
		return fmt.Errorf("copy the disks of instance %s: %w", hash, err)
	}
	if err := machine.Copy(ctx, copies, freeze); err != nil {
		return fmt.Errorf("copy the disks of instance %s: %w", hash, err)
	}
	for _, c := range copies {
		if err := giveBack(c.To); err != nil {
			return fmt.Errorf("copy the disks of instance %s: %w", hash, err)
		}
	}
	return nil
}

// newCopy makes an empty image, of clusters of so many bytes, with all the room that a full one takes: were the node's disk full in
// the middle of a copy, the guest could not write any more.
func newCopy(ctx context.Context, path string, bytes, cluster int64) (*os.File, error) {
	out, err := exec.CommandContext(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-o", fmt.Sprintf("cluster_size=%d", cluster), path, strconv.FormatInt(bytes, 10)).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("qemu-img create: %w: %.300s", err, out)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if err := reserve(f, qemu.MaxImage(bytes)); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// reserve takes the room that a file will have, where the filesystem can. The file does not grow by it.
func reserve(f *os.File, bytes int64) error {
	if bytes == 0 {
		return nil
	}
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, bytes)
	switch {
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("%w: the disk of this node has no %d MiB left", ErrNoRoom, bytes>>20)
	case errors.Is(err, unix.EOPNOTSUPP):
		return nil
	}
	return err
}

// giveBack frees what was reserved and is not used, and makes the file last.
func giveBack(f *os.File) error {
	info, err := f.Stat()
	if err == nil {
		err = f.Truncate(info.Size())
	}
	if err == nil {
		err = f.Sync()
	}
	return err
}

// occupy makes sure that an instance's disks are copied or restored by one at a time. pool.mu is held.
func (x *instance) occupy() error {
	if x.busy || x.rec.Restore != nil {
		return fmt.Errorf("instance %s: %w", x.hash, ErrBusy)
	}
	x.busy = true
	return nil
}

// vacate ends what occupy began.
func (x *instance) vacate() {
	x.pool.mu.Lock()
	defer x.pool.mu.Unlock()
	x.busy = false
}
