package substrate

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/signaturetest"
	"pgregory.net/rapid"
)

func TestAccountVectors(t *testing.T) {
	type detail struct {
		Secret   string `json:"mini_secret_hex"`
		Public   string `json:"public_key_hex"`
		Prefix   uint16 `json:"ss58_prefix"`
		Prefix0  string `json:"address_prefix_0"`
		Prefix2  string `json:"address_prefix_2"`
		Mnemonic string
	}
	signaturetest.Accounts(t, message.ChainDOT, func(t *testing.T, v signaturetest.Account[detail]) {
		secret, err := hex.DecodeString(v.Detail.Secret)
		if err != nil {
			t.Fatal(err)
		}
		for network, want := range map[uint16]string{v.Detail.Prefix: v.Address, 0: v.Detail.Prefix0, 2: v.Detail.Prefix2} {
			if want == "" {
				continue
			}
			a, err := NewAccount(secret, network)
			if err != nil {
				t.Fatal(err)
			}
			if a.Address() != want {
				t.Errorf("address %s, want %s", a.Address(), want)
			}
			if key, err := decodeAddress(want); err != nil || hex.EncodeToString(key) != v.Detail.Public {
				t.Errorf("public key %x, %v, want %s", key, err, v.Detail.Public)
			}
			if hex.EncodeToString(a.Secret()) != v.Detail.Secret {
				t.Error("the secret changed")
			}
		}
		if v.Detail.Mnemonic == "" {
			return
		}
		a, err := FromMnemonic(v.Detail.Mnemonic, "", v.Detail.Prefix)
		if err != nil {
			t.Fatal(err)
		}
		if a.Address() != v.Address || hex.EncodeToString(a.Secret()) != v.Detail.Secret {
			t.Errorf("address %s of the phrase, want %s", a.Address(), v.Address)
		}
	})
}

func TestAddressesReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "key")
		text := encodeAddress(key, rapid.Uint16Range(0, maxNetwork).Draw(t, "network"))
		if got, err := decodeAddress(text); err != nil || string(got) != string(key) {
			t.Fatalf("%s reads %x, %v, want %x", text, got, err, key)
		}
	})
}

// TestWrappedAndHexSenders covers what browser extensions sign, and senders that are bare keys.
func TestWrappedAndHexSenders(t *testing.T) {
	a, err := Generate(Generic)
	if err != nil {
		t.Fatal(err)
	}
	key, err := decodeAddress(a.Address())
	if err != nil {
		t.Fatal(err)
	}
	for _, sender := range []string{a.Address(), "0x" + hex.EncodeToString(key)} {
		m := &message.Message{Sender: sender, Chain: message.ChainDOT, Type: message.TypePost, ItemHash: message.HashBytes(nil)}
		payload := m.SigningPayload()
		for i, signed := range [][]byte{payload, wrap(payload), wrap(wrap(payload))} {
			if m.Signature, err = a.Sign(t.Context(), signed); err != nil {
				t.Fatal(err)
			}
			if err := (Verifier{}).Verify(m); (err == nil) != (i < 2) {
				t.Errorf("wrapped %d times by %s: %v", i, sender, err)
			}
		}
	}
}

func TestMalformedIsRefused(t *testing.T) {
	a, err := Generate(Generic)
	if err != nil {
		t.Fatal(err)
	}
	m := &message.Message{Sender: a.Address(), Chain: message.ChainDOT}
	good, err := a.Sign(t.Context(), m.SigningPayload())
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{"sr25519", "ed25519"}, {"sr25519", "ecdsa"}, {`"sr25519"`, "null"}, {"0x", ""}, {"0x", "0xz"}, {"0x", "0x00"}, {`"data"`, `"Data"`}, {"{", "["},
	} {
		m.Signature = strings.Replace(good, change[0], change[1], 1)
		if err := (Verifier{}).Verify(m); err == nil {
			t.Errorf("accepted %s", m.Signature)
		}
	}
	m.Signature = good
	if err := (Verifier{}).Verify(m); err != nil {
		t.Error(err)
	}
	for _, sender := range []string{"", "0x", "0x00", a.Address()[1:], a.Address() + "1", strings.Repeat("1", 1000)} {
		m.Sender = sender
		if err := (Verifier{}).Verify(m); err == nil {
			t.Errorf("accepted from %s", sender)
		}
	}
	if _, err := NewAccount(make([]byte, 32), maxNetwork+1); err == nil {
		t.Error("opened on a network that has no prefix")
	}
	for _, secret := range [][]byte{nil, make([]byte, 31), make([]byte, 33)} {
		if _, err := NewAccount(secret, Generic); err == nil {
			t.Errorf("opened %d bytes", len(secret))
		}
	}
}

func FuzzVerify(f *testing.F) {
	signaturetest.Fuzz(f, message.ChainDOT, func(m *message.Message) error {
		if strings.HasPrefix(m.Sender, "0x") {
			return errors.New("the fuzzer may write a key whose signatures anybody can make")
		}
		return Verifier{}.Verify(m)
	})
}
