package cosmos

import (
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/signaturetest"
	"pgregory.net/rapid"
)

func TestAccountVectors(t *testing.T) {
	type detail struct {
		HRP      string
		Secret   string `json:"private_key_hex"`
		Public   string `json:"public_key_compressed_hex"`
		Mnemonic string
	}
	signaturetest.Accounts(t, message.ChainCSDK, func(t *testing.T, v signaturetest.Account[detail]) {
		secret, err := hex.DecodeString(v.Detail.Secret)
		if err != nil {
			t.Fatal(err)
		}
		hrp, _, _ := strings.Cut(v.Address, "1")
		a, err := NewAccount(secret, hrp)
		if err != nil {
			t.Fatal(err)
		}
		if a.Address() != v.Address || hex.EncodeToString(a.public[:]) != v.Detail.Public {
			t.Errorf("address %s of key %x, want %s of %s", a.Address(), a.public, v.Address, v.Detail.Public)
		}
		if hex.EncodeToString(a.Secret()) != v.Detail.Secret {
			t.Error("the secret changed")
		}
		if v.Detail.Mnemonic == "" {
			return
		}
		m, err := FromMnemonic(v.Detail.Mnemonic, "", hrp)
		if err != nil {
			t.Fatal(err)
		}
		if m.Address() != v.Address {
			t.Errorf("address of the phrase %s, want %s", m.Address(), v.Address)
		}
	})
}

func TestSignDocIsASCIIAndReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		doc := signDoc(text, []byte(text))
		for _, c := range doc {
			if c < ' ' || c > '~' {
				t.Fatalf("byte %#x in %s", c, doc)
			}
		}
		var read struct {
			Msgs []struct {
				Value struct{ Message, Signer string }
			}
		}
		if err := json.Unmarshal(doc, &read); err != nil {
			t.Fatal(err)
		}
		if v := read.Msgs[0].Value; v.Message != text || v.Signer != text {
			t.Fatalf("%q reads back as %+v", text, v)
		}
	})
	if got, want := string(appendEscaped(nil, "\"\\\n\r\t\f\b\x00\x7fé😀/")), `\"\\\n\r\t\f\b\u0000\u007f\u00e9\ud83d\ude00/`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestPrefixes(t *testing.T) {
	for _, hrp := range []string{"", "a1", "é", "a b", "Cosmos", strings.Repeat("a", 84)} {
		if a, err := Generate(hrp); err == nil {
			t.Errorf("opened %s", a.Address())
		}
	}
	if _, err := NewAccount(make([]byte, 32), "cosmos"); err == nil {
		t.Error("opened the key 0")
	}
	if _, err := FromMnemonic("abandon", "", "cosmos"); err == nil {
		t.Error("opened a phrase of one word")
	}
}

func FuzzVerify(f *testing.F) { signaturetest.Fuzz(f, message.ChainCSDK, Verifier{}.Verify) }
