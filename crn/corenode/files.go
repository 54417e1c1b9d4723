package corenode

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/message"
)

// File is a local, checked copy of a file of the network.
type File struct {
	Ref  message.Hash // the STORE message that it was found by, after following later versions
	Hash message.Hash // of the bytes
	Path string       // never to be written to
	Size int64        // bytes
	// Owner of the STORE message that was asked for: who alone may publish later versions.
	Owner string
}

// stamp recognises a file that did not change since its bytes were checked.
type stamp struct {
	size int64
	time time.Time
}

// wanted is a file that is fetched. What is too large for one caller may not be for another.
type wanted struct {
	hash  message.Hash
	limit int64
}

// File returns the file that a STORE message names; with latest, the newest version that the message's owner published
// (spec/crn.md §3.1). At most limit bytes are fetched.
func (c *Client) File(ctx context.Context, ref message.Hash, latest bool, limit int64) (File, error) {
	store, err := c.store(ctx, ref)
	if err != nil {
		return File{}, fmt.Errorf("file %s: %w", ref, err)
	}
	owner := store.Address
	if latest {
		ref, store, err = c.latest(ctx, ref, store)
	}
	if err != nil {
		return File{}, fmt.Errorf("file %s: %w", ref, err)
	}
	file, err := c.fetch(ctx, store.FileHash, limit)
	if err != nil {
		return File{}, fmt.Errorf("file %s: %w", ref, err)
	}
	file.Ref, file.Owner = ref, owner
	return file, nil
}

func (c *Client) store(ctx context.Context, ref message.Hash) (*message.Store, error) {
	w, err := c.workload(ctx, ref)
	if err != nil {
		return nil, err
	}
	store, ok := w.Content.(*message.Store)
	if !ok {
		return nil, fmt.Errorf("%w: message %s is a %s, not a STORE", ErrNotFound, ref, w.Content.Type())
	}
	return store, nil
}

// latest returns the newest STORE message that amends ref. Only its owner may amend it: others can publish what they like, and
// the core node's answer is not trusted to leave that out.
func (c *Client) latest(ctx context.Context, ref message.Hash, original *message.Store) (message.Hash, *message.Store, error) {
	raw, err := c.envelope(ctx, url.Values{"msgType": {"STORE"}, "sort_order": {"-1"}, "refs": {string(ref)}, "owners": {original.Address}})
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrUnavailable) {
		return ref, original, nil
	}
	if err != nil {
		return ref, nil, err
	}
	m, content, err := message.Parse(raw)
	if err != nil {
		return ref, original, nil
	}
	if content == nil {
		fetched, err := c.parse(ctx, m.ItemHash, raw)
		if err != nil {
			return ref, original, nil
		}
		content = fetched.Content
	}
	amend, ok := content.(*message.Store)
	if !ok || amend.Address != original.Address || amend.Ref != string(ref) {
		return ref, original, nil
	}
	return m.ItemHash, amend, nil
}

func (c *Client) path(hash message.Hash) string {
	return filepath.Join(c.cfg.Dir, "files", string(hash))
}

// fetch returns the file with the given content hash, downloading it unless a sound copy is there. Callers at the same time
// share one download.
func (c *Client) fetch(ctx context.Context, hash message.Hash, limit int64) (File, error) {
	if hash.Kind() != message.ItemStorage {
		return File{}, fmt.Errorf("%w: %s is an IPFS file, and this node only fetches files whose SHA-256 it can check; store it with the type \"storage\"", ErrNotFound, hash)
	}
	_, err := c.downloads.Do(ctx, wanted{hash, limit}, func() (struct{}, error) {
		if c.sound(hash) {
			return struct{}{}, nil
		}
		return struct{}{}, retry(ctx, func() error { return c.download(ctx, hash, limit) })
	})
	if err != nil {
		return File{}, err
	}
	// A use is noted in the file's time, which is what the cache is cleaned by.
	now := time.Now().Truncate(time.Second)
	_ = os.Chtimes(c.path(hash), now, now)
	info, err := os.Stat(c.path(hash))
	if err != nil {
		return File{}, err
	}
	if info.Size() > limit {
		return File{}, tooLarge(info.Size(), limit)
	}
	c.mu.Lock()
	c.verified[hash] = stamp{info.Size(), info.ModTime()}
	c.mu.Unlock()
	return File{Hash: hash, Path: c.path(hash), Size: info.Size()}, nil
}

func tooLarge(size, limit int64) error {
	if size < 0 {
		return fmt.Errorf("%w: at most %d bytes are allowed", ErrTooLarge, limit)
	}
	return fmt.Errorf("%w: it has %d bytes, at most %d are allowed", ErrTooLarge, size, limit)
}

// sound reports whether a copy is there whose bytes hash to its name. Bytes are read once in the life of the process, unless
// the file was touched since.
func (c *Client) sound(hash message.Hash) bool {
	info, err := os.Stat(c.path(hash))
	if err != nil {
		return false
	}
	c.mu.Lock()
	known, ok := c.verified[hash]
	c.mu.Unlock()
	if ok && known.size == info.Size() && known.time.Equal(info.ModTime()) {
		return true
	}
	f, err := os.Open(c.path(hash))
	if err != nil {
		return false
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return false
	}
	return hex.EncodeToString(sum.Sum(nil)) == string(hash)
}

// download brings the file into the cache: complete and checked, or not at all.
func (c *Client) download(ctx context.Context, hash message.Hash, limit int64) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := time.AfterFunc(stallTimeout, func() {
		cancel(fmt.Errorf("%w: fewer than %d bytes came in %s", ErrUnavailable, slowest, stallTimeout))
	})
	defer stalled.Stop()

	response, err := c.request(ctx, "/api/v0/storage/raw/"+string(hash))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.ContentLength > limit {
		return tooLarge(response.ContentLength, limit)
	}
	part, err := os.CreateTemp(filepath.Join(c.cfg.Dir, "files"), ".part-*")
	if err != nil {
		return explainDisk(err, c.cfg.Dir)
	}
	defer os.Remove(part.Name())
	defer part.Close()

	sum := sha256.New()
	body := &watched{r: io.LimitReader(response.Body, limit+1), timer: stalled}
	n, err := io.Copy(io.MultiWriter(part, sum), body)
	switch {
	case body.err != nil:
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return fmt.Errorf("%w: %w", ErrUnavailable, body.err)
	case err != nil:
		return explainDisk(err, c.cfg.Dir)
	case n > limit:
		return tooLarge(-1, limit)
	case hex.EncodeToString(sum.Sum(nil)) != string(hash):
		return fmt.Errorf("file %s: %w", hash, ErrCorrupt)
	}
	if err := part.Sync(); err != nil {
		return explainDisk(err, c.cfg.Dir)
	}
	if err := os.Rename(part.Name(), c.path(hash)); err != nil {
		return explainDisk(err, c.cfg.Dir)
	}
	removed, err := c.files.Note(string(hash))
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range removed {
		delete(c.verified, message.Hash(name))
	}
	return err
}

// watched notes progress and errors of the source, which io.Copy mixes with those of the destination.
type watched struct {
	r     io.Reader
	timer *time.Timer
	came  int // bytes since the timer began anew
	err   error
}

// slowest is how many bytes must come within the stall timeout, but for the last.
const slowest = 64 << 10

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.r.Read(b)
	if w.came += n; w.came >= slowest {
		w.came = 0
		w.timer.Reset(stallTimeout)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}

// explainDisk says what to do about a full disk.
func explainDisk(err error, dir string) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("the disk of this node is full: free some space in %s: %w", dir, err)
	}
	return fmt.Errorf("write to the cache: %w", err)
}

// writeAtomic replaces the file at path: readers see the old bytes or the new ones.
func writeAtomic(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".part-*")
	if err != nil {
		return explainDisk(err, filepath.Dir(path))
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return explainDisk(err, filepath.Dir(path))
	}
	return nil
}
