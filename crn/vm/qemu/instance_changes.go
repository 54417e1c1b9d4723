package qemu

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ChunkSize is what a copy of changes is made of, in bytes: a chunk is copied whole when a byte of it may have changed. The images
// that CopyChanges fills have clusters of this size.
const ChunkSize = 256 << 10

// changesBitmap is where QEMU marks what a guest writes, in its memory. It is QEMU's: a node that takes a machine over finds it, and
// does not know what it is since.
const changesBitmap = "changes"

// CopyChanges brings what the disks hold at one moment into files, as Copy does: all of it, or only chunks that were written to since
// the moment of the last copy of this kind, if that and all before it succeeded. The files are empty qcow2 images of clusters of
// ChunkSize; ReadChanges reads them.
func (m *Instance) CopyChanges(ctx context.Context, disks []DiskCopy, all bool) error {
	return m.copy(ctx, disks, true, func(device string, backup with) error {
		if !all {
			backup["sync"], backup["bitmap"], backup["bitmap-mode"] = "bitmap", changesBitmap, "on-success"
			return nil
		}
		backup["sync"] = "full"
		// Marking begins a little before the copy: what is written between is copied twice. Earlier marks are since no one knows when.
		_, _ = m.ask(ctx, order{command: "block-dirty-bitmap-remove", arguments: with{"node": device, "name": changesBitmap}})
		_, err := m.ask(ctx, order{command: "block-dirty-bitmap-add", arguments: with{"node": device, "name": changesBitmap, "granularity": ChunkSize}})
		return err
	})
}

// qcow2 in its third version, as QEMU writes it: a table of tables of the places of clusters.
const (
	qcow2Magic      = 0x514649fb
	qcow2Place      = 0x00fffffffffffe00
	qcow2Compressed = 1 << 62
	qcow2Zero       = 1
)

// ReadChanges calls use with each chunk that is in an image that CopyChanges filled, in order, with its number; nil stands for
// zeros, and what is not is valid until use returns. size is that of the disk, in bytes; the last chunk may be shorter. The guest's QEMU wrote the image: it is read without
// trust in it, and whatever it names, nothing but its own bytes is read.
func ReadChanges(image io.ReaderAt, size int64, use func(n int64, chunk []byte) error) error {
	var head [104]byte
	if _, err := image.ReadAt(head[:], 0); err != nil {
		return fmt.Errorf("read the head of a copy: %w", err)
	}
	word := func(at int) uint64 { return binary.BigEndian.Uint64(head[at:]) }
	tables := int64(binary.BigEndian.Uint32(head[36:]))
	const perTable = ChunkSize / 8
	chunks := (size + ChunkSize - 1) / ChunkSize
	switch {
	case binary.BigEndian.Uint32(head[:]) != qcow2Magic || 1<<binary.BigEndian.Uint32(head[20:]) != ChunkSize || int64(word(24)) != size:
		return errors.New("a copy is no image of this disk")
	case tables < (chunks+perTable-1)/perTable:
		return errors.New("a copy has too few tables")
	}
	table := make([]byte, ChunkSize)
	chunk := make([]byte, ChunkSize)
	for t := range (chunks + perTable - 1) / perTable {
		var entry [8]byte
		if _, err := image.ReadAt(entry[:], int64(word(40))+8*t); err != nil {
			return fmt.Errorf("read the tables of a copy: %w", err)
		}
		place := binary.BigEndian.Uint64(entry[:]) & qcow2Place
		if place == 0 {
			continue
		}
		if _, err := image.ReadAt(table, int64(place)); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read a table of a copy: %w", err)
		}
		for i := int64(0); i < perTable && t*perTable+i < chunks; i++ {
			n := t*perTable + i
			entry := binary.BigEndian.Uint64(table[8*i:])
			content := chunk[:min(ChunkSize, size-n*ChunkSize)]
			switch place := entry & qcow2Place; {
			case entry&qcow2Compressed != 0:
				return errors.New("a copy is compressed")
			case entry&qcow2Zero != 0:
				content = nil
			case place == 0:
				continue
			default:
				// What is beyond its end was never written.
				read, err := image.ReadAt(content, int64(place))
				if err != nil && !errors.Is(err, io.EOF) {
					return fmt.Errorf("read chunk %d of a copy: %w", n, err)
				}
				clear(content[read:])
			}
			if err := use(n, content); err != nil {
				return err
			}
		}
	}
	return nil
}
