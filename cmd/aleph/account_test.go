package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// keyless is a user without a key in the environment.
func keyless(t *testing.T) *user {
	u := newUser(t, "http://127.0.0.1:1")
	delete(u.env, "ALEPH_PRIVATE_KEY")
	u.env["ALEPH_PASSWORD"] = "secret"
	return u
}

func (u *user) do(args ...string) string {
	u.t.Helper()
	code, out, errOut := u.run(args...)
	if code != exitOK {
		u.t.Fatalf("%v: exit code %d: %s", args, code, errOut)
	}
	return out
}

func TestAKeyFileIsNamedByTheEnvironment(t *testing.T) {
	u := newUser(t, "http://127.0.0.1:1")
	secret, path := u.env["ALEPH_PRIVATE_KEY"], filepath.Join(t.TempDir(), "wallet.key")
	if err := os.WriteFile(path, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	delete(u.env, "ALEPH_PRIVATE_KEY")
	u.env["ALEPH_PRIVATE_KEY_FILE"] = path
	var v accountView
	for _, args := range [][]string{{"account", "show"}, {"account", "import", "kept"}, {"account", "show", "--account", "kept"}} {
		if u.result(&v, args...); v.Address != u.addressOf(secret) {
			t.Errorf("%v: %+v", args, v)
		}
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if code, _, errOut := u.run("account", "show"); code != exitKey || !strings.Contains(errOut, "ALEPH_PRIVATE_KEY_FILE: key file: "+path+" can be read by others") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}

func TestAccountsOfEveryKindSign(t *testing.T) {
	u := keyless(t)
	u.do("account", "create", "plain", "--chain", "base")
	u.do("account", "create", "safe", "--encrypted", "--chain", "dot")
	u.in = strings.Repeat("5a", 32)
	u.do("account", "import", "vault")
	signature := strings.TrimSpace(u.do("account", "sign", "hello", "--account", "vault"))
	if by, err := ethereum.RecoverPersonal([]byte("hello"), signature); err != nil || by != "0xa8049bB68181799124F98E467DD749e120abFA64" {
		t.Errorf("signed by %s, %v", by, err)
	}
	script := filepath.Join(t.TempDir(), "sign")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho '{\"signature\":\""+signature+"\"}'\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	u.do("account", "import", "other", "--command", script, "--address", "0xa8049bB68181799124F98E467DD749e120abFA64")
	if got := u.do("account", "sign", "hello", "--account", "other"); strings.TrimSpace(got) != signature {
		t.Errorf("the other program signed %s", got)
	}
	if got := u.do("account", "sign", "hello", "--account", "safe"); !strings.Contains(got, "sr25519") {
		t.Errorf("signed %s", got)
	}
	u.env["ALEPH_PASSWORD"] = "wrong"
	if code, _, errOut := u.run("account", "sign", "hello", "--account", "safe"); code != exitKey || !strings.Contains(errOut, "password is wrong") {
		t.Errorf("wrong password: exit code %d: %s", code, errOut)
	}
	delete(u.env, "ALEPH_PASSWORD")
	if code, _, errOut := u.run("account", "sign", "hello", "--account", "safe"); code != exitKey || !strings.Contains(errOut, "ALEPH_PASSWORD") {
		t.Errorf("no password: exit code %d: %s", code, errOut)
	}

	u.do("account", "use", "other")
	var list []accountView
	if err := json.Unmarshal([]byte(u.do("-o", "json", "account", "list")), &list); err != nil || len(list) != 4 || !list[3].Default || list[1].Kind != "keystore" {
		t.Errorf("listed %+v, %v", list, err)
	}
	if code, _, errOut := u.run("account", "export", "other", "--yes"); code != exitKey || !strings.Contains(errOut, "cannot be taken") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	if got := u.do("account", "export", "vault", "--yes"); strings.TrimSpace(got) != strings.Repeat("5a", 32) {
		t.Errorf("exported %s", got)
	}
	u.in = "n\n"
	if code, _, _ := u.run("account", "remove", "vault"); code != exitFailed {
		t.Errorf("not removed: exit code %d", code)
	}
	u.in = "y\n"
	u.do("account", "remove", "vault")
	if code, _, _ := u.run("account", "show", "vault"); code != exitKey {
		t.Errorf("removed: exit code %d", code)
	}
}

func TestAliasesStandForAddresses(t *testing.T) {
	node := newFakeNode(t)
	u := newUser(t, node.URL)
	const bob = "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"
	u.do("account", "alias", "add", "bob", bob)
	if got := u.do("account", "balance", "bob"); !strings.Contains(got, bob) {
		t.Errorf("balance of %s", got)
	}
	if got := u.do("account", "alias", "list"); !strings.HasPrefix(got, "bob") {
		t.Errorf("listed %s", got)
	}
	if code, _, _ := u.run("account", "create", "bob"); code != exitKey {
		t.Errorf("an account with the name of an alias: exit code %d", code)
	}
	u.do("account", "alias", "remove", "bob")
	if got := u.do("-o", "json", "account", "alias", "list"); strings.TrimSpace(got) != "[]" {
		t.Errorf("listed %s", got)
	}
}

func TestOlderAccountsAreTakenOver(t *testing.T) {
	u := keyless(t)
	home := t.TempDir()
	keys := filepath.Join(home, "private-keys")
	if err := os.MkdirAll(keys, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(keys, "main.key"), []byte(strings.Repeat("Z", 31)+"\x80"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := u.do("account", "migrate", "--python", home, "--rust", t.TempDir()); !strings.Contains(got, "main") || !strings.Contains(got, "taken over") {
		t.Errorf("told %s", got)
	}
	u.do("account", "sign", "hello")
	if code, _, errOut := u.run("account", "import", "x", "--ledger", "--encrypted"); code != exitUsage {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	if code, _, errOut := u.run("account", "create", "a/b"); code != exitUsage {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	if code, _, errOut := u.run("account", "create", "--chain", "DOGE"); code != exitUsage {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}
