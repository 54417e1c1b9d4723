package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/message"
)

func TestEveryCommandShowsAnExample(t *testing.T) {
	a := &app{terminal: terminal{getenv: func(string) string { return "" }}}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Example == "" || c.Short == "" {
			t.Errorf("%s: no example or no sentence", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(a.command())
	u := newUser(t, "http://127.0.0.1:1")
	if code, out, _ := u.run("program", "deploy", "--help"); code != 0 || !strings.Contains(out, "Examples:") {
		t.Errorf("exit code %d: %s", code, out)
	}
}

func TestDeployPublishesACompleteProgram(t *testing.T) {
	node := newFakeNode(t)
	code, out, errOut := newUser(t, node.URL).run("-o", "json", "program", "deploy", fastAPI(t), "--memory", "512", "-e", "A=b,c")
	if code != 0 || errOut != "" {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	var d deployed
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		t.Fatal(err)
	}
	if d.CCN != "core-1" || d.CRN != "crn-1" || d.URL != node.URL+"/vm/"+string(d.ItemHash)+"/" || d.Name != "hello" {
		t.Errorf("printed %s", out)
	}
	program := node.messages[d.ItemHash]
	content := program.ItemContent
	if strings.Contains(content, "null") {
		t.Errorf("content has nulls: %s", content)
	}
	var fields map[string]any
	if err := json.Unmarshal([]byte(content), &fields); err != nil {
		t.Fatal(err)
	}
	delete(fields, "time")
	got, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "program.json", append(got, '\n'), map[string]string{string(d.Code): "CODE", string(d.Runtime): "RUNTIME"})

	store, err := message.ParseContent(message.TypeStore, []byte(node.messages[d.Code].ItemContent))
	if err != nil {
		t.Fatal(err)
	}
	archive := node.files[store.(*message.Store).FileHash]
	z, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range z.File {
		names = append(names, f.Name)
	}
	if strings.Join(names, " ") != "data.txt main.py" {
		t.Errorf("packed %v", names)
	}
}

// golden compares got, with long names replaced, with a file in testdata; UPDATE_GOLDEN=1 writes the file.
func golden(t *testing.T, name string, got []byte, replace map[string]string) {
	t.Helper()
	for long, short := range replace {
		got = bytes.ReplaceAll(got, []byte(long), []byte(short))
	}
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s:\ngot  %s\nwant %s", name, got, want)
	}
}

func TestDeployWithoutFundsSendsNothing(t *testing.T) {
	node := newFakeNode(t)
	node.balance = "12.5"
	u := newUser(t, node.URL)
	code, _, errOut := u.run("program", "deploy", fastAPI(t))
	if code != exitFunds || !strings.Contains(errOut, "needs 200 ALEPH") || !strings.Contains(errOut, "12.5 ALEPH") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	code, _, errOut = u.run("-o", "json", "program", "deploy", fastAPI(t))
	var report struct {
		Error struct{ Kind, Required, Available, Unit string }
	}
	if err := json.Unmarshal([]byte(errOut), &report); err != nil || code != exitFunds {
		t.Fatalf("exit code %d, %v: %s", code, err, errOut)
	}
	if r := report.Error; r.Kind != "insufficient_funds" || r.Required != "200" || r.Available != "12.5" || r.Unit != "ALEPH" {
		t.Errorf("reported %+v", r)
	}
	if node.uploads != 0 {
		t.Errorf("%d files were sent", node.uploads)
	}
}

func TestRejectionForFundsHasTheSameExitCode(t *testing.T) {
	node := newFakeNode(t)
	node.reject = `{"required_balance":"300","account_balance":"1"}`
	code, _, errOut := newUser(t, node.URL).run("program", "deploy", fastAPI(t))
	if code != exitFunds || !strings.Contains(errOut, "needs 300 ALEPH") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}

func TestCallWaitsForTheProgramToBoot(t *testing.T) {
	node := newFakeNode(t)
	node.booting = 2
	u := newUser(t, node.URL)
	hash := strings.Repeat("ab", 32)
	code, out, errOut := u.run("program", "call", hash, "/items", "-d", "x")
	if code != 0 || out != `{"method":"POST","path":"/items","body":"x"}`+"\n" {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
	if code, _, errOut = u.run("program", "call", hash, "/missing"); code != exitFailed || !strings.Contains(errOut, "404") {
		t.Errorf("the program's own 404: exit code %d: %s", code, errOut)
	}
}

func TestFilesComeBackAsTheyWere(t *testing.T) {
	node := newFakeNode(t)
	u := newUser(t, node.URL)
	u.in = "from a pipe"
	code, out, errOut := u.run("-o", "jsonl", "file", "upload", "-")
	var up fileView
	if err := json.Unmarshal([]byte(out), &up); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v: %s", code, err, errOut)
	}
	to := filepath.Join(t.TempDir(), "copy")
	if code, _, errOut = u.run("file", "download", string(up.FileHash), "--to", to); code != 0 {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	if got, err := os.ReadFile(to); err != nil || string(got) != u.in {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestDeleteAsksFirst(t *testing.T) {
	node := newFakeNode(t)
	u := newUser(t, node.URL)
	code, out, errOut := u.run("-o", "json", "program", "deploy", fastAPI(t))
	var d deployed
	if err := json.Unmarshal([]byte(out), &d); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v: %s", code, err, errOut)
	}
	before := len(node.messages)
	if code, _, errOut = u.run("--no-input", "program", "delete", string(d.ItemHash)); code != exitUsage || !strings.Contains(errOut, "--yes") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	u.in = "n\n"
	if code, _, errOut = u.run("program", "delete", string(d.ItemHash)); code != exitFailed || len(node.messages) != before {
		t.Errorf("refused, exit code %d: %s", code, errOut)
	}
	if code, out, errOut = u.run("--yes", "program", "delete", string(d.ItemHash)); code != 0 || strings.Count(out, "forgotten") != 2 {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
}

func TestExitCodes(t *testing.T) {
	node := newFakeNode(t)
	open := filepath.Join(t.TempDir(), "open.key")
	if err := os.WriteFile(open, []byte(strings.Repeat("5a", 32)), 0o644); err != nil {
		t.Fatal(err)
	}
	hash := strings.Repeat("00", 32)
	tests := []struct {
		name string
		api  string
		args []string
		want int
		says string
	}{
		{"done", node.URL, []string{"account", "show"}, exitOK, ""},
		{"unknown flag", node.URL, []string{"account", "show", "--nonsense"}, exitUsage, "--nonsense"},
		{"unknown command", node.URL, []string{"nonsense"}, exitUsage, "nonsense"},
		{"missing argument", node.URL, []string{"message", "get"}, exitUsage, "HASH is missing"},
		{"bad hash", node.URL, []string{"message", "get", "xyz"}, exitUsage, "xyz"},
		{"bad output", node.URL, []string{"-o", "xml", "account", "show"}, exitUsage, "xml"},
		{"unknown message", node.URL, []string{"message", "get", hash}, exitNotFound, "404"},
		{"open key file", node.URL, []string{"--key-file", open, "account", "show"}, exitKey, "chmod 600 " + open},
		{"missing account", node.URL, []string{"--account", "nobody", "account", "show"}, exitKey, "aleph account create"},
		{"nobody answers", "http://127.0.0.1:1", []string{"message", "get", hash}, exitNetwork, "127.0.0.1:1"},
		{"delete what is not there", node.URL, []string{"--no-input", "program", "delete", hash}, exitNotFound, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			code, _, errOut := newUser(t, test.api).run(test.args...)
			if code != test.want || !strings.Contains(errOut, test.says) {
				t.Errorf("exit code %d, want %d: %s", code, test.want, errOut)
			}
		})
	}
}

func TestAccountsAreStoredForTheirOwnerOnly(t *testing.T) {
	u := newUser(t, "http://127.0.0.1:1")
	for _, chain := range []string{"ETH", "SOL"} {
		if code, _, errOut := u.run("account", "create", "--account", chain, "--chain", chain); code != 0 {
			t.Fatalf("exit code %d: %s", code, errOut)
		}
		info, err := os.Stat(filepath.Join(u.env["ALEPH_CONFIG_HOME"], "keys", chain+".key"))
		if err != nil || info.Mode().Perm() != fs.FileMode(0o600) {
			t.Errorf("%s: mode %v, %v", chain, info.Mode(), err)
		}
		_, shown, _ := u.run("-o", "json", "account", "show", "--account", chain)
		_, listed, _ := u.run("-o", "jsonl", "account", "list")
		var v accountView
		if err := json.Unmarshal([]byte(shown), &v); err != nil || !strings.Contains(listed, v.Address) || string(v.Chain) != chain {
			t.Errorf("%s: shown %s, listed %s", chain, shown, listed)
		}
	}
	if code, _, errOut := u.run("account", "create", "--account", "ETH"); code != exitKey || !strings.Contains(errOut, "exists already") {
		t.Errorf("a key was replaced: exit code %d: %s", code, errOut)
	}
	u.in = strings.Repeat("11", 32)
	delete(u.env, "ALEPH_PRIVATE_KEY")
	if code, out, errOut := u.run("account", "import", "--account", "in"); code != 0 || !strings.Contains(out, "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A") {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
}

func TestListsInEveryFormat(t *testing.T) {
	node := newFakeNode(t)
	u := newUser(t, node.URL)
	for _, format := range []string{"text", "json", "jsonl", "yaml"} {
		for _, args := range [][]string{{"node", "list"}, {"message", "list"}, {"program", "list"}} {
			code, out, errOut := u.run(append([]string{"-o", format}, args...)...)
			if code != 0 {
				t.Errorf("%v: exit code %d: %s", args, code, errOut)
			}
			golden(t, args[0]+"-list."+format, []byte(out), nil)
		}
	}
}
