package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/message"
)

var notInNames = regexp.MustCompile(`[^\w\-]`)

// VolumeName is the file name of a volume. The odd default is the one under which existing nodes hold data.
func VolumeName(v message.Volume, index int) string {
	if v.Name == nil || *v.Name == "" {
		return fmt.Sprintf("unamed_volume_%d", index)
	}
	return notInNames.ReplaceAllString(*v.Name, "_")
}

// ErrDiskFull: the disk of this node has no room for a new volume.
var ErrDiskFull = errors.New("the disk of this node is full")

// MakeDisk returns the path of an empty ext4 disk of the given size, made when it is not there yet.
func MakeDisk(ctx context.Context, dir, name string, sizeMiB int64) (string, error) {
	return NewDisk(dir, name, sizeMiB, func(f *os.File) error { return format(ctx, f.Name()) })
}

// DiskPath is where NewDisk makes a disk.
func DiskPath(dir, name string) string { return filepath.Join(dir, name+".ext4") }

// NewDisk returns the path of a disk of the given size, made and filled when it is not there yet. Its blocks are reserved: a full
// disk is noticed here and not by the guest.
func NewDisk(dir, name string, sizeMiB int64, fill func(*os.File) error) (string, error) {
	path := DiskPath(dir, name)
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
			return "", fmt.Errorf("%w: it has no %d MiB left", ErrDiskFull, sizeMiB)
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
