package instance

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aleph-im/aleph-go/message"
)

// pieceSize is the length of the pieces of a disk that are compared with those that were fetched ahead, in bytes.
const pieceSize = 256 << 10

// piecesLimit is how long another node may take to read a file and say the hashes of its pieces.
const piecesLimit = time.Hour

// pieceSums are the SHA-256 of all pieces of a file, one after the other. The last piece may be shorter.
func pieceSums(ctx context.Context, f io.ReaderAt, size int64) ([]byte, error) {
	var sums []byte
	buffer := make([]byte, pieceSize)
	for at := int64(0); at < size; at += pieceSize {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		piece := buffer[:min(pieceSize, size-at)]
		n, err := f.ReadAt(piece, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		clear(piece[n:]) // what was fetched ahead may be shorter
		sum := sha256.Sum256(piece)
		sums = append(sums, sum[:]...)
	}
	return sums, nil
}

// Pieces returns the SHA-256 of the pieces of a file of an instance that leaves or stands still, for who has the token. The error is that of Disk.
func (p *Pool) Pieces(ctx context.Context, hash message.Hash, name, token string) ([]byte, error) {
	f, err := p.leavingDisk(hash, name, token)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return pieceSums(ctx, f, info.Size())
}

// differing are the parts of a file that are not what was fetched of it ahead.
func (p *Pool) differing(ctx context.Context, f MovedFile, ahead *os.File, source string) (parts [][2]int64, err error) {
	var ours, theirs []byte
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() (err error) { ours, err = pieceSums(ctx, ahead, f.Size); return err })
	both.Go(func() (err error) { theirs, err = p.askPieces(ctx, source, f.Size); return err })
	if err := both.Wait(); err != nil {
		return nil, err
	}
	if len(theirs) != len(ours) {
		return nil, fmt.Errorf("%d bytes came for the hashes of its pieces, %d are wanted", len(theirs), len(ours))
	}
	return unlike(ours, theirs, f.Size), nil
}

// unlike are the parts of a file of so many bytes whose pieces have other hashes than ours, or no hash among these.
func unlike(ours, theirs []byte, size int64) (parts [][2]int64) {
	for i := 0; i < len(theirs); i += sha256.Size {
		if i < len(ours) && bytes.Equal(ours[i:i+sha256.Size], theirs[i:i+sha256.Size]) {
			continue
		}
		begin := int64(i/sha256.Size) * pieceSize
		end := min(begin+pieceSize, size)
		if n := len(parts); n > 0 && begin-(parts[n-1][0]+parts[n-1][1]) < minGap {
			parts[n-1][1] = end - parts[n-1][0]
		} else {
			parts = append(parts, [2]int64{begin, end - begin})
		}
	}
	return parts
}

// askPieces asks another node, which reads the whole file first, for the hashes of its pieces.
func (p *Pool) askPieces(ctx context.Context, source string, size int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, piecesLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, source, nil)
	if err != nil {
		return nil, err
	}
	response, err := p.holders.Do(request)
	if err != nil {
		return nil, withoutAddress(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, refused(response)
	}
	sums, err := io.ReadAll(io.LimitReader(response.Body, (size/pieceSize+1)*sha256.Size))
	if err != nil {
		return nil, fmt.Errorf("the hashes of its pieces broke off: %w", err)
	}
	return sums, nil
}
