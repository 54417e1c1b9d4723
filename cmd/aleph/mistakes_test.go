package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/aleph-im/aleph-go/message"
)

func TestWrongUsageSaysHowItIsRight(t *testing.T) {
	u := newUser(t, "http://127.0.0.1:1")
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"account", "sign"}, "Usage: aleph account sign TEXT"},
		{[]string{"domain", "add", "www.example.org"}, "Usage: aleph domain add DOMAIN"},                 // a flag lacks
		{[]string{"instance", "create"}, "Usage: aleph instance create"},                                 // one of two flags lacks
		{[]string{"instance", "create", "--image", "a", "--resume", "b"}, "Usage: aleph instance creat"}, // one is too much
		{[]string{"message", "get", "x"}, "aleph message get --help"},
		{[]string{"message", "list", "--type", "letter"}, "AGGREGATE"},
		{[]string{"program", "deploy", filepath.Join(siteFolder(t), ".")}, "aleph website deploy"},
		{[]string{"programm"}, "aleph --help"},
	} {
		if code, out, errOut := u.run(test.args...); code != exitUsage || !strings.Contains(errOut, test.says) || out != "" {
			t.Errorf("%v: exit code %d: %s%s", test.args, code, out, errOut)
		}
	}
}

func TestWhatCannotBeIsRefusedInWords(t *testing.T) {
	u := newUser(t, "http://127.0.0.1:1")
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"program", "deploy"}, "aleph: PATH is missing\nUsage: aleph program deploy PATH"},
		{[]string{"post", "amend", exampleFile}, "CONTENT is missing"},
		{[]string{"file", "upload"}, "PATH is missing"},
		{[]string{"account", "sign", "it", "is", "me"}, `"is" is too much; quotes keep words together`},
		{[]string{"completion", "tcsh"}, "SHELL tcsh: want one of bash, zsh, fish, powershell"},
		{[]string{"program", "deploy", "my-app", "--memory", "0"}, "--memory 0: want a whole number, at least 1"},
		{[]string{"instance", "create", "--image", "a", "--disk", "2GB"}, "--disk 2GB: want a whole number"},
		{[]string{"message", "list", "--limit", "-1"}, "--limit -1: want a whole number, at least 0"},
		{[]string{"message", "list", "--since", "yesterday"}, "--since yesterday: want a time such as 90s"},
		{[]string{"message", "list", "--status", "lost"}, "--status lost: want one of [pending processed"},
		{[]string{"authorization", "add", exampleAddress, "--type", "letter"}, "--type letter: want one of [POST"},
		{[]string{"account", "show", "--timeout", "0"}, "--timeout 0s: want a time that is not over yet"},
	} {
		if code, out, errOut := u.run(test.args...); code != exitUsage || !strings.Contains(errOut, test.says) || out != "" {
			t.Errorf("%v: exit code %d: %s%s", test.args, code, out, errOut)
		}
	}
}

func TestNothingGoesToWhatIsNoAddress(t *testing.T) {
	_, u, other := funded(t)
	sender := other.address()
	mistyped := sender[:10] + "00" + sender[12:]
	for wrong, says := range map[string]string{
		"bob": "no account or alias has that name", "0x12": "40 hex digits", sender + "0": "40 hex digits", mistyped: "a character is wrong",
	} {
		for _, args := range [][]string{
			{"authorization", "add", wrong}, {"credit", "transfer", wrong, "1", "--yes"}, {"post", "create", "note", "1", "--on-behalf-of", wrong},
			{"file", "list", wrong}, {"message", "list", "--owner", wrong}, {"account", "alias", "add", "carl", wrong},
		} {
			if code, _, errOut := u.run(args...); code != exitUsage || !strings.Contains(errOut, says) {
				t.Errorf("%v: exit code %d: %s", args, code, errOut)
			}
		}
	}
	// One that is written in one case is that of those who sign.
	u.result(nil, "authorization", "add", strings.ToLower(sender), "--type", "POST")
	other.result(nil, "post", "create", "note", "1", "--on-behalf-of", strings.ToLower(u.address()))
	u.result(nil, "account", "alias", "add", "bob", strings.ToLower(sender))
	u.result(nil, "authorization", "check", "bob", "--type", "POST")
}

func TestSlipsAreSuggested(t *testing.T) {
	u := newUser(t, "http://127.0.0.1:1")
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"programm", "list"}, `unknown command "programm" for "aleph"; did you mean: program?`},
		{[]string{"program", "dploy", "my-app", "--memory", "512"}, `unknown command "dploy" for "aleph program"; did you mean: deploy?`},
		{[]string{"program", "deploy", "my-app", "--memroy", "512"}, "unknown flag: --memroy; did you mean: --memory?"},
		{[]string{"--netwrok", "devnet", "program", "list"}, "did you mean: --network?"},
		{[]string{"program", "list", "--json"}, "did you mean: --output json?"},
		{[]string{"file", "list", "--from"}, "unknown flag: --from\n"},
	} {
		if code, out, errOut := u.run(test.args...); code != exitUsage || !strings.Contains(errOut, test.says) || out != "" {
			t.Errorf("%v: exit code %d: %s%s", test.args, code, out, errOut)
		}
	}
}

func TestAnAddressIsSaidInOneOfTwoWays(t *testing.T) {
	_, u, other := funded(t)
	u.result(nil, "aggregate", "set", "profile", `{"name":"bob"}`)
	for _, list := range [][]string{
		{"aggregate", "list"}, {"file", "list"}, {"program", "list"}, {"instance", "list"}, {"domain", "list"}, {"website", "list"},
		{"authorization", "list"}, {"account", "balance"}, {"credit", "show"}, {"credit", "history"}, {"credit", "summary"},
	} {
		codeBefore, before, errBefore := other.run(append(list, u.address())...)
		code, out, errOut := other.run(append(list, "--owner", u.address())...)
		if code != exitOK || code != codeBefore || out != before || errOut != errBefore {
			t.Errorf("%v: %d %s%s but %d %s%s", list, code, out, errOut, codeBefore, before, errBefore)
		}
		if code, _, errOut := other.run(append(list, u.address(), "--owner", other.address())...); code != exitUsage || !strings.Contains(errOut, "say one address") {
			t.Errorf("%v: exit code %d: %s", list, code, errOut)
		}
	}
}

// siteFolder is a folder with a page.
func siteFolder(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "index.html"), []byte("<h1>Hello</h1>"), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

func TestFailuresOfTheDiskAreNotOfTheNetwork(t *testing.T) {
	_, u, _ := funded(t)
	note := filepath.Join(t.TempDir(), "note")
	if err := os.WriteFile(note, []byte("a note"), 0o600); err != nil {
		t.Fatal(err)
	}
	var files []struct {
		FileHash message.Hash `json:"file_hash"`
	}
	u.result(&files, "file", "upload", note)
	to := filepath.Join(t.TempDir(), "none", "copy")
	if code, _, errOut := u.run("file", "download", string(files[0].FileHash), "--to", to); code != exitFailed || !strings.Contains(errOut, "write "+to) {
		t.Errorf("no such folder: exit code %d: %s", code, errOut)
	}
	for _, format := range []string{"text", "json"} {
		var errOut bytes.Buffer
		full := writerFunc(func([]byte) (int, error) { return 0, &fs.PathError{Op: "write", Path: "copy", Err: syscall.ENOSPC} })
		term := terminal{in: strings.NewReader(""), out: full, err: &errOut, getenv: func(name string) string { return u.env[name] }}
		code := run(t.Context(), []string{"--network", u.network, "--api", u.api, "-o", format, "file", "list"}, term)
		if code != exitFailed || !strings.Contains(errOut.String(), "There is no room left") || strings.Contains(errOut.String(), "Is the node up") {
			t.Errorf("%s: exit code %d: %s", format, code, errOut.String())
		}
		if format == "json" && !json.Valid(errOut.Bytes()) {
			t.Errorf("no JSON: %s", errOut.String())
		}
	}
}

func TestANodeOfAnotherNetworkIsNamed(t *testing.T) {
	node, u, _ := funded(t)
	u.network = "mainnet"
	for name, args := range map[string][]string{
		"runtimes": {"program", "deploy", fastAPI(t)}, "nodes": {"node", "list"}, "a node": {"node", "drain", "crn-1"},
	} {
		if code, _, errOut := u.run(args...); code != exitNotFound || !strings.Contains(errOut, node.URL+" has not heard of") || !strings.Contains(errOut, "--network devnet") {
			t.Errorf("%s: exit code %d: %s", name, code, errOut)
		}
	}
}

func TestWhoHasNoAccountIsToldHowToMakeOne(t *testing.T) {
	u := newUser(t, "http://127.0.0.1:1")
	delete(u.env, "ALEPH_PRIVATE_KEY")
	for _, args := range [][]string{{"account", "balance"}, {"account", "show"}, {"post", "create", "note", "1"}} {
		if code, _, errOut := u.run(args...); code != exitKey || !strings.Contains(errOut, "aleph account create") || strings.Contains(errOut, `""`) {
			t.Errorf("%v: exit code %d: %s", args, code, errOut)
		}
	}
	if code, out, errOut := u.run("account", "list"); code != 0 || out != "" || !strings.Contains(errOut, "aleph account create") {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
}

// starts tells when somebody begins to wait for input that does not come.
type starts struct {
	never
	begun func()
}

func (s starts) Read(p []byte) (int, error) {
	s.begun()
	return s.never.Read(p)
}

func TestInterruptEndsAReadOfStandardInput(t *testing.T) {
	end := make(chan struct{})
	defer close(end)
	u := newUser(t, "http://127.0.0.1:1")
	for _, args := range [][]string{
		{"account", "sign", "-"}, {"post", "create", "note", "1", "--key-file", "-"}, {"message", "verify", "-"}, {"file", "upload", "-"},
	} {
		ctx, interrupt := context.WithCancel(t.Context())
		var errOut bytes.Buffer
		term := terminal{in: starts{never{end}, interrupt}, out: &errOut, err: &errOut, getenv: func(name string) string { return u.env[name] }}
		if code := run(ctx, append([]string{"--network", u.network, "--api", u.api}, args...), term); code != exitInterrupted || errOut.String() != "aleph: interrupted\n" {
			t.Errorf("%v: exit code %d: %s", args, code, errOut.String())
		}
		interrupt()
	}
}

func TestAnInterruptionSaysWhatIsLeft(t *testing.T) {
	call := &url.Error{Op: "Patch", URL: "http://127.0.0.1:1/api", Err: context.Canceled}
	for err, want := range map[error]string{
		call:                               "interrupted",
		context.Canceled:                   "interrupted",
		errors.Join(nil, context.Canceled): "interrupted",
		usageError{errInterrupted}:         "interrupted",
		fmt.Errorf("upload film: %w; the same upload goes on", call): "interrupted: upload film; the same upload goes on",
	} {
		if got := interruption(err); got.Error() != want || !errors.Is(got, errInterrupted) {
			t.Errorf("%v: %v", err, got)
		}
	}
}

func TestWhatHasNoEndIsRefusedAtOnce(t *testing.T) {
	_, u, _ := funded(t)
	pipe, key := filepath.Join(t.TempDir(), "pipe"), filepath.Join(t.TempDir(), "key.pub")
	if err := errors.Join(syscall.Mkfifo(pipe, 0o600), os.WriteFile(key, []byte("ssh-ed25519 AAAA me\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/dev/zero", pipe} {
		for _, args := range [][]string{
			{"file", "upload", path},
			{"instance", "create", "--image", path, "--ssh-key", key},
			{"instance", "create", "--image", exampleFile, "--ssh-key", path},
			{"program", "deploy", folder(t, map[string]string{"hello.wasm": emptyModule}), "--env-file", path},
		} {
			if code, _, errOut := u.run(args...); code != exitUsage || !strings.Contains(errOut, path+" is no ") {
				t.Errorf("%v: exit code %d: %s", args, code, errOut)
			}
		}
	}
}

func TestAPipeInThePlaceOfAFileOfTheToolIsRefused(t *testing.T) {
	node := newFakeNode(t)
	for _, name := range []string{"wallet.toml", "config.json"} {
		u := newUser(t, node.URL)
		delete(u.env, "ALEPH_PRIVATE_KEY")
		var where struct{ Folder string }
		u.result(&where, "config", "path")
		if err := errors.Join(os.MkdirAll(where.Folder, 0o700), syscall.Mkfifo(filepath.Join(where.Folder, name), 0o600)); err != nil {
			t.Fatal(err)
		}
		if code, _, errOut := u.run("account", "list"); code == exitOK || !strings.Contains(errOut, name+" is no regular file") {
			t.Errorf("%s: exit code %d: %s", name, code, errOut)
		}
	}
}

func TestInterruptEndsAWaitForAKey(t *testing.T) {
	u := newUser(t, "http://127.0.0.1:1")
	pipe := filepath.Join(t.TempDir(), "key")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	var errOut bytes.Buffer
	term := terminal{in: strings.NewReader(""), out: &errOut, err: &errOut, getenv: func(name string) string { return u.env[name] }}
	if code := run(ctx, []string{"--network", u.network, "--api", u.api, "--key-file", pipe, "account", "show"}, term); code != exitInterrupted {
		t.Errorf("exit code %d: %s", code, errOut.String())
	}
	// The read that waits goes with the process; here somebody writes.
	writer, err := os.OpenFile(pipe, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	writer.Close()
}

func TestMoreThanNodesTakeIsNotKeptOnTheWay(t *testing.T) {
	node, u, _ := funded(t)
	raw, err := os.ReadFile(node.network)
	if err != nil {
		t.Fatal(err)
	}
	var parameters map[string]any
	if err := json.Unmarshal(raw, &parameters); err != nil {
		t.Fatal(err)
	}
	parameters["max_file"], parameters["max_ipfs_file"] = 5, 12
	if raw, err = json.Marshal(parameters); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(node.network, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	u.in = strings.Repeat("x", 13)
	if code, _, errOut := u.run("file", "upload", "-"); code != exitUsage || !strings.Contains(errOut, "standard input has more than") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}

func TestANodeThatDiesDuringADownloadLeavesNothing(t *testing.T) {
	node := newFakeNode(t)
	hash, content := message.HashBytes([]byte("large")), bytes.Repeat([]byte("x"), 1<<20)
	node.files[hash] = content
	dying := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/storage/raw/") {
			node.Config.Handler.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		if r.Header.Get("Range") == "" {
			_, _ = w.Write(content[:len(content)/2])
		}
		panic(http.ErrAbortHandler) // it is gone
	}))
	t.Cleanup(dying.Close)
	u := newUser(t, dying.URL)
	dir := t.TempDir()
	code, _, errOut := u.run("file", "download", string(hash), "--to", filepath.Join(dir, "copy"))
	if code != exitNetwork || !strings.Contains(errOut, "Is the node up") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestADamagedKeystoreSignsNothing(t *testing.T) {
	u := newUser(t, newFakeNode(t).URL)
	delete(u.env, "ALEPH_PRIVATE_KEY")
	u.env["ALEPH_PASSWORD"] = "good"
	var where struct{ Folder string }
	u.result(&where, "config", "path")
	u.result(nil, "account", "create", "--account", "safe", "--encrypted")
	kept, err := filepath.Glob(filepath.Join(where.Folder, "keystores", "*"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("%v, %v", kept, err)
	}
	if err := os.Truncate(kept[0], 40); err != nil {
		t.Fatal(err)
	}
	if code, _, errOut := u.run("post", "create", "note", "1", "--account", "safe"); code != exitKey || !strings.Contains(errOut, `account "safe": the keystore is not JSON`) {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}
