package code

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/aleph-im/aleph-go/message"
)

// How a Python file says that it has an application. PEP 3333 calls one of WSGI application; Flask and Bottle make no others.
var (
	someApp  = regexp.MustCompile(`(?m)^app\s*(:[^=\n]+)?=`)
	wsgiMade = regexp.MustCompile(`(?m)^app\s*(:[^=\n]+)?=\s*(flask\.Flask|Flask|bottle\.Bottle|Bottle|bottle\.default_app|default_app)\(`)
	wsgiName = regexp.MustCompile(`(?m)^(application\s*(:[^=\n]+)?=|def\s+application\s*\()`)
)

// What files of programs begin with.
const (
	elfMagic  = "\x7fELF"
	wasmMagic = "\x00asm"
)

// detect finds how the program at path starts: the application in main.py or wsgi.py, a Node program, or the only binary.
func (c *Code) detect(path string) error {
	if found, err := c.detectPython(); err != nil || found {
		return err
	}
	if c.has("package.json") || c.has("server.js") {
		return c.detectNode(path)
	}
	var binaries []string
	for _, name := range c.files {
		if !strings.Contains(name, "/") && (c.begins(name, elfMagic) || c.begins(name, wasmMagic)) {
			binaries = append(binaries, name)
		}
	}
	if len(binaries) == 1 {
		c.Entrypoint = binaries[0]
		return nil
	}
	if len(binaries) == 0 && c.has("index.html") {
		return fmt.Errorf("%s: %w", path, ErrWebsite)
	}
	return fmt.Errorf("%s: %w: there is no main.py with a variable app, no main.py or wsgi.py with an application, no package.json or server.js, and %d binaries of Linux or WebAssembly", path, ErrUnclear, len(binaries))
}

// detectPython finds an application of ASGI, which is named app, or of WSGI.
func (c *Code) detectPython() (found bool, err error) {
	for _, module := range []string{"main", "wsgi"} {
		if !c.has(module + ".py") {
			continue
		}
		source, err := os.ReadFile(filepath.Join(c.root, module+".py"))
		if err != nil {
			return false, err
		}
		app, kind := "app", WSGI
		switch {
		case wsgiMade.Match(source), module == "wsgi" && someApp.Match(source):
		case someApp.Match(source):
			kind = message.InterfaceASGI
		case wsgiName.Match(source):
			app = "application"
		default:
			continue
		}
		c.Entrypoint = module + ":" + app
		if c.Interface == "" {
			c.Interface = kind
		}
		return true, nil
	}
	return false, nil
}

// detectNode finds how a Node program starts: as its script "start" says where that calls node, else with the file that
// package.json names, server.js or index.js. To the network it is a program of the binary interface on a runtime that has Node.
func (c *Code) detectNode(path string) (err error) {
	var manifest struct {
		Main    string
		Scripts struct{ Start string }
	}
	if c.has("package.json") {
		raw, err := os.ReadFile(filepath.Join(c.root, "package.json"))
		if err != nil {
			return err
		}
		if err := json.Unmarshal(raw, &manifest); err != nil {
			return fmt.Errorf("%s: package.json: %w", path, err)
		}
	}
	start := manifest.Scripts.Start
	if !strings.HasPrefix(start, "node ") { // what else it may call is not in the runtime
		scripts := []string{strings.TrimPrefix(manifest.Main, "./"), "server.js", "index.js"}
		found := slices.IndexFunc(scripts, c.has)
		if found < 0 {
			return fmt.Errorf("%s: %w: package.json has no script start that begins with node and names no main that is there, and there is no server.js or index.js", path, ErrUnclear)
		}
		start = "node " + quote(scripts[found])
	}
	if c.files, err = list(c.root, leftOutOfNode); err != nil {
		return err
	}
	c.Runtime = NodeRuntime
	c.startWith(start)
	return nil
}

// quote makes a word of the shell of any text.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// unquote is the text that [quote] made a word of.
func unquote(word string) string {
	return strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(word, "'"), "'"), `'\''`, "'")
}

// begins reports whether a file begins with the four bytes.
func (c *Code) begins(name, magic string) bool {
	file, err := os.Open(filepath.Join(c.root, filepath.FromSlash(name)))
	if err != nil {
		return false
	}
	defer file.Close()
	head := make([]byte, 4)
	_, err = io.ReadFull(file, head)
	return err == nil && string(head) == magic
}
