package instance

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/message"
)

// A root disk is restored as it is made: the image that it begins from is kept as it is, and an empty disk based on it takes the
// place of the old one, which is put back when the instance does not start with the new one. Which it is, is written down before
// each step, so that the next node goes on wherever this one is killed (decision 0028).

// Errors of images to restore from.
var (
	ErrImage    = errors.New("the image cannot be restored from")
	ErrTooLarge = errors.New("it is larger than an image of the instance's root disk may be") // the file
	ErrTooLong  = errors.New("the disk in it is larger than the instance's root disk")
)

// restoration is what a record holds of it.
type restoration struct {
	Image   message.Hash `json:"image"`             // bytes of the image that the root disk is to begin from
	Before  message.Hash `json:"before"`            // bytes of the one under the disk that it replaces; empty when there is none
	Swapped bool         `json:"swapped,omitempty"` // it has taken its place
	Kept    bool         `json:"kept,omitempty"`    // a guest has run from it: there is no way back
}

// Names beside rootFile.
const (
	beforeFile  = rootFile + ".before" // the disk that is replaced
	incomingDir = "incoming"           // images on their way, in Config.Dir
)

// RestoreFile replaces the root disk of an instance by an image that is read from r, qcow2 and whole, and starts the instance. It
// returns when it runs. size is what the image is expected to have, in bytes, -1 when that is not known. The error is ErrTooLarge,
// ErrTooLong, ErrImage or ErrNoRoom when the image is why, ErrBusy when the instance's disks are being copied or restored, and
// ErrStopped when the instance was stopped before it ran: which disk it keeps is seen when it is started.
func (p *Pool) RestoreFile(ctx context.Context, hash message.Hash, r io.Reader, size int64) error {
	return p.restore(ctx, hash, "qcow2", func(limit int64) (string, message.Hash, error) {
		if size > limit {
			return "", "", fmt.Errorf("%w: at most %d bytes are taken", ErrTooLarge, limit)
		}
		if size < 0 {
			size = limit
		}
		if err := p.DiskRoom(size); err != nil {
			return "", "", err
		}
		return p.receive(r, size, limit)
	})
}

// RestoreVolume does the same from a file of the network, qcow2 or a raw disk with a boot sector.
func (p *Pool) RestoreVolume(ctx context.Context, hash, ref message.Hash) error {
	return p.restore(ctx, hash, "", func(limit int64) (string, message.Hash, error) {
		file, err := p.cfg.Network.File(ctx, ref, false, limit)
		if err != nil {
			return "", "", fmt.Errorf("%w: %w", ErrResource, err)
		}
		path, err := p.incoming()
		if err != nil {
			return path, "", err
		}
		// The cache may forget the file at any time.
		if err = errors.Join(os.Remove(path), os.Link(file.Path, path)); errors.Is(err, unix.EXDEV) {
			err = copyFile(path, file.Path)
		}
		return path, file.Hash, err
	})
}

// restore does what both have in common. bring returns the path of the image in the folder of incoming ones, and its hash; it is to
// be of the given format, unless that is empty.
func (p *Pool) restore(ctx context.Context, hash message.Hash, format string, bring func(limit int64) (string, message.Hash, error)) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("restore instance %s: %w", hash, err)
		}
	}()
	m, err := p.cfg.Network.Instance(ctx, hash)
	if err != nil {
		return err
	}
	p.mu.Lock()
	x := p.instances[hash]
	if x == nil || !x.here() {
		err = ErrUnknown
	} else {
		err = x.occupy()
	}
	p.mu.Unlock()
	if err != nil {
		return err
	}
	defer x.vacate()
	size := m.Rootfs.SizeMiB << 20
	path, sum, err := bring(size + size/1024 + 1<<20) // a full one has tables, too
	defer os.Remove(path)
	if err != nil {
		return err
	}
	if err := checkImage(path, format, size); err != nil {
		return err
	}
	settled, err := x.beginRestore(path, sum)
	if err != nil {
		return err
	}
	if err := wait(ctx, settled); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !x.restored && !x.awaits() { // what waits for its owner is restored when that starts it
		return fmt.Errorf("it has not run from the image yet: %w", ErrStopped)
	}
	return nil
}

// incoming makes an empty file for an image that is on its way.
func (p *Pool) incoming() (path string, err error) {
	f, err := os.CreateTemp(filepath.Join(p.cfg.Dir, incomingDir), "image-*")
	if err != nil {
		return "", err
	}
	return f.Name(), f.Close()
}

// receive writes what is read into a file, at most limit bytes, and returns its hash. size is what it is expected to have.
func (p *Pool) receive(r io.Reader, size, limit int64) (path string, sum message.Hash, err error) {
	if path, err = p.incoming(); err != nil {
		return path, "", err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return path, "", err
	}
	defer f.Close()
	if err := reserve(f, size); err != nil {
		return path, "", err
	}
	// Now that the room is taken: others may have begun to take theirs at the same time.
	if err := p.DiskRoom(0); err != nil {
		return path, "", err
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(r, limit+1))
	switch {
	case errors.Is(err, unix.ENOSPC):
		return path, "", fmt.Errorf("%w: the disk of this node is full", ErrNoRoom)
	case err != nil:
		return path, "", err
	case n > limit:
		return path, "", fmt.Errorf("%w: at most %d bytes are taken", ErrTooLarge, limit)
	}
	return path, message.Hash(hex.EncodeToString(h.Sum(nil))), giveBack(f)
}

// checkImage refuses what cannot be the disk of an instance, before anything is stopped for it. No tool opens an image that a user
// made: QEMU alone does, in the machine's jail.
func checkImage(path, want string, limit int64) error {
	format, size, err := probeImage(path)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrImage, err)
	case want != "" && format != want:
		return fmt.Errorf("%w: it is no %s image", ErrImage, want)
	case size > limit:
		return fmt.Errorf("%w: it is a disk of %d bytes, and the instance's root disk has %d", ErrTooLong, size, limit)
	case format != "qcow2":
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	var head [104]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return err
	}
	bits, entries, table := binary.BigEndian.Uint32(head[20:]), binary.BigEndian.Uint32(head[36:]), binary.BigEndian.Uint64(head[40:])
	if bits < 9 || bits > 21 {
		return fmt.Errorf("%w: its clusters have 2^%d bytes", ErrImage, bits)
	}
	perEntry := int64(1) << (2*bits - 3) // what a table of the second level maps
	if need := (size + perEntry - 1) / perEntry; int64(entries) < need || table > uint64(info.Size()) || int64(entries)*8 > info.Size()-int64(table) {
		return fmt.Errorf("%w: it ends too early", ErrImage)
	}
	return nil
}

// beginRestore takes the image over, writes down what is to be, and has it done.
func (x *instance) beginRestore(path string, sum message.Hash) (<-chan error, error) {
	p := x.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if !x.here() {
		return nil, ErrUnknown
	}
	if err := os.Link(path, filepath.Join(p.cfg.Dir, parentDir, string(sum))); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	if err := syncFolder(filepath.Join(p.cfg.Dir, parentDir)); err != nil {
		return nil, err
	}
	before, wasEnding := x.rec, x.ending
	x.rec.Restore = &restoration{Image: sum, Before: x.rec.Parent}
	if err := x.again(); err != nil {
		x.rec, x.ending = before, wasEnding
		return nil, errors.Join(err, p.removeOrphans())
	}
	x.restored = false
	return x.asked(), nil
}

// swap puts a new root disk into the place of the old one. There is no machine. It can be done again after a crash at any point.
func (x *instance) swap() {
	p := x.pool
	p.mu.Lock()
	r, parent := x.rec, filepath.Join(p.cfg.Dir, parentDir, string(x.rec.Restore.Image))
	p.mu.Unlock()
	err := p.swapDisks(r, parent)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		x.takeBack(err)
		return
	}
	changed := x.rec
	changed.Parent = r.Restore.Image
	changed.Restore = &restoration{Image: r.Restore.Image, Before: r.Restore.Before, Swapped: true}
	if err := p.records.save(changed); err != nil {
		x.takeBack(err)
		return
	}
	x.rec = changed
}

func (p *Pool) swapDisks(r record, parent string) error {
	root, before := filepath.Join(p.disks(r.Hash), rootFile), filepath.Join(p.disks(r.Hash), beforeFile)
	format, size, err := probeImage(parent)
	if err != nil {
		return err
	}
	m, err := p.cfg.Network.Instance(p.life, r.Hash)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(p.disks(r.Hash), 0o700); err != nil {
		return err
	}
	if _, err := os.Stat(before); errors.Is(err, os.ErrNotExist) {
		if err := os.Rename(root, before); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := createOverlay(p.life, root, parent, format, max(size, m.Rootfs.SizeMiB<<20)); err != nil {
		return err
	}
	return syncFolder(p.disks(r.Hash))
}

// takeBack gives a restoration up that failed. pool.mu is held.
func (x *instance) takeBack(why error) {
	err := x.putBack()
	x.pool.cfg.Log.Warn("instance not restored, it keeps its disk", "hash", x.hash, "error", why)
	x.settle(x.generation, errors.Join(fmt.Errorf("it keeps its disk: %w", why), err))
}

// leaveRestoring gives a restoration up because the instance is not to run here any more: whether its image boots was not seen.
func (x *instance) leaveRestoring() {
	x.pool.mu.Lock()
	defer x.pool.mu.Unlock()
	if err := x.putBack(); err != nil {
		x.settle(x.generation, err)
	}
}

// putBack makes the old root disk the disk again. pool.mu is held.
func (x *instance) putBack() error {
	p := x.pool
	root, before := filepath.Join(p.disks(x.hash), rootFile), filepath.Join(p.disks(x.hash), beforeFile)
	err := os.Rename(before, root)
	switch {
	case err == nil:
		err = syncFolder(p.disks(x.hash))
	case errors.Is(err, os.ErrNotExist):
		err = nil
		if checkOverlay(root, x.rec.Restore.Before) != nil { // there was none; one is made when it starts
			err = os.RemoveAll(root)
		}
	}
	changed := x.rec
	changed.Parent, changed.Restore = x.rec.Restore.Before, nil
	if err == nil {
		err = p.records.save(changed)
	}
	if err != nil {
		p.cfg.Log.Error("old root disk not put back", "hash", x.hash, "error", err)
		x.failure = err
		x.patience() // and is tried again
		return err
	}
	x.rec = changed
	return p.removeOrphans() // the image
}

// keepRestored removes what was replaced: the instance has run with its new root disk. That is written down first: without the old
// disk the new one must not be given up.
func (x *instance) keepRestored() {
	p := x.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	x.restored = true
	changed := x.rec
	kept := *x.rec.Restore
	kept.Kept = true
	changed.Restore = &kept
	err := p.records.save(changed)
	if err == nil {
		x.rec = changed
		p.mu.Unlock() // a large file takes a while
		if err = os.RemoveAll(filepath.Join(p.disks(x.hash), beforeFile)); err == nil {
			err = syncFolder(p.disks(x.hash))
		}
		p.mu.Lock()
	}
	if err == nil {
		changed = x.rec
		changed.Restore = nil
		err = p.records.save(changed)
	}
	if err == nil {
		x.rec = changed
		err = p.removeOrphans() // the image under the old disk
	}
	if err != nil {
		x.patience()
		p.cfg.Log.Error("replaced root disk not removed", "hash", x.hash, "error", err)
	}
}
