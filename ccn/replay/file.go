package replay

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/klauspost/compress/zstd"
)

// Bounds of a dump file.
const (
	maxLine      = 32 << 20  // bytes of one message
	maxZstd      = 512 << 20 // bytes that a zstd stream may ask to remember
	batchLines   = 200
	readerBuffer = 1 << 20
)

// Dump is a file with one envelope of a message a line as a Source, plain or compressed by gzip or zstd. Empty lines are
// left out; a line that is no JSON object, or too long, is skipped and counted.
type Dump struct {
	name  string
	in    *bufio.Reader
	close func() error
	line  int64 // that was read last
}

// OpenDump opens a file; what compressed it is seen from its first bytes.
func OpenDump(path string) (*Dump, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open dump: %w", err)
	}
	name, err := filepath.Abs(path)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	d, err := NewDump(name, f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	stop := d.close
	d.close = func() error { return errors.Join(stop(), f.Close()) }
	return d, nil
}

// NewDump reads a dump from r. The name tells it from others.
func NewDump(name string, r io.Reader) (*Dump, error) {
	d := &Dump{name: "file:" + name, in: bufio.NewReaderSize(r, readerBuffer), close: func() error { return nil }}
	magic, err := d.in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read dump: %w", err)
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(d.in)
		if err != nil {
			return nil, fmt.Errorf("read dump: %w", err)
		}
		d.in, d.close = bufio.NewReaderSize(z, readerBuffer), z.Close
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(d.in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstd))
		if err != nil {
			return nil, fmt.Errorf("read dump: %w", err)
		}
		d.in, d.close = bufio.NewReaderSize(z, readerBuffer), func() error { z.Close(); return nil }
	}
	return d, nil
}

// Close gives the file back.
func (d *Dump) Close() error { return d.close() }

func (d *Dump) Name() string { return d.name }

func (d *Dump) Total(context.Context) (int64, error) { return 0, nil }

// Next takes the number of the line that was read last as a position. A Dump only goes forward.
func (d *Dump) Next(ctx context.Context, position string) (Batch, error) {
	var after int64
	if position != "" {
		n, err := strconv.ParseInt(position, 10, 64)
		if err != nil {
			return Batch{}, fmt.Errorf("position %q is no number of a line", position)
		}
		after = n
	}
	var b Batch
	read := 0
	for read < batchLines {
		if err := ctx.Err(); err != nil {
			return Batch{}, err
		}
		line, whole, err := d.readLine()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return Batch{}, fmt.Errorf("read line %d of dump: %w", d.line+1, err)
		}
		d.line++
		if d.line <= after {
			continue
		}
		read++
		line = bytes.TrimSpace(line)
		switch {
		case whole && len(line) == 0:
		case whole && line[0] == '{' && json.Valid(line):
			b.Envelopes = append(b.Envelopes, line)
		default:
			b.Skipped++
		}
	}
	if read == 0 {
		return Batch{}, io.EOF
	}
	b.Position = strconv.FormatInt(d.line, 10)
	return b, nil
}

// readLine returns the next line in memory of its own. It is not whole when it is longer than a message can be.
func (d *Dump) readLine() (line []byte, whole bool, err error) {
	long, any := false, false
	for {
		part, err := d.in.ReadSlice('\n')
		any = any || len(part) > 0
		if !long {
			line = append(line, part...)
			if len(line) > maxLine {
				long, line = true, nil
			}
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && any:
			return line, !long, nil
		}
		return line, !long, err
	}
}
