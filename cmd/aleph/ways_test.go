package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

func TestUnknownCommandsAreSuggested(t *testing.T) {
	u := newUser(t, "http://127.0.0.1:1")
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"programm"}, "program"},
		{[]string{"program", "dploy"}, "deploy"},
		{[]string{"instance", "port-forward", "lst"}, "list"},
		{[]string{"aggregate", "gte", "profile"}, "get"},
		{[]string{"credit", "balance"}, "transfer"},
	} {
		if code, _, errOut := u.run(test.args...); code != exitUsage || !strings.Contains(errOut, test.says) || !strings.Contains(errOut, "id you mean") && !strings.Contains(errOut, "there are: ") {
			t.Errorf("%v: exit code %d: %s", test.args, code, errOut)
		}
	}
}

func TestNothingIsAskedThatCannotBeAnswered(t *testing.T) {
	_, u, _ := funded(t)
	var post sent
	u.result(&post, "post", "create", "note", "1")
	for name, args := range map[string][]string{
		"no input":     {"--no-input", "message", "forget", string(post.ItemHash)},
		"for machines": {"-o", "json", "message", "forget", string(post.ItemHash)},
		"no terminal":  {"message", "forget", string(post.ItemHash)},
	} {
		if code, _, errOut := u.run(args...); code != exitUsage || !strings.Contains(errOut, "--yes") {
			t.Errorf("%s: exit code %d: %s", name, code, errOut)
		}
	}
}

// never is an input that nobody writes to, until the test ends.
type never struct{ until <-chan struct{} }

func (n never) Read([]byte) (int, error) {
	<-n.until
	return 0, io.EOF
}

func TestInterruptEndsAQuestion(t *testing.T) {
	_, u, _ := funded(t)
	var post sent
	u.result(&post, "post", "create", "note", "1")
	ctx, interrupt := context.WithCancel(t.Context())
	end := make(chan struct{})
	defer close(end)
	asked := writerFunc(func(b []byte) (int, error) {
		if bytes.Contains(b, []byte("[y/N]")) {
			interrupt()
		}
		return len(b), nil
	})
	term := terminal{in: never{end}, out: io.Discard, err: asked, getenv: func(name string) string { return u.env[name] }}
	if code := run(ctx, []string{"--network", u.network, "--api", u.api, "message", "forget", string(post.ItemHash)}, term); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
	if code, _, _ := u.run("post", "get", string(post.ItemHash)); code != 0 {
		t.Error("the post is gone")
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestRejectionSaysWhatToDo(t *testing.T) {
	_, u, _ := funded(t)
	code, _, errOut := u.run("-o", "json", "post", "create", "note", "1", "--on-behalf-of", exampleDelegate)
	var v struct{ Error report }
	if err := json.Unmarshal([]byte(errOut), &v); err != nil || code != exitRejected {
		t.Fatalf("exit code %d, %v: %s", code, err, errOut)
	}
	if r := v.Error; r.Kind != "rejected" || r.Code == nil || *r.Code != int(message.ErrPermissionDenied) || r.ItemHash == "" || !strings.Contains(r.Advice, "authorization add") {
		t.Errorf("reported %s", errOut)
	}
	for code := message.ErrInternal; code <= message.ErrForgottenDuplicate; code++ {
		known := !strings.HasPrefix(code.String(), "Error ")
		funds := code == message.ErrBalanceInsufficient || code == message.ErrCreditInsufficient // these say how much
		if known && !funds && advice(code) == "" {
			t.Errorf("code %d (%s): no advice", code, code)
		}
	}
}

func TestWriteThatIsNotWaitedFor(t *testing.T) {
	_, u, _ := funded(t)
	var v sent
	u.result(&v, "post", "create", "note", "1", "--wait=false")
	if v.Status != message.StatusPending {
		t.Errorf("status %s", v.Status)
	}
}

func TestRowsArePrintedBeforeTheListHasEnded(t *testing.T) {
	for _, format := range []string{"text", "json", "jsonl", "yaml"} {
		var out bytes.Buffer
		a := &app{terminal: terminal{out: &out, err: io.Discard, getenv: func(string) string { return "" }}, output: format}
		failed := errors.New("the node is gone")
		list := func(yield func(int, error) bool) {
			if !yield(1, nil) {
				return
			}
			if !strings.Contains(out.String(), "1") {
				t.Errorf("%s: the first row is not there: %q", format, out.String())
			}
			if yield(2, nil) {
				yield(0, failed)
			}
		}
		if err := printEach(a, list, column[int]{"N", 4, func(n int) string { return fmt.Sprint(n) }}); err != failed {
			t.Errorf("%s: %v", format, err)
		}
		if format == "json" && json.Valid(out.Bytes()) {
			t.Errorf("a list that broke off is taken for whole: %s", out.String())
		}
	}
}

func TestListsOfMachinesAreWhatTheySay(t *testing.T) {
	numbers := func(n int) func(func(int, error) bool) {
		return func(yield func(int, error) bool) {
			for i := range n {
				if !yield(i, nil) {
					return
				}
			}
		}
	}
	for _, test := range []struct {
		format string
		n      int
		want   string
	}{
		{"json", 0, "[]\n"}, {"json", 2, "[\n  0,\n  1\n]\n"}, {"jsonl", 2, "0\n1\n"}, {"jsonl", 0, ""}, {"yaml", 2, "- 0\n- 1\n"}, {"yaml", 0, "[]\n"},
	} {
		var out bytes.Buffer
		a := &app{terminal: terminal{out: &out, err: io.Discard, getenv: func(string) string { return "" }}, output: test.format}
		if err := printEach(a, numbers(test.n)); err != nil || out.String() != test.want {
			t.Errorf("%s of %d: %q, %v", test.format, test.n, out.String(), err)
		}
	}
}

func TestWhatATerminalCannotShowIsEscaped(t *testing.T) {
	for _, test := range []struct{ locale, text, want string }{
		{"C.UTF-8", "naïve …", "naïve …"},
		{"C.UTF-8", "a\x1b[2Jb\r", `a\u001b[2Jb\u000d`},
		{"C.UTF-8", "\u202egnp", `\u202egnp`},
		{"C", "naïve …", `na\u00efve ..`},
		{"", "é", `\u00e9`},
	} {
		a := &app{terminal: terminal{getenv: func(name string) string {
			if name == "LANG" {
				return test.locale
			}
			return ""
		}}}
		if got := a.clean(test.text); got != test.want {
			t.Errorf("%q in %q: %q, want %q", test.text, test.locale, got, test.want)
		}
	}
}

func TestColoursAreForPeopleWhoWantThem(t *testing.T) {
	env := map[string]string{}
	a := &app{terminal: terminal{getenv: func(name string) string { return env[name] }}}
	if got := a.paint(true, bold, "x"); got != "\x1b[1mx\x1b[0m" {
		t.Errorf("on a terminal: %q", got)
	}
	if got := a.paint(false, bold, "x"); got != "x" {
		t.Errorf("elsewhere: %q", got)
	}
	env["NO_COLOR"] = "1"
	if got := a.paint(true, bold, "x"); got != "x" {
		t.Errorf("with NO_COLOR: %q", got)
	}
}

func TestProgressIsShownOnTerminalsOnly(t *testing.T) {
	var errOut bytes.Buffer
	a := &app{terminal: terminal{err: &errOut, getenv: func(string) string { return "" }}}
	now := time.Unix(1_700_000_000, 0)
	p := &progress{a: a, name: "notes.txt", began: now.Add(-10 * time.Second), now: func() time.Time { return now }}
	p.moved(1<<20, 4<<20)
	p.end()
	if errOut.Len() > 0 {
		t.Errorf("nobody looks: %q", errOut.String())
	}
	a.errIsTerminal = true
	p.moved(1<<20, 4<<20)
	if got, want := errOut.String(), "\r\x1b[K#####............... 1.0 MiB of 4.0 MiB  102.4 KiB/s  30s left  notes.txt"; got != want {
		t.Errorf("shown %q, want %q", got, want)
	}
	errOut.Reset()
	p.moved(2<<20, 4<<20) // too soon to look again
	p.end()
	if errOut.String() != "\r\x1b[K" {
		t.Errorf("shown %q", errOut.String())
	}
}

func TestNetworksAreAddedAndChosen(t *testing.T) {
	node := newFakeNode(t)
	u := newUser(t, "")
	in := func(args ...string) (int, string, string) {
		var out, errOut bytes.Buffer
		term := terminal{in: strings.NewReader(""), out: &out, err: &errOut, getenv: func(name string) string { return u.env[name] }}
		code := run(t.Context(), args, term)
		return code, out.String(), errOut.String()
	}
	if code, _, errOut := in("network", "add", "home", node.URL, "--parameters", "devnet"); code != 0 {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	if code, _, errOut := in("--network", "home", "node", "list"); code != 0 {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	if code, _, errOut := in("network", "use", "home"); code != 0 {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	if _, out, _ := in("-o", "json", "network", "show"); !strings.Contains(out, node.URL) {
		t.Errorf("in use: %s", out)
	}
	if code, _, errOut := in("network", "use", "nowhere"); code != exitUsage || !strings.Contains(errOut, "network list") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "mine.json"), []byte(`{"profile": "devnet"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(folder)
	for _, args := range [][]string{{"network", "add", "mine", node.URL, "--parameters", "mine.json"}, {"network", "use", "mine"}} {
		if code, _, errOut := in(args...); code != 0 {
			t.Errorf("exit code %d: %s", code, errOut)
		}
	}
	t.Chdir(t.TempDir())
	if code, out, errOut := in("-o", "json", "network", "show"); code != 0 || !strings.Contains(out, `"mine"`) {
		t.Errorf("from another folder: exit code %d: %s%s", code, out, errOut)
	}
	if code, _, errOut := in("network", "use", "home"); code != 0 {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	if code, _, _ := in("network", "remove", "home"); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, out, _ := in("-o", "json", "network", "show"); !strings.Contains(out, "mainnet") {
		t.Errorf("after it was removed: %s", out)
	}
	if err := os.WriteFile(filepath.Join(u.env["ALEPH_CONFIG_HOME"], "config.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errOut := in("network", "show"); code != exitUsage || !strings.Contains(errOut, "config.json") {
		t.Errorf("a broken file: exit code %d: %s", code, errOut)
	}
}

func TestFollowedLogsAreTheOwners(t *testing.T) {
	node := newFakeNode(t)
	u := newUser(t, node.URL)
	hash := string(message.HashBytes([]byte("program")))
	code, out, errOut := u.run("program", "logs", hash, "-f")
	if code != 0 || out != "listening\na warning\\u001b[2J\n" || !strings.Contains(errOut, "VM has stopped") {
		t.Errorf("exit code %d: %q %s", code, out, errOut)
	}
}

func TestLogsAreAskedForAgainWhereTheyAreNotStreamed(t *testing.T) {
	node := newFakeNode(t)
	node.noStreams = true
	u := newUser(t, node.URL)
	hash := string(message.HashBytes([]byte("instance")))
	code, out, errOut := u.run("instance", "logs", hash, "-f", "--timeout", "3s")
	if code != 0 || out != "listening\n" {
		t.Errorf("exit code %d: %q %s", code, out, errOut)
	}
}

func TestPortsOfAnInstanceAreForwarded(t *testing.T) {
	_, u, _ := funded(t)
	image, key := instanceFiles(t)
	var v machineView
	u.result(&v, "instance", "create", "--image", image, "--ssh-key", key, "--payment", "credit")
	hash := string(v.ItemHash)
	var ports []portView
	u.result(&ports, "instance", "port-forward", "add", hash, "80")
	u.result(&ports, "instance", "port-forward", "add", hash, "53", "--udp", "--tcp=false")
	numbers := []int{}
	for _, p := range ports {
		numbers = append(numbers, p.Number)
	}
	if !slices.Equal(numbers, []int{22, 53, 80}) || ports[0].HostPort != 24007 || !ports[1].UDP || ports[1].TCP {
		t.Errorf("ports %+v", ports)
	}
	u.result(nil, "instance", "port-forward", "delete", hash, "80")
	if code, _, _ := u.run("instance", "port-forward", "delete", hash, "80"); code != exitNotFound {
		t.Errorf("deleted twice: exit code %d", code)
	}
	var gone deletion
	u.result(&gone, "instance", "delete", hash)
	if !gone.Erased || gone.Status != message.StatusForgotten {
		t.Errorf("deleted %+v", gone)
	}
}

func TestCodeOfAProgramIsReplaced(t *testing.T) {
	_, u, _ := funded(t)
	app := fastAPI(t)
	var program deployed
	u.result(&program, "program", "deploy", app)
	if err := os.WriteFile(filepath.Join(app, "main.py"), []byte("app = 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var change struct{ Code, Replaces message.Hash }
	u.result(&change, "program", "update", string(program.ItemHash), app)
	if change.Replaces != program.Code || change.Code == program.Code {
		t.Errorf("changed %+v of %+v", change, program)
	}
	var fresh struct {
		ItemHash message.Hash `json:"item_hash"`
	}
	u.result(&fresh, "program", "persist", string(program.ItemHash))
	var v programView
	u.result(&v, "program", "show", string(fresh.ItemHash))
	if !v.Persistent || v.Code != program.Code || v.Name != "hello" {
		t.Errorf("after it was persisted: %+v", v)
	}
	if code, _, _ := u.run("program", "show", string(program.ItemHash)); code != exitNotFound {
		t.Errorf("the old one is still there: exit code %d", code)
	}
}
