package replica

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/message"
)

// What callers tell apart.
var (
	// ErrUnknown: there is no such replica here, or it is not the caller's.
	ErrUnknown = errors.New("no such replica on this node")
	// ErrNoRoom: what it would take is more than this node has for replicas, or than was agreed on for one.
	ErrNoRoom = errors.New("no room for replicas on this node")
	// ErrTaken: the instance runs from its replica, or will; whoever had it before may not go on.
	ErrTaken = errors.New("the instance comes back here")
	// ErrEarly: who has the instance was told less than a lease ago that it may go on.
	ErrEarly = errors.New("the node that has the instance may go on yet")
	// ErrLine: the replica is of other disks, which are not overwritten.
	ErrLine = errors.New("the replica is of other disks of the instance")
	// ErrIncomplete: a generation lists chunks that were not sent, or is older than the one that is here.
	ErrIncomplete = errors.New("the generation is not whole or not new")
)

// Terms are what a replica is held under.
type Terms struct {
	Token string        `json:"token"` // who shows it may send
	Lease time.Duration `json:"lease"` // how long the instance may go on elsewhere after each renewal
	Limit int64         `json:"limit"` // bytes of sealed chunks, those of a generation that is under way included
}

// Store holds replicas. Each is a folder: what was agreed on, the chunks, and the generation that they add up to. It is safe for
// concurrent use. Whenever it is killed, each replica is at its last generation, whole.
type Store struct {
	dir  string
	room int64

	mu       sync.Mutex
	replicas map[message.Hash]*held
}

// held is one replica.
type held struct {
	dir string

	mu      sync.Mutex // guards what follows, and the folder
	terms   written
	renewed time.Time    // the last time that somebody was, or may have been, told to go on
	asked   time.Time    // the last time that it was asked for, by a scheduler or the instance's node
	number  int64        // of its generation; 0 before there is one
	chunks  map[ID]int64 // and their length, in bytes
	bytes   int64        // of all chunks
	gone    bool
}

// written is what is on the disk about a replica.
type written struct {
	Terms
	Line  string `json:"line"`  // disks that its generations are made of, once there is one under these terms
	Taken bool   `json:"taken"` // the instance comes back here
}

// Names in the folder of a replica.
const (
	termsFile      = "terms"
	generationFile = "generation"
	chunkDir       = "chunks"
)

const (
	// keepUnasked is how long a replica stays that nobody asks for any more.
	keepUnasked = 7 * 24 * time.Hour
	// keepStarted is how long it stays at least after a start, so that it can be asked for.
	keepStarted = 24 * time.Hour
)

// Open opens the replicas in a folder. They may take room bytes together; with 0 no new ones are taken.
func Open(dir string, room int64) (*Store, error) {
	s := &Store{dir: dir, room: room, replicas: map[message.Hash]*held{}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("prepare the folder of replicas: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("look for replicas: %w", err)
	}
	for _, entry := range entries {
		h := &held{dir: filepath.Join(dir, entry.Name())}
		if err := h.load(); err != nil {
			return nil, fmt.Errorf("replica of %s: %w", entry.Name(), err)
		}
		if h.gone {
			continue
		}
		s.replicas[message.Hash(entry.Name())] = h
	}
	return s, nil
}

// load reads a replica and removes what its generation does not need. It may be half of one that was about to come or to go.
func (h *held) load() error {
	h.chunks, h.renewed = map[ID]int64{}, time.Now()
	path := filepath.Join(h.dir, termsFile)
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		h.gone = true
		return os.RemoveAll(h.dir)
	}
	if err != nil {
		return err
	}
	h.asked = info.ModTime()
	if earliest := h.renewed.Add(keepStarted - keepUnasked); h.asked.Before(earliest) {
		h.asked = earliest
	}
	if err := readJSON(path, &h.terms); err != nil {
		return err
	}
	g, err := h.generation()
	if err != nil {
		return err
	}
	return h.settle(g)
}

// generation reads the last one; its number is 0 before there is one.
func (h *held) generation() (g Generation, err error) {
	if err := readJSON(filepath.Join(h.dir, generationFile), &g); err != nil && !errors.Is(err, os.ErrNotExist) {
		return g, err
	}
	return g, nil
}

// settle makes the folder that of a generation.
func (h *held) settle(g Generation) error {
	needed := make(map[string]ID, len(g.Chunks))
	for _, id := range g.Chunks {
		needed[id.String()] = id
	}
	entries, err := os.ReadDir(filepath.Join(h.dir, chunkDir))
	if err != nil {
		return err
	}
	h.number, h.chunks, h.bytes = g.Number, make(map[ID]int64, len(g.Chunks)), 0
	for _, entry := range entries {
		id, ok := needed[entry.Name()]
		if !ok {
			if err := os.Remove(filepath.Join(h.dir, chunkDir, entry.Name())); err != nil {
				return err
			}
			continue
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		h.chunks[id] = info.Size()
		h.bytes += info.Size()
	}
	return nil
}

// Hold has a replica of an instance kept here, or goes on with it. Under another token than before, who is given that may
// replace the generation that is here by one of other disks.
func (s *Store) Hold(hash message.Hash, t Terms) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.replicas[hash]
	if h != nil && h.taken() {
		return fmt.Errorf("replica of %s: %w", hash, ErrTaken) // whether or not there is room
	}
	var promised int64
	for other, h := range s.replicas {
		if other != hash {
			promised += h.limit()
		}
	}
	if promised+t.Limit > s.room {
		return fmt.Errorf("replica of %s: %w", hash, ErrNoRoom)
	}
	if h == nil {
		h = &held{dir: filepath.Join(s.dir, string(hash)), chunks: map[ID]int64{}, renewed: time.Now()}
		if err := os.MkdirAll(filepath.Join(h.dir, chunkDir), 0o700); err != nil {
			return fmt.Errorf("replica of %s: %w", hash, err)
		}
	}
	if err := h.hold(t); err != nil {
		return fmt.Errorf("replica of %s: %w", hash, err)
	}
	s.replicas[hash] = h
	return nil
}

// Has reports whether there is a replica of an instance here.
func (s *Store) Has(hash message.Hash) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replicas[hash] != nil
}

// Taken reports whether an instance comes back here: from its replica, and from nothing else.
func (s *Store) Taken(hash message.Hash) bool {
	s.mu.Lock()
	h := s.replicas[hash]
	s.mu.Unlock()
	return h != nil && h.taken()
}

func (h *held) taken() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.terms.Taken && !h.gone
}

func (h *held) limit() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.terms.Limit
}

func (h *held) hold(t Terms) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.terms.Taken {
		return ErrTaken
	}
	now := time.Now()
	h.asked = now
	h.renewed = now // who orders it tells the other node next that it may go on
	if h.terms.Terms == t {
		return os.Chtimes(filepath.Join(h.dir, termsFile), now, now) // it is still asked for
	}
	w := written{Terms: t}
	if h.terms.Token == t.Token {
		w.Line = h.terms.Line
	}
	return h.write(w)
}

// write writes the terms down.
func (h *held) write(w written) error {
	if err := writeJSON(filepath.Join(h.dir, termsFile), w); err != nil {
		return err
	}
	h.terms = w
	return nil
}

// with calls do with the replica of an instance, locked, for who shows its token.
func (s *Store) with(hash message.Hash, token string, do func(h *held) error) error {
	s.mu.Lock()
	h := s.replicas[hash]
	s.mu.Unlock()
	err := ErrUnknown
	if h != nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		switch {
		case h.gone || token == "" || h.terms.Token != token:
		case h.terms.Taken:
			err = ErrTaken
		default:
			err = do(h)
		}
	}
	if err != nil {
		return fmt.Errorf("replica of %s: %w", hash, err)
	}
	return nil
}

// State is how far a replica is.
type State struct {
	Number int64 `json:"number"` // of its generation; 0 before there is one
	Chunks []ID  `json:"chunks"` // that need not be sent
}

// State says it to who shows the token and has the disks called line.
func (s *Store) State(hash message.Hash, token, line string) (state State, err error) {
	err = s.with(hash, token, func(h *held) error {
		if h.terms.Line != "" && h.terms.Line != line {
			return ErrLine
		}
		state.Number = h.number
		state.Chunks = make([]ID, 0, len(h.chunks))
		for id := range h.chunks {
			state.Chunks = append(state.Chunks, id)
		}
		return nil
	})
	return state, err
}

// Allows reports whether a token is that of a replica here, as an error.
func (s *Store) Allows(hash message.Hash, token string) error {
	return s.with(hash, token, func(*held) error { return nil })
}

// Renew says yes to who asks whether the instance may go on elsewhere for another lease.
func (s *Store) Renew(hash message.Hash, token string) error {
	return s.with(hash, token, func(h *held) error {
		h.renewed = time.Now()
		h.asked = h.renewed
		return nil
	})
}

// Put takes a chunk. It is on the disk for good with the generation that needs it.
func (s *Store) Put(hash message.Hash, token string, id ID, sealed io.Reader) error {
	raw, err := io.ReadAll(io.LimitReader(sealed, maxSealed+1))
	if err != nil {
		return fmt.Errorf("replica of %s: chunk %s: %w", hash, id, err)
	}
	if len(raw) > maxSealed || sha256.Sum256(raw) != id {
		return fmt.Errorf("replica of %s: chunk %s does not hash to its name: %w", hash, id, ErrIncomplete)
	}
	return s.with(hash, token, func(h *held) error {
		if _, here := h.chunks[id]; here {
			return nil
		}
		if h.bytes+int64(len(raw)) > h.terms.Limit {
			return ErrNoRoom
		}
		if err := os.WriteFile(h.chunk(id), raw, 0o600); err != nil {
			return errors.Join(err, os.RemoveAll(h.chunk(id)))
		}
		h.chunks[id] = int64(len(raw))
		h.bytes += int64(len(raw))
		return nil
	})
}

func (h *held) chunk(id ID) string { return filepath.Join(h.dir, chunkDir, id.String()) }

// Commit makes a generation the one that the instance would come back from. All of it is on the disk when it returns, and what only
// an earlier one needed is removed.
func (s *Store) Commit(hash message.Hash, token string, g Generation) error {
	return s.with(hash, token, func(h *held) error {
		switch {
		case g.Line == "" || h.terms.Line != "" && h.terms.Line != g.Line:
			return ErrLine
		case g.Number <= h.number:
			return ErrIncomplete
		}
		for _, id := range g.Chunks {
			if _, here := h.chunks[id]; !here {
				return fmt.Errorf("chunk %s: %w", id, ErrIncomplete)
			}
		}
		if h.terms.Line == "" {
			w := h.terms
			w.Line = g.Line
			if err := h.write(w); err != nil {
				return err
			}
		}
		if err := syncAll(filepath.Join(h.dir, chunkDir)); err != nil {
			return err
		}
		if err := writeJSON(filepath.Join(h.dir, generationFile), g); err != nil {
			return err
		}
		return h.settle(g)
	})
}

// Reset removes what was sent: the instance was erased. It is held as before, for other disks.
func (s *Store) Reset(hash message.Hash, token string) error {
	return s.with(hash, token, func(h *held) error {
		if err := os.Remove(filepath.Join(h.dir, generationFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		w := h.terms
		w.Line = ""
		if err := h.write(w); err != nil { // which makes the removal last, too
			return err
		}
		return h.settle(Generation{})
	})
}

// Take has the instance come back here, and returns what from: from now on nobody is told that it may go on elsewhere. It can be
// called again. The error is ErrUnknown when there is nothing to come back from.
func (s *Store) Take(hash message.Hash) (g Generation, err error) {
	s.mu.Lock()
	h := s.replicas[hash]
	s.mu.Unlock()
	if h == nil {
		return g, fmt.Errorf("replica of %s: %w", hash, ErrUnknown)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch g, err = h.generation(); {
	case err != nil:
	case h.gone || g.Number == 0:
		err = ErrUnknown
	case h.terms.Taken:
	case time.Since(h.renewed) < h.terms.Lease:
		err = ErrEarly
	default:
		w := h.terms
		w.Taken = true
		err = h.write(w)
	}
	if err != nil {
		return g, fmt.Errorf("replica of %s: %w", hash, err)
	}
	return g, nil
}

// Chunk reads a chunk of a replica that was taken.
func (s *Store) Chunk(hash message.Hash, id ID) ([]byte, error) {
	return os.ReadFile(filepath.Join(s.dir, string(hash), chunkDir, id.String()))
}

// Drop removes a replica, if there is one, unless it was taken.
func (s *Store) Drop(hash message.Hash) error { return s.remove(hash, (*held).untaken) }

func (h *held) untaken() error {
	if h.terms.Taken {
		return ErrTaken
	}
	return nil
}

// Expire removes replicas that nobody has asked for in a week. What was taken stays.
func (s *Store) Expire() error {
	s.mu.Lock()
	hashes := slices.Collect(maps.Keys(s.replicas))
	s.mu.Unlock()
	var errs []error
	for _, hash := range hashes {
		if err := s.remove(hash, (*held).unasked); !errors.Is(err, errStays) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

var errStays = errors.New("it was taken, or somebody asks for it")

func (h *held) unasked() error {
	if h.terms.Taken || time.Since(h.asked) <= keepUnasked {
		return errStays
	}
	return nil
}

// Finish removes a replica that was taken: the instance is here whole.
func (s *Store) Finish(hash message.Hash) error {
	return s.remove(hash, func(*held) error { return nil })
}

// remove removes a replica, if there is one, unless what is asked with its lock held says why not.
func (s *Store) remove(hash message.Hash, whyNot func(*held) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.replicas[hash]
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := whyNot(h); err != nil {
		return fmt.Errorf("replica of %s: %w", hash, err)
	}
	h.gone = true
	delete(s.replicas, hash)
	// Without its terms what is left goes at the next start at the latest.
	if err := errors.Join(os.Remove(filepath.Join(h.dir, termsFile)), os.RemoveAll(h.dir)); err != nil {
		return fmt.Errorf("remove the replica of %s: %w", hash, err)
	}
	return nil
}

func readJSON(path string, v any) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return nil
}

// writeJSON replaces a file for good, as a whole.
func writeJSON(path string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(raw); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// syncAll writes to the disk what was written to its filesystem.
func syncAll(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return unix.Syncfs(int(dir.Fd()))
}
