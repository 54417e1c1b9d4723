package instance

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn/image"
	"github.com/aleph-im/aleph-go/message"
)

// An instance moves with its disks (decision 0025). Its node stops it and lets another fetch them (leave.go); that one has the
// instance for its own once it has all of them and the first has handed it over (arrive.go). Up to that word the disks are the
// first one's, from then on the other's, whoever is killed when.

// ErrMoving: the instance is on its way to another node or from one.
var ErrMoving = errors.New("the instance is moving")

// move is what a record holds of it.
type move struct {
	Token   string       `json:"token"` // who shows it may fetch
	Files   []MovedFile  `json:"files,omitempty"`
	Parent  message.Hash `json:"parent,omitempty"` // bytes of the image under the root disk
	Stopped bool         `json:"stopped,omitempty"`
	Begun   time.Time    `json:"begun"`
	// Claim is a secret of the node that it is handed over to; of the one that leaves it is empty before.
	Claim  string `json:"claim,omitempty"`
	Source string `json:"source,omitempty"` // base URL of the node that it arrives from
	Ready  bool   `json:"ready,omitempty"`  // to be fetched: its machine has ended and its files are listed
	Secret []byte `json:"secret,omitempty"` // of the key of the replica that it comes back from
	// Live: it goes with its memory, and its files have no hashes.
	Live bool   `json:"live,omitempty"`
	Cold string `json:"cold,omitempty"` // why it arrives without its memory
	Here bool   `json:"here,omitempty"` // its disks and its memory have come; the other node has only to give it away
	Lost bool   `json:"lost,omitempty"` // the scheduler no more counts on the node that it arrives from
}

// MovedFile is a disk that travels, by a name that is the same on both nodes.
type MovedFile struct {
	Name   string `json:"name"`
	Size   int64  `json:"size_bytes"`
	SHA256 string `json:"sha256"`
	// Extents are the parts of the file that hold more than zeros, as begin and length in bytes, in order.
	Extents [][2]int64 `json:"extents"`
}

// parentFile and the prefix of persistent volumes are names of files that travel, beside rootFile.
const (
	parentFile = "parent"
	dataPrefix = "data."
)

// movedPath is where a node keeps a file that travels.
func (p *Pool) movedPath(hash, parent message.Hash, name string) string {
	if name == parentFile {
		return filepath.Join(p.cfg.Dir, parentDir, string(parent))
	}
	if volume, ok := strings.CutPrefix(name, scratchPrefix); ok {
		return image.DiskPath(filepath.Join(p.disks(hash), scratchDir), volume)
	}
	if volume, ok := strings.CutPrefix(name, dataPrefix); ok {
		return image.DiskPath(filepath.Join(p.disks(hash), dataDir), volume)
	}
	return filepath.Join(p.disks(hash), name)
}

// movedNames are the files that an instance may have, and how long each may be, in bytes.
func movedNames(m *message.Instance) map[string]int64 {
	names := map[string]int64{parentFile: maxImage, rootFile: 2*m.Rootfs.SizeMiB<<20 + 64<<20}
	for i, v := range m.Volumes {
		if v.Kind == message.VolumePersistent {
			names[dataPrefix+image.VolumeName(v, i)] = v.SizeMiB << 20
		}
	}
	return names
}

func secret() string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails
	return base64.RawURLEncoding.EncodeToString(raw)
}

const (
	// maxExtents bounds the list of a file; gaps are sent along when there are more.
	maxExtents = 4096
	// minGap is what is not worth another request, in bytes.
	minGap = 1 << 20
)

// extents returns the parts of a file that hold more than zeros.
func extents(f *os.File, size int64) (list [][2]int64, err error) {
	for gap := int64(minGap); ; gap *= 2 {
		list = nil
		for at := int64(0); at < size; {
			begin, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
			if errors.Is(err, unix.ENXIO) {
				break // only a hole follows
			}
			if err != nil {
				return [][2]int64{{0, size}}, nil // a filesystem that does not say
			}
			end, err := unix.Seek(int(f.Fd()), begin, unix.SEEK_HOLE)
			if err != nil {
				return nil, fmt.Errorf("look for holes: %w", err)
			}
			if n := len(list); n > 0 && begin-(list[n-1][0]+list[n-1][1]) < gap {
				list[n-1][1] = end - list[n-1][0]
			} else {
				list = append(list, [2]int64{begin, end - begin})
			}
			at = end
		}
		if len(list) <= maxExtents {
			return list, nil
		}
	}
}

// checkOverlay makes sure that a root disk that another node sent is based on the image that came with it and on nothing else of
// this host.
func checkOverlay(path string, parent message.Hash) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var head [112]byte
	if _, err := io.ReadFull(f, head[:]); err != nil || string(head[:4]) != "QFI\xfb" {
		return errors.New("the root disk is no qcow2 image")
	}
	if version := binary.BigEndian.Uint32(head[4:]); version != 3 || binary.BigEndian.Uint64(head[72:])&qcow2ExternalData != 0 {
		return errors.New("the root disk is no plain qcow2 image")
	}
	backing := make([]byte, min(binary.BigEndian.Uint32(head[16:]), 1024))
	if _, err := f.ReadAt(backing, int64(binary.BigEndian.Uint64(head[8:]))); err != nil {
		return errors.New("the root disk names no image")
	}
	if want := backingPath(string(parent)); !bytes.Equal(backing, []byte(want)) {
		return fmt.Errorf("the root disk is based on %q, not on %q", backing, want)
	}
	return nil
}
