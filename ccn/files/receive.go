package files

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"syscall"

	"github.com/aleph-im/aleph-go/message"
)

// Receive copies r to w, at most limit bytes when limit is more than 0, and returns the sha256 and the number of bytes.
// It ends with ctx at the next piece.
func Receive(ctx context.Context, w io.Writer, r io.Reader, limit int64) (message.Hash, int64, error) {
	sum := sha256.New()
	r = Bounded(ctx, r, limit)
	size, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(w, sum)}, struct{ io.Reader }{r}, make([]byte, 256<<10))
	if err != nil {
		return "", 0, fmt.Errorf("receive file: %w", err)
	}
	return message.Hash(hex.EncodeToString(sum.Sum(nil))), size, nil
}

// mover is a Store that can take a file as it is.
type mover interface {
	move(ctx context.Context, f *os.File, h message.Hash) error
}

// Move puts a file into s whose sha256 the caller has found to be h, and to which nobody writes any more. A store on the same
// disk takes the file itself, so that it is no longer where it was; any other copies it.
func Move(ctx context.Context, s Store, f *os.File, h message.Hash) error {
	if m, ok := s.(mover); ok {
		if err := m.move(ctx, f, h); !errors.Is(err, syscall.EXDEV) {
			return err
		}
	}
	_, err := s.PutExpecting(ctx, h, io.NewSectionReader(f, 0, math.MaxInt64), 0)
	return err
}

// Bounded returns a reader of r that ends with ctx, and with ErrTooLarge after limit bytes when limit is more than 0.
func Bounded(ctx context.Context, r io.Reader, limit int64) io.Reader {
	return &bounded{ctx: ctx, r: r, limit: limit, left: limit}
}

type bounded struct {
	ctx         context.Context
	r           io.Reader
	limit, left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	if b.limit <= 0 {
		return b.r.Read(p)
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, b.limit)
	}
	return n, err
}

// Full makes an ErrFull of an error that says that a disk has no room.
func Full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w (%w)", ErrFull, err)
	}
	return err
}

// VerifySHA256 is Store.Verify for a store of files named by their sha256.
func VerifySHA256(ctx context.Context, s Store, h message.Hash) error {
	f, _, err := s.Open(ctx, h)
	if err != nil {
		return err
	}
	defer f.Close()
	got, _, err := Receive(ctx, io.Discard, f, 0)
	if err != nil {
		return fmt.Errorf("verify %s: %w", h, err)
	}
	if got != h {
		return fmt.Errorf("verify %s: %w: they hash to %s", h, ErrWrongHash, got)
	}
	return nil
}
