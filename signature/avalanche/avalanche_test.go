package avalanche

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/signaturetest"
	"github.com/mr-tron/base58"
)

func TestAccountVectors(t *testing.T) {
	type detail struct {
		Text   string `json:"private_key_cb58"`
		Secret string `json:"private_key_hex"`
		Public string `json:"public_key_compressed_hex"`
	}
	signaturetest.Accounts(t, message.ChainAVAX, func(t *testing.T, v signaturetest.Account[detail]) {
		secret, err := hex.DecodeString(v.Detail.Secret)
		if err != nil {
			t.Fatal(err)
		}
		for _, open := range []func() (*Account, error){
			func() (*Account, error) { return NewAccount(secret, "X") },
			func() (*Account, error) { return FromText(v.Detail.Text, "X") },
		} {
			a, err := open()
			if err != nil {
				t.Fatal(err)
			}
			if public := a.key.Public(); a.Address() != v.Address || hex.EncodeToString(public[:]) != v.Detail.Public {
				t.Errorf("%s: address %s of key %x, want %s of %s", v.ID, a.Address(), public, v.Address, v.Detail.Public)
			}
			if hex.EncodeToString(a.Secret()) != v.Detail.Secret {
				t.Error("the secret changed")
			}
		}
	})
}

func TestMalformedIsRefused(t *testing.T) {
	a, err := Generate("X")
	if err != nil {
		t.Fatal(err)
	}
	m := &message.Message{Sender: a.Address(), Chain: message.ChainAVAX}
	good, err := a.Sign(t.Context(), m.SigningPayload())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := decodeCB58(good)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"0", "1", good[1:], good + "1", strings.Repeat("z", 4000), encodeCB58(raw[:64]), encodeCB58(append(raw, 0)),
		encodeCB58(append(raw[:64:64], 4)), base58.Encode(raw), "PrivateKey-" + encodeCB58(a.Secret()),
	} {
		m.Signature = text
		if err := (Verifier{}).Verify(m); err == nil {
			t.Errorf("accepted %s", text)
		} else if secret := encodeCB58(a.Secret()); strings.Contains(err.Error(), secret[:8]) {
			t.Errorf("the error shows the key: %v", err)
		}
	}
	for _, chain := range []string{"", "x", "XX", "X-"} {
		if a, err := Generate(chain); err == nil {
			t.Errorf("opened %s", a.Address())
		}
	}
	for _, text := range []string{"", "PrivateKey-", "PrivateKey-0", "PrivateKey-" + encodeCB58(make([]byte, 32)), encodeCB58(a.Secret())} {
		if a, err := FromText(text, "X"); err == nil {
			t.Errorf("opened %q as %s", text, a.Address())
		}
	}
}

func FuzzVerify(f *testing.F) { signaturetest.Fuzz(f, message.ChainAVAX, Verifier{}.Verify) }
