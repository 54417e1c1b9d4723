package execution

import (
	"context"
	"errors"
	"fmt"
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
	case v.Parent != nil:
		return fmt.Errorf("a persistent volume with a parent image is %w for programs", ErrUnsupported)
	case v.Persistence == nil || *v.Persistence != "host":
		return fmt.Errorf("persistence \"store\" is %w; use \"host\"", ErrUnsupported)
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

// makeDisk returns an ext4 disk of the given size, made when it is not there yet. Its blocks are reserved: a full disk is noticed
// here and not by the program.
func makeDisk(ctx context.Context, dir, name string, sizeMiB int64) (string, error) {
	path := filepath.Join(dir, name+".ext4")
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
	tool, err := exec.LookPath("mke2fs")
	if err != nil {
		tool = "/sbin/mke2fs" // not in the PATH of ordinary users
	}
	out, err := exec.CommandContext(ctx, tool, "-q", "-F", "-t", "ext4", "-E", "nodiscard", f.Name()).CombinedOutput()
	if errors.Is(err, os.ErrNotExist) {
		return "", errors.New("mke2fs is missing: install the package e2fsprogs")
	}
	if err != nil {
		return "", fmt.Errorf("make an ext4 filesystem: %w: %.300s", err, out)
	}
	return path, os.Rename(f.Name(), path)
}
