package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
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
func packed(t *testing.T, c *code) map[string]*zip.File {
	t.Helper()
	var b bytes.Buffer
	if err := c.pack(&b); err != nil {
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
		"Python first":      {map[string]string{"main.py": "app = 1\n", "package.json": "{}", "a.wasm": emptyModule}, "", message.InterfaceASGI, "main:app"},
		"Node by manifest":  {map[string]string{"package.json": `{"main":"./src/it's.js"}`, "src/it's.js": "x", "server.js": "y"}, "", message.InterfaceBinary, startScript},
		"Node by its name":  {map[string]string{"server.js": "x"}, "", message.InterfaceBinary, startScript},
		"Node by its index": {map[string]string{"package.json": "{}", "index.js": "x"}, "", message.InterfaceBinary, startScript},
	} {
		c, err := readCode(folder(t, test.files), test.entrypoint, "")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c.kind != test.kind || c.entrypoint != test.starts {
			t.Errorf("%s: %s by %s", name, c.kind, c.entrypoint)
		}
	}
	for name, files := range map[string]map[string]string{
		"two modules":          {"a.wasm": emptyModule, "b.wasm": emptyModule},
		"module and binary":    {"a.wasm": emptyModule, "b": "\x7fELF"},
		"Node without script":  {"package.json": `{"main":"absent.js"}`},
		"manifest that is not": {"package.json": "{", "server.js": "x"},
		"nothing that starts":  {"README": "x"},
	} {
		if c, err := readCode(folder(t, files), "", ""); err == nil {
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
		c, err := readCode(folder(t, map[string]string{"package.json": manifest, "a.js": "x", "server.js": "y"}), "", "")
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
	c, err := readCode(dir, "", "")
	if err != nil {
		t.Fatal(err)
	}
	files := packed(t, c)
	if len(files) != 4 || files["node_modules/a/index.js"] == nil {
		t.Errorf("packed %v", files)
	}
	script := files[startScript]
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

func TestDeployOfAModuleNeedsNoRuntime(t *testing.T) {
	node := newFakeNode(t)
	path := filepath.Join(folder(t, map[string]string{"hello.wasm": emptyModule}), "hello.wasm")
	code, out, errOut := newUser(t, node.URL).run("-o", "json", "program", "deploy", path)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	var d deployed
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		t.Fatal(err)
	}
	content, err := message.ParseContent(message.TypeProgram, []byte(node.messages[d.ItemHash].ItemContent))
	if err != nil {
		t.Fatal(err)
	}
	p := content.(*message.Program)
	if p.Code.EffectiveInterface() != message.InterfaceWasm || p.Code.Entrypoint != "hello.wasm" || p.Runtime.Ref != p.Code.Ref || !p.Extended() {
		t.Errorf("published %+v", p)
	}
}

func TestDeployOfANodeProgramNeedsARuntimeWithNode(t *testing.T) {
	node := newFakeNode(t)
	dir := folder(t, map[string]string{"server.js": "x"})
	if code, _, errOut := newUser(t, node.URL).run("program", "deploy", dir); code == 0 || !strings.Contains(errOut, `no runtime "node"`) {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	if code, _, errOut := newUser(t, node.URL).run("program", "deploy", dir, "--runtime", "python3-fastapi"); code != 0 {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}
