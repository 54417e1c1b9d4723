package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/ccn/check"
	"github.com/aleph-im/aleph-go/ccn/replay"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// alephd runs the program with arguments and returns what it printed.
func alephd(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	err := run(t.Context(), args, &stdout, &stderr)
	if t.Failed() || testing.Verbose() {
		t.Logf("%v: %v\n%s%s", args, err, stdout.String(), stderr.String())
	}
	return stdout.String(), err
}

// dump writes n posts and amendments of a new account to a file.
func dump(t *testing.T, n int) string {
	t.Helper()
	account, err := ethereum.Generate()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	var first message.Hash
	for i := range n {
		post := &message.Post{PostType: "note", Content: json.RawMessage(fmt.Sprintf(`{"n":%d}`, i))}
		if first != "" && i%2 == 1 {
			post.PostType, post.Ref = message.PostTypeAmend, string(first)
		}
		m, _, err := message.Build(account.Address(), account.Chain(), message.TypePost, post, nil, time.Unix(1_700_000_000+int64(i), 0))
		if err != nil {
			t.Fatal(err)
		}
		if err := signature.Sign(t.Context(), account, m); err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = m.ItemHash
		}
		raw, err := m.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(raw, '\n'))
	}
	path := filepath.Join(t.TempDir(), "dump.jsonl")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func importInto(t *testing.T, dir, from string) (c replay.Counts) {
	t.Helper()
	out, err := alephd(t, "ccn", "import", "--network", "devnet", "--data-dir", dir, "--from", from, "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(out), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func checkOf(t *testing.T, dir string) (r check.Report, err error) {
	t.Helper()
	out, err := alephd(t, "ccn", "check", "--network", "devnet", "--data-dir", dir, "--hash-files", "-o", "json")
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	return r, err
}

func TestImportCheckBackupRestore(t *testing.T) {
	dir, to, again := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "again")
	from := dump(t, 300)
	if c := importInto(t, dir, from); c.Read != 300 || c.Rejected != 0 || c.Processed+c.Pending != 300 {
		t.Fatalf("got %+v", c)
	}
	if c := importInto(t, dir, from); c.Read != 0 {
		t.Errorf("the second import read %+v", c)
	}
	if r, err := checkOf(t, dir); err != nil || !r.Clean() || r.Messages == 0 {
		t.Fatalf("got %+v, %v", r, err)
	}
	if _, err := alephd(t, "ccn", "backup", to, "--data-dir", dir); err != nil {
		t.Fatal(err)
	}
	if _, err := alephd(t, "ccn", "restore", to, "--data-dir", again); err != nil {
		t.Fatal(err)
	}
	if r, err := checkOf(t, again); err != nil || !r.Clean() || r.Messages == 0 {
		t.Fatalf("got %+v, %v", r, err)
	}
	if _, err := alephd(t, "ccn", "restore", to, "--data-dir", again); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("got %v", err)
	}
}

func TestImportThatWasStoppedGoesOn(t *testing.T) {
	dir, from := filepath.Join(t.TempDir(), "data"), dump(t, 50)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	args := []string{"ccn", "import", "--network", "devnet", "--data-dir", dir, "--from", from}
	if err := run(ctx, args, &out, &out); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if c := importInto(t, dir, from); c.Read != 50 {
		t.Errorf("got %+v", c)
	}
}

func TestCommandsSayWhatIsWrong(t *testing.T) {
	empty, damaged := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(damaged, "aleph.db"), bytes.Repeat([]byte("no database"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"ccn", "check", "--data-dir", filepath.Join(empty, "none")}, "name the folder of the node with --data-dir"},
		{[]string{"ccn", "check", "-o", "xml"}, "want text or json"},
		{[]string{"ccn", "backup"}, "DEST is missing"},
		{[]string{"ccn", "restore", empty, "--data-dir", filepath.Join(empty, "x")}, "this is no backup"},
		{[]string{"ccn", "import", "--data-dir", empty}, "--from"},
		{[]string{"ccn", "import", "--data-dir", empty, "--from", "nowhere"}, "want http://host:port"},
		{[]string{"ccn", "--http-peers", "node.example"}, "http-peers: \"node.example\" is no base URL"},
		{[]string{"ccn", "--public-url", "/here"}, "public-url: \"/here\" is no base URL"},
		{[]string{"ccn", "--token", "0x12"}, "40 hex digits"},
		{[]string{"ccn", "--drain", "-5s"}, "want 0s or more"},
		{[]string{"ccn", "--max-sockets", "0"}, "want 1 or more"},
		{[]string{"crn", "--memory-mib", "-1"}, "memory-mib is less than nothing"},
		{[]string{"crn", "--machine-network-mbit", "-5"}, "machine-network-mbit is less than nothing"},
		{[]string{"crn", "--machine-disk-iops", "-1"}, "machine-disk-iops is less than nothing"},
		{[]string{"crn", "--program-start-timeout", "-1s"}, "program-start-timeout is less than nothing"},
		{[]string{"crn", "--public-url", "crn.example.org"}, "public-url: \"crn.example.org\" is no base URL"},
		{[]string{"crn", "--node-hash", "x"}, "node-hash: "},
		{[]string{"crn", "--host-ipv4", "here"}, "\"here\" is no IPv4 address"},
		{[]string{"ccn", "--data-dir", damaged, "--network", "devnet", "--http-listen", "127.0.0.1:0"}, "restore a backup with alephd ccn restore"},
	} {
		if _, err := alephd(t, tt.args...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: got %v", tt.args, err)
		}
	}
}
