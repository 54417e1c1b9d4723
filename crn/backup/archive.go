package backup

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/message"
)

// Backup describes one.
type Backup struct {
	ID       string
	Size     int64            // bytes of the archive
	Volumes  []string         // names of the images in it
	Checksum string           // hex SHA-256 of the archive; empty when it is not known
	Sources  map[string]int64 // bytes of the disks, by name; nil when they are not known
	Expires  time.Time        // when it is removed
}

// SourceBytes is what the disks have together.
func (b *Backup) SourceBytes() (sum int64) {
	for _, n := range b.Sources {
		sum += n
	}
	return sum
}

const (
	checksumSuffix = ".sha256"    // in the form of sha256sum(1)
	metaSuffix     = ".meta.json" // see meta
	idTime         = "20060102T150405Z"
)

// meta is what is kept of a backup beside the archive.
type meta struct {
	Hash    message.Hash     `json:"vm_hash"`
	Created time.Time        `json:"created_at"`
	Sources map[string]int64 `json:"source_sizes"`
}

// hashOf is the instance that an id begins with.
func hashOf(id string) message.Hash {
	hash, _, _ := strings.Cut(id, "-")
	return message.Hash(hash)
}

// archived is a backup that has no name yet.
type archived struct{ dir, id string }

// archive puts the images in dir into one file there, and removes them.
func (s *Store) archive(ctx context.Context, dir, id string, disks []instance.Disk, created time.Time) (a archived, err error) {
	a = archived{dir, id}
	sources := map[string]int64{}
	total := int64(0)
	for _, d := range disks {
		sources[d.Name] = d.Bytes
		info, err := os.Stat(filepath.Join(dir, d.Name))
		if err != nil {
			return a, err
		}
		total += info.Size()
	}
	if err := s.cfg.Machines.DiskRoom(total); err != nil {
		return a, err
	}
	path := filepath.Join(dir, id+".tar")
	sum, err := writeArchive(ctx, path, dir, disks, created)
	if errors.Is(err, unix.ENOSPC) {
		err = fmt.Errorf("%w: the disk of this node is full", instance.ErrNoRoom)
	}
	if err != nil {
		return a, err
	}
	raw, err := json.Marshal(meta{hashOf(id), created, sources})
	if err != nil {
		return a, err
	}
	return a, errors.Join(
		os.WriteFile(path+checksumSuffix, []byte(sum+"  "+id+".tar\n"), 0o600),
		os.WriteFile(path+metaSuffix, raw, 0o600),
	)
}

func writeArchive(ctx context.Context, path, dir string, disks []instance.Disk, created time.Time) (sum string, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	w := tar.NewWriter(io.MultiWriter(f, h))
	for _, d := range disks {
		if err := addImage(ctx, w, filepath.Join(dir, d.Name), created); err != nil {
			return "", err
		}
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), f.Sync()
}

func addImage(ctx context.Context, w *tar.Writer, path string, created time.Time) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	header := &tar.Header{Name: filepath.Base(path), Size: info.Size(), Mode: 0o600, ModTime: created.Truncate(time.Second)}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	if _, err := io.Copy(w, until{ctx, in}); err != nil {
		return err
	}
	return os.Remove(path)
}

// until reads until a context ends.
type until struct {
	ctx context.Context
	r   io.Reader
}

func (u until) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}

// publish gives a backup its name: last of all the archive, which makes it one.
func (a archived) publish(to string) error {
	for _, suffix := range []string{metaSuffix, checksumSuffix, ""} {
		name := a.id + ".tar" + suffix
		if err := os.Rename(filepath.Join(a.dir, name), filepath.Join(to, name)); err != nil {
			return err
		}
	}
	folder, err := os.Open(to)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

// read describes the backup of an id. Archives without the files beside them are described as far as that goes. s.mu is held.
func (s *Store) read(id string) (*Backup, error) {
	f, err := os.Open(s.path(id))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("backup %s: %w", id, ErrNone)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := &Backup{ID: id, Size: info.Size(), Expires: info.ModTime().Add(Keep), Volumes: []string{}}
	for r := tar.NewReader(f); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("backup %s is damaged: delete it and make another: %w", id, err)
		}
		b.Volumes = append(b.Volumes, header.Name)
	}
	if raw, err := os.ReadFile(s.path(id) + checksumSuffix); err == nil {
		b.Checksum, _, _ = strings.Cut(string(raw), " ")
	}
	var m meta
	if raw, err := os.ReadFile(s.path(id) + metaSuffix); err == nil && json.Unmarshal(raw, &m) == nil {
		b.Sources = m.Sources
	}
	return b, nil
}
