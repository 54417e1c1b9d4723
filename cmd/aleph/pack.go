package main

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// code is a program on the user's disk.
type code struct {
	root       string   // folder that the paths are in
	files      []string // relative, with slashes, sorted
	entrypoint string
	kind       message.Interface
}

// Folders that are never part of a program.
var leftOut = []string{".git", ".hg", ".venv", "venv", "node_modules", "__pycache__", ".pytest_cache", ".mypy_cache"}

var asgiApp = regexp.MustCompile(`(?m)^app\s*(:[^=\n]+)?=`)

// readCode finds what to pack at path and how it starts: main.py with an app, or a binary for Linux. What the user says in
// entrypoint and kind goes before what is found.
func readCode(path, entrypoint, kind string) (*code, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, usageError{err}
	}
	c := &code{root: path, entrypoint: entrypoint, kind: message.Interface(kind)}
	if !info.IsDir() {
		c.root, c.files = filepath.Dir(path), []string{filepath.Base(path)}
	} else if c.files, err = listFiles(path); err != nil {
		return nil, err
	}
	if c.entrypoint == "" {
		if err := c.detect(path); err != nil {
			return nil, err
		}
	}
	if c.kind == "" {
		c.kind = message.InterfaceBinary
		if strings.Contains(c.entrypoint, ":") {
			c.kind = message.InterfaceASGI
		}
	}
	switch c.kind {
	case message.InterfaceASGI:
		if module, app, ok := strings.Cut(c.entrypoint, ":"); !ok || module == "" || app == "" {
			return nil, usageError{fmt.Errorf("--entrypoint %s: an ASGI program is named module:variable, such as main:app", c.entrypoint)}
		}
	case message.InterfaceBinary:
		if !slices.Contains(c.files, c.entrypoint) {
			return nil, usageError{fmt.Errorf("--entrypoint %s: there is no such file in %s", c.entrypoint, path)}
		}
	default:
		return nil, usageError{fmt.Errorf("--interface %s: want asgi or binary", c.kind)}
	}
	return c, nil
}

func (c *code) detect(path string) error {
	if slices.Contains(c.files, "main.py") {
		source, err := os.ReadFile(filepath.Join(c.root, "main.py"))
		if err != nil {
			return err
		}
		if asgiApp.Match(source) {
			c.entrypoint = "main:app"
			return nil
		}
	}
	var binaries []string
	for _, name := range c.files {
		if !strings.Contains(name, "/") && isELF(filepath.Join(c.root, name)) {
			binaries = append(binaries, name)
		}
	}
	if len(binaries) == 1 {
		c.entrypoint = binaries[0]
		return nil
	}
	return usageError{fmt.Errorf("%s: how it starts is not clear: there is no main.py with a variable app, and %d Linux binaries; say it with --entrypoint", path, len(binaries))}
}

func isELF(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	magic := make([]byte, 4)
	_, err = io.ReadFull(file, magic)
	return err == nil && bytes.Equal(magic, []byte("\x7fELF"))
}

func listFiles(root string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && path != root && slices.Contains(leftOut, e.Name()):
			return filepath.SkipDir
		case e.IsDir(), strings.HasSuffix(e.Name(), ".pyc"):
			return nil
		case !e.Type().IsRegular():
			return fmt.Errorf("%s is not a regular file and cannot be packed; put a copy of what it stands for in its place", path)
		}
		name, err := filepath.Rel(root, path)
		files = append(files, filepath.ToSlash(name))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the program: %w", err)
	}
	if len(files) == 0 {
		return nil, usageError{fmt.Errorf("%s holds no files", root)}
	}
	slices.Sort(files)
	return files, nil
}

// pack writes the archive. The same files make the same bytes, so that what is on the network already has the same hash:
// names are sorted, times fixed, modes reduced to whether a file can be run.
func (c *code) pack(w io.Writer) error {
	archive := zip.NewWriter(w)
	for _, name := range c.files {
		if err := c.packFile(archive, name); err != nil {
			return fmt.Errorf("pack %s: %w", name, err)
		}
	}
	return archive.Close()
}

func (c *code) packFile(archive *zip.Writer, name string) error {
	file, err := os.Open(filepath.Join(c.root, filepath.FromSlash(name)))
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	h := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
	mode := fs.FileMode(0o644)
	if info.Mode()&0o111 != 0 || c.kind == message.InterfaceBinary && name == c.entrypoint {
		mode = 0o755
	}
	h.SetMode(mode)
	entry, err := archive.CreateHeader(h)
	if err != nil {
		return err
	}
	_, err = io.Copy(entry, file)
	return err
}
