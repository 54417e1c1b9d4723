package runner

import (
	"encoding/binary"
	"math"
)

// maxGap is how many zero bytes are put between two segments to make them one.
const maxGap = 256

// Sections and instructions that mergeData reads.
const (
	sectionData      = 11
	sectionDataCount = 12
	i32Const         = 0x41
	endOfExpression  = 0x0b
)

// mergeData joins the data segments of a module that lie close to each other. Go's linker writes thousands of them, to leave out
// zeros, and to evaluate the place of each took two thirds of the time of a call. What is written stays the same: memory is zero
// at first. A module that is not understood is returned as it is; so is one with a data count section, whose code may name
// segments by their numbers.
func mergeData(code []byte) []byte {
	const head = 8 // magic and version
	from, to := 0, 0
	for at := head; at < len(code); {
		size, n := readUnsigned(code[at+1:])
		content := at + 1 + n
		if n == 0 || size > uint64(len(code)-content) || code[at] == sectionDataCount {
			return code
		}
		if code[at] == sectionData {
			from, to = at, content+int(size)
		}
		at = content + int(size)
	}
	if from == 0 {
		return code
	}
	_, n := readUnsigned(code[from+1 : to])
	segments, ok := readSegments(code[from+1+n : to])
	if !ok {
		return code
	}
	section := binary.AppendUvarint(nil, uint64(len(segments)))
	for _, s := range segments {
		section = append(section, 0, i32Const)
		section = append(appendSigned(section, int32(uint32(s.offset))), endOfExpression)
		section = binary.AppendUvarint(section, uint64(len(s.content)))
		section = append(section, s.content...)
	}
	merged := append([]byte{}, code[:from+1]...)
	merged = binary.AppendUvarint(merged, uint64(len(section)))
	merged = append(merged, section...)
	return append(merged, code[to:]...)
}

// segment is a part of the memory at the start.
type segment struct {
	offset  uint64
	content []byte
}

func (s segment) end() uint64 { return s.offset + uint64(len(s.content)) }

// maxSegments is how many segments may be left. A module that needs more gains nothing.
const maxSegments = 4096

// readSegments reads and joins the segments of a section, when all have a constant place in the first memory.
func readSegments(b []byte) (segments []segment, ok bool) {
	count, n := readUnsigned(b)
	if n == 0 {
		return nil, false
	}
	b = b[n:]
	for range count {
		if len(b) < 2 || b[0] != 0 || b[1] != i32Const {
			return nil, false
		}
		place, n := readSigned(b[2:])
		if n == 0 || len(b) <= 2+n || b[2+n] != endOfExpression {
			return nil, false
		}
		b = b[2+n+1:]
		length, n := readUnsigned(b)
		if n == 0 || length > uint64(len(b)-n) {
			return nil, false
		}
		content := b[n : n+int(length)]
		b = b[n+int(length):]
		offset := uint64(uint32(place))
		if gap := gapBefore(segments, offset); gap >= 0 {
			last := &segments[len(segments)-1]
			last.content = append(append(last.content, make([]byte, gap)...), content...)
		} else if len(segments) < maxSegments {
			segments = append(segments, segment{offset, append([]byte{}, content...)})
		} else {
			return nil, false
		}
	}
	return segments, len(b) == 0
}

// gapBefore returns how many zeros join what is at offset to the last segment; negative when it is too far, or others lie between.
func gapBefore(segments []segment, offset uint64) int {
	if len(segments) == 0 {
		return -1
	}
	last := len(segments) - 1
	end := segments[last].end()
	if offset < end || offset-end > maxGap {
		return -1
	}
	for _, s := range segments[:last] {
		if s.offset < offset && end < s.end() {
			return -1
		}
	}
	return int(offset - end)
}

// readUnsigned reads a number of at most 32 bits and returns its length; 0 when there is none.
func readUnsigned(b []byte) (uint64, int) {
	v, n := binary.Uvarint(b[:min(len(b), 5)])
	if n <= 0 || v > math.MaxUint32 {
		return 0, 0
	}
	return v, n
}

// readSigned is readUnsigned for a signed number.
func readSigned(b []byte) (int32, int) {
	var v int64
	for i := range min(len(b), 5) {
		v |= int64(b[i]&0x7f) << (7 * i)
		if b[i]&0x80 != 0 {
			continue
		}
		if b[i]&0x40 != 0 {
			v |= -1 << (7 * (i + 1))
		}
		if v < math.MinInt32 || v > math.MaxInt32 {
			return 0, 0
		}
		return int32(v), i + 1
	}
	return 0, 0
}

func appendSigned(b []byte, v int32) []byte {
	for {
		low := byte(v & 0x7f)
		v >>= 7
		if v == 0 && low&0x40 == 0 || v == -1 && low&0x40 != 0 {
			return append(b, low)
		}
		b = append(b, low|0x80)
	}
}
