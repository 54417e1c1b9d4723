package guestapi

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// Bounds of caches. The lifetime is the reference's, which has no others.
const (
	cacheLifetime = 7 * 24 * time.Hour
	maxValue      = 1 << 20  // bytes
	maxKey        = 80       // bytes; its hex is the name of a file
	maxEntries    = 4096     // of a program
	maxCache      = 16 << 20 // bytes of a program's values
	maxCaches     = 1 << 30  // bytes of all programs' values
	maxFiles      = 1 << 17  // of all programs' values, which are a file and some memory each
)

// partPattern names files that are being written.
const partPattern = ".new-*"

// errCacheFull says which bound a value would exceed.
var errCacheFull = errors.New("no room in the cache")

// cache keeps values of programs, each in a file: they outlive the machine and the node, as they do on the reference.
type cache struct {
	dir string

	mu       sync.Mutex
	programs map[message.Hash]map[string]cached
	bytes    int64 // of all values
}

// cached is what the index knows of a value.
type cached struct {
	size    int64
	expires time.Time
}

// openCache reads the index from the files.
func openCache(dir string) (*cache, error) {
	c := &cache{dir: dir, programs: map[message.Hash]map[string]cached{}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("prepare caches of programs: %w", err)
	}
	folders, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read caches of programs: %w", err)
	}
	for _, folder := range folders {
		hash := message.Hash(folder.Name())
		if !folder.IsDir() || hash.Kind() == "" {
			continue // not of the cache
		}
		// A killed node leaves them.
		parts, _ := filepath.Glob(filepath.Join(c.folder(hash), partPattern))
		for _, part := range parts {
			os.Remove(part)
		}
		files, err := os.ReadDir(c.folder(hash))
		if err != nil {
			return nil, fmt.Errorf("read the cache of program %s: %w", hash, err)
		}
		c.programs[hash] = map[string]cached{}
		for _, file := range files {
			key, err := hex.DecodeString(file.Name())
			info, infoErr := file.Info()
			if err != nil || infoErr != nil {
				continue // not of the cache
			}
			c.programs[hash][string(key)] = cached{info.Size(), info.ModTime().Add(cacheLifetime)}
			c.bytes += info.Size()
		}
	}
	return c, nil
}

// folder is where a program's values are. Its hash is one: it was looked up on the network.
func (c *cache) folder(hash message.Hash) string {
	return filepath.Join(c.dir, string(hash))
}

func (c *cache) file(hash message.Hash, key string) string {
	return filepath.Join(c.folder(hash), hex.EncodeToString([]byte(key)))
}

// get returns a value, or nil when there is none.
func (c *cache) get(hash message.Hash, key string) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.programs[hash][key]
	if !ok || !time.Now().Before(e.expires) {
		return nil, nil
	}
	value, err := os.ReadFile(c.file(hash, key))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // somebody has cleaned up
	}
	if err != nil {
		return nil, fmt.Errorf("read from the cache: %w", err)
	}
	return value, nil
}

// put stores a value for the time of cacheLifetime, in place of an earlier one. Expired values make room first.
func (c *cache) put(hash message.Hash, key string, value []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.expireOf(hash, now)
	entries := c.programs[hash]
	old, replaces := entries[key]
	grows := int64(len(value)) - old.size
	var held int64
	for _, e := range entries {
		held += e.size
	}
	switch {
	case !replaces && len(entries) >= maxEntries:
		return fmt.Errorf("%w: a program may have %d entries", errCacheFull, maxEntries)
	case held+grows > maxCache:
		return fmt.Errorf("%w: a program may have %d bytes", errCacheFull, maxCache)
	case !replaces && c.files() >= maxFiles:
		return fmt.Errorf("%w: all programs of this node may have %d entries", errCacheFull, maxFiles)
	case c.bytes+grows > maxCaches:
		return fmt.Errorf("%w: all programs of this node may have %d bytes", errCacheFull, maxCaches)
	}
	if err := c.write(hash, key, value, now); err != nil {
		return fmt.Errorf("write to the cache: %w", err)
	}
	if entries == nil {
		entries = map[string]cached{}
		c.programs[hash] = entries
	}
	entries[key] = cached{int64(len(value)), now.Add(cacheLifetime)}
	c.bytes += grows
	return nil
}

// files counts the values of all programs. c.mu is held.
func (c *cache) files() (n int) {
	for _, entries := range c.programs {
		n += len(entries)
	}
	return n
}

// write puts a value into its file, whose time says when it was written. A cache need not outlive a loss of power.
func (c *cache) write(hash message.Hash, key string, value []byte, now time.Time) error {
	if err := os.MkdirAll(c.folder(hash), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(c.folder(hash), partPattern)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(value)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Chtimes(f.Name(), now, now); err != nil {
		return err
	}
	return os.Rename(f.Name(), c.file(hash, key))
}

// remove takes a value out and reports whether it was there.
func (c *cache) remove(hash message.Hash, key string) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expireOf(hash, time.Now())
	e, ok := c.programs[hash][key]
	if !ok {
		return false, nil
	}
	if err := os.Remove(c.file(hash, key)); err != nil {
		return false, fmt.Errorf("remove from the cache: %w", err)
	}
	delete(c.programs[hash], key)
	c.bytes -= e.size
	return true, nil
}

// keys returns the keys that a pattern with ? and * matches, in order.
func (c *cache) keys(hash message.Hash, pattern *regexp.Regexp) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	list := []string{}
	for key, e := range c.programs[hash] {
		if now.Before(e.expires) && pattern.MatchString(key) {
			list = append(list, key)
		}
	}
	slices.Sort(list)
	return list
}

// drop removes everything of a program.
func (c *cache) drop(hash message.Hash) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.programs[hash] {
		c.bytes -= e.size
	}
	delete(c.programs, hash)
	return os.RemoveAll(c.folder(hash))
}

// expire removes what is too old, of every program.
func (c *cache) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for hash := range c.programs {
		c.expireOf(hash, now)
		if len(c.programs[hash]) == 0 {
			delete(c.programs, hash)
			os.Remove(c.folder(hash)) // fails when something else is in it
		}
	}
}

// expireOf removes what is too old of one program. c.mu is held.
func (c *cache) expireOf(hash message.Hash, now time.Time) {
	for key, e := range c.programs[hash] {
		if now.Before(e.expires) {
			continue
		}
		if err := os.Remove(c.file(hash, key)); err != nil && !errors.Is(err, os.ErrNotExist) {
			continue // it counts as long as it is there
		}
		delete(c.programs[hash], key)
		c.bytes -= e.size
	}
}

var (
	keySyntax     = regexp.MustCompile(`^[\pL\pN_]+$`)
	patternSyntax = regexp.MustCompile(`^[\pL\pN_?*^\-]+$`)
)

// key returns the key of a request, or answers that it is none.
func key(w http.ResponseWriter, r *http.Request) (string, bool) {
	k := r.PathValue("key")
	if len(k) > maxKey || !keySyntax.MatchString(k) {
		refuse(w, http.StatusBadRequest, "Invalid key")
		return "", false
	}
	return k, true
}

func (p *program) listKeys(w http.ResponseWriter, r *http.Request) {
	pattern := "*"
	if r.URL.Query().Has("pattern") {
		pattern = r.URL.Query().Get("pattern")
	}
	if len(pattern) > maxKey || !patternSyntax.MatchString(pattern) {
		refuse(w, http.StatusBadRequest, "Invalid key")
		return
	}
	answer(w, p.api.cache.keys(p.hash, glob(pattern)))
}

// glob translates ? and * as Redis reads them; other characters stand for themselves.
func glob(pattern string) *regexp.Regexp {
	quoted := regexp.QuoteMeta(pattern)
	quoted = strings.ReplaceAll(strings.ReplaceAll(quoted, `\*`, `.*`), `\?`, `.`)
	return regexp.MustCompile(`^` + quoted + `$`)
}

func (p *program) getKey(w http.ResponseWriter, r *http.Request) {
	k, ok := key(w, r)
	if !ok {
		return
	}
	value, err := p.api.cache.get(p.hash, k)
	switch {
	case err != nil:
		refuse(w, http.StatusInternalServerError, err.Error())
	case len(value) == 0: // an empty value as well: clients of the reference read it so
		refuse(w, http.StatusNotFound, "No such key in cache")
	default:
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(value)
	}
}

func (p *program) putKey(w http.ResponseWriter, r *http.Request) {
	k, ok := key(w, r)
	if !ok {
		return
	}
	value, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxValue))
	if err != nil {
		refuseBody(w, err)
		return
	}
	switch err := p.api.cache.put(p.hash, k, value); {
	case errors.Is(err, errCacheFull):
		refuse(w, http.StatusInsufficientStorage, err.Error())
	case err != nil:
		refuse(w, http.StatusInternalServerError, err.Error())
	default:
		answer(w, true)
	}
}

func (p *program) deleteKey(w http.ResponseWriter, r *http.Request) {
	k, ok := key(w, r)
	if !ok {
		return
	}
	removed, err := p.api.cache.remove(p.hash, k)
	switch {
	case err != nil:
		refuse(w, http.StatusInternalServerError, err.Error())
	case removed:
		answer(w, 1)
	default:
		answer(w, 0)
	}
}
