// Package journal keeps messages on disk from the moment they are accepted until the database has them for good. Package
// intake appends to it and reads it back after a crash.
//
// A journal is a folder of segments with ascending numbers. A segment is a row of records, each with its length and a
// checksum. Only the newest segment of a process is written. It ends where a checksum is wrong: a crash tore that record, or it
// is left from a segment before, because a file that is not needed any more becomes the next segment. To overwrite a file is
// cheaper than to make one longer: its size and the place of its bytes on the disk need not be synced.
package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Record is one accepted message.
type Record struct {
	Origin   string // at most 255 bytes
	Received int64  // microseconds since the epoch
	Message  []byte // the envelope, at most MaxMessage bytes
}

// MaxMessage bounds the bytes of a message.
const MaxMessage = 64 << 20

// Position is a place between two records.
type Position struct {
	Segment uint64
	Offset  int64
}

// String returns the form that ParsePosition reads.
func (p Position) String() string { return fmt.Sprintf("%d:%d", p.Segment, p.Offset) }

// ParsePosition reads a position; "" is the beginning of everything.
func ParsePosition(text string) (p Position, err error) {
	if text == "" {
		return p, nil
	}
	segment, offset, _ := strings.Cut(text, ":")
	if p.Segment, err = strconv.ParseUint(segment, 10, 64); err == nil {
		p.Offset, err = strconv.ParseInt(offset, 10, 64)
	}
	if err != nil {
		return Position{}, fmt.Errorf("read position %q of the journal: %w", text, err)
	}
	return p, nil
}

// Journal is an open journal. One goroutine uses it at a time.
type Journal struct {
	dir  string
	lock *os.File // the folder, locked
	old  []uint64 // segments that earlier processes or Rotate left, ascending
	file *os.File // the newest segment
	at   Position // its end
	buf  []byte
}

const suffix = ".journal"

// Spare names the file in the folder that becomes the next segment. It holds nothing that is needed.
const Spare = "spare"

// What a dropped segment must have, in bytes, to become the spare one: so much that it pays, and not what a row of very large
// messages left.
const (
	spareMin = 1 << 20
	spareMax = 64 << 20
)

func (j *Journal) spare() string { return filepath.Join(j.dir, Spare) }

func (j *Journal) path(segment uint64) string {
	return filepath.Join(j.dir, fmt.Sprintf("%012d%s", segment, suffix))
}

// Open opens the journal in a folder, which it creates, and begins a segment. One process has a journal open at a time.
func Open(dir string) (_ *Journal, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create the folder of the journal: %w", err)
	}
	j := &Journal{dir: dir}
	if j.lock, err = os.Open(dir); err != nil {
		return nil, fmt.Errorf("open the folder of the journal: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, j.lock.Close())
		}
	}()
	if err := lock(j.lock); err != nil {
		return nil, fmt.Errorf("lock the journal %s: %w", dir, err)
	}
	entries, err := j.lock.ReadDir(-1)
	if err != nil {
		return nil, fmt.Errorf("list the journal: %w", err)
	}
	for _, e := range entries {
		name, isSegment := strings.CutSuffix(e.Name(), suffix)
		if !isSegment {
			continue
		}
		n, err := strconv.ParseUint(name, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("the journal has a file %s that is none of its segments: move it away", filepath.Join(dir, e.Name()))
		}
		j.old = append(j.old, n)
	}
	slices.Sort(j.old)
	if len(j.old) > 0 {
		j.at.Segment = j.old[len(j.old)-1]
	}
	return j, j.begin()
}

// begin begins the next segment.
func (j *Journal) begin() error {
	next := j.at.Segment + 1
	if err := os.Rename(j.spare(), j.path(next)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("begin a segment of the journal: %w", err)
	}
	file, err := os.OpenFile(j.path(next), os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("begin a segment of the journal: %w", err)
	}
	if err := syncFolder(j.dir); err != nil {
		return errors.Join(fmt.Errorf("begin a segment of the journal: %w", err), file.Close())
	}
	j.file, j.at = file, Position{Segment: next}
	return nil
}

func syncFolder(dir string) error {
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// End is the position after the last record.
func (j *Journal) End() Position { return j.at }

// header is what comes before a record's body: its length and its checksum.
const header = 8

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is that of a body in a segment. It is another in each, so that nobody takes what a file held before for what it holds.
func checksum(segment uint64, body []byte) uint32 {
	var number [8]byte
	binary.LittleEndian.PutUint64(number[:], segment)
	return crc32.Update(crc32.Checksum(number[:], castagnoli), castagnoli, body)
}

// After returns the position that follows this one when records are appended.
func (p Position) After(records []Record) Position {
	for i := range records {
		p.Offset += header + int64(bodySize(&records[i]))
	}
	return p
}

// A body is the time, the length of the origin, the origin and the message.
func bodySize(r *Record) int { return 8 + 1 + len(r.Origin) + len(r.Message) }

// Append writes records and syncs them to disk: after it, nothing but the disk loses them. After an error it is unknown
// which of them are there; Rotate makes the journal usable again.
func (j *Journal) Append(records []Record) error {
	j.buf = j.buf[:0]
	for i := range records {
		r := &records[i]
		if len(r.Origin) > 255 || len(r.Message) > MaxMessage {
			return fmt.Errorf("the journal takes no message of %d bytes", len(r.Message))
		}
		start := len(j.buf)
		j.buf = binary.LittleEndian.AppendUint32(j.buf, uint32(bodySize(r)))
		j.buf = append(j.buf, 0, 0, 0, 0)
		j.buf = binary.LittleEndian.AppendUint64(j.buf, uint64(r.Received))
		j.buf = append(append(j.buf, byte(len(r.Origin))), r.Origin...)
		j.buf = append(j.buf, r.Message...)
		binary.LittleEndian.PutUint32(j.buf[start+4:], checksum(j.at.Segment, j.buf[start+header:]))
	}
	if _, err := j.file.Write(j.buf); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	if err := datasync(j.file); err != nil {
		return fmt.Errorf("sync the journal: %w", err)
	}
	j.at.Offset += int64(len(j.buf))
	return nil
}

// Rotate ends the segment and begins another.
func (j *Journal) Rotate() error {
	ended := j.at.Segment
	file := j.file
	if err := j.begin(); err != nil {
		return err
	}
	j.old = append(j.old, ended)
	if err := file.Close(); err != nil {
		return fmt.Errorf("end a segment of the journal: %w", err)
	}
	return nil
}

// Drop forgets the segments that are before a position as a whole.
func (j *Journal) Drop(before Position) error {
	for len(j.old) > 0 && j.old[0] < before.Segment {
		if err := j.drop(j.path(j.old[0])); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("drop a segment of the journal: %w", err)
		}
		j.old = j.old[1:]
	}
	return nil
}

func (j *Journal) drop(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() < spareMin || info.Size() > spareMax {
		return os.Remove(path)
	}
	return os.Rename(path, j.spare())
}

// Replay calls visit with the records after a position, those of earlier processes as well, in their order.
func (j *Journal) Replay(after Position, visit func(Record) error) error {
	for _, segment := range append(slices.Clone(j.old), j.at.Segment) {
		if segment < after.Segment {
			continue
		}
		var offset int64
		if segment == after.Segment {
			offset = after.Offset
		}
		if err := j.replay(segment, offset, visit); err != nil {
			return fmt.Errorf("read segment %d of the journal: %w", segment, err)
		}
	}
	return nil
}

func (j *Journal) replay(segment uint64, offset int64, visit func(Record) error) error {
	file, err := os.Open(j.path(segment))
	if err != nil {
		return err
	}
	defer file.Close()
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	for r := io.NewSectionReader(file, offset, max(0, size-offset)); ; {
		record, err := read(r, segment)
		if err != nil || record == nil {
			return err
		}
		if err := visit(*record); err != nil {
			return err
		}
	}
}

// read reads a record of a segment, nil at its end: what follows was never acknowledged.
func read(r io.Reader, segment uint64) (*Record, error) {
	var head [header]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, unlessShort(err)
	}
	size := binary.LittleEndian.Uint32(head[:4])
	if size < 9 || size > MaxMessage+9+255 {
		return nil, nil
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, unlessShort(err)
	}
	if checksum(segment, body) != binary.LittleEndian.Uint32(head[4:]) {
		return nil, nil
	}
	origin := int(body[8])
	if 9+origin > len(body) {
		return nil, nil
	}
	return &Record{
		Received: int64(binary.LittleEndian.Uint64(body)),
		Origin:   string(body[9 : 9+origin]),
		Message:  body[9+origin:],
	}, nil
}

func unlessShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// Close ends the journal. What is in it stays.
func (j *Journal) Close() error {
	if err := errors.Join(j.file.Close(), j.lock.Close()); err != nil {
		return fmt.Errorf("close the journal: %w", err)
	}
	return nil
}
