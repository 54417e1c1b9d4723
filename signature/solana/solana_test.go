package solana

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/internal/vectors"
	"github.com/aleph-im/aleph-go/message"
	"github.com/mr-tron/base58"
)

func TestAccountVectors(t *testing.T) {
	var file struct {
		Accounts []struct {
			Chain, ID, Address string
			Detail             struct {
				Seed      string `json:"seed_hex"`
				Secret    string `json:"secret_key_64_base58"`
				Payload   string `json:"payload_utf8"`
				Signature string `json:"signature_base58"`
			}
		}
	}
	vectors.Load(t, "accounts.json", &file)
	seen := 0
	for _, v := range file.Accounts {
		if v.Chain != "SOL" {
			continue
		}
		seen++
		t.Run(v.ID, func(t *testing.T) {
			seed, err := hex.DecodeString(v.Detail.Seed)
			if err != nil {
				t.Fatal(err)
			}
			secret, err := base58.Decode(v.Detail.Secret)
			if err != nil {
				t.Fatal(err)
			}
			numbers := make([]int, len(secret))
			for i, b := range secret {
				numbers[i] = int(b)
			}
			array, err := json.Marshal(numbers)
			if err != nil {
				t.Fatal(err)
			}
			for _, open := range []func() (*Account, error){
				func() (*Account, error) { return NewAccount(seed) },
				func() (*Account, error) { return FromText(v.Detail.Secret) },
				func() (*Account, error) { return FromText(base58.Encode(seed)) },
				func() (*Account, error) { return FromText(string(array)) },
			} {
				a, err := open()
				if err != nil {
					t.Fatal(err)
				}
				if a.Address() != v.Address || !bytes.Equal(a.Secret(), secret) {
					t.Errorf("address %s, want %s", a.Address(), v.Address)
				}
				sig, err := a.Sign(t.Context(), []byte(v.Detail.Payload))
				if err != nil || !strings.Contains(sig, `"`+v.Detail.Signature+`"`) {
					t.Errorf("signature %s, %v, want %s", sig, err, v.Detail.Signature)
				}
			}
		})
	}
	if seen == 0 {
		t.Fatal("no Solana accounts in the vectors")
	}
}

func TestWrongSecretsAreRefused(t *testing.T) {
	mixed := append(bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)...)
	for _, text := range []string{"", "0OIl", "[1,2]", "[300]", "[", "[-1]", base58.Encode(mixed)} {
		if a, err := FromText(text); err == nil {
			t.Errorf("opened %q as %s", text, a.Address())
		}
	}
}

// TestSmallOrderKeysAreRefused finds, for each small-order key, a payload whose signature needs no private key: with S = 0
// and R the neutral point, one payload in at most eight verifies in Go's library. Ours must refuse them all.
func TestSmallOrderKeysAreRefused(t *testing.T) {
	neutral := make([]byte, 64)
	neutral[0] = 1
	for _, text := range smallOrder {
		key, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		forged := false
		for i := range uint32(1000) {
			payload := binary.BigEndian.AppendUint32(nil, i)
			forged = forged || ed25519.Verify(key, payload, neutral)
			if verify(key, payload, neutral) {
				t.Errorf("key %s verifies %x", text, payload)
			}
		}
		if !forged {
			t.Errorf("key %s is not of small order", text)
		}
	}
}

func TestNonCanonicalKeysAreRefused(t *testing.T) {
	key := bytes.Repeat([]byte{0xff}, 32)
	for low, want := range map[byte]bool{0xec: true, 0xed: false, 0xff: false} {
		for _, high := range []byte{0x7f, 0xff} {
			key[0], key[31] = low, high
			if isCanonical(key) != want {
				t.Errorf("canonical(%x) = %v, want %v", key, !want, want)
			}
		}
	}
}

func FuzzVerify(f *testing.F) {
	var file struct {
		Own []struct {
			Message struct{ Sender, Signature string }
		}
	}
	vectors.Load(f, "signatures_sol.json", &file)
	for _, v := range file.Own {
		f.Add(v.Message.Sender, v.Message.Signature)
	}
	f.Fuzz(func(t *testing.T, sender, signature string) {
		m := &message.Message{Sender: sender, Chain: message.ChainSOL, Signature: signature}
		if err := (Verifier{}).Verify(m); err == nil {
			t.Error("accepted a signature of a message that nobody signed")
		}
	})
}
