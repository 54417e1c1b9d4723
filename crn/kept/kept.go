// Package kept bounds folders of what a compute node keeps because it may be of use again: messages and files of the network, compiled
// modules, what programs printed. crn/corenode, crn/wasm and crn/execution each hold one for each such folder.
//
// What a folder has beyond its bounds leaves, what was not used for longest first: the time of a file, or of a folder in it, is that of
// its last use, which its owner notes.
package kept

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

// Config of a folder. Dir and What are required; a bound of 0 is none.
type Config struct {
	Dir  string // its entries are files, or folders with all that is in them; those with a dot in front are being written
	What string // for metrics and logs

	Bytes   int64         // all entries together
	Entries int           // how many
	Age     time.Duration // since the last use

	// Size, unless nil, is how many bytes a folder takes; otherwise the lengths of the files in it count, as those of entries that are
	// files do.
	Size func(path string) int64
	// Remove, unless nil, removes an entry if it is not in use, and reports whether it did. What is in use stays, and counts.
	Remove func(name string) (removed bool, err error)

	Metrics prometheus.Registerer // nil for none
	Log     *slog.Logger          // discarded when nil
}

// Folder is a bounded one. Safe for concurrent use.
type Folder struct {
	cfg     Config
	removed prometheus.Counter

	mu    sync.Mutex       // held while it is cleaned
	sizes map[string]int64 // bytes by name, as of the last cleaning and what was noted since
	bytes int64            // their sum
}

// Open makes the folder where there is none, and cleans it.
func Open(cfg Config) (*Folder, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Size == nil {
		cfg.Size = below
	}
	if cfg.Remove == nil {
		cfg.Remove = func(name string) (bool, error) { return true, os.RemoveAll(filepath.Join(cfg.Dir, name)) }
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("prepare the folder for %s: %w", cfg.What, err)
	}
	f := &Folder{cfg: cfg}
	f.register()
	_, err := f.Clean("")
	return f, err
}

// register shows the folder in metrics.
func (f *Folder) register() {
	labels := prometheus.Labels{"what": f.cfg.What}
	f.removed = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "aleph_crn_kept_removed_total", Help: "Entries that were removed to stay within the bounds.", ConstLabels: labels,
	})
	if f.cfg.Metrics == nil {
		return
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, value)
	}
	f.cfg.Metrics.MustRegister(f.removed,
		gauge("aleph_crn_kept_bytes", "Bytes of what the node keeps on disk because it may be of use again.", func() float64 { bytes, _ := f.Size(); return float64(bytes) }),
		gauge("aleph_crn_kept_entries", "How many of them it keeps.", func() float64 { _, entries := f.Size(); return float64(entries) }),
		gauge("aleph_crn_kept_limit_bytes", "Bytes that it keeps at most.", func() float64 { return float64(f.cfg.Bytes) }),
	)
}

// Size is what the folder holds. What others removed from it counts until it is cleaned.
func (f *Folder) Size() (bytes int64, entries int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bytes, len(f.sizes)
}

// Note tells of an entry that has come, has another size, or is gone. When the folder is beyond its bounds with it, it is cleaned, of all but
// this one; the names of what was removed are returned.
func (f *Folder) Note(name string) (removed []string, err error) {
	path := filepath.Join(f.cfg.Dir, name)
	info, missing := os.Lstat(path)
	bytes := int64(0)
	if missing == nil {
		bytes = f.size(info)
	}
	f.mu.Lock()
	f.bytes += bytes - f.sizes[name]
	f.sizes[name] = bytes
	if missing != nil {
		delete(f.sizes, name)
	}
	full := f.cfg.Bytes > 0 && f.bytes > f.cfg.Bytes || f.cfg.Entries > 0 && len(f.sizes) > f.cfg.Entries
	f.mu.Unlock()
	if !full {
		return nil, nil
	}
	return f.Clean(name)
}

// A cleaning of a full folder of many entries frees a part of the bounds beyond what it must: to read it costs time for each of them.
const (
	many  = 100
	slack = 16
)

type entry struct {
	name  string
	used  time.Time
	bytes int64
}

// Clean removes what is too old and what is beyond the bounds, and returns its names. What is named keep stays.
func (f *Folder) Clean(keep string) (removed []string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all, err := f.read()
	if err != nil {
		return nil, fmt.Errorf("clean %s: %w", f.cfg.What, err)
	}
	f.sizes, f.bytes = make(map[string]int64, len(all)), 0
	for _, e := range all {
		f.sizes[e.name] = e.bytes
		f.bytes += e.bytes
	}
	bytes, entries := f.cfg.Bytes, f.cfg.Entries
	if len(all) > many && (bytes > 0 && f.bytes > bytes || entries > 0 && len(all) > entries) {
		bytes, entries = bytes-bytes/slack, entries-entries/slack
	}
	slices.SortFunc(all, func(a, b entry) int { return a.used.Compare(b.used) })
	var freed int64
	for _, e := range all {
		old := f.cfg.Age > 0 && time.Since(e.used) > f.cfg.Age
		if !old && (bytes == 0 || f.bytes <= bytes) && (entries == 0 || len(f.sizes) <= entries) {
			break // the others were used later
		}
		if e.name == keep {
			continue
		}
		gone, err := f.cfg.Remove(e.name)
		if err != nil {
			return removed, fmt.Errorf("clean %s: %w", f.cfg.What, err)
		}
		if !gone {
			continue
		}
		removed = append(removed, e.name)
		freed += e.bytes
		f.bytes -= e.bytes
		delete(f.sizes, e.name)
	}
	if len(removed) > 0 {
		f.removed.Add(float64(len(removed)))
		f.cfg.Log.Info("what was not used for longest is removed", "what", f.cfg.What, "entries", len(removed), "bytes", freed, "kept_bytes", f.bytes)
	}
	return removed, nil
}

// read lists the entries. What goes away meanwhile is passed over.
func (f *Folder) read() (all []entry, err error) {
	list, err := os.ReadDir(f.cfg.Dir)
	if err != nil {
		return nil, err
	}
	for _, found := range list {
		if strings.HasPrefix(found.Name(), ".") {
			continue
		}
		info, err := found.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, entry{found.Name(), info.ModTime(), f.size(info)})
	}
	return all, nil
}

func (f *Folder) size(entry fs.FileInfo) int64 {
	if entry.IsDir() {
		return f.cfg.Size(filepath.Join(f.cfg.Dir, entry.Name()))
	}
	return entry.Size()
}

// below sums the files in a folder and all folders in it, as far as they can be read. A file that has another name as well is not only here.
func below(dir string) (bytes int64) {
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, _ error) error {
		var info unix.Stat_t
		if unix.Lstat(path, &info) == nil && info.Mode&unix.S_IFMT == unix.S_IFREG && info.Nlink == 1 {
			bytes += info.Size
		}
		return nil
	})
	return bytes
}
