package runner

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/tetratelabs/wazero"
	"pgregory.net/rapid"
)

// withData is a module of two pages of memory, with the given segments.
func withData(segments []segment) []byte {
	content := binary.AppendUvarint(nil, uint64(len(segments)))
	for _, s := range segments {
		content = append(appendSigned(append(content, 0, i32Const), int32(uint32(s.offset))), endOfExpression)
		content = append(binary.AppendUvarint(content, uint64(len(s.content))), s.content...)
	}
	code := []byte("\x00asm\x01\x00\x00\x00" + "\x05\x03\x01\x00\x02" + "\x07\x05\x01\x01m\x02\x00")
	code = binary.AppendUvarint(append(code, sectionData), uint64(len(content)))
	return append(append(code, content...), "\x00\x03\x01xy"...) // a custom section at the end
}

func TestMergedDataIsTheSameMemory(t *testing.T) {
	ctx := t.Context()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	defer r.Close(ctx)
	memoryOf := func(t *rapid.T, code []byte) []byte {
		m, err := r.InstantiateWithConfig(ctx, code, wazero.NewModuleConfig().WithName(""))
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close(ctx)
		b, _ := m.Memory().Read(0, 2<<16)
		return bytes.Clone(b)
	}
	rapid.Check(t, func(t *rapid.T) {
		var segments []segment
		end := 0
		for range rapid.IntRange(0, 30).Draw(t, "count") {
			// Some lie over those before them.
			offset := max(0, end+rapid.OneOf(rapid.IntRange(-2000, 0), rapid.IntRange(0, 2*maxGap)).Draw(t, "gap"))
			content := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "content")
			segments = append(segments, segment{uint64(offset), content})
			end = offset + len(content)
		}
		code := withData(segments)
		merged := mergeData(code)
		if !bytes.Equal(memoryOf(t, code), memoryOf(t, merged)) {
			t.Fatal("another memory")
		}
		if again := mergeData(merged); len(again) != len(merged) {
			t.Fatal("merged again")
		}
	})
}

func TestSegmentsThatLieCloseBecomeOne(t *testing.T) {
	var segments []segment
	for i := range 1000 {
		segments = append(segments, segment{uint64(10 + 100*i), []byte{1, 2, 3}})
	}
	code := withData(segments)
	merged := mergeData(code)
	if want := withData([]segment{joined(segments)}); !bytes.Equal(merged, want) {
		t.Errorf("%d bytes became %d, want %d", len(code), len(merged), len(want))
	}
	counted := append([]byte("\x00asm\x01\x00\x00\x00\x0c\x01\x01"), code[8:]...)
	if !bytes.Equal(mergeData(counted), counted) {
		t.Error("segments that have numbers were merged")
	}
}

// joined is one segment with zeros between the given ones.
func joined(segments []segment) segment {
	s := segments[0]
	for _, next := range segments[1:] {
		s.content = append(append(bytes.Clone(s.content), make([]byte, next.offset-s.end())...), next.content...)
	}
	return s
}

func FuzzMergeData(f *testing.F) {
	f.Add(withData([]segment{{0, []byte("a")}, {10, []byte("b")}, {1 << 31, []byte("c")}}))
	f.Add([]byte("\x00asm\x01\x00\x00\x00\x0b"))
	f.Add([]byte("\x00asm\x01\x00\x00\x00\x0b\x05\xff\xff\xff\xff\x0f"))
	f.Fuzz(func(t *testing.T, code []byte) {
		if merged := mergeData(code); len(merged) > len(code)*maxGap+100 {
			t.Errorf("%d bytes became %d", len(code), len(merged))
		}
	})
}

func TestSignedNumbersComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Int32().Draw(t, "v")
		b := appendSigned(nil, v)
		if got, n := readSigned(b); got != v || n != len(b) {
			t.Fatalf("%d became %d of %d bytes", v, got, n)
		}
	})
}
