package wallet

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature"
)

func TestKeysOfEveryChainSignAndReadBack(t *testing.T) {
	verifiers := signature.Default()
	for _, chain := range Chains() {
		key, err := Generate(chain)
		if err != nil {
			t.Fatal(chain, err)
		}
		m, _, err := message.Build(key.Address(), key.Chain(), message.TypePost, &message.Post{PostType: "note"}, nil, testTime)
		if err != nil {
			t.Fatal(err)
		}
		if err := signature.Sign(t.Context(), key, m); err != nil {
			t.Error(chain, err)
		}
		if err := verifiers.Verify(m); err != nil || m.Chain != chain {
			t.Errorf("%s: %v", chain, err)
		}
		for _, raw := range [][]byte{[]byte(key.Text()), []byte(key.Text() + "\n")} {
			back, err := ParseKey(raw, chain)
			if err != nil || back.Address() != key.Address() || back.Chain() != chain {
				t.Errorf("%s: %v, %v", chain, back, err)
			}
		}
		if shown := fmt.Sprintf("%v %+v %#v %x", key, key, &key, key); strings.Contains(shown, key.Text()) || !strings.Contains(shown, key.Address()) {
			t.Errorf("%s: printed as %s", chain, shown)
		}
	}
}

func TestKeysAreReadInTheFormsOfWallets(t *testing.T) {
	const words = "test test test test test test test test test test test junk"
	raw := append([]byte{0x81}, bytes.Repeat([]byte{0x5a}, 31)...)
	tests := []struct {
		name, text string
		chain      message.Chain
		want       string // chain and the beginning of the address; "" is an error
	}{
		{"hex", strings.Repeat("5a", 32), "", "ETH 0xa8049b"},
		{"hex with 0x", "0x" + strings.Repeat("5a", 32), message.ChainBASE, "BASE 0xa8049b"},
		{"raw bytes", string(raw), "", "ETH 0x"},
		{"phrase", words, "", "ETH 0xf39Fd6"},
		{"phrase of another chain", words, message.ChainDOT, "DOT 5"},
		{"phrase where there is none", words, message.ChainAVAX, ""},
		{"text of a key", "DOT:" + strings.Repeat("5a", 32), "", "DOT 5"},
		{"text of a key of another chain", "DOT:" + strings.Repeat("5a", 32), message.ChainETH, ""},
		{"no chain", "XYZ:" + strings.Repeat("5a", 32), "", ""},
		{"Solana's numbers for Ethereum", "[" + strings.TrimSuffix(strings.Repeat("1,", 64), ",") + "]", message.ChainETH, ""},
		{"nothing", "", "", ""},
		{"a word", "secret", "", ""},
		{"two few digits", strings.Repeat("5a", 31), "", ""},
	}
	for _, test := range tests {
		key, err := ParseKey([]byte(test.text), test.chain)
		switch {
		case test.want == "" && err == nil:
			t.Errorf("%s: taken as %s", test.name, key)
		case test.want == "":
			if len(test.text) > 10 && strings.Contains(err.Error(), test.text) {
				t.Errorf("%s: the error shows it: %v", test.name, err)
			}
		case err != nil:
			t.Errorf("%s: %v", test.name, err)
		case !strings.HasPrefix(string(key.Chain())+" "+key.Address(), test.want):
			t.Errorf("%s: %s %s", test.name, key.Chain(), key)
		}
	}
}

func TestLooseKeyFilesAreRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	for mode, ok := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o640: false, 0o604: false} {
		if err := errors.Join(os.RemoveAll(path), os.WriteFile(path, []byte(strings.Repeat("5a", 32)), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		_, err := ReadKeyFile(path, "")
		var loose *PermissionError
		if ok != (err == nil) || !ok && (!errors.As(err, &loose) || !strings.Contains(err.Error(), "chmod 600 "+path)) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), maxKeyFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKeyFile(path, ""); err == nil {
		t.Error("a large file is a key")
	}
}

func FuzzParseKey(f *testing.F) {
	for _, s := range []string{strings.Repeat("5a", 32), "DOT:00", "edsk", "PrivateKey-", "[1,2]", "a b c d e f g h i j k l", ":"} {
		f.Add([]byte(s), "ETH")
	}
	f.Fuzz(func(t *testing.T, raw []byte, chain string) {
		key, err := ParseKey(raw, message.Chain(chain))
		if err != nil {
			return
		}
		if back, err := ParseKey([]byte(key.Text()), key.Chain()); err != nil || back.Address() != key.Address() {
			t.Errorf("%s reads back as %v, %v", key, back, err)
		}
	})
}
