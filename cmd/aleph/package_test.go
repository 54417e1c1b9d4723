package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestPackagesHoldTheProgram packs a program that calls this test program, which stands in for the tool under its name, with others in
// the place of those for other systems.
func TestPackagesHoldTheProgram(t *testing.T) {
	root := filepath.Join("..", "..")
	binaries, out := t.TempDir(), t.TempDir()
	for _, name := range []string{"linux-amd64/aleph", "linux-arm64/aleph", "darwin-amd64/aleph", "darwin-arm64/aleph", "windows-amd64/aleph.exe"} {
		path := filepath.Join(binaries, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/sh\necho "+name+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run := func(program string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program, args...)
		output, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v: %s", program, strings.Join(args, " "), err, output)
		}
		return string(output)
	}
	here := filepath.Join(binaries, "linux-"+runtime.GOARCH, "aleph")
	self, err := os.Executable()
	if err == nil {
		err = os.WriteFile(here, fmt.Appendf(nil, "#!/usr/bin/env bash\n[ \"$1\" != version ] || { echo 1.2.3; exit; }\nexec -a aleph %q \"$@\"\n", self), 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	run(filepath.Join(root, "scripts", "package.sh"), "1.2.3", "https://example.org/v1.2.3/", binaries, out)

	old := exec.CommandContext(t.Context(), filepath.Join(root, "scripts", "package.sh"), "1.2.4", "https://example.org/v1.2.4/", binaries, t.TempDir())
	if said, err := old.CombinedOutput(); err == nil || !strings.Contains(string(said), "is not version 1.2.4") {
		t.Errorf("a program of another version was packed: %v: %s", err, said)
	}

	tree := filepath.Join(t.TempDir(), "installed")
	run("dpkg", "-x", filepath.Join(out, "aleph-cli_1.2.3_"+runtime.GOARCH+".deb"), tree)
	if got, want := run(filepath.Join(tree, "usr", "bin", "aleph"), "version"), run(here, "version"); got != want {
		t.Errorf("the program of the package says %q, want %q", got, want)
	}
	for _, path := range []string{"man/man1/aleph.1.gz", "man/man1/aleph-file-upload.1.gz", "bash-completion/completions/aleph", "doc/aleph-cli/copyright"} {
		if info, err := os.Stat(filepath.Join(tree, "usr", "share", path)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", path, err)
		}
	}
	if fields := run("dpkg-deb", "-f", filepath.Join(out, "aleph-cli_1.2.3_arm64.deb"), "Version", "Architecture"); fields != "Version: 1.2.3\nArchitecture: arm64\n" {
		t.Errorf("the package for arm64 says %q", fields)
	}

	sum := func(name string) string {
		raw, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		of := sha256.Sum256(raw)
		return hex.EncodeToString(of[:])
	}
	formula, err := os.ReadFile(filepath.Join(out, "aleph.rb"))
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"linux-amd64", "linux-arm64", "darwin-amd64", "darwin-arm64"} {
		name := "aleph-1.2.3-" + target + ".tar.gz"
		if want := "url \"https://example.org/v1.2.3/" + name + "\"\n      sha256 \"" + sum(name) + "\"\n"; !bytes.Contains(formula, []byte(want)) {
			t.Errorf("the formula lacks %s", want)
		}
		if listed := run("tar", "tzf", filepath.Join(out, name)); !strings.Contains(listed, "./aleph\n") || !strings.Contains(listed, "./man1/aleph.1.gz\n") {
			t.Errorf("%s has %s", name, listed)
		}
	}
	var manifest struct {
		Architecture map[string]struct{ URL, Hash string }
	}
	raw, err := os.ReadFile(filepath.Join(out, "aleph.json"))
	if err == nil {
		err = json.Unmarshal(raw, &manifest)
	}
	if m := manifest.Architecture["64bit"]; err != nil || m.URL != "https://example.org/v1.2.3/aleph-1.2.3-windows-amd64.exe#/aleph.exe" || m.Hash != sum("aleph-1.2.3-windows-amd64.exe") {
		t.Errorf("the manifest says %+v, %v", m, err)
	}
}
