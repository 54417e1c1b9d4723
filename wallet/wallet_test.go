package wallet

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

var testTime = time.Unix(1700000000, 0)

// memory is a keychain for tests.
type memory map[string]string

func (m memory) Get(name string) (string, error) {
	text, ok := m[name]
	if !ok {
		return "", ErrNotFound
	}
	return text, nil
}
func (m memory) Set(name, text string) error { m[name] = text; return nil }
func (m memory) Delete(name string) error    { delete(m, name); return nil }

func config(t *testing.T) Config {
	t.Helper()
	return Config{
		Dir: filepath.Join(t.TempDir(), "aleph"), Keychain: memory{},
		Password: func(context.Context, string, bool) (string, error) { return "secret", nil },
	}
}

func open(t *testing.T, c Config) *Wallet {
	t.Helper()
	w, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	w.stretch = 1 << 10 // what protects a password takes long
	return w
}

func mustKey(t *testing.T, chain message.Chain) Key {
	t.Helper()
	key, err := Generate(chain)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestAccountsAreKeptUnderTheirNames(t *testing.T) {
	c := config(t)
	w := open(t, c)
	if w.Default() != "" || len(w.List()) != 0 {
		t.Fatal("a new wallet is not empty")
	}
	keys := map[Kind]Key{KindFile: mustKey(t, message.ChainSOL), KindKeystore: mustKey(t, message.ChainDOT), KindKeychain: mustKey(t, message.ChainBASE)}
	for kind, key := range keys {
		if _, err := w.Add(t.Context(), string(kind), key, kind); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Add(t.Context(), string(kind), mustKey(t, message.ChainETH), KindFile); !errors.Is(err, ErrExists) {
			t.Errorf("%s was replaced: %v", kind, err)
		}
	}
	if err := errors.Join(w.Use("keystore"), w.AddAlias("bob", "0xb0b")); err != nil {
		t.Fatal(err)
	}
	if err := w.AddAlias("file", "0x1"); !errors.Is(err, ErrExists) {
		t.Errorf("alias with the name of an account: %v", err)
	}

	w = open(t, c) // another time
	for kind, key := range keys {
		account, err := w.Account(t.Context(), string(kind))
		if err != nil || account.Address() != key.Address() || account.Chain() != key.Chain() {
			t.Errorf("%s: %v, %v", kind, account, err)
		}
		back, err := w.Key(t.Context(), string(kind))
		if err != nil || back.Text() != key.Text() {
			t.Errorf("%s: the key is another, %v", kind, err)
		}
	}
	if w.Default() != "keystore" || w.Resolve("bob") != "0xb0b" || w.Resolve("file") != keys[KindFile].Address() || w.Resolve("0x2") != "0x2" {
		t.Errorf("default %s, bob %s", w.Default(), w.Resolve("bob"))
	}
	for kind := range keys {
		if err := w.Remove(string(kind)); err != nil {
			t.Error(err)
		}
	}
	if err := w.RemoveAlias("bob"); err != nil {
		t.Error(err)
	}
	left, err := filepath.Glob(filepath.Join(c.Dir, "*", "*"))
	if err != nil || len(left) != 0 || len(c.Keychain.(memory)) != 0 || w.Default() != "" {
		t.Errorf("%v are left, %v", left, err)
	}
	for _, name := range []string{"", "a/b", `a\b`, ".x"} {
		var bad *NameError
		if _, err := w.Add(t.Context(), name, keys[KindFile], KindFile); !errors.As(err, &bad) {
			t.Errorf("name %q: %v", name, err)
		}
	}
}

func TestNothingInAWalletIsReadableByOthers(t *testing.T) {
	c := config(t)
	w := open(t, c)
	for _, kind := range []Kind{KindFile, KindKeystore} {
		if _, err := w.Add(t.Context(), string(kind), mustKey(t, message.ChainETH), kind); err != nil {
			t.Fatal(err)
		}
	}
	err := filepath.WalkDir(c.Dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(c.Dir, "keys", "file.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	var loose *PermissionError
	if _, err := w.Account(t.Context(), "file"); !errors.As(err, &loose) {
		t.Errorf("a loose key file: %v", err)
	}
}

func TestKeyFilesPutIntoTheFolderAreAccounts(t *testing.T) {
	c := config(t)
	if err := errors.Join(os.MkdirAll(filepath.Join(c.Dir, "keys"), 0o700), os.WriteFile(filepath.Join(c.Dir, "keys", "old.key"), []byte(strings.Repeat("5a", 32)+"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	w := open(t, c)
	if list := w.List(); len(list) != 1 || list[0].Name != "old" || list[0].Kind != KindFile || w.Default() != "old" {
		t.Errorf("accounts %+v", list)
	}
}

func TestAKeyThatWasExchangedIsRefused(t *testing.T) {
	c := config(t)
	w := open(t, c)
	if _, err := w.Add(t.Context(), "a", mustKey(t, message.ChainETH), KindKeychain); err != nil {
		t.Fatal(err)
	}
	c.Keychain.(memory)["a"] = mustKey(t, message.ChainETH).Text()
	if _, err := w.Account(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "and not of") {
		t.Errorf("another key: %v", err)
	}
}

func TestAccountsOfOlderToolsAreTakenOver(t *testing.T) {
	key := mustKey(t, message.ChainETH)
	home := t.TempDir()
	keys := filepath.Join(home, "private-keys")
	if err := errors.Join(
		os.Mkdir(keys, 0o755),
		os.WriteFile(filepath.Join(keys, "main.key"), key.Secret(), 0o644), // raw bytes, and loose, as that tool has it
		os.Symlink("main.key", filepath.Join(keys, "default.key")),
		os.WriteFile(filepath.Join(keys, "broken.key"), []byte("x"), 0o644),
		os.WriteFile(filepath.Join(home, "config.json"), []byte(`{"path":"`+filepath.Join(keys, "main.key")+`","type":"imported","chain":"BASE"}`), 0o644),
	); err != nil {
		t.Fatal(err)
	}
	w := open(t, config(t))
	list, err := w.MigratePython(t.Context(), home, KindFile)
	if err != nil || len(list) != 2 || list[0].Err == nil || list[1].Err != nil || list[1].Address != key.Address() || list[1].Chain != message.ChainBASE || w.Default() != "main" {
		t.Errorf("%+v, %v", list, err)
	}
	if list, err = w.MigratePython(t.Context(), home, KindFile); err != nil || !errors.Is(list[1].Err, ErrExists) {
		t.Errorf("a second time: %+v, %v", list, err)
	}

	rust := t.TempDir()
	raw, err := encrypt(key, "pass", 1<<12)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		os.Mkdir(filepath.Join(rust, "keystores"), 0o700),
		os.WriteFile(filepath.Join(rust, "keystores", "vault.json"), raw, 0o600),
		os.WriteFile(filepath.Join(rust, "accounts.toml"), []byte(`default = "vault"
[[accounts]]
name = "vault"
chain = "eth"
address = "`+key.Address()+`"
kind = "keystore"
[[accounts]]
name = "chain"
chain = "SOL"
address = "4zvw"
kind = "local"
[[accounts]]
name = "nano"
chain = "ETH"
address = "0x1"
kind = "ledger"
derivation_path = "44'/60'/1'/0/0"
[[aliases]]
name = "bob"
address = "0xb0b"
`), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	c := config(t)
	c.Password = func(context.Context, string, bool) (string, error) { return "pass", nil }
	w = open(t, c)
	list, err = w.MigrateRust(rust)
	if err != nil || slices.ContainsFunc(list, func(m Migrated) bool { return m.Err != nil }) || w.Default() != "vault" || w.Resolve("bob") != "0xb0b" {
		t.Fatalf("%+v, %v", list, err)
	}
	kinds := []Kind{}
	for _, e := range w.List() {
		kinds = append(kinds, e.Kind)
	}
	if !slices.Equal(kinds, []Kind{KindKeystore, KindKeychain, KindLedger}) {
		t.Errorf("kinds %v", kinds)
	}
	if account, err := w.Account(t.Context(), "vault"); err != nil || account.Address() != key.Address() {
		t.Errorf("%v, %v", account, err)
	}
}

func TestAnotherProgramSigns(t *testing.T) {
	key := mustKey(t, message.ChainETH)
	text, err := key.Sign(t.Context(), []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	w := open(t, config(t))
	script := func(body string) []string { return []string{"/bin/sh", "-c", body} }
	for name, test := range map[string]struct {
		command []string
		want    string // in the error; "" for none
	}{
		"right":        {script(`grep -q '"payload":"hello"' && echo '{"signature":"` + text + `"}'`), ""},
		"fails":        {script(`echo "no such key" >&2; exit 1`), "no such key"},
		"no signature": {script(`echo hi`), "want {"},
		"not there":    {[]string{"/nonexistent/signer"}, "/nonexistent/signer"},
		"too much":     {script(`head -c 100000 /dev/zero`), "failed"},
		"another's":    {script(`echo '{"signature":"` + text[:10] + "00" + text[12:] + `"}'`), "the signer"},
	} {
		if _, err := w.AddCommand(name, key.Chain(), key.Address(), test.command); err != nil {
			t.Fatal(err)
		}
		account, err := w.Account(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := account.Sign(t.Context(), []byte("hello"))
		if test.want == "" && (err != nil || got != text) || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := NewSigner(key.Chain(), key.Address(), script("sleep 60")).Sign(ended, nil); err == nil {
		t.Error("a signer outlives its context")
	}
}
