package guest

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// provide puts an archive of the user where it belongs.
func provide(c wire.Archive) error {
	dir, err := inRoot(c.Dir)
	if err != nil {
		return err
	}
	device, err := waitDevice(c.Device)
	if err != nil {
		return err
	}
	if c.Encoding == "squashfs" {
		if err := mount(device, dir, "squashfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
			return fmt.Errorf("the archive is not a usable squashfs image: %w", err)
		}
		return nil
	}
	f, err := os.Open(device)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	archive := io.NewSectionReader(f, 0, c.Size)
	limits := Limits{Bytes: c.MaxUnpacked, Files: c.MaxFiles}
	switch c.Encoding {
	case "zip":
		return explain(Unzip(archive, c.Size, root, limits))
	case "tar":
		return explain(Untar(archive, root, limits))
	case "tar.gz":
		return explain(UntarGzip(archive, root, limits))
	case "plain":
		if c.Name == "" || filepath.Base(c.Name) != c.Name {
			return fmt.Errorf("%q is no name for a file", c.Name)
		}
		return explain(writeFile(root, c.Name, 0o755, archive, &budget{left: c.Size}))
	}
	return fmt.Errorf("encoding %q is none of zip, tar, tar.gz, squashfs, plain", c.Encoding)
}

// explain adds to an error of the filesystem what the user can do about it.
func explain(err error) error {
	if errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("%w: what is unpacked is held in memory; give the program more memory, or use a squashfs image, which is read from disk", err)
	}
	return err
}

// Limits bounds what an archive may unpack to.
type Limits struct {
	Bytes int64
	Files int
}

// Unzip unpacks an untrusted archive of size bytes into root. It refuses entries that would land elsewhere, links and other
// special files, and archives beyond the limits; whatever sizes the archive claims, what counts is what comes out.
func Unzip(archive io.ReaderAt, size int64, root *os.Root, limits Limits) error {
	r, err := zip.NewReader(archive, size)
	if err != nil {
		return fmt.Errorf("the archive is not a valid zip file: %w", err)
	}
	if len(r.File) > limits.Files {
		return fmt.Errorf("the archive has %d entries, at most %d are allowed", len(r.File), limits.Files)
	}
	left := &budget{left: limits.Bytes}
	for _, entry := range r.File {
		if err := unzipEntry(entry, root, left); err != nil {
			return fmt.Errorf("archive entry %q: %w", entry.Name, err)
		}
	}
	return nil
}

func unzipEntry(entry *zip.File, root *os.Root, left *budget) error {
	mode := entry.Mode()
	if strings.HasSuffix(entry.Name, "/") {
		mode = fs.ModeDir
	}
	if !mode.IsRegular() {
		return place(root, entry.Name, mode, nil, left)
	}
	content, err := entry.Open()
	if err != nil {
		return err
	}
	defer content.Close()
	return place(root, entry.Name, mode, content, left)
}

// UntarGzip is [Untar] of an archive that gzip compressed.
func UntarGzip(archive io.Reader, root *os.Root, limits Limits) error {
	content, err := gzip.NewReader(archive)
	if err != nil {
		return fmt.Errorf("the archive is not a valid gzip file: %w", err)
	}
	return Untar(content, root, limits)
}

// Untar unpacks an untrusted archive into root, as [Unzip] does.
func Untar(archive io.Reader, root *os.Root, limits Limits) error {
	// Headers are no content, but an archive may be nothing but headers.
	r := tar.NewReader(io.LimitReader(archive, limits.Bytes+int64(limits.Files)*maxTarHeaders))
	left := &budget{left: limits.Bytes}
	for files := 0; ; files++ {
		entry, err := r.Next()
		if errors.Is(err, io.EOF) {
			if files == 0 {
				return errors.New("the archive is not a valid tar file: it is empty")
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("the archive is not a valid tar file: %w", err)
		}
		if files == limits.Files {
			return fmt.Errorf("the archive has more than %d entries", limits.Files)
		}
		if entry.Typeflag == tar.TypeXGlobalHeader {
			continue // written by git archive; it is about no file
		}
		mode := entry.FileInfo().Mode()
		if entry.Typeflag == tar.TypeLink {
			mode = fs.ModeIrregular
		}
		if err := place(root, entry.Name, mode, r, left); err != nil {
			return fmt.Errorf("archive entry %q: %w", entry.Name, err)
		}
	}
}

// maxTarHeaders is what an entry may have beside its content on average, in bytes: header, long name, padding.
const maxTarHeaders = 4 << 10

// place puts one entry of an archive below root.
func place(root *os.Root, name string, mode fs.FileMode, content io.Reader, left *budget) error {
	name = strings.TrimSuffix(name, "/")
	if name == "" || name == "." {
		return nil
	}
	if strings.ContainsAny(name, "\\\x00") || !filepath.IsLocal(name) {
		return errors.New("the path leads out of the archive")
	}
	name = path.Clean(name)
	switch {
	case mode.IsDir():
		return root.MkdirAll(name, 0o755)
	case !mode.IsRegular():
		return fmt.Errorf("only files and folders are allowed, this is a %s", kind(mode))
	}
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	return writeFile(root, name, 0o644|mode.Perm()&0o111, content, left)
}

func kind(mode fs.FileMode) string {
	if mode&fs.ModeSymlink != 0 {
		return "symbolic link"
	}
	if mode&fs.ModeIrregular != 0 {
		return "link"
	}
	return "special file"
}

// budget is how many bytes may still be written.
type budget struct{ left int64 }

func writeFile(root *os.Root, name string, mode fs.FileMode, content io.Reader, left *budget) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(content, left.left+1))
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if left.left -= n; left.left < 0 {
		return errors.New("the archive unpacks to more than is allowed")
	}
	return nil
}
