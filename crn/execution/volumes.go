package execution

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/aleph-im/aleph-go/crn/image"
	"github.com/aleph-im/aleph-go/crn/vm"
	"github.com/aleph-im/aleph-go/guest/wire"
	"github.com/aleph-im/aleph-go/message"
)

// volumesHook provides the disks of the message (spec/crn.md §3.7): images of the network, read-only; scratch disks that go with
// the machine; disks that stay on this node for the program's next machine.
type volumesHook struct{ *Pool }

func (h volumesHook) start(ctx context.Context, x *Execution) error {
	for i, v := range x.program.Volumes {
		name := image.VolumeName(v, i)
		if err := h.add(ctx, x, v, name); err != nil {
			return fmt.Errorf("volume %d (%s): %w", i, name, err)
		}
	}
	return nil
}

// stop removes the scratch disks; those that stay were synced by the guest.
func (h volumesHook) stop(_ context.Context, x *Execution) {
	if err := os.RemoveAll(h.scratch(x)); err != nil {
		h.cfg.Log.Error("scratch disks not removed", "hash", x.hash, "error", err)
	}
}

func (h volumesHook) scratch(x *Execution) string {
	return filepath.Join(h.cfg.Dir, scratchDir, string(x.hash))
}

func (h volumesHook) add(ctx context.Context, x *Execution, v message.Volume, name string) error {
	mount := "/mnt/" + name
	if v.Mount != nil && *v.Mount != "" {
		mount = *v.Mount
	}
	volume := wire.Volume{Mount: mount, FS: "ext4"}
	var path string
	var err error
	switch {
	case v.Kind == message.VolumeImmutable:
		file, err := h.file(ctx, x, v.Ref, v.UseLatest, maxImage)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrResource, err)
		}
		if err := image.CheckArchive(file.Path, message.EncodingSquashfs); err != nil {
			return fmt.Errorf("%w: %w", ErrResource, err)
		}
		path, volume.FS, volume.ReadOnly = file.Path, "squashfs", true
	case v.Kind == message.VolumeEphemeral:
		path, err = makeDisk(ctx, h.scratch(x), name, v.SizeMiB)
	case v.Persistence == nil || *v.Persistence != "host":
		return fmt.Errorf("persistence \"store\" is %w; use \"host\"", ErrUnsupported)
	case v.Parent != nil:
		path, err = h.copyParent(ctx, x, v, name)
		volume.Grow = true
	default:
		path, err = makeDisk(ctx, h.volumeFolder(x.hash), name, v.SizeMiB)
	}
	if err != nil {
		return err
	}
	if volume.Device, err = x.attach(vm.Drive{Path: path, ReadOnly: volume.ReadOnly}); err != nil {
		return err
	}
	x.volumes = append(x.volumes, volume)
	return nil
}

// makeDisk returns an empty ext4 disk of the given size, made when it is not there yet.
func makeDisk(ctx context.Context, dir, name string, sizeMiB int64) (string, error) {
	path, err := image.MakeDisk(ctx, dir, name, sizeMiB)
	return path, noRoom(err)
}

// copyParent returns a disk that began as a copy of the volume's parent image. Once made it is the program's own: what becomes
// of the parent does not concern it. The guest grows the filesystem to the disk; on the host nobody looks into it.
func (h volumesHook) copyParent(ctx context.Context, x *Execution, v message.Volume, name string) (string, error) {
	path, err := image.NewDisk(h.volumeFolder(x.hash), name, v.SizeMiB, func(f *os.File) error {
		parent, err := h.cfg.Network.File(ctx, v.Parent.Ref, v.Parent.UseLatest, min(maxImage, v.SizeMiB<<20))
		if err != nil {
			return fmt.Errorf("%w: parent: %w", ErrResource, err)
		}
		image, err := os.Open(parent.Path)
		if err != nil {
			return err
		}
		defer image.Close()
		if !isExt4(image) {
			return fmt.Errorf("%w: parent %s is not an ext4 filesystem", ErrResource, v.Parent.Ref)
		}
		if _, err := io.Copy(f, image); err != nil {
			return fmt.Errorf("copy the parent: %w", err)
		}
		return f.Sync()
	})
	return path, noRoom(err)
}

// noRoom makes a full disk what callers tell apart.
func noRoom(err error) error {
	if errors.Is(err, image.ErrDiskFull) {
		return fmt.Errorf("%w: %w", err, ErrNoRoom)
	}
	return err
}

// isExt4 looks for the magic number of the superblock.
func isExt4(r io.ReaderAt) bool {
	var magic [2]byte
	_, err := r.ReadAt(magic[:], 0x438)
	return err == nil && magic == [2]byte{0x53, 0xef}
}
