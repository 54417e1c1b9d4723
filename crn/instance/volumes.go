package instance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/image"
	"github.com/aleph-im/aleph-go/crn/vm"
	"github.com/aleph-im/aleph-go/message"
)

// makeVolumes provides the disks of the message (spec/crn.md §4.2). The guest finds them in their order; it mounts them itself.
func (p *Pool) makeVolumes(ctx context.Context, hash message.Hash, m *message.Instance) (drives []vm.Drive, err error) {
	scratch := filepath.Join(p.disks(hash), scratchDir)
	if err := os.RemoveAll(scratch); err != nil {
		return nil, err
	}
	for i, v := range m.Volumes {
		name := image.VolumeName(v, i)
		drive := vm.Drive{ReadOnly: v.Kind == message.VolumeImmutable}
		switch v.Kind {
		case message.VolumeImmutable:
			var file corenode.File
			if file, err = p.cfg.Network.File(ctx, v.Ref, v.UseLatest, maxImage); err != nil {
				err = fmt.Errorf("%w: %w", ErrResource, err)
			}
			drive.Path = file.Path
		case message.VolumeEphemeral:
			drive.Path, err = image.MakeDisk(ctx, scratch, name, v.SizeMiB)
		default:
			drive.Path, err = p.makeVolume(ctx, filepath.Join(p.disks(hash), dataDir), name, v)
		}
		if errors.Is(err, image.ErrDiskFull) {
			err = fmt.Errorf("%w: %w", err, ErrNoRoom)
		}
		if err != nil {
			return nil, fmt.Errorf("volume %d (%s): %w", i, name, err)
		}
		drives = append(drives, drive)
	}
	return drives, nil
}

// makeVolume returns a disk that stays, made when it is not there yet: with an empty filesystem, or from the parent that the message
// names. What becomes of the parent later does not concern it.
func (p *Pool) makeVolume(ctx context.Context, dir, name string, v message.Volume) (string, error) {
	if v.Parent == nil {
		return image.MakeDisk(ctx, dir, name, v.SizeMiB)
	}
	return image.NewDisk(dir, name, v.SizeMiB, func(f *os.File) error {
		parent, err := p.cfg.Network.File(ctx, v.Parent.Ref, v.Parent.UseLatest, maxImage)
		if err != nil {
			return fmt.Errorf("%w: parent: %w", ErrResource, err)
		}
		if err := fill(ctx, f, parent.Path, v.SizeMiB<<20); err != nil {
			return fmt.Errorf("parent %s: %w", v.Parent.Ref, err)
		}
		return f.Sync()
	})
}

// fill writes what is in an image to a disk of zeros: of a qcow2 image the disk in it, of any other file its bytes. The error is
// ErrRefused when the image is why.
func fill(ctx context.Context, disk *os.File, path string, size int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if image.IsQcow2(f) {
		_, err := image.CopyQcow2(ctx, disk, f, size)
		if errors.Is(err, image.ErrQcow2) {
			err = fmt.Errorf("%w: %w", ErrRefused, err)
		}
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() > size {
		return fmt.Errorf("%w: it has %d bytes, and the volume %d", ErrRefused, info.Size(), size)
	}
	_, err = io.Copy(disk, f)
	return err
}
