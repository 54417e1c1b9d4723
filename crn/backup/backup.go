// Package backup keeps copies of the disks of instances for a day, for their owners to download (spec/crn.md §2.8). crn/api calls
// it; crn/instance makes the copies, and restores.
//
// A backup is an archive <id>.tar with a qcow2 image for each disk, and beside it <id>.tar.sha256 and <id>.tar.meta.json. It is
// there once the archive has its name, which it gets last. What a killed node left half-made is removed at the next start.
package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/message"
)

// Machines are the instances of the node; [instance.Pool] in a node.
type Machines interface {
	// Disks lists what a backup of an instance that runs holds. The error is instance.ErrNotRunning when it does not.
	Disks(ctx context.Context, hash message.Hash, volumes bool) ([]instance.Disk, error)
	// Copy copies disks at one moment into files of a folder, each under its name.
	Copy(ctx context.Context, hash message.Hash, disks []instance.Disk, dir string, freeze bool) error
	// DiskRoom checks that the node's disk has so many bytes to spare. The error is instance.ErrNoRoom.
	DiskRoom(bytes int64) error
}

// Config of a store.
type Config struct {
	Machines Machines
	Dir      string // of archives
	Secret   string // what links to archives are signed with
	Now      func() time.Time
	Log      *slog.Logger
}

const (
	// Keep is how long a backup is kept.
	Keep = 24 * time.Hour
	// keepFailure is how long it is told that one could not be made.
	keepFailure = time.Hour
	// purgeEvery is how often archives are looked through for old ones, which nobody is given in between.
	purgeEvery = 10 * time.Minute
	// atOnce bounds the backups that are made side by side: each reads whole disks.
	atOnce = 2
	// limit bounds how long one may take.
	limit = 6 * time.Hour
	// workDir is for what is being made, in Config.Dir.
	workDir = "work"
)

// Errors that callers tell apart, beside those of crn/instance.
var (
	ErrInProgress = errors.New("the backup is being made")
	ErrNone       = errors.New("no backup found")
)

// FailedError is why a backup could not be made.
type FailedError struct{ Err error }

func (e *FailedError) Error() string { return e.Err.Error() }
func (e *FailedError) Unwrap() error { return e.Err }

// Store holds the backups of a node. Safe for concurrent use.
type Store struct {
	cfg   Config
	turns chan struct{} // a token for each that may be made now

	life context.Context // ends when the store stops
	end  context.CancelFunc
	work sync.WaitGroup

	// mu guards what follows, and what has the name of a backup in Config.Dir.
	mu       sync.Mutex
	jobs     map[message.Hash]*job
	failures map[message.Hash]failure
}

// job is a backup that is being made.
type job struct {
	cancel  context.CancelFunc
	dropped bool // nobody wants it any more
}

type failure struct {
	err  error
	at   time.Time
	told bool
}

// New opens the folder and removes what was left half-made there. Run must follow.
func New(cfg Config) (*Store, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Secret == "" {
		return nil, errors.New("backups need a secret to sign links with")
	}
	if err := os.RemoveAll(filepath.Join(cfg.Dir, workDir)); err != nil {
		return nil, fmt.Errorf("prepare the folder for backups: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(cfg.Dir, workDir), 0o700); err != nil {
		return nil, fmt.Errorf("prepare the folder for backups: %w", err)
	}
	s := &Store{cfg: cfg, turns: make(chan struct{}, atOnce), jobs: map[message.Hash]*job{}, failures: map[message.Hash]failure{}}
	s.life, s.end = context.WithCancel(context.Background())
	return s, s.purge()
}

// Run removes backups that are too old until ctx ends; then it calls off those that are being made and waits for them.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(purgeEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.mu.Lock()
			err := s.purge()
			s.mu.Unlock()
			if err != nil {
				s.cfg.Log.Error("old backups not removed", "error", err)
			}
		case <-ctx.Done():
			s.mu.Lock()
			s.end() // no more are begun
			s.mu.Unlock()
			s.work.Wait()
			return nil
		}
	}
}

// Options of a backup.
type Options struct {
	Volumes    bool // persistent volumes, too
	SkipFreeze bool // do not ask the guest to make its filesystems whole for the copy
}

// Make returns the backup of an instance if there is one, or else begins to make one and returns ErrInProgress. The error is a
// *FailedError, once, when the last try failed and nobody was told, instance.ErrNotRunning or instance.ErrNoRoom when none can be
// made now.
func (s *Store) Make(ctx context.Context, hash message.Hash, o Options) (*Backup, error) {
	disks, err := s.cfg.Machines.Disks(ctx, hash, o.Volumes)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.failures[hash]; ok {
		delete(s.failures, hash)
		if !f.told && s.cfg.Now().Sub(f.at) < keepFailure {
			return nil, &FailedError{f.err}
		}
	}
	if s.jobs[hash] != nil {
		return nil, ErrInProgress
	}
	if b, err := s.latest(hash); !errors.Is(err, ErrNone) {
		return b, err
	}
	if s.life.Err() != nil {
		return nil, instance.ErrStopped
	}
	total := int64(0)
	for _, d := range disks {
		total += d.Bytes
	}
	if err := s.cfg.Machines.DiskRoom(total); err != nil {
		return nil, err
	}
	life, cancel := context.WithTimeout(s.life, limit)
	j := &job{cancel: cancel}
	s.jobs[hash] = j
	s.work.Go(func() {
		defer cancel()
		s.run(life, hash, j, disks, !o.SkipFreeze)
	})
	return nil, ErrInProgress
}

// run makes a backup and notes how it went.
func (s *Store) run(ctx context.Context, hash message.Hash, j *job, disks []instance.Disk, freeze bool) {
	begin := time.Now()
	err := s.make(ctx, hash, j, disks, freeze)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.jobs, hash)
	switch {
	case err == nil:
		s.cfg.Log.Info("instance backed up", "hash", hash, "took", time.Since(begin).Round(time.Millisecond))
	case j.dropped || s.life.Err() != nil:
	default:
		s.failures[hash] = failure{err: err, at: s.cfg.Now()}
		s.cfg.Log.Warn("instance not backed up", "hash", hash, "error", err)
	}
}

func (s *Store) make(ctx context.Context, hash message.Hash, j *job, disks []instance.Disk, freeze bool) error {
	select {
	case s.turns <- struct{}{}:
		defer func() { <-s.turns }()
	case <-ctx.Done():
		return ctx.Err()
	}
	dir, err := os.MkdirTemp(filepath.Join(s.cfg.Dir, workDir), string(hash)+"-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	created := s.cfg.Now().UTC()
	if err := s.cfg.Machines.Copy(ctx, hash, disks, dir, freeze); err != nil {
		return err
	}
	id := string(hash) + "-" + created.Format(idTime)
	a, err := s.archive(ctx, dir, id, disks, created)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if j.dropped {
		return ErrNone
	}
	return a.publish(s.cfg.Dir)
}

// Latest returns the backup of an instance. The error is ErrInProgress, ErrNone, or a *FailedError for an hour after a try that failed.
func (s *Store) Latest(hash message.Hash) (*Backup, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.jobs[hash] != nil {
		return nil, ErrInProgress
	}
	if f, ok := s.failures[hash]; ok {
		if s.cfg.Now().Sub(f.at) < keepFailure {
			f.told = true
			s.failures[hash] = f
			return nil, &FailedError{f.err}
		}
		delete(s.failures, hash)
	}
	return s.latest(hash)
}

// latest returns the newest backup of an instance. s.mu is held.
func (s *Store) latest(hash message.Hash) (*Backup, error) {
	if err := s.purge(); err != nil {
		return nil, err
	}
	ids, err := s.ids(string(hash) + "-")
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, ErrNone
	}
	return s.read(ids[len(ids)-1]) // their times are in order
}

// Open opens the archive of a backup. The error is ErrNone when there is no such backup.
func (s *Store) Open(id string) (*os.File, *Backup, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.purge(); err != nil {
		return nil, nil, err
	}
	b, err := s.read(id)
	if err != nil {
		return nil, nil, err
	}
	f, err := os.Open(s.path(id))
	if err != nil {
		return nil, nil, fmt.Errorf("open backup %s: %w", id, err)
	}
	return f, b, nil
}

// Delete removes a backup.
func (s *Store) Delete(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := os.Stat(s.path(id)); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("backup %s: %w", id, ErrNone)
	}
	return s.remove(id)
}

// Forget removes all backups of an instance, and calls off the one that is being made.
func (s *Store) Forget(hash message.Hash) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[hash]; j != nil {
		j.dropped = true
		j.cancel()
	}
	delete(s.failures, hash)
	ids, err := s.ids(string(hash) + "-")
	errs := []error{err}
	for _, id := range ids {
		errs = append(errs, s.remove(id))
	}
	return errors.Join(errs...)
}

func (s *Store) path(id string) string { return filepath.Join(s.cfg.Dir, id+".tar") }

// ids lists backups whose id has a prefix, in order.
func (s *Store) ids(prefix string) (ids []string, err error) {
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("look for backups: %w", err)
	}
	for _, entry := range entries {
		if id, ok := strings.CutSuffix(entry.Name(), ".tar"); ok && strings.HasPrefix(id, prefix) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// remove removes a backup. The archive goes first: without it the rest is nothing. s.mu is held.
func (s *Store) remove(id string) error {
	return cmp.Or(os.Remove(s.path(id)), os.RemoveAll(s.path(id)+checksumSuffix), os.RemoveAll(s.path(id)+metaSuffix))
}

// purge removes backups that are too old, and what belongs to none. s.mu is held, but in New.
func (s *Store) purge() error {
	for hash, f := range s.failures {
		if s.cfg.Now().Sub(f.at) >= keepFailure {
			delete(s.failures, hash)
		}
	}
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return fmt.Errorf("look for backups: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		id, rest, _ := strings.Cut(entry.Name(), ".")
		if !strings.HasPrefix(rest, "tar") {
			continue
		}
		info, err := os.Stat(s.path(id))
		switch {
		case errors.Is(err, os.ErrNotExist):
			errs = append(errs, os.RemoveAll(filepath.Join(s.cfg.Dir, entry.Name())))
		case err == nil && !s.cfg.Now().Before(info.ModTime().Add(Keep)):
			errs = append(errs, s.remove(id))
		}
	}
	return errors.Join(errs...)
}
