package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPageOfCommandsIsWhatTheCommandsSay(t *testing.T) {
	var page bytes.Buffer
	writeMarkdown(&page, commandTree())
	path := filepath.Join("..", "..", "docs", "cli.md")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, page.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(kept, page.Bytes()) {
		t.Error("docs/cli.md is not what the commands say; write it again with: build/aleph docs markdown > docs/cli.md")
	}
}

func TestManualPagesAreWhole(t *testing.T) {
	u := newUser(t, "http://127.0.0.1:1")
	folder := filepath.Join(t.TempDir(), "man")
	if code, _, errOut := u.run("docs", "man", folder); code != 0 {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	page, err := os.ReadFile(filepath.Join(folder, "aleph-file-upload.1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{".TH", ".SH NAME\naleph\\-file\\-upload \\- Store files", ".SH OPTIONS\n", ".SH EXAMPLES\n"} {
		if !strings.Contains(string(page), part) {
			t.Errorf("the page has no %q:\n%s", part, page)
		}
	}
}

func TestShellsCompleteWhatTheAccountHas(t *testing.T) {
	_, u, _ := funded(t)
	u.env["ALEPH_API_HOST"], u.env["ALEPH_NETWORK"], u.env["ALEPH_CACHE_HOME"] = u.api, u.network, t.TempDir()
	var program deployed
	var post sent
	u.result(&program, "program", "deploy", fastAPI(t))
	u.result(&post, "post", "create", "note", `1`)
	complete := func(args ...string) string {
		t.Helper()
		var out, errOut bytes.Buffer
		term := terminal{in: strings.NewReader(""), out: &out, err: &errOut, getenv: func(name string) string { return u.env[name] }}
		if code := run(t.Context(), append([]string{"__complete"}, args...), term); code != 0 {
			t.Errorf("%v: exit code %d: %s", args, code, errOut.String())
		}
		return out.String()
	}
	start := string(program.ItemHash[:3])
	if out := complete("program", "show", start); !strings.Contains(out, string(program.ItemHash)+"\tPROGRAM hello") {
		t.Errorf("programs: %s", out)
	}
	if out := complete("post", "amend", ""); !strings.Contains(out, string(post.ItemHash)) || strings.Contains(out, string(program.ItemHash)) {
		t.Errorf("posts: %s", out)
	}
	if out := complete("node", "stake", ""); !strings.Contains(out, exampleCore+"\tcore-1") {
		t.Errorf("nodes: %s", out)
	}
	if out := complete("network", "use", "dev"); !strings.HasPrefix(out, "devnet\n") {
		t.Errorf("networks: %s", out)
	}
	if out := complete("file", "list", "--output", "js"); !strings.HasPrefix(out, "json\njsonl\n") {
		t.Errorf("formats: %s", out)
	}
	// What was found a moment ago is not asked for again, and what cannot be asked completes nothing.
	u.env["ALEPH_API_HOST"] = "http://127.0.0.1:1"
	if out := complete("program", "show", ""); strings.Contains(out, string(program.ItemHash)) {
		t.Errorf("of another node: %s", out)
	}
	delete(u.env, "ALEPH_PRIVATE_KEY")
	if out := complete("program", "show", ""); !strings.HasPrefix(out, ":") {
		t.Errorf("without an account: %s", out)
	}
}
