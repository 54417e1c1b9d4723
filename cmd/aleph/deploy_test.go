package main

import (
	"encoding/json"
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

const emptyModule = "\x00asm\x01\x00\x00\x00"

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

func TestDeploySaysWhatItCannotStart(t *testing.T) {
	u := newUser(t, newFakeNode(t).URL)
	for says, files := range map[string]map[string]string{
		"say it with --entrypoint": {"README": "x"},
		"aleph website deploy":     {"index.html": "x"},
	} {
		if code, _, errOut := u.run("program", "deploy", folder(t, files)); code != exitUsage || !strings.Contains(errOut, says) {
			t.Errorf("exit code %d: %s", code, errOut)
		}
	}
}

func TestNewCodeOfAProgramWithAScript(t *testing.T) {
	_, u, _ := funded(t)
	var d deployed
	u.result(&d, "program", "deploy", folder(t, map[string]string{"main.py": "application = 1\n"}))
	if code, out, errOut := u.run("program", "show", string(d.ItemHash)); code != 0 || !strings.Contains(out, "aleph-start") {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
	if code, _, errOut := u.run("program", "update", string(d.ItemHash), folder(t, map[string]string{"main.py": "application = 2\n"})); code != 0 {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	if code, _, errOut := u.run("program", "update", string(d.ItemHash), folder(t, map[string]string{"main.py": "app = 2\n"})); code != exitUsage || !strings.Contains(errOut, "starts with") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}

func TestNewCodeServesTheApplicationThatWasSaid(t *testing.T) {
	_, u, _ := funded(t)
	var d deployed
	u.result(&d, "program", "deploy", folder(t, map[string]string{"web.py": "site = 1\n"}), "--entrypoint", "web:site", "--interface", "wsgi")
	var updated struct{ Code message.Hash }
	for _, source := range []string{"site = 2\n", "site = 3\n"} {
		u.result(&updated, "program", "update", string(d.ItemHash), folder(t, map[string]string{"web.py": source}))
	}
	if updated.Code == d.Code {
		t.Error("the code is the old one")
	}
	if code, _, errOut := u.run("program", "update", string(d.ItemHash), folder(t, map[string]string{"other.py": "x = 1\n"})); code != exitUsage || !strings.Contains(errOut, "how it starts is not clear") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}
