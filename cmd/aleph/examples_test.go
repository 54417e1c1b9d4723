package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client/sev"
	"github.com/aleph-im/aleph-go/client/sev/sevtest"
	"github.com/aleph-im/aleph-go/message"
)

// TestMain lets the test program stand in for the tool when it is called by its name: so the shell runs the examples.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "aleph" {
		main()
	}
	os.Exit(m.Run())
}

// notRun are the examples that need what a test cannot have.
var notRun = map[string]string{
	" --ledger":         "a device; the tests of wallet emulate one",
	" --payment stream": "a chain and a compute node that reads it; TestInstanceIsPaidByStreams has both",
}

// standIns are what examples are given beside what they say, in the place of what a test cannot have: public DNS, a secure processor of
// AMD with the usual firmware, a terminal that is asked for a passphrase.
func standIns(t *testing.T, owner string, processor *sevtest.Platform) map[string]string {
	t.Helper()
	records := map[string]string{}
	for _, r := range recordsOf("www.example.org", "program", owner) {
		records["Type"+r.Type+" "+r.Name] = r.Value
	}
	roots := filepath.Join(t.TempDir(), "roots.cert")
	if err := os.WriteFile(roots, processor.Authority(), 0o600); err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"aleph domain check":                " --resolver " + dnsServer(t, records),
		"aleph instance confidential init":  " --amd-roots " + roots,
		"aleph instance confidential start": " --amd-roots " + roots + " --firmware OVMF.fd --secret-file passphrase.txt",
	}
}

// sshOfTests is a program that stands in the place of ssh, for a machine that takes logins.
const sshOfTests = "#!/bin/sh\ncase \"$*\" in '-o HostKeyAlias='*' -p 24007 root@198.51.100.7' | *' debian@198.51.100.7 uname -a') ;; *) exit 255 ;; esac\n"

// endless are the examples that go on until the user ends them: they are given a time.
var endless = regexp.MustCompile(`message watch|logs .* -f|list .*--follow`)

// examplesOf are the command lines in the help of all commands.
func examplesOf(t *testing.T) (lines []string) {
	t.Helper()
	seen := map[string]bool{}
	err := eachCommand(commandTree(), func(c *cobra.Command) error {
		for _, line := range strings.Split(unindent(c.Example), "\n") {
			if !seen[line] {
				seen[line] = true
				lines = append(lines, line)
			}
		}
		return nil
	})
	if err != nil || len(lines) < 50 {
		t.Fatalf("%d examples, %v", len(lines), err)
	}
	return lines
}

func TestEveryExampleRuns(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := errors.Join(os.Symlink(self, filepath.Join(bin, "aleph")), os.WriteFile(filepath.Join(bin, "ssh"), []byte(sshOfTests), 0o700)); err != nil {
		t.Fatal(err)
	}
	u := newUser(t, "")
	node := newRealNode(t, u.address())
	u.api, u.network = node.URL, node.network
	node.compute.disks = archiveOf(t, "rootfs.qcow2", "QFI\xfbdisk")
	processor := sevtest.New(t)
	given := standIns(t, u.address(), processor)
	delegate := newUser(t, node.URL)
	delegate.env["ALEPH_PRIVATE_KEY"] = strings.Repeat("6b", 32)
	for _, line := range examplesOf(t) {
		if why := reasonNotToRun(line); why != "" {
			t.Logf("not run: %s: %s", line, why)
			continue
		}
		t.Run(line, func(t *testing.T) {
			u.t = t
			folder := exampleFolder(t, u)
			if strings.HasPrefix(line, "aleph instance confidential") {
				node.compute.secure = &securePlatform{Platform: processor, firmware: "OVMF", policy: uint32(sev.NoDebug)}
				defer func() { node.compute.secure = nil }()
			}
			line := u.prepare(node, line, delegate.address())
			for start, more := range given {
				if strings.Contains(line, start) {
					line += more
				}
			}
			if endless.MatchString(line) {
				line += " --timeout 2s"
			} else if strings.Contains(line, "--watch") { // a deployment comes first
				line += " --timeout 6s"
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			run := exec.CommandContext(ctx, "bash", "-c", "set -o pipefail; "+line)
			run.Dir = folder
			run.Env = []string{
				"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + folder, "ALEPH_CONFIG_HOME=" + filepath.Join(folder, "config"),
				"ALEPH_CACHE_HOME=" + filepath.Join(folder, "cache"), "ALEPH_API_HOST=" + node.URL, "ALEPH_NETWORK=" + node.network,
				"ALEPH_PRIVATE_KEY=" + u.env["ALEPH_PRIVATE_KEY"], "ALEPH_PASSWORD=secret",
			}
			if out, err := run.CombinedOutput(); err != nil {
				var exit *exec.ExitError
				if errors.As(err, &exit) {
					t.Errorf("exit code %d: %s\n%s", exit.ExitCode(), line, out)
				} else {
					t.Error(err)
				}
			}
		})
	}
}

func reasonNotToRun(line string) string {
	for part, why := range notRun {
		if strings.Contains(line, part) {
			return why
		}
	}
	return ""
}

// exampleFolder makes the files that the examples name.
func exampleFolder(t *testing.T, u *user) string {
	t.Helper()
	folder := t.TempDir()
	app, _ := filepath.Rel("/", fastAPI(t))
	if err := os.CopyFS(filepath.Join(folder, "my-app"), os.DirFS("/"+app)); err != nil {
		t.Fatal(err)
	}
	_, unsigned, _ := u.run("message", "build", "POST", `{"type":"note","content":{}}`)
	u.in = unsigned
	_, signed, _ := u.run("message", "sign", "-")
	u.in = ""
	for name, content := range map[string]string{
		"notes.txt": "notes of " + t.Name(), "photo.jpg": "a photo", "photos/a.jpg": "a", "photos/b.jpg": "b", "comment.json": `{"text":"nice"}`,
		"unsigned.json": unsigned, "signed.json": signed, "debian-12.qcow2": "QFI\xfb and so on", "id_ed25519.pub": "ssh-ed25519 AAAA me@here\n",
		"server": "\x7fELF...", "OVMF.fd": "OVMF", "passphrase.txt": "correct horse\n", "wallet.key": strings.Repeat("1c", 32), "phrase.txt": strings.Repeat("test ", 11) + "junk", "site/index.html": "<h1>Hello</h1>",
	} {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// prepare makes what an example is about and puts its name in the place of the one in the help.
func (u *user) prepare(node *realNode, line, delegate string) string {
	u.t.Helper()
	folder := u.t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			u.t.Fatal(err)
		}
		return path
	}
	var item struct {
		ItemHash message.Hash `json:"item_hash"`
		FileHash message.Hash `json:"file_hash"`
	}
	store := func(name string) {
		var files []struct {
			ItemHash message.Hash `json:"item_hash"`
			FileHash message.Hash `json:"file_hash"`
		}
		u.result(&files, "file", "upload", file(name, name+" of "+line), "--ref", "notes")
		item = files[0]
	}
	replace := func(example string, make func() string) {
		if strings.Contains(line, example) {
			line = strings.ReplaceAll(line, example, make())
		}
	}
	if strings.HasPrefix(line, "aleph aggregate") {
		u.result(nil, "aggregate", "set", "profile", `{"name":"bob","age":3}`)
	}
	if strings.Contains(line, "authorization revoke") || strings.Contains(line, "authorization check") {
		u.result(nil, "authorization", "add", delegate, "--type", "POST", "--post-type", "note", "--in-channel", "of "+u.t.Name())
		u.result(nil, "authorization", "add", delegate, "--type", "POST", "--channel", "of "+u.t.Name())
	}
	if strings.Contains(line, " notes") && strings.HasPrefix(line, "aleph file") {
		store("notes.txt")
	}
	replace(exampleAddress, u.address)
	replace(exampleDelegate, func() string { return delegate })
	replace(examplePost, func() string {
		u.result(&item, "post", "create", "note", `{"text":"hello"}`)
		return string(item.ItemHash)
	})
	replace(exampleCID, func() string {
		var files []struct {
			FileHash message.Hash `json:"file_hash"`
		}
		u.result(&files, "file", "upload", "--ipfs", file("notes.txt", line))
		return string(files[0].FileHash)
	})
	replace(exampleFile, func() string { store("notes.txt"); return string(item.FileHash) })
	replace(exampleStore, func() string { store("site.car"); return string(item.ItemHash) })
	replace(exampleImage, func() string { store("image"); return string(item.ItemHash) })
	if strings.HasPrefix(line, "aleph node amend") || strings.HasPrefix(line, "aleph node drain") { // the others need no message
		replace(exampleCompute, func() string {
			u.result(&item, "node", "create-compute", "mine", "--url", "https://crn.example.org")
			node.core.SetAggregate("corechannel", map[string]any{"resource_nodes": []any{
				map[string]any{"hash": item.ItemHash, "name": "mine", "owner": u.address(), "address": node.compute.URL},
				map[string]any{"hash": exampleCompute, "name": "crn-1", "address": node.compute.URL, "parent": exampleCore},
			}})
			return string(item.ItemHash)
		})
	}
	for start, before := range map[string]string{
		"aleph network remove": "aleph network add home " + u.api, "aleph account alias remove": "aleph account alias add bob " + delegate,
		"aleph account use": "aleph account create work", "aleph account remove": "aleph account create work",
		"aleph account export": "aleph account create work",
	} {
		if strings.HasPrefix(line, start) {
			line = before + " > before; " + line
		}
	}
	replace(exampleProgram, func() string {
		args := []string{"program", "deploy", fastAPI(u.t)}
		if strings.Contains(line, "unpersist") {
			args = append(args, "--persistent")
		}
		u.result(&item, args...)
		return string(item.ItemHash)
	})
	replace(exampleInstance, func() string {
		args := []string{"instance", "create", "--image", file("image", line), "--ssh-key", file("key.pub", "ssh-ed25519 AAAA")}
		if strings.Contains(line, "instance confidential") {
			args = append(args, "--confidential", "--node", "crn-1")
		}
		u.result(&item, args...)
		if strings.Contains(line, "instance backup") && !strings.Contains(line, "backup create") {
			u.result(nil, "instance", "backup", "create", string(item.ItemHash))
		}
		if strings.Contains(line, "backup restore") {
			line = "aleph instance backup download " + exampleInstance + " --to backup.tar > before; " + line
		}
		if strings.Contains(line, "port-forward delete") {
			u.result(nil, "instance", "port-forward", "add", string(item.ItemHash), "80")
		}
		if strings.Contains(line, "instance replicate") {
			node.replicates(item.ItemHash)
		}
		return string(item.ItemHash)
	})
	if strings.HasPrefix(line, "aleph website") && !strings.Contains(line, "deploy") {
		site := filepath.Join(folder, "site")
		if err := os.Mkdir(site, 0o700); err != nil {
			u.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(site, "index.html"), []byte(line), 0o600); err != nil {
			u.t.Fatal(err)
		}
		u.result(nil, "website", "deploy", site)
	}
	if strings.HasPrefix(line, "aleph domain check") {
		u.domain(false) // it may lead to a website, which other records say
	}
	if strings.HasPrefix(line, "aleph domain") {
		u.domain(!strings.Contains(line, "domain add"))
	}
	return line
}

// domain makes www.example.org lead to a program, or nowhere.
func (u *user) domain(somewhere bool) {
	u.t.Helper()
	code, _, _ := u.run("domain", "info", "www.example.org")
	switch {
	case somewhere && code != 0:
		var item struct {
			ItemHash message.Hash `json:"item_hash"`
		}
		u.result(&item, "program", "deploy", fastAPI(u.t))
		u.result(nil, "domain", "add", "www.example.org", "--to", string(item.ItemHash))
	case !somewhere && code == 0:
		u.result(nil, "domain", "detach", "www.example.org")
	}
}
