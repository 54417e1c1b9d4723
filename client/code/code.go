// Package code makes the code of a program from a folder or a file on disk: it finds what kind of program is there and how it
// starts, and packs it. The SDKs of Python and TypeScript follow the same rules; docs/programs.md has them.
package code

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// What [Read] cannot make a program of, besides files that it cannot read.
var (
	ErrUnclear = errors.New("how it starts is not clear")           // an entrypoint says it
	ErrWebsite = errors.New("it is a website and needs no program") // it has an index.html, and nothing that runs
)

// WSGI is how a Python program may take requests that knows no asynchronous calls. To the network it is a program of the binary
// interface, as a script starts its server.
const WSGI message.Interface = "wsgi"

// StartScript is the file that starts a program which is no binary by itself. It is made, and not among the user's files.
const StartScript = "aleph-start"

// NodeRuntime is the name under which networks publish a runtime with Node.js.
const NodeRuntime = "node"

// Code is a program on the user's disk.
type Code struct {
	Entrypoint string // of the PROGRAM message
	Interface  message.Interface
	Runtime    string // name of the runtime that it needs; "" for the network's default

	root   string   // folder that the paths are in
	files  []string // relative, with slashes, sorted
	script string   // content of StartScript; "" for none
}

// Folders that are never part of a program.
var leftOut = []string{".git", ".hg", ".venv", "venv", "node_modules", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache"}

// Folders that are never part of a Node program, which brings its modules along. The tools in .bin are links.
var leftOutOfNode = []string{".git", ".hg", ".bin"}

// Read finds what to pack at path, a folder or a file, and how it starts. What the caller says goes before what is found:
// entrypoint is module:variable of a Python program, or the file to run; kind is asgi, wsgi, binary or wasm; both may be "".
func Read(path, entrypoint string, kind message.Interface) (*Code, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	c := &Code{root: path, Entrypoint: entrypoint, Interface: kind}
	if !info.IsDir() {
		c.root, c.files = filepath.Dir(path), []string{filepath.Base(path)}
	} else if c.files, err = list(path, leftOut); err != nil {
		return nil, err
	}
	if c.Entrypoint == StartScript && !c.has(StartScript) { // as a program that was deployed names it
		c.Entrypoint, c.Interface = "", ""
	}
	if c.Entrypoint == "" {
		if err := c.detect(path); err != nil {
			return nil, err
		}
	}
	if c.Interface == "" {
		c.Interface = message.InterfaceBinary
		switch {
		case strings.Contains(c.Entrypoint, ":"):
			c.Interface = message.InterfaceASGI
		case c.begins(c.Entrypoint, wasmMagic):
			c.Interface = message.InterfaceWasm
		}
	}
	switch c.Interface {
	case message.InterfaceASGI, WSGI:
		if module, app, ok := strings.Cut(c.Entrypoint, ":"); !ok || module == "" || app == "" {
			return nil, fmt.Errorf("entrypoint %s: a Python program is named module:variable, such as main:app", c.Entrypoint)
		}
		if c.Interface == WSGI {
			c.startWith(serveWSGI + quote(c.Entrypoint) + serveThere)
		}
	case message.InterfaceBinary, message.InterfaceWasm:
		if c.script == "" && !c.has(c.Entrypoint) {
			return nil, fmt.Errorf("entrypoint %s: there is no such file in %s", c.Entrypoint, path)
		}
	default:
		return nil, fmt.Errorf("interface %s: want asgi, wsgi, binary or wasm", c.Interface)
	}
	return c, nil
}

func (c *Code) has(name string) bool { return slices.Contains(c.files, name) }

// What a script consists of, around the application that it serves by WSGI.
const (
	scriptStart = "#!/bin/sh\nexec "
	serveWSGI   = "python3 -m uvicorn --interface wsgi "
	serveThere  = ` --host 127.0.0.1 --port "$PORT" --no-access-log`
)

// startWith has a command start the program.
func (c *Code) startWith(command string) {
	c.Entrypoint, c.Interface = StartScript, message.InterfaceBinary
	c.script = scriptStart + command + "\n"
}

// Files returns what of a folder, or of a file, is packed as code that needs no Node.js: paths with slashes, relative to root.
func Files(path string) (root string, files []string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", nil, err
	}
	if !info.IsDir() {
		return filepath.Dir(path), []string{filepath.Base(path)}, nil
	}
	files, err = list(path, leftOut)
	return path, files, err
}

func list(root string, leftOut []string) ([]string, error) {
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
		return nil, fmt.Errorf("%s holds no files", root)
	}
	slices.Sort(files)
	return files, nil
}

// Pack writes the archive, a zip. The same files make the same bytes, so that what is on the network already has the same hash:
// names are sorted, times fixed, modes reduced to whether a file can be run.
func (c *Code) Pack(w io.Writer) error {
	archive := zip.NewWriter(w)
	for _, name := range c.files {
		if err := c.packFile(archive, name); err != nil {
			return fmt.Errorf("pack %s: %w", name, err)
		}
	}
	if c.script != "" {
		entry, err := createEntry(archive, c.Entrypoint, 0o755)
		if err == nil {
			_, err = io.WriteString(entry, c.script)
		}
		if err != nil {
			return fmt.Errorf("pack %s: %w", c.Entrypoint, err)
		}
	}
	return archive.Close()
}

func (c *Code) packFile(archive *zip.Writer, name string) error {
	file, err := os.Open(filepath.Join(c.root, filepath.FromSlash(name)))
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if info.Mode()&0o111 != 0 || c.Interface == message.InterfaceBinary && name == c.Entrypoint {
		mode = 0o755
	}
	entry, err := createEntry(archive, name, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(entry, file)
	return err
}

func createEntry(archive *zip.Writer, name string, mode fs.FileMode) (io.Writer, error) {
	h := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
	h.SetMode(mode)
	return archive.CreateHeader(h)
}
