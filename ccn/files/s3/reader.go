package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/message"
)

// reader reads an object from where it is, by one request until somebody seeks or the line breaks.
type reader struct {
	s      *Store
	ctx    context.Context
	key    string
	size   int64
	offset int64

	body   io.ReadCloser // from offset on; nil when none is open
	cancel context.CancelFunc
	closed bool
}

func (s *Store) Open(ctx context.Context, h message.Hash) (io.ReadSeekCloser, int64, error) {
	info, err := s.Stat(ctx, h)
	if err != nil {
		return nil, 0, err
	}
	key, _ := s.key(h)
	return &reader{s: s, ctx: ctx, key: key, size: info.Size}, info.Size, nil
}

func (r *reader) Read(p []byte) (int, error) {
	if r.closed {
		return 0, errors.New("read of a closed file")
	}
	if r.offset >= r.size {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	var failed error
	for range tries {
		if err := r.ctx.Err(); err != nil {
			return 0, err
		}
		n, err := r.try(p)
		if n > 0 {
			r.offset += int64(n)
			return n, nil
		}
		r.hangUp()
		if errors.Is(err, files.ErrNotFound) {
			return 0, err
		}
		failed = err
	}
	return 0, fmt.Errorf("read object %s at %d: %w", r.key, r.offset, failed)
}

// try reads once. A silent server is hung up on.
func (r *reader) try(p []byte) (int, error) {
	if r.body == nil {
		ctx, cancel := context.WithCancel(r.ctx)
		r.cancel = cancel
		var options minio.GetObjectOptions
		if err := options.SetRange(r.offset, r.size-1); err != nil {
			return 0, err
		}
		body, _, _, err := r.s.core.GetObject(ctx, r.s.bucket, r.key, options)
		if err != nil {
			return 0, absent(err)
		}
		r.body = body
	}
	silent := time.AfterFunc(callTimeout, r.cancel)
	defer silent.Stop()
	n, err := r.body.Read(p)
	if n == 0 && errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (r *reader) hangUp() {
	if r.cancel != nil {
		r.cancel()
		r.cancel = nil
	}
	if r.body != nil {
		r.body.Close()
		r.body = nil
	}
}

func (r *reader) Seek(offset int64, whence int) (int64, error) {
	offset, err := files.SeekFrom(r.offset, r.size, offset, whence)
	if err != nil {
		return 0, err
	}
	if offset != r.offset {
		r.hangUp()
		r.offset = offset
	}
	return offset, nil
}

func (r *reader) Close() error {
	r.closed = true
	r.hangUp()
	return nil
}
