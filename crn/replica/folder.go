package replica

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Names in the folder of a replica.
const (
	termsFile      = "terms"
	generationFile = "generation"
	chunkDir       = "chunks"
)

// goneSuffix is that of a folder which is being removed.
const goneSuffix = ".gone"

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
	h.limit = h.terms.Limit
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

// write writes the terms down. h.files is held.
func (h *held) write(w written) error {
	if err := writeJSON(filepath.Join(h.dir, termsFile), w); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.terms = w
	return nil
}

func (h *held) chunk(id ID) string { return filepath.Join(h.dir, chunkDir, id.String()) }

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
