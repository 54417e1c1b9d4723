package image

import (
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// IsQcow2 reports whether a file begins as qcow2 images do.
func IsQcow2(r io.ReaderAt) bool {
	var magic [4]byte
	_, err := r.ReadAt(magic[:], 0)
	return err == nil && string(magic[:]) == "QFI\xfb"
}

// qcow2 is an image as QEMU's docs/interop/qcow2.rst describes it. Users make these, so that no tool of the host opens them: what is read
// here is the image's own bytes, whatever it names.
type qcow2 struct {
	r       io.ReaderAt
	cluster int64 // bytes of one
	bits    uint
	size    int64 // bytes of the disk in it
	tables  int64 // offset of the list of tables
}

// Bits of entries in its tables.
const (
	qcow2Compressed = 1 << 62
	qcow2Zeros      = 1
	qcow2Offset     = 0x00fffffffffffe00
)

// Bits of features that a reader must know.
const (
	qcow2Dirty       = 1 << 0 // its counts of references are old, which are of no interest here
	qcow2Compression = 1 << 3
)

// ErrQcow2: the image is not one that can be read here.
var ErrQcow2 = errors.New("it is no qcow2 image that this node reads")

// CopyQcow2 writes the disk in a qcow2 image to a file of zeros, and returns its size in bytes. It must be whole, without compression but
// deflate, and a disk of at most limit bytes. The error is ErrQcow2 when the image is why.
func CopyQcow2(ctx context.Context, to io.WriterAt, r io.ReaderAt, limit int64) (size int64, err error) {
	q, err := openQcow2(r, limit)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrQcow2, err)
	}
	perTable := q.cluster / 8
	table, data := make([]byte, q.cluster), make([]byte, q.cluster)
	list := bufio.NewReader(io.NewSectionReader(r, q.tables, math.MaxInt64-q.tables)) // it may be long
	for i := int64(0); i<<q.bits*perTable < q.size; i++ {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		var entry [8]byte
		if _, err := io.ReadFull(list, entry[:]); err != nil {
			return 0, fmt.Errorf("%w: it ends too early: read its list of tables: %w", ErrQcow2, err)
		}
		offset := binary.BigEndian.Uint64(entry[:]) & qcow2Offset
		if offset == 0 {
			continue
		}
		if _, err := r.ReadAt(table, int64(offset)); err != nil {
			return 0, fmt.Errorf("%w: it ends too early: read a table at %d: %w", ErrQcow2, offset, err)
		}
		for n := range perTable {
			at := (i*perTable + n) << q.bits
			if at >= q.size {
				break
			}
			there, err := q.readCluster(data, binary.BigEndian.Uint64(table[8*n:]))
			if err != nil {
				return 0, fmt.Errorf("%w: at byte %d of the disk in it: %w", ErrQcow2, at, err)
			}
			if !there {
				continue
			}
			if _, err := to.WriteAt(data[:min(q.cluster, q.size-at)], at); err != nil {
				return 0, err
			}
		}
	}
	return q.size, nil
}

func openQcow2(r io.ReaderAt, limit int64) (*qcow2, error) {
	var head [112]byte
	n, err := r.ReadAt(head[:], 0)
	if err != nil && !errors.Is(err, io.EOF) || n < 72 {
		return nil, errors.New("it ends within its header")
	}
	version, bits := binary.BigEndian.Uint32(head[4:]), binary.BigEndian.Uint32(head[20:])
	size, entries, offset := binary.BigEndian.Uint64(head[24:]), binary.BigEndian.Uint32(head[36:]), binary.BigEndian.Uint64(head[40:])
	var features uint64
	if version == 3 {
		features = binary.BigEndian.Uint64(head[72:])
	}
	switch {
	case version != 2 && version != 3:
		return nil, fmt.Errorf("qcow2 version %d is not known", version)
	case binary.BigEndian.Uint64(head[8:]) != 0:
		return nil, errors.New("it is based on another image; images must be whole")
	case binary.BigEndian.Uint32(head[32:]) != 0:
		return nil, errors.New("it is encrypted")
	case features&qcow2Compression != 0 && head[104] != 0:
		return nil, errors.New("it is compressed with zstd; make it with 'qemu-img convert -c -O qcow2 -o compression_type=zlib'")
	case features&^(qcow2Dirty|qcow2Compression) != 0:
		return nil, fmt.Errorf("it has features that are not known, or is corrupt (bits %#x)", features)
	case bits < 9 || bits > 21:
		return nil, fmt.Errorf("its clusters have 2^%d bytes", bits)
	case size > uint64(limit):
		return nil, fmt.Errorf("the disk in it has %d MiB, and at most %d MiB are allowed", (size+1<<20-1)>>20, limit>>20)
	}
	q := &qcow2{r: r, cluster: 1 << bits, bits: uint(bits), size: int64(size), tables: int64(offset)}
	perTable := q.cluster / 8 << bits // bytes of the disk
	if int64(entries) < (q.size+perTable-1)/perTable || offset > 1<<62 {
		return nil, errors.New("its tables are shorter than the disk in it")
	}
	return q, nil
}

// readCluster reads the cluster of an entry, unless that is zeros.
func (q *qcow2) readCluster(data []byte, entry uint64) (there bool, err error) {
	if entry&qcow2Compressed != 0 {
		return true, q.inflate(data, entry)
	}
	offset := entry & qcow2Offset
	if offset == 0 || entry&qcow2Zeros != 0 {
		return false, nil
	}
	// The last cluster of a file may be cut short.
	n, err := q.r.ReadAt(data, int64(offset))
	if n == 0 || err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("it ends too early: read a cluster at %d: %w", offset, err)
	}
	clear(data[n:])
	return true, nil
}

func (q *qcow2) inflate(data []byte, entry uint64) error {
	x := 62 - (q.bits - 8)
	offset := int64(entry & (1<<x - 1))
	length := int64(entry&(qcow2Compressed-1)>>x+1)*512 - offset&511
	packed := make([]byte, length)
	n, err := q.r.ReadAt(packed, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if _, err := io.ReadFull(flate.NewReader(bytes.NewReader(packed[:n])), data); err != nil {
		return fmt.Errorf("unpack a cluster at %d: %w", offset, err)
	}
	return nil
}
