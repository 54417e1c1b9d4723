package solana

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/signaturetest"
	"github.com/mr-tron/base58"
)

func TestAccountVectors(t *testing.T) {
	type detail struct {
		Seed      string `json:"seed_hex"`
		Secret    string `json:"secret_key_64_base58"`
		Payload   string `json:"payload_utf8"`
		Signature string `json:"signature_base58"`
	}
	signaturetest.Accounts(t, message.ChainSOL, func(t *testing.T, v signaturetest.Account[detail]) {
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

func FuzzVerify(f *testing.F) { signaturetest.Fuzz(f, message.ChainSOL, Verifier{}.Verify) }
