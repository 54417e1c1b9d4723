package main

import (
	"archive/zip"
	"encoding/json"
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
	runtime    string // name of the runtime that it needs; empty for the network's default
	script     string // content of the entrypoint, where that is not among the files
}

// Folders that are never part of a program.
var leftOut = []string{".git", ".hg", ".venv", "venv", "node_modules", "__pycache__", ".pytest_cache", ".mypy_cache"}

// Folders that are never part of a Node program, which brings its modules along. The tools in .bin are links.
var leftOutOfNode = []string{".git", ".hg", ".bin"}

var asgiApp = regexp.MustCompile(`(?m)^app\s*(:[^=\n]+)?=`)

// readCode finds what to pack at path and how it starts: main.py with an app, a Node program, WebAssembly, or a binary for Linux.
// What the user says in entrypoint and kind goes before what is found.
func readCode(path, entrypoint, kind string) (*code, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, usageError{err}
	}
	c := &code{root: path, entrypoint: entrypoint, kind: message.Interface(kind)}
	if !info.IsDir() {
		c.root, c.files = filepath.Dir(path), []string{filepath.Base(path)}
	} else if c.files, err = listFiles(path, leftOut); err != nil {
		return nil, err
	}
	if c.entrypoint == "" {
		if err := c.detect(path); err != nil {
			return nil, err
		}
	}
	if c.kind == "" {
		c.kind = message.InterfaceBinary
		switch {
		case strings.Contains(c.entrypoint, ":"):
			c.kind = message.InterfaceASGI
		case c.isWasm(c.entrypoint):
			c.kind = message.InterfaceWasm
		}
	}
	switch c.kind {
	case message.InterfaceASGI:
		if module, app, ok := strings.Cut(c.entrypoint, ":"); !ok || module == "" || app == "" {
			return nil, usageError{fmt.Errorf("--entrypoint %s: an ASGI program is named module:variable, such as main:app", c.entrypoint)}
		}
	case message.InterfaceBinary, message.InterfaceWasm:
		if c.script == "" && !slices.Contains(c.files, c.entrypoint) {
			return nil, usageError{fmt.Errorf("--entrypoint %s: there is no such file in %s", c.entrypoint, path)}
		}
	default:
		return nil, usageError{fmt.Errorf("--interface %s: want asgi, binary or wasm", c.kind)}
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
	if slices.Contains(c.files, "package.json") || slices.Contains(c.files, "server.js") {
		return c.detectNode(path)
	}
	var binaries []string
	for _, name := range c.files {
		if !strings.Contains(name, "/") && (c.isELF(name) || c.isWasm(name)) {
			binaries = append(binaries, name)
		}
	}
	if len(binaries) == 1 {
		c.entrypoint = binaries[0]
		return nil
	}
	if len(binaries) == 0 && slices.Contains(c.files, "index.html") {
		return usageError{fmt.Errorf("%s is a website, which needs no program: aleph website deploy %[1]s", path)}
	}
	return usageError{fmt.Errorf("%s: how it starts is not clear: there is no main.py with a variable app, no package.json or server.js, and %d binaries of Linux or WebAssembly; say it with --entrypoint", path, len(binaries))}
}

// startScript is the file of a Node program that starts it.
const startScript = "aleph-start"

// detectNode finds how a Node program starts: as its script "start" says where that calls node, else with the file that
// package.json names, server.js or index.js. To the node it is a program of the binary interface on a runtime that has Node.
func (c *code) detectNode(path string) (err error) {
	var manifest struct {
		Main    string
		Scripts struct{ Start string }
	}
	if slices.Contains(c.files, "package.json") {
		raw, err := os.ReadFile(filepath.Join(c.root, "package.json"))
		if err != nil {
			return err
		}
		if err := json.Unmarshal(raw, &manifest); err != nil {
			return usageError{fmt.Errorf("%s: package.json: %w", path, err)}
		}
	}
	start := manifest.Scripts.Start
	if !strings.HasPrefix(start, "node ") { // what else it may call is not in the runtime
		scripts := []string{strings.TrimPrefix(manifest.Main, "./"), "server.js", "index.js"}
		found := slices.IndexFunc(scripts, func(name string) bool { return slices.Contains(c.files, name) })
		if found < 0 {
			return usageError{fmt.Errorf("%s: what starts the Node program is not clear: package.json has no script start that begins with node and names no main that is there, and there is no server.js or index.js; say it with --entrypoint", path)}
		}
		start = "node " + quote(scripts[found])
	}
	if c.files, err = listFiles(c.root, leftOutOfNode); err != nil {
		return err
	}
	c.entrypoint, c.runtime = startScript, nodeRuntime
	c.script = "#!/bin/sh\nexec " + start + "\n"
	return nil
}

// nodeRuntime is the name under which a network's authority publishes a runtime with Node.
const nodeRuntime = "node"

// quote makes a word of the shell of any text.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func (c *code) isELF(name string) bool  { return c.begins(name, "\x7fELF") }
func (c *code) isWasm(name string) bool { return c.begins(name, "\x00asm") }

// begins reports whether a file begins with the four bytes.
func (c *code) begins(name, magic string) bool {
	file, err := os.Open(filepath.Join(c.root, filepath.FromSlash(name)))
	if err != nil {
		return false
	}
	defer file.Close()
	head := make([]byte, 4)
	_, err = io.ReadFull(file, head)
	return err == nil && string(head) == magic
}

func listFiles(root string, leftOut []string) ([]string, error) {
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
	if c.script != "" {
		entry, err := createEntry(archive, c.entrypoint, 0o755)
		if err == nil {
			_, err = io.WriteString(entry, c.script)
		}
		if err != nil {
			return fmt.Errorf("pack %s: %w", c.entrypoint, err)
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
	mode := fs.FileMode(0o644)
	if info.Mode()&0o111 != 0 || c.kind == message.InterfaceBinary && name == c.entrypoint {
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
