package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// systemFiles are what QEMU itself needs: the program, the libraries that it is linked with, its modules and its firmware.
func systemFiles(ctx context.Context, binary string) ([]string, error) {
	files := []string{binary}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	// A program that is linked statically has no libraries, and ldd fails.
	out, err := exec.CommandContext(ctx, "ldd", binary).Output()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, errors.New("ldd is missing, which tells the libraries of QEMU: install the package libc-bin")
	}
	for line := range strings.Lines(string(out)) {
		for _, word := range strings.Fields(line) {
			if filepath.IsAbs(word) && !slices.Contains(files, word) {
				files = append(files, word)
			}
		}
	}
	prefix := filepath.Dir(filepath.Dir(binary))
	for _, path := range []string{
		"/etc/ld.so.cache", "/usr/share/qemu", "/usr/share/seabios", "/usr/lib/ipxe", "/usr/share/OVMF", "/usr/share/ovmf",
		prefix + "/share/qemu", prefix + "/lib/qemu", prefix + "/lib/x86_64-linux-gnu/qemu", prefix + "/lib64/qemu",
	} {
		if _, err := os.Stat(path); err == nil && !slices.Contains(files, path) {
			files = append(files, path)
		}
	}
	return files, nil
}

// grant opens the files that a machine is given to its user. Outside its jail nobody gains by it: they are in folders of the node,
// which are closed to others. Several machines may have the same file, so that it cannot belong to one.
func grant(c confined) error {
	for _, given := range []struct {
		paths []string
		mode  os.FileMode
	}{{c.reads, 0o444}, {c.writes, 0o666}} {
		for _, path := range given.paths {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			if info.IsDir() || info.Mode()&given.mode == given.mode {
				continue
			}
			if err := os.Chmod(path, info.Mode().Perm()|given.mode); err != nil {
				return fmt.Errorf("let the machine have a file: %w", err)
			}
		}
	}
	return nil
}

// enterRoot takes the calling thread into namespaces of its own and into a root that holds only what the process may see.
func (j *jail) enterRoot(c confined, user int) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to itself: %w", err)
	}
	if err := unix.Mount("root", j.root, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=0755,size=256k"); err != nil {
		return fmt.Errorf("mount the machine's root: %w", err)
	}
	const (
		readOnly = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV
		data     = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	)
	for _, path := range j.system {
		if err := j.bind(path, readOnly); err != nil {
			return err
		}
	}
	for _, path := range c.reads {
		if err := j.bind(path, readOnly|data); err != nil {
			return err
		}
	}
	for _, path := range c.writes {
		if err := j.bind(path, data); err != nil {
			return err
		}
	}
	for _, path := range append([]string{os.DevNull}, c.devices...) {
		if err := j.device(path, user); err != nil {
			return err
		}
	}
	if err := unix.Chdir(j.root); err != nil {
		return err
	}
	// The new root over the old one, which is then taken away from below it.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the old root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("make the root read-only: %w", err)
	}
	return nil
}

// bind shows a file or folder under its own path in the new root.
func (j *jail) bind(path string, flags uintptr) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	target := filepath.Join(j.root, path)
	if info.IsDir() {
		err = os.MkdirAll(target, 0o755)
	} else if err = os.MkdirAll(filepath.Dir(target), 0o755); err == nil {
		err = unix.Mknod(target, unix.S_IFREG|0o444, 0)
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make place for %s in the machine's root: %w", path, err)
	}
	if err := unix.Mount(path, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("show %s to the machine: %w", path, err)
	}
	if err := unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_BIND|flags, ""); err != nil {
		return fmt.Errorf("restrict %s for the machine: %w", path, err)
	}
	return nil
}

// device makes the device in the new root, for the machine's user alone, whoever may open the host's.
func (j *jail) device(path string, user int) error {
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	target := filepath.Join(j.root, path)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	if err := unix.Mknod(target, stat.Mode&unix.S_IFMT|0o600, int(stat.Rdev)); err != nil {
		return fmt.Errorf("make %s for the machine: %w", path, err)
	}
	return os.Chown(target, user, user)
}
