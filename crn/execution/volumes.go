package execution

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"

	"golang.org/x/sys/unix"

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
		name := volumeName(v, i)
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

var notInNames = regexp.MustCompile(`[^\w\-]`)

// volumeName is the file name of a volume. The odd default is the one under which existing nodes hold data.
func volumeName(v message.Volume, index int) string {
	if v.Name == nil || *v.Name == "" {
		return fmt.Sprintf("unamed_volume_%d", index)
	}
	return notInNames.ReplaceAllString(*v.Name, "_")
}

// makeDisk returns an empty ext4 disk of the given size, made when it is not there yet.
func makeDisk(ctx context.Context, dir, name string, sizeMiB int64) (string, error) {
	return newDisk(dir, name, sizeMiB, func(f *os.File) error { return format(ctx, f.Name()) })
}

// copyParent returns a disk that began as a copy of the volume's parent image. Once made it is the program's own: what becomes
// of the parent does not concern it. The guest grows the filesystem to the disk; on the host nobody looks into it.
func (h volumesHook) copyParent(ctx context.Context, x *Execution, v message.Volume, name string) (string, error) {
	return newDisk(h.volumeFolder(x.hash), name, v.SizeMiB, func(f *os.File) error {
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
}

// isExt4 looks for the magic number of the superblock.
func isExt4(r io.ReaderAt) bool {
	var magic [2]byte
	_, err := r.ReadAt(magic[:], 0x438)
	return err == nil && magic == [2]byte{0x53, 0xef}
}

func diskPath(dir, name string) string { return filepath.Join(dir, name+".ext4") }

// newDisk returns a disk of the given size, made and filled when it is not there yet. Its blocks are reserved: a full disk is
// noticed here and not by the program.
func newDisk(dir, name string, sizeMiB int64, fill func(*os.File) error) (string, error) {
	path := diskPath(dir, name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, sizeMiB<<20); err != nil {
		if errors.Is(err, unix.ENOSPC) {
			return "", fmt.Errorf("the disk of this node has no %d MiB left: %w", sizeMiB, ErrNoRoom)
		}
		if !errors.Is(err, unix.EOPNOTSUPP) {
			return "", fmt.Errorf("reserve %d MiB: %w", sizeMiB, err)
		}
		if err := f.Truncate(sizeMiB << 20); err != nil {
			return "", err
		}
	}
	if err := fill(f); err != nil {
		return "", err
	}
	return path, os.Rename(f.Name(), path)
}

// format makes an empty filesystem in a file.
func format(ctx context.Context, path string) error {
	tool, err := exec.LookPath("mke2fs")
	if err != nil {
		tool = "/sbin/mke2fs" // not in the PATH of ordinary users
	}
	out, err := exec.CommandContext(ctx, tool, "-q", "-F", "-t", "ext4", "-E", "nodiscard", path).CombinedOutput()
	if errors.Is(err, os.ErrNotExist) {
		return errors.New("mke2fs is missing: install the package e2fsprogs")
	}
	if err != nil {
		return fmt.Errorf("make an ext4 filesystem: %w: %.300s", err, out)
	}
	return nil
}
