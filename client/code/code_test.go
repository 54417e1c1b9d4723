package code

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/message"
)

// folder makes a program of the given files.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "program")
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// packed returns the files of the archive.
func packed(t *testing.T, c *Code) map[string]*zip.File {
	t.Helper()
	var b bytes.Buffer
	if err := c.Pack(&b); err != nil {
		t.Fatal(err)
	}
	z, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]*zip.File{}
	for _, f := range z.File {
		files[f.Name] = f
	}
	return files
}

const emptyModule = "\x00asm\x01\x00\x00\x00"

func TestWhatIsPackedIsFound(t *testing.T) {
	for name, test := range map[string]struct {
		files      map[string]string
		entrypoint string // as the user says it
		kind       message.Interface
		starts     string
	}{
		"module":            {map[string]string{"a.wasm": emptyModule, "data/note": "x"}, "", message.InterfaceWasm, "a.wasm"},
		"module by name":    {map[string]string{"a.wasm": emptyModule, "b.wasm": emptyModule}, "b.wasm", message.InterfaceWasm, "b.wasm"},
		"C or Rust or Go":   {map[string]string{"server": "\x7fELF"}, "", message.InterfaceBinary, "server"},
		"one of two":        {map[string]string{"main.py": "app = 1\n", "wsgi.py": "app = 1\n"}, "", message.InterfaceASGI, "main:app"},
		"WSGI":              {map[string]string{"main.py": "def application(environ, start_response):\n"}, "", message.InterfaceBinary, StartScript},
		"Python first":      {map[string]string{"main.py": "app = 1\n", "package.json": "{}", "a.wasm": emptyModule}, "", message.InterfaceASGI, "main:app"},
		"Node by manifest":  {map[string]string{"package.json": `{"main":"./src/it's.js"}`, "src/it's.js": "x", "server.js": "y"}, "", message.InterfaceBinary, StartScript},
		"Node by its name":  {map[string]string{"server.js": "x"}, "", message.InterfaceBinary, StartScript},
		"Node by its index": {map[string]string{"package.json": "{}", "index.js": "x"}, "", message.InterfaceBinary, StartScript},
	} {
		c, err := Read(folder(t, test.files), test.entrypoint, "")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c.Interface != test.kind || c.Entrypoint != test.starts {
			t.Errorf("%s: %s by %s", name, c.Interface, c.Entrypoint)
		}
	}
	for name, files := range map[string]map[string]string{
		"Python without app":   {"main.py": "x = 1\n"},
		"two modules":          {"a.wasm": emptyModule, "b.wasm": emptyModule},
		"module and binary":    {"a.wasm": emptyModule, "b": "\x7fELF"},
		"Node without script":  {"package.json": `{"main":"absent.js"}`},
		"manifest that is not": {"package.json": "{", "server.js": "x"},
		"nothing that starts":  {"README": "x"},
	} {
		if c, err := Read(folder(t, files), "", ""); err == nil {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

func TestANodeProgramStartsAsItsManifestSays(t *testing.T) {
	for manifest, want := range map[string]string{
		`{"main":"a.js","scripts":{"start":"node --enable-source-maps dist/b.js"}}`: "node --enable-source-maps dist/b.js",
		`{"main":"a.js","scripts":{"start":"next start"}}`:                          "node 'a.js'",
		`{"scripts":{"start":"nodemon"}}`:                                           "node 'server.js'",
	} {
		c, err := Read(folder(t, map[string]string{"package.json": manifest, "a.js": "x", "server.js": "y"}), "", "")
		if err != nil || c.script != "#!/bin/sh\nexec "+want+"\n" {
			t.Errorf("%s: %+v, %v", manifest, c, err)
		}
	}
}

func TestANodeProgramBringsItsModulesAndAScript(t *testing.T) {
	dir := folder(t, map[string]string{
		"package.json": `{"main":"it's.js"}`, "it's.js": "x", "node_modules/a/index.js": "y", "node_modules/.bin/tool": "z", ".git/config": "w",
	})
	if err := os.Symlink("../a/index.js", filepath.Join(dir, "node_modules", ".bin", "a")); err != nil {
		t.Fatal(err)
	}
	c, err := Read(dir, "", "")
	if err != nil {
		t.Fatal(err)
	}
	files := packed(t, c)
	if len(files) != 4 || files["node_modules/a/index.js"] == nil {
		t.Errorf("packed %v", files)
	}
	script := files[StartScript]
	if script == nil || script.Mode() != 0o755 {
		t.Fatalf("script %+v", script)
	}
	r, err := script.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if content, err := io.ReadAll(r); err != nil || string(content) != "#!/bin/sh\nexec node 'it'\\''s.js'\n" {
		t.Errorf("script %q, %v", content, err)
	}
}

func TestAProgramOfWSGIIsServed(t *testing.T) {
	for _, test := range []struct {
		file, source string
		entrypoint   string // as the user says it
		kind         message.Interface
		serves       string
	}{
		{"main.py", "from flask import Flask\napp = Flask(__name__)\n", "", "", "main:app"},
		{"main.py", "import bottle\napp: Bottle = bottle.default_app()\n", "", "", "main:app"},
		{"main.py", "application = get_wsgi_application()\n", "", "", "main:application"},
		{"main.py", "app = TestClient(x)\n", "", WSGI, "main:app"},
		{"wsgi.py", "from blog import make\napp = make()\n", "", "", "wsgi:app"},
		{"wsgi.py", "application = make()\n", "", "", "wsgi:application"},
		{"site/it.py", "", "site.it:make()", WSGI, "site.it:make()"},
	} {
		c, err := Read(folder(t, map[string]string{test.file: test.source}), test.entrypoint, test.kind)
		want := "#!/bin/sh\nexec python3 -m uvicorn --interface wsgi '" + test.serves + "' --host 127.0.0.1 --port \"$PORT\" --no-access-log\n"
		if err != nil || c.script != want || c.Runtime != "" {
			t.Errorf("%s %q: %+v, %v", test.file, test.source, c, err)
		}
	}
}

func TestNewCodeOfAProgramWithAScriptIsFoundAnew(t *testing.T) {
	dir := folder(t, map[string]string{"server.js": "x"})
	if c, err := Read(dir, StartScript, message.InterfaceBinary); err != nil || c.script == "" || c.Runtime != NodeRuntime {
		t.Errorf("%+v, %v", c, err)
	}
	own := folder(t, map[string]string{"server.js": "x", StartScript: "#!/bin/sh"})
	if c, err := Read(own, StartScript, message.InterfaceBinary); err != nil || c.script != "" {
		t.Errorf("the script of the user's own is not taken: %+v, %v", c, err)
	}
}

func TestNewCodeServesWhatWasServed(t *testing.T) {
	const other = "app = Flask(__name__)\n"
	for _, test := range []struct {
		says   string
		old    map[string]string
		served string // as it was said; "" for what was found
		new    map[string]string
		serves string // "" for what is no program of WSGI
	}{
		{"said", map[string]string{"blog/web.py": "site = 1\n"}, "blog.web:site", map[string]string{"blog/web.py": "site = 2\n"}, "blog.web:site"},
		{"said beside another", map[string]string{"main.py": other}, "main:admin", map[string]string{"main.py": other + "admin = app\n"}, "main:admin"},
		{"of a package", map[string]string{"blog.py": ""}, "blog:it's()", map[string]string{"blog/__init__.py": "def it"}, "blog:it's()"},
		{"gone", map[string]string{"web.py": ""}, "web:site", map[string]string{"web.py": "sites = 1\n", "main.py": other}, "main:app"},
		{"found", map[string]string{"wsgi.py": "application = 1\n"}, "", map[string]string{"main.py": other}, "main:app"},
		{"of Node now", map[string]string{"main.py": other}, "", map[string]string{"server.js": ""}, ""},
	} {
		kind := WSGI
		if test.served == "" {
			kind = ""
		}
		c, err := Read(folder(t, test.old), test.served, kind)
		if err != nil {
			t.Fatal(err)
		}
		var archive bytes.Buffer
		if err := c.Pack(&archive); err != nil {
			t.Fatal(err)
		}
		c, err = Again(folder(t, test.new), bytes.NewReader(archive.Bytes()), int64(archive.Len()))
		if err != nil {
			t.Errorf("%s: %v", test.says, err)
			continue
		}
		want := scriptStart + serveWSGI + quote(test.serves) + serveThere + "\n"
		if serves := strings.Contains(c.script, serveWSGI); serves != (test.serves != "") || serves && c.script != want {
			t.Errorf("%s: starts by %q", test.says, c.script)
		}
	}
	if c, err := Again(folder(t, map[string]string{"main.py": "app = 1"}), strings.NewReader("no archive"), 10); err == nil {
		t.Errorf("%+v", c)
	}
}

func TestWhatIsNotPackedIsSaid(t *testing.T) {
	unclear, site := folder(t, map[string]string{"README": "x"}), folder(t, map[string]string{"index.html": "x"})
	for path, want := range map[string]error{unclear: ErrUnclear, site: ErrWebsite, filepath.Join(site, "absent"): os.ErrNotExist} {
		if c, err := Read(path, "", ""); !errors.Is(err, want) {
			t.Errorf("%+v, %v instead of %v", c, err, want)
		}
	}
}

func TestPackingIsRepeatable(t *testing.T) {
	var archives [2]bytes.Buffer
	for i := range archives {
		c, err := Read(folder(t, map[string]string{"main.py": "app = 1\n", "pkg/a.py": "", "pkg/__pycache__/a.pyc": "x", ".venv/v": "x"}), "", "")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Pack(&archives[i]); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(archives[0].Bytes(), archives[1].Bytes()) {
		t.Error("the same files make different archives")
	}
}

func TestBinaryIsFoundAndStaysExecutable(t *testing.T) {
	path := filepath.Join(folder(t, map[string]string{"server": "\x7fELF…"}), "server")
	for _, from := range []string{path, filepath.Dir(path)} {
		c, err := Read(from, "", "")
		if err != nil {
			t.Fatal(err)
		}
		if mode := packed(t, c)["server"].Mode(); c.Interface != message.InterfaceBinary || c.Entrypoint != "server" || mode != 0o755 {
			t.Errorf("%s: %+v, mode %v", from, c, mode)
		}
	}
}
