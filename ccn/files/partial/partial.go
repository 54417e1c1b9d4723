// Package partial keeps uploads that are not whole yet, so that one that broke off goes on where it was: also after the
// connection, the client or the node died. The node's API begins them, appends what comes and takes them when they are whole.
//
// What an upload is to become is in ID.json, its bytes grow in ID.part, and ID.sum holds the state of their hash, so that no
// byte is hashed twice as long as nothing is killed. The length of ID.part is what counts: it needs no write of its own. After
// a power cut it may hold other bytes than were sent, which the hash of the whole tells. Several processes may share the folder.
package partial

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aleph-im/aleph-go/ccn/files/internal/folder"
	"github.com/aleph-im/aleph-go/message"
)

const (
	maxUploads     = 256      // at once
	maxBytes       = 64 << 30 // that all of them will have
	maxOfSender    = 8        // uploads of one account
	maxSenderBytes = 16 << 30 // that these will have
	idle           = 10 * time.Minute
	reserve        = 1 << 30 // bytes of the disk that uploads leave to others

	// Age is how long an upload stays without getting a byte. One that has got none for 10 minutes makes room for others.
	Age = 24 * time.Hour
)

var (
	// ErrNotFound says that there is no such upload: it never began, is finished, or was given up.
	ErrNotFound = errors.New("there is no such upload")
	// ErrNoRoom says that there are as many uploads as the node allows itself, or as its disk has room for.
	ErrNoRoom = errors.New("there is no room for more uploads")
	// ErrBusy says that another process has the upload in hand.
	ErrBusy = errors.New("the upload is in use")
)

// Upload is what was said of an upload when it began.
type Upload struct {
	ID       string       `json:"-"` // who knows it may append
	Sender   string       `json:"sender"`
	Hash     message.Hash `json:"hash"`     // of the file or folder that it becomes
	Archive  bool         `json:"archive"`  // its bytes are a CAR
	Length   int64        `json:"length"`   // bytes of all of it
	Metadata []byte       `json:"metadata"` // what pays for it
	Known    bool         `json:"known"`    // the node has the file: no byte needs to be sent
}

func (u *Upload) same(v *Upload) bool {
	return u.Sender == v.Sender && u.Hash == v.Hash && u.Archive == v.Archive && u.Length == v.Length
}

// Store is the folder.
type Store struct {
	dir  string
	now  func() time.Time
	free func(dir string) (int64, error)

	mu    sync.Mutex
	taken map[string]*use // guarded by mu; by ID
}

// use is an upload while somebody of this process has it.
type use struct {
	interrupt func()
	done      chan struct{}
}

// Open opens the folder dir, which it makes when it is absent. But in tests, now is time.Now and free is [Free].
func Open(dir string, now func() time.Time, free func(dir string) (int64, error)) (*Store, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open unfinished uploads: %w", err)
	}
	return &Store{dir: dir, now: now, free: free, taken: map[string]*use{}}, nil
}

// Free is how many bytes are free on the disk of a folder.
func Free(dir string) (int64, error) {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir, &disk); err != nil {
		return 0, fmt.Errorf("measure free space of %s: %w", dir, err)
	}
	return int64(disk.Bavail) * int64(disk.Bsize), nil
}

func (s *Store) path(id, kind string) string { return filepath.Join(s.dir, id+kind) }

// listed is an upload as it is found in the folder.
type listed struct {
	Upload
	moved time.Time // when the last byte came
	there int64     // bytes that came
}

// missing is how many bytes are still to come.
func (l *listed) missing() int64 {
	if l.Known {
		return 0
	}
	return l.Length - l.there
}

// Begin makes room for an upload. When the same account has begun the same one before, it returns that, with the metadata of
// u from now on: so who lost the ID finds it again.
func (s *Store) Begin(u Upload) (id string, err error) {
	err = folder.Locked(s.dir, syscall.LOCK_EX, func(*os.File) error {
		all, err := s.list()
		if err != nil {
			return err
		}
		for _, old := range all {
			if old.same(&u) {
				u.ID = old.ID
				return s.describe(&u)
			}
		}
		if err := s.makeRoom(all, &u); err != nil {
			return err
		}
		name := make([]byte, 16)
		_, _ = rand.Read(name) // never fails
		u.ID = hex.EncodeToString(name)
		part, err := os.OpenFile(s.path(u.ID, ".part"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		return errors.Join(part.Close(), s.describe(&u))
	})
	if err != nil {
		return "", fmt.Errorf("begin upload of %s: %w", u.Hash, err)
	}
	return u.ID, nil
}

// describe writes ID.json, whole or not at all.
func (s *Store) describe(u *Upload) error {
	raw, err := json.Marshal(u)
	if err != nil {
		return err
	}
	return s.replace(u.ID, ".json", raw)
}

func (s *Store) replace(id, kind string, raw []byte) error {
	next := s.path(id, kind+".new")
	if err := os.WriteFile(next, raw, 0o644); err != nil {
		return err
	}
	return os.Rename(next, s.path(id, kind))
}

// list returns the uploads that are under way, those without progress for longest first, and removes what is too old or broken.
func (s *Store) list() ([]listed, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var all []listed
	for _, e := range entries {
		id, isPart := strings.CutSuffix(e.Name(), ".part")
		if !isPart {
			if err := s.tidy(e.Name()); err != nil {
				return nil, err
			}
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		u, err := s.read(id)
		if err != nil || s.now().Sub(info.ModTime()) > Age {
			if err := s.remove(id); err != nil && !errors.Is(err, ErrBusy) {
				return nil, err
			}
			continue
		}
		all = append(all, listed{*u, info.ModTime(), info.Size()})
	}
	slices.SortFunc(all, func(a, b listed) int { return a.moved.Compare(b.moved) })
	return all, nil
}

// tidy removes a file of an upload whose bytes are gone: a process was killed between the two.
func (s *Store) tidy(name string) error {
	id, _, _ := strings.Cut(name, ".")
	if _, err := os.Stat(s.path(id, ".part")); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return s.unlink(id)
}

func (s *Store) read(id string) (*Upload, error) {
	u := &Upload{ID: id}
	raw, err := os.ReadFile(s.path(id, ".json"))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, u); err != nil {
		return nil, fmt.Errorf("read what upload %s is: %w", id, err)
	}
	return u, nil
}

// makeRoom gives up uploads until u fits. An account gives up its own first, the others those that stand still.
func (s *Store) makeRoom(all []listed, u *Upload) error {
	free, err := s.free(s.dir)
	if err != nil {
		return err
	}
	if free -= reserve; !u.Known {
		free -= u.Length
	}
	count, bytes, own, ownBytes := 0, int64(0), 0, int64(0)
	for _, l := range all {
		count, bytes, free = count+1, bytes+l.Length, free-l.missing()
		if l.Sender == u.Sender {
			own, ownBytes = own+1, ownBytes+l.Length
		}
	}
	full := func() bool { return count >= maxUploads || bytes+u.Length > maxBytes || free < 0 }
	ownFull := func() bool { return own >= maxOfSender || ownBytes+u.Length > maxSenderBytes }
	for _, l := range all {
		mine := l.Sender == u.Sender
		if !(ownFull() && mine || full() && s.now().Sub(l.moved) > idle) {
			continue
		}
		if err := s.remove(l.ID); errors.Is(err, ErrBusy) {
			continue
		} else if err != nil {
			return err
		}
		if count, bytes, free = count-1, bytes-l.Length, free+l.there+l.missing(); mine {
			own, ownBytes = own-1, ownBytes-l.Length
		}
	}
	if full() || ownFull() {
		return ErrNoRoom
	}
	return nil
}

// remove gives up an upload that nobody has in hand.
func (s *Store) remove(id string) error {
	part, err := s.lock(id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(s.unlink(id), part.Close())
}

// unlink removes the files of an upload that the caller has locked.
func (s *Store) unlink(id string) error {
	var errs []error
	for _, kind := range []string{".json.new", ".sum.new", ".json", ".sum", ".part"} {
		if err := os.Remove(s.path(id, kind)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// lock opens ID.part for its only user, among all processes.
func (s *Store) lock(id string) (*os.File, error) {
	part, err := os.OpenFile(s.path(id, ".part"), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	if err = syscall.Flock(int(part.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrBusy
	}
	if err == nil {
		// It may have been removed between the two.
		if _, err = os.Stat(part.Name()); errors.Is(err, fs.ErrNotExist) {
			err = ErrNotFound
		}
	}
	if err != nil {
		return nil, errors.Join(err, part.Close())
	}
	return part, nil
}

// Sweep gives up the uploads that got no byte for longer than [Age].
func (s *Store) Sweep() error {
	return folder.Locked(s.dir, syscall.LOCK_EX, func(*os.File) error {
		_, err := s.list()
		return err
	})
}
