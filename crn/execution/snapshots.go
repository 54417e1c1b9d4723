package execution

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn/kept"
	"github.com/aleph-im/aleph-go/crn/vm"
	"github.com/aleph-im/aleph-go/guest/wire"
	"github.com/aleph-im/aleph-go/message"
)

// snapshots is the folder of programs that were kept, one folder for each. Those whose last use is longest ago leave when it
// grows beyond its bound; copies that run go on without their folder.
type snapshots struct {
	driver vm.Snapshotter
	dir    string
	folder *kept.Folder

	mu      sync.Mutex
	refused map[string]bool // paths whose program could not be kept or went wrong in a copy
}

// maxRefused bounds what is remembered of programs that cannot be copied; when there are more they are tried again.
const maxRefused = 10_000

// openSnapshots prepares the folder: what a killed node was writing is removed. It returns nil where nothing is to be kept, and
// then removes what was.
func openSnapshots(driver vm.Driver, cfg kept.Config) (*snapshots, error) {
	dir := cfg.Dir
	s := &snapshots{dir: dir, refused: map[string]bool{}}
	var ok bool
	if s.driver, ok = driver.(vm.Snapshotter); !ok || cfg.Bytes <= 0 {
		if err := os.RemoveAll(dir); err != nil {
			return nil, fmt.Errorf("remove snapshots of programs: %w", err)
		}
		return nil, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("prepare the folder for snapshots: %w", err)
	}
	for _, path := range s.named(".") {
		if err := os.RemoveAll(path); err != nil {
			return nil, fmt.Errorf("remove what an earlier node did not finish: %w", err)
		}
	}
	cfg.Size = diskUsage
	folder, err := kept.Open(cfg)
	s.folder = folder
	return s, err
}

// path names the snapshot of a program by its hash, so that no other program is given it, and by everything that the program's
// machine was made from. It is empty when keeping the program went wrong before.
func (s *snapshots) path(hash message.Hash, key string, config wire.Config) string {
	sum := sha256.New()
	_ = json.NewEncoder(sum).Encode(config) // texts and numbers alone: it cannot fail
	fmt.Fprint(sum, key)
	path := filepath.Join(s.dir, string(hash)+"-"+hex.EncodeToString(sum.Sum(nil)[:16]))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refused[path] {
		return ""
	}
	return path
}

// use reports whether there is a snapshot, and notes its use in the folder's time.
func (s *snapshots) use(path string) bool {
	now := time.Now()
	return os.Chtimes(path, now, now) == nil
}

// of returns what is kept of a program. s may be nil.
func (s *snapshots) of(hash message.Hash) []string {
	if s == nil {
		return nil
	}
	return s.named(string(hash) + "-")
}

// named returns the paths in the folder whose names begin so.
func (s *snapshots) named(prefix string) (paths []string) {
	entries, _ := os.ReadDir(s.dir) // without the folder there is nothing
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), prefix) {
			paths = append(paths, filepath.Join(s.dir, entry.Name()))
		}
	}
	return paths
}

func (s *snapshots) remove(path string) error {
	err := os.RemoveAll(path)
	_, noteErr := s.folder.Note(filepath.Base(path))
	return errors.Join(err, noteErr)
}

// refuse has the program boot from now on.
func (s *snapshots) refuse(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.refused) >= maxRefused {
		clear(s.refused)
	}
	s.refused[path] = true
}

// save keeps the machine, which ends it.
func (s *snapshots) save(ctx context.Context, m vm.Machine, path string) error {
	if err := s.driver.Save(ctx, m, path); err != nil {
		return err
	}
	return s.keep(path)
}

// keep counts a program that was just saved, and removes other snapshots of it, which are of an earlier version of its files or of the
// host's.
func (s *snapshots) keep(path string) error {
	program, _, _ := strings.Cut(filepath.Base(path), "-")
	for _, other := range s.named(program + "-") {
		if other == path {
			continue
		}
		if err := s.remove(other); err != nil {
			return fmt.Errorf("clean the snapshots: %w", err)
		}
	}
	_, err := s.folder.Note(filepath.Base(path))
	return err
}

// diskUsage is what the files of a folder take of the disk, in bytes.
func diskUsage(dir string) (total int64) {
	files, _ := os.ReadDir(dir) // one that is being removed counts for what is left
	for _, file := range files {
		var info unix.Stat_t
		if unix.Stat(filepath.Join(dir, file.Name()), &info) == nil {
			total += info.Blocks * 512
		}
	}
	return total
}
