package guest

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// newRoot is where the program's root is put together before it becomes /.
const newRoot = "/newroot"

// setUp makes the machine that the configuration describes: clock, root, archives, volumes, name, loopback.
func setUp(c *wire.Config) error {
	if err := setClock(c.Time); err != nil {
		return err
	}
	if err := mountRoot(c.Root); err != nil {
		return err
	}
	for _, a := range c.Archives {
		if err := provide(a); err != nil {
			return fmt.Errorf("archive at %s: %w", a.Dir, err)
		}
	}
	for _, v := range c.Volumes {
		if err := mountVolume(v); err != nil {
			return fmt.Errorf("volume at %s: %w", v.Mount, err)
		}
	}
	if err := switchRoot(); err != nil {
		return err
	}
	return configureSystem(c.Hostname)
}

func setClock(now time.Time) error {
	if now.IsZero() {
		return nil
	}
	value := unix.NsecToTimeval(now.UnixNano())
	if err := unix.Settimeofday(&value); err != nil {
		return fmt.Errorf("set the clock: %w", err)
	}
	return nil
}

// mountRoot lays a writable layer in memory over the read-only image. The layer may use half of the machine's memory.
func mountRoot(device string) error {
	path, err := waitDevice(device)
	if err != nil {
		return fmt.Errorf("runtime image: %w", err)
	}
	if err := mount(path, "/lower", "squashfs", unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("runtime image (it must be a squashfs filesystem): %w", err)
	}
	if err := mount("tmpfs", "/layer", "tmpfs", 0, "mode=0755"); err != nil {
		return err
	}
	for _, dir := range []string{"/layer/upper", "/layer/work"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	return mount("overlay", newRoot, "overlay", 0, "lowerdir=/lower,upperdir=/layer/upper,workdir=/layer/work")
}

func mountVolume(v wire.Volume) error {
	target, err := inRoot(v.Mount)
	if err != nil {
		return err
	}
	path, err := waitDevice(v.Device)
	if err != nil {
		return err
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV)
	if v.ReadOnly {
		flags |= unix.MS_RDONLY
	}
	if err := mount(path, target, v.FS, flags, ""); err != nil {
		return fmt.Errorf("not a usable %s filesystem: %w", v.FS, err)
	}
	if v.Grow {
		return grow(target, path)
	}
	return nil
}

// resizeFS is EXT4_IOC_RESIZE_FS: it takes the number of blocks that a mounted filesystem is to have.
const resizeFS = 0x40086610

// grow makes a mounted ext4 filesystem fill its device. One that does already is left alone by the kernel.
func grow(mounted, device string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(mounted, &fs); err != nil {
		return fmt.Errorf("grow the filesystem: %w", err)
	}
	disk, err := os.Open(device)
	if err != nil {
		return fmt.Errorf("grow the filesystem: %w", err)
	}
	defer disk.Close()
	size, err := disk.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("grow the filesystem: size of %s: %w", device, err)
	}
	dir, err := os.Open(mounted)
	if err != nil {
		return fmt.Errorf("grow the filesystem: %w", err)
	}
	defer dir.Close()
	blocks := uint64(size) / uint64(fs.Bsize)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), resizeFS, uintptr(unsafe.Pointer(&blocks))); errno != 0 {
		return fmt.Errorf("grow the filesystem to %d blocks of %d bytes: %w", blocks, fs.Bsize, errno)
	}
	return nil
}

// inRoot returns the place of an absolute path of the program's root while that is not / yet.
func inRoot(path string) (string, error) {
	clean := filepath.Clean("/" + path)
	if clean == "/" {
		return "", fmt.Errorf("cannot mount over the root (mount is %q)", path)
	}
	// A link in the image must not lead out of it: it would be followed from the initramfs.
	at := newRoot
	for _, part := range strings.Split(clean[1:], "/") {
		at += "/" + part
		if info, err := os.Lstat(at); err == nil && info.Mode()&os.ModeSymlink != 0 {
			return "", fmt.Errorf("%s is a symbolic link in the runtime", strings.TrimPrefix(at, newRoot))
		}
	}
	return at, nil
}

// switchRoot makes newRoot the root. What the initramfs held is removed: it is memory.
func switchRoot() error {
	for _, dir := range []string{"/proc", "/sys", "/dev"} {
		if err := os.MkdirAll(newRoot+dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(dir, newRoot+dir, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s: %w", dir, err)
		}
	}
	os.Remove("/init")
	os.RemoveAll("/modules")
	if err := os.Chdir(newRoot); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("switch to the runtime's root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("switch to the runtime's root: %w", err)
	}
	return os.Chdir("/")
}

// configureSystem does what a distribution's init would: temporary filesystems, name, loopback.
func configureSystem(hostname string) error {
	for _, m := range []struct {
		dir, fs, options string
		flags            uintptr
	}{
		{"/dev/pts", "devpts", "mode=0620,ptmxmode=0666", unix.MS_NOSUID | unix.MS_NOEXEC},
		{"/dev/shm", "tmpfs", "mode=1777", unix.MS_NOSUID | unix.MS_NODEV},
		{"/run", "tmpfs", "mode=0755", unix.MS_NOSUID | unix.MS_NODEV},
		{"/tmp", "tmpfs", "mode=1777", unix.MS_NOSUID | unix.MS_NODEV},
	} {
		if err := mount(m.fs, m.dir, m.fs, m.flags, m.options); err != nil {
			return err
		}
	}
	for link, target := range map[string]string{"/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0", "/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2"} {
		_ = os.Symlink(target, link) // there already on some kernels
	}
	if err := unix.Sethostname([]byte(hostname)); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	_ = os.MkdirAll("/etc", 0o755)
	if err := os.WriteFile("/etc/hosts", []byte("127.0.0.1 localhost "+hostname+"\n::1 localhost\n"), 0o644); err != nil {
		return err
	}
	return interfaceUp("lo")
}

// interfaceUp does what "ip link set up" does; the kernel gives the loopback its addresses by itself.
func interfaceUp(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	return nil
}

// mount creates the folder where it is missing.
func mount(source, target, fs string, flags uintptr, options string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("mount %s: %w", target, err)
	}
	start := time.Now()
	for {
		err := unix.Mount(source, target, fs, flags, options)
		// A device that has just appeared may be busy while the kernel looks for partitions.
		if err == unix.EBUSY && time.Since(start) < time.Second {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		if err != nil {
			return fmt.Errorf("mount %s on %s: %w", fs, target, err)
		}
		return nil
	}
}
