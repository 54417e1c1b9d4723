package solana

import (
	"bytes"
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

func TestSecretKeysAreRefusedAndNotShown(t *testing.T) {
	a, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	m := &message.Message{Sender: a.Address(), Chain: message.ChainSOL}
	good, err := a.Sign(t.Context(), m.SigningPayload())
	if err != nil {
		t.Fatal(err)
	}
	secret := base58.Encode(a.Secret())
	m.Signature = strings.Replace(good, a.Address(), secret, 1)
	if err := (Verifier{}).Verify(m); err == nil || strings.Contains(err.Error(), secret[:8]) {
		t.Errorf("accepted a secret key, or showed it: %v", err)
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
