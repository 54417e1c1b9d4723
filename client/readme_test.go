package client_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/client/clienttest"
	"github.com/aleph-im/aleph-go/params"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// authorityKey is that of the authority of development networks, of a mnemonic that everybody knows.
const authorityKey = "2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6"

// examplesPrint is what the programs of the README print, by their headline.
var examplesPrint = map[string]string{
	"First steps": `^\w{64} processed\n\{"text":"hello, world"\}\n$`,
	"Lists":       `^0x\w{40} \w{64}\n(0x\w{40} \w{64}\n)*watched \w{64}\n$`,
	"Files":       `^\w{64} processed\nsome bytes\n$`,
	"Programs":    `^\w{64} main:app\n$`,
	"Errors":      `^needs [\d.]+ ALEPH and has 0\n$`,
}

// TestReadmeIsFollowed does what the README says, but for go mod tidy, in a module of its own beside this one.
func TestReadmeIsFollowed(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	checkout, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	module := t.TempDir()
	inModule := func(command string, args ...string) {
		t.Helper()
		c := exec.CommandContext(t.Context(), command, args...)
		c.Dir, c.Env = module, append(os.Environ(), "GOFLAGS=-mod=readonly", "GOPROXY=off")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", command, args, err, out)
		}
	}
	for _, name := range []string{"go.mod", "go.sum"} { // what go mod tidy would find, which tests that ask no network cannot
		raw, err := os.ReadFile(filepath.Join(checkout, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(module, name), raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	inModule("go", "mod", "edit", "-module=example.org/my-app", "-require=github.com/aleph-im/aleph-go@v0.0.0", "-replace=github.com/aleph-im/aleph-go="+checkout)
	var programs []string
	for _, section := range strings.Split(string(readme), "\n## ")[1:] {
		title, text, _ := strings.Cut(section, "\n")
		for _, block := range regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(text, -1) {
			folder, file := filepath.Join(module, fmt.Sprint(len(programs))), "main.go"
			if strings.Contains(block[1], "testing.T") {
				file = "main_test.go"
			}
			if err := errors.Join(os.Mkdir(folder, 0o755), os.WriteFile(filepath.Join(folder, file), []byte(block[1]), 0o600)); err != nil {
				t.Fatal(err)
			}
			programs = append(programs, title)
		}
	}
	inModule("go", "vet", "./...")

	node := clienttest.Start(t)
	authority, err := ethereum.FromHex(authorityKey)
	if err != nil || authority.Address() != params.DevnetAuthority {
		t.Fatal(err)
	}
	runtime := must[*client.Uploaded](t)(node.Client().UploadFile(t.Context(), authority, strings.NewReader("runtime"), client.UploadOptions{Sync: true}))
	named := map[string]any{"default": runtime.MessageHash, "runtimes": map[string]any{}}
	must[*client.Sent](t)(node.Client().SetAggregate(t.Context(), authority, "runtimes", named, sync))
	secret := bytes.Repeat([]byte{0x5a}, 32)
	user, err := ethereum.FromHex(hex.EncodeToString(secret))
	if err != nil {
		t.Fatal(err)
	}
	node.Fund(user.Address(), 1_000_000)
	key := filepath.Join(t.TempDir(), "account.key")
	if err := os.WriteFile(key, []byte(hex.EncodeToString(secret)), 0o600); err != nil {
		t.Fatal(err)
	}
	ran := 0
	for i, title := range programs {
		want, ok := examplesPrint[title]
		if !ok { // one that is a test
			continue
		}
		ran++
		program := filepath.Join(module, "program")
		inModule("go", "build", "-ldflags=-s -w", "-o", program, fmt.Sprintf("./%d", i))
		run := exec.CommandContext(t.Context(), program)
		run.Dir, run.Env = checkout, append(os.Environ(), "ALEPH_API_HOST="+node.URL, "ALEPH_PRIVATE_KEY_FILE="+key)
		if out, err := run.CombinedOutput(); err != nil || !regexp.MustCompile(want).Match(out) {
			t.Errorf("%s: %v\n%s", title, err, out)
		}
	}
	if ran != len(examplesPrint) {
		t.Errorf("%d of %d programs ran", ran, len(examplesPrint))
	}
}
