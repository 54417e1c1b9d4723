package partial

import (
	"context"
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/message"
)

// Taken is an upload in the hands of one request. Whoever took it closes it.
type Taken struct {
	Upload
	Offset int64 // bytes that are there

	store *Store
	part  *os.File
	use   *use
}

// Take gives an upload to who calls. Another request of this process that has it is asked to let go by its interrupt, and waited
// for: a client whose connection broke is back before the node notices. interrupt returns at once, may be called more than once,
// and is not called after Close.
func (s *Store) Take(ctx context.Context, id string, interrupt func()) (*Taken, error) {
	if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" { // it becomes part of a path
		return nil, ErrNotFound
	}
	mine, err := s.wait(ctx, id, interrupt)
	if err != nil {
		return nil, err
	}
	t := &Taken{store: s, use: mine}
	t.ID = id
	if err := t.open(); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// wait makes the caller the only user in this process.
func (s *Store) wait(ctx context.Context, id string, interrupt func()) (*use, error) {
	mine := &use{interrupt, make(chan struct{})}
	for {
		s.mu.Lock()
		other := s.taken[id]
		if other == nil {
			s.taken[id] = mine
		} else {
			other.interrupt() // with mu, so that it is not called when the other has let go
		}
		s.mu.Unlock()
		if other == nil {
			return mine, nil
		}
		select {
		case <-other.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (t *Taken) open() (err error) {
	if t.part, err = t.store.lock(t.ID); err != nil {
		return err
	}
	u, err := t.store.read(t.ID)
	if err != nil {
		return err
	}
	t.Upload = *u
	if t.Offset = t.Length; t.Known {
		return nil
	}
	t.Offset, err = t.part.Seek(0, io.SeekEnd)
	return err
}

// Close lets go of the upload.
func (t *Taken) Close() error {
	var err error
	if t.part != nil {
		err = t.part.Close()
	}
	t.store.mu.Lock()
	delete(t.store.taken, t.ID)
	t.store.mu.Unlock()
	close(t.use.done)
	return err
}

// Append adds what r gives. What came before r failed stays. More bytes than the upload has are files.ErrTooLarge.
func (t *Taken) Append(ctx context.Context, r io.Reader) (err error) {
	to := io.Writer(t.part)
	var sum hash.Hash
	if t.Hash.Kind() == message.ItemStorage {
		if sum, err = t.sum(ctx); err != nil {
			return err
		}
		to = &hashed{t.part, sum}
	}
	left := t.Length - t.Offset
	n, err := io.CopyBuffer(struct{ io.Writer }{to}, files.Bounded(ctx, io.LimitReader(r, left), 0), make([]byte, 256<<10))
	t.Offset += n
	if err == nil && n == left {
		if more, _ := io.ReadFull(r, make([]byte, 1)); more > 0 {
			err = fmt.Errorf("%w: more than %d bytes", files.ErrTooLarge, t.Length)
		}
	}
	if sum != nil {
		err = errors.Join(err, t.keep(sum))
	}
	if err != nil {
		return files.Full(fmt.Errorf("append to upload of %s: %w", t.Hash, err))
	}
	return nil
}

// hashed writes to a part and hashes what came to be there: of what a full disk does not take, nothing.
type hashed struct {
	part io.Writer
	sum  hash.Hash
}

func (h *hashed) Write(p []byte) (int, error) {
	n, err := h.part.Write(p)
	h.sum.Write(p[:n]) // never fails
	return n, err
}

// keep writes ID.sum: how many bytes are hashed, and the state. The bytes come first: a state of bytes that a power cut took
// away would be that of others.
func (t *Taken) keep(sum hash.Hash) error {
	state, err := sum.(encoding.BinaryMarshaler).MarshalBinary()
	if err == nil {
		err = t.part.Sync()
	}
	if err != nil {
		return err
	}
	return t.store.replace(t.ID, ".sum", append(binary.BigEndian.AppendUint64(nil, uint64(t.Offset)), state...))
}

// sum returns the hash of the bytes that are there. It reads those that ID.sum does not count.
func (t *Taken) sum(ctx context.Context) (hash.Hash, error) {
	sum := sha256.New()
	hashed := int64(0)
	if raw, err := os.ReadFile(t.store.path(t.ID, ".sum")); err == nil && len(raw) > 8 {
		n := int64(binary.BigEndian.Uint64(raw))
		if n <= t.Offset && sum.(encoding.BinaryUnmarshaler).UnmarshalBinary(raw[8:]) == nil {
			hashed = n
		} else {
			sum.Reset()
		}
	}
	rest := io.NewSectionReader(t.part, hashed, t.Offset-hashed)
	if _, err := io.CopyBuffer(struct{ io.Writer }{sum}, files.Bounded(ctx, rest, 0), make([]byte, 256<<10)); err != nil {
		return nil, fmt.Errorf("hash what came of upload of %s: %w", t.Hash, err)
	}
	return sum, nil
}

// MoveTo puts the whole file, named by its sha256, into a store. Other bytes than its name says are files.ErrWrongHash.
func (t *Taken) MoveTo(ctx context.Context, to files.Store) error {
	if t.Known {
		_, err := to.Keep(ctx, t.Hash)
		return err
	}
	sum, err := t.sum(ctx)
	if err != nil {
		return err
	}
	if got := message.Hash(hex.EncodeToString(sum.Sum(nil))); got != t.Hash {
		return fmt.Errorf("upload of %s: %w: they hash to %s", t.Hash, files.ErrWrongHash, got)
	}
	return files.Move(ctx, to, t.part, t.Hash)
}

// Bytes returns what is there, from its beginning.
func (t *Taken) Bytes() io.Reader { return io.NewSectionReader(t.part, 0, t.Offset) }

// Drop gives the upload up, or ends it when it was put elsewhere.
func (t *Taken) Drop() error {
	if err := t.store.unlink(t.ID); err != nil {
		return fmt.Errorf("drop upload of %s: %w", t.Hash, err)
	}
	return nil
}
