package replica

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

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

// chunks bounds how many chunks there may be: beside full ones, one at the end of each disk.
func (t Terms) chunks() int64 { return t.Limit/ChunkSize + 1024 }

// bytesListed is what each takes in a generation on its way, at most: once in the list, once in the manifest.
const bytesListed = 256

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

	// files guards the folder and what follows. It is held while the disk is waited for, and taken before mu.
	files  sync.Mutex
	number int64        // of its generation; 0 before there is one
	chunks map[ID]int64 // and their length, in bytes
	bytes  int64        // of all chunks

	// mu guards what follows, and is held for moments. To change terms or gone files is held as well.
	mu      sync.Mutex
	terms   written
	limit   int64     // what it was promised, in bytes
	renewed time.Time // the last time that somebody was, or may have been, told to go on
	asked   time.Time // the last time that it was asked for, by a scheduler or the instance's node
	gone    bool
}

// written is what is on the disk about a replica.
type written struct {
	Terms
	Line  string `json:"line"`  // disks that its generations are made of, once there is one under these terms
	Taken bool   `json:"taken"` // the instance comes back here
}

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
		if strings.HasSuffix(entry.Name(), goneSuffix) {
			if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
				return nil, fmt.Errorf("remove what is left of a replica: %w", err)
			}
			continue
		}
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

// Hold has a replica of an instance kept here, or goes on with it. Under another token than before, who is given that may
// replace the generation that is here by one of other disks.
func (s *Store) Hold(hash message.Hash, t Terms) error {
	h, err := s.promise(hash, t.Limit)
	if err == nil {
		if err = h.hold(t); err != nil {
			_ = s.remove(hash, (*held).begun) // it could not be begun
		}
	}
	if err != nil {
		return fmt.Errorf("replica of %s: %w", hash, err)
	}
	return nil
}

// promise sets bytes aside for a replica, which may be new.
func (s *Store) promise(hash message.Hash, limit int64) (*held, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.replicas[hash]
	if h != nil && h.taken() {
		return nil, ErrTaken // whether or not there is room
	}
	all := limit
	for other, h := range s.replicas {
		if other != hash {
			all += h.promised()
		}
	}
	if all > s.room {
		return nil, ErrNoRoom
	}
	if h == nil {
		h = &held{dir: filepath.Join(s.dir, string(hash)), chunks: map[ID]int64{}}
		s.replicas[hash] = h
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.limit = limit
	return h, nil
}

// Has reports whether there is a replica of an instance here.
func (s *Store) Has(hash message.Hash) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replicas[hash] != nil
}

// Taken reports whether an instance comes back here: from its replica, and from nothing else.
func (s *Store) Taken(hash message.Hash) bool {
	h := s.find(hash)
	return h != nil && h.taken()
}

func (h *held) taken() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.terms.Taken && !h.gone
}

func (h *held) promised() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.limit
}

// errGone: a replica that is being removed.
var errGone = errors.New("the one before is being removed, ask again")

// wanted notes that a scheduler wants the replica held. Who orders it tells the other node next that it may go on.
func (h *held) wanted() (now Terms, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.gone:
		return now, errGone
	case h.terms.Taken:
		return now, ErrTaken
	}
	h.renewed = time.Now()
	h.asked = h.renewed
	return h.terms.Terms, nil
}

func (h *held) hold(t Terms) error {
	before, err := h.wanted()
	if err != nil {
		return err
	}
	if before == t {
		now := time.Now()
		return os.Chtimes(filepath.Join(h.dir, termsFile), now, now)
	}
	h.files.Lock()
	defer h.files.Unlock()
	if before, err = h.wanted(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(h.dir, chunkDir), 0o700); err != nil {
		return err
	}
	w := written{Terms: t}
	if before.Token == t.Token {
		w.Line = h.terms.Line
	}
	return h.write(w)
}

func (s *Store) find(hash message.Hash) *held {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replicas[hash]
}

// meet calls do with the replica of an instance, its mu held, for who shows its token.
func (s *Store) meet(hash message.Hash, token string, do func(h *held)) error {
	err := ErrUnknown
	if h := s.find(hash); h != nil {
		if err = h.allows(token, do); err == nil {
			return nil
		}
	}
	return fmt.Errorf("replica of %s: %w", hash, err)
}

func (h *held) allows(token string, do func(h *held)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.gone || token == "" || h.terms.Token != token:
		return ErrUnknown
	case h.terms.Taken:
		return ErrTaken
	}
	do(h)
	return nil
}

// with calls do with the replica of an instance, its files held, for who shows its token.
func (s *Store) with(hash message.Hash, token string, do func(h *held) error) error {
	err := ErrUnknown
	if h := s.find(hash); h != nil {
		h.files.Lock()
		defer h.files.Unlock()
		if err = h.allows(token, func(*held) {}); err == nil {
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

// Allows reports whether a token is that of a replica here, as an error, and how long a generation of it may be on its way, in bytes.
func (s *Store) Allows(hash message.Hash, token string) (generation int64, err error) {
	err = s.meet(hash, token, func(h *held) { generation = min(h.terms.chunks()*bytesListed, MaxGeneration) })
	return generation, err
}

// Renew says yes to who asks whether the instance may go on elsewhere for another lease.
func (s *Store) Renew(hash message.Hash, token string) error {
	return s.meet(hash, token, func(h *held) {
		h.renewed = time.Now()
		h.asked = h.renewed
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
		if h.bytes+int64(len(raw)) > h.terms.Limit || int64(len(h.chunks)) >= h.terms.chunks() {
			// There may be what was sent for generations that came to nothing. The next try begins without.
			g, err := h.generation()
			if err == nil {
				err = h.settle(g)
			}
			return errors.Join(ErrNoRoom, err)
		}
		if err := os.WriteFile(h.chunk(id), raw, 0o600); err != nil {
			return errors.Join(err, os.RemoveAll(h.chunk(id)))
		}
		h.chunks[id] = int64(len(raw))
		h.bytes += int64(len(raw))
		return nil
	})
}

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
	err = ErrUnknown
	if h := s.find(hash); h != nil {
		g, err = h.take()
	}
	if err != nil {
		return g, fmt.Errorf("replica of %s: %w", hash, err)
	}
	return g, nil
}

func (h *held) take() (g Generation, err error) {
	h.files.Lock()
	defer h.files.Unlock()
	if g, err = h.generation(); err != nil {
		return g, err
	}
	if g.Number == 0 {
		return g, ErrUnknown
	}
	w, news, err := h.decide()
	if err != nil || !news {
		return g, err
	}
	if err := writeJSON(filepath.Join(h.dir, termsFile), w); err != nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.terms.Taken = false
		return g, err
	}
	return g, nil
}

// decide has nobody told any more that the instance may go on elsewhere, unless that is too early. It returns what is to be written
// down if this is news.
func (h *held) decide() (w written, news bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.gone:
		return w, false, ErrUnknown
	case h.terms.Taken:
		return w, false, nil
	case time.Since(h.renewed) < h.terms.Lease:
		return w, false, ErrEarly
	}
	h.terms.Taken = true
	return h.terms, true, nil
}

// Chunk reads a chunk of a replica that was taken.
func (s *Store) Chunk(hash message.Hash, id ID) ([]byte, error) {
	return os.ReadFile(filepath.Join(s.dir, string(hash), chunkDir, id.String()))
}
