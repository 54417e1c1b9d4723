package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/aleph-im/aleph-go/message"
)

// funded returns a user of a real node, and another one who holds nothing.
func funded(t *testing.T) (node *realNode, u, other *user) {
	t.Helper()
	u, other = newUser(t, ""), newUser(t, "")
	other.env["ALEPH_PRIVATE_KEY"] = strings.Repeat("6b", 32)
	node = newRealNode(t, u.address())
	u.api, u.network, other.api, other.network = node.URL, node.network, node.URL, node.network
	return node, u, other
}

func TestPostIsAmendedAndForgotten(t *testing.T) {
	_, u, _ := funded(t)
	var post, change sent
	u.result(&post, "post", "create", "note", `{"text":"one"}`)
	u.in = `{"text":"two"}`
	u.result(&change, "post", "amend", string(post.ItemHash)[:10], "-") // the beginning of a hash is enough
	var now struct {
		Content  struct{ Text string }
		ItemHash message.Hash `json:"item_hash"`
	}
	u.result(&now, "post", "get", string(post.ItemHash))
	if now.Content.Text != "two" || now.ItemHash != change.ItemHash || post.Status != message.StatusProcessed {
		t.Errorf("post is %+v after %+v", now, change)
	}
	var gone sent
	u.result(&gone, "message", "forget", string(post.ItemHash), "--reason", "test")
	if code, _, _ := u.run("post", "get", string(post.ItemHash)); code != exitNotFound {
		t.Errorf("a forgotten post: exit code %d", code)
	}
	if code, out, _ := u.run("message", "get", string(post.ItemHash)); code != 0 || !strings.Contains(out, `"status": "forgotten"`) {
		t.Errorf("exit code %d: %s", code, out)
	}
}

func TestMessageGoesFromMachineToMachine(t *testing.T) {
	_, u, other := funded(t)
	code, unsigned, errOut := other.run("message", "build", "POST", `{"type":"note","content":{"n":1}}`, "--sender", u.address())
	if code != 0 {
		t.Fatal(errOut)
	}
	other.in = unsigned
	if code, _, errOut = other.run("message", "sign"); code != exitKey || !strings.Contains(errOut, u.address()) {
		t.Errorf("signed by another: exit code %d: %s", code, errOut)
	}
	if code, _, _ = other.run("message", "broadcast"); code != exitKey {
		t.Errorf("sent without a signature: exit code %d", code)
	}
	u.in = unsigned
	_, signed, _ := u.run("message", "sign")
	other.in = strings.Replace(signed, "note", "nota", 1)
	if code, _, _ = other.run("message", "verify"); code == 0 {
		t.Error("a changed message is right")
	}
	other.in = signed
	if code, out, errOut := other.run("message", "verify"); code != 0 || !strings.Contains(out, "right") {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
	var v sent
	other.result(&v, "message", "broadcast")
	if v.Status != message.StatusProcessed || v.Sender != u.address() {
		t.Errorf("sent %+v", v)
	}
}

func TestAggregateIsSetEditedAndForgotten(t *testing.T) {
	_, u, _ := funded(t)
	u.result(nil, "aggregate", "set", "profile", `{"name":"bob","age":3}`)
	u.result(nil, "aggregate", "unset", "profile", "age")
	u.env["EDITOR"] = "sed -i s/bob/alice/"
	u.result(nil, "aggregate", "edit", "profile")
	var value map[string]any
	u.result(&value, "aggregate", "get", "profile")
	if value["name"] != "alice" || value["age"] != nil {
		t.Errorf("value is %v", value)
	}
	var history []struct{ Content json.RawMessage }
	u.result(&history, "aggregate", "history", "profile")
	if len(history) != 3 || string(history[0].Content) != `{"name":"alice"}` && !strings.Contains(string(history[0].Content), "alice") {
		t.Errorf("history is %s", history)
	}
	u.result(nil, "aggregate", "forget", "profile")
	if code, _, _ := u.run("aggregate", "get", "profile"); code != exitNotFound {
		t.Errorf("a forgotten aggregate: exit code %d", code)
	}
	if code, _, errOut := u.run("aggregate", "set", securityKey, "{}"); code != exitUsage || !strings.Contains(errOut, "authorization add") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}

func TestDelegateWritesWhatItMay(t *testing.T) {
	_, u, other := funded(t)
	note := []string{"post", "create", "note", `{"by":"delegate"}`, "--on-behalf-of", u.address()}
	code, _, errOut := other.run(note...)
	if code != exitRejected || !strings.Contains(errOut, "authorization add") {
		t.Errorf("not authorized: exit code %d: %s", code, errOut)
	}
	check := func(args ...string) int {
		code, _, _ := u.run(append([]string{"authorization", "check", other.address()}, args...)...)
		return code
	}
	u.result(nil, "authorization", "add", other.address(), "--type", "post", "--post-type", "note")
	for _, test := range []struct {
		args []string
		want int
	}{
		{[]string{"--type", "POST", "--post-type", "note"}, 0},
		{[]string{"--type", "POST", "--post-type", "other"}, exitKey},
		{[]string{"--type", "STORE"}, exitKey},
		{nil, exitKey},
	} {
		if got := check(test.args...); got != test.want {
			t.Errorf("check %v: exit code %d, want %d", test.args, got, test.want)
		}
	}
	other.result(nil, append(note, "--channel", "second")...)
	var received []struct{ Address string }
	other.result(&received, "authorization", "received")
	if len(received) != 1 || received[0].Address != u.address() {
		t.Errorf("received %v", received)
	}
	u.result(nil, "authorization", "revoke", other.address())
	if got := check("--type", "POST", "--post-type", "note"); got != exitKey {
		t.Errorf("after it was revoked: exit code %d", got)
	}
}

func TestFolderHasTheCIDThatWasPrinted(t *testing.T) {
	_, u, _ := funded(t)
	site := filepath.Join(t.TempDir(), "site")
	if err := os.MkdirAll(filepath.Join(site, "css"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"index.html": "<h1>Hello</h1>", "css/all.css": "h1 {}"} {
		if err := os.WriteFile(filepath.Join(site, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var dry, stored []fileView
	u.result(&dry, "file", "upload", site, "--dry-run")
	u.result(&stored, "file", "upload", site)
	if dry[0].FileHash != stored[0].FileHash || stored[0].Status != message.StatusProcessed || dry[0].ItemHash != "" {
		t.Errorf("said %+v, stored %+v", dry, stored)
	}
	var v siteView
	u.result(&v, "website", "deploy", site)
	u.result(&v, "website", "deploy", site)
	if v.Name != "site" || v.Version != 2 || v.CID != dry[0].FileHash {
		t.Errorf("website %+v", v)
	}
	if got := visited(t, v.URL); got != "<h1>Hello</h1>" {
		t.Errorf("%s answers %q", v.URL, got)
	}
	u.result(nil, "website", "delete", "site")
	if code, _, _ := u.run("website", "show", "site"); code != exitNotFound {
		t.Errorf("exit code %d", code)
	}
	if code, _, _ := u.run("file", "info", string(stored[0].ItemHash)); code != 0 {
		t.Errorf("the folder that was stored by itself is gone: exit code %d", code)
	}
}

func TestFileIsFoundByEveryNameOfIt(t *testing.T) {
	_, u, _ := funded(t)
	path := filepath.Join(t.TempDir(), "notes.txt")
	if err := os.WriteFile(path, []byte("notes"), 0o600); err != nil {
		t.Fatal(err)
	}
	var files []fileView
	u.result(&files, "file", "upload", path, "--ref", "notes")
	for _, name := range []string{string(files[0].FileHash), string(files[0].ItemHash), "notes"} {
		if code, out, errOut := u.run("file", "download", name, "--to", "-"); code != 0 || out != "notes" {
			t.Errorf("%s: exit code %d: %q %s", name, code, out, errOut)
		}
	}
	u.result(nil, "file", "forget", string(files[0].FileHash))
	var left []fileView
	u.result(&left, "file", "list")
	if len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

func TestDownloadThatFailsLeavesNothing(t *testing.T) {
	node := newFakeNode(t)
	u := newUser(t, node.URL)
	hash := message.HashBytes([]byte("right"))
	node.files[hash] = []byte("wrong")
	folder := t.TempDir()
	code, _, errOut := u.run("file", "download", string(hash), "--to", filepath.Join(folder, "copy"))
	if code == 0 || !strings.Contains(errOut, "hash") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestCreditsAreShownAndGiven(t *testing.T) {
	_, u, other := funded(t)
	if code, _, errOut := u.run("--yes", "credit", "transfer", other.address(), "6000000000"); code != exitFunds || !strings.Contains(errOut, "credits") {
		t.Errorf("more than there is: exit code %d: %s", code, errOut)
	}
	u.result(nil, "credit", "transfer", other.address(), "1000")
	var have struct{ Credits int64 }
	other.result(&have, "credit", "show")
	if have.Credits != 1000 {
		t.Errorf("the other has %d", have.Credits)
	}
	var history []struct{ Amount int64 }
	u.result(&history, "credit", "history", "--expenses")
	if len(history) != 1 || history[0].Amount != -1000 {
		t.Errorf("history is %v", history)
	}
	var sum struct {
		Entries int64 `json:"entry_count"`
	}
	u.result(&sum, "credit", "summary")
	if sum.Entries != 2 {
		t.Errorf("%d entries", sum.Entries)
	}
}

func TestPricesAreThoseOfTheNode(t *testing.T) {
	_, u, _ := funded(t)
	var o offer
	u.result(&o, "price", "instance", "--vcpus", "2", "--memory", "4096", "--disk", "40960")
	if o.Hold != "2000" || o.Credits.Hour != "28500" || o.Credits.Month != "20520000" || o.CreditsUSD.Day != "0.684" || o.Stream.Hour != "0.11" {
		t.Errorf("an instance costs %+v", o)
	}
	u.result(&o, "price", "file", "3GiB")
	if o.Hold != "1024" {
		t.Errorf("a file costs %+v", o)
	}
	if code, _, _ := u.run("price", "file", "3 parsecs"); code != exitUsage {
		t.Errorf("exit code %d", code)
	}
}

func TestTablesFitTheScreen(t *testing.T) {
	_, u, _ := funded(t)
	long := strings.Repeat("long ", 40)
	u.result(nil, "post", "create", long, `{"text":"`+long+`"}`)
	u.result(nil, "aggregate", "set", "a-key", `{"text":"`+long+`\u001b[31m"}`)
	u.result(nil, "authorization", "add", exampleDelegate, "--in-channel", long+",b", "--type", "POST,STORE,AGGREGATE")
	for _, args := range [][]string{
		{"post", "list"}, {"message", "list"}, {"aggregate", "list"}, {"aggregate", "history", "a-key"}, {"authorization", "list"}, {"node", "list"},
		{"node", "core"}, {"node", "compute"}, {"network", "list"}, {"credit", "history"},
	} {
		code, out, errOut := u.run(args...)
		if code != 0 || out == "" {
			t.Errorf("%v: exit code %d: %s", args, code, errOut)
		}
		for line := range strings.Lines(out) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 {
				t.Errorf("%v: %d columns: %s", args, n, line)
			}
			if strings.ContainsAny(line, "\x1b") {
				t.Errorf("%v: text of others steers the terminal: %q", args, line)
			}
		}
	}
	if _, out, _ := u.run("--wide", "node", "list"); !strings.Contains(out, exampleCompute) {
		t.Errorf("a wide table is cut: %s", out)
	}
	if _, out, _ := u.run("--wide", "post", "list"); !strings.Contains(out, long) {
		t.Errorf("a wide list is cut: %s", out)
	}
}

// visited returns what a URL of this machine answers. Not every system leads all names below localhost to it.
func visited(t *testing.T, address string) string {
	t.Helper()
	local := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
	}}}
	defer local.CloseIdleConnections()
	resp, err := local.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %s, %v", address, resp.StatusCode, body, err)
	}
	return string(body)
}
