package ethereum

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/internal/vectors"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/signaturetest"
)

func TestAccountVectors(t *testing.T) {
	type detail struct {
		Secret     string `json:"private_key_hex"`
		Public     string `json:"public_key_uncompressed_hex"`
		Payload    string `json:"payload_utf8"`
		Digest     string `json:"eip191_digest_hex"`
		Signature  string
		Mnemonic   string
		Passphrase string
	}
	signaturetest.Accounts(t, message.ChainETH, func(t *testing.T, v signaturetest.Account[detail]) {
		a, err := FromHex(v.Detail.Secret)
		if err != nil {
			t.Fatal(err)
		}
		if a.Address() != v.Address {
			t.Errorf("address %s, want %s", a.Address(), v.Address)
		}
		if hex.EncodeToString(a.Secret()) != v.Detail.Secret {
			t.Error("the secret changed")
		}
		point := a.key.Point()
		if got := "04" + hex.EncodeToString(point[:]); v.Detail.Public != "" && got != v.Detail.Public {
			t.Errorf("public key %s, want %s", got, v.Detail.Public)
		}
		if v.Detail.Mnemonic != "" {
			m, err := FromMnemonic(v.Detail.Mnemonic, v.Detail.Passphrase)
			if err != nil {
				t.Fatal(err)
			}
			if m.Address() != v.Address {
				t.Errorf("address of the phrase %s, want %s", m.Address(), v.Address)
			}
		}
		if v.Detail.Signature == "" {
			return
		}
		payload := []byte(v.Detail.Payload)
		if digest := personalHash(payload); hex.EncodeToString(digest[:]) != v.Detail.Digest {
			t.Errorf("digest %x, want %s", digest, v.Detail.Digest)
		}
		sig, err := a.Sign(t.Context(), payload)
		if err != nil || sig != v.Detail.Signature {
			t.Errorf("signature %s, %v, want %s", sig, err, v.Detail.Signature)
		}
		if signer, err := RecoverPersonal(payload, sig); err != nil || signer != v.Address {
			t.Errorf("recovered %s, %v, want %s", signer, err, v.Address)
		}
	})
}

func TestWrongSecretsAreRefusedWithoutShowingThem(t *testing.T) {
	order := "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
	for _, text := range []string{"", "0x", "42", strings.Repeat("0", 64), order, strings.Repeat("f", 64), strings.Repeat("4z", 32), strings.Repeat("42", 33)} {
		a, err := FromHex(text)
		if err == nil {
			t.Errorf("opened %q as %s", text, a.Address())
		} else if len(text) > 4 && strings.Contains(err.Error(), text[:4]) {
			t.Errorf("the error shows the key: %v", err)
		}
		secret, _ := hex.DecodeString(text)
		if _, err := SignPersonal(secret, nil); err == nil {
			t.Errorf("signed with %q", text)
		}
	}
	for _, phrase := range []string{"", "abandon", strings.Repeat("abandon ", 12), "indoor dish desk flag debris potato excuse depart ticket judge file xit"} {
		if _, err := FromMnemonic(phrase, ""); err == nil {
			t.Errorf("opened the phrase %q", phrase)
		}
	}
}

func TestChecksumAddress(t *testing.T) {
	for _, want := range []string{ // the examples of EIP-55
		"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
		"0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB", "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
	} {
		raw, err := hex.DecodeString(want[2:])
		if err != nil {
			t.Fatal(err)
		}
		if got := ChecksumAddress([20]byte(raw)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestExtremeSignaturesAreRefused guards the places where the two implementations of the curve could differ.
func TestExtremeSignaturesAreRefused(t *testing.T) {
	order := "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
	prime := "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f"
	zero, one, all := strings.Repeat("0", 64), strings.Repeat("0", 63)+"1", strings.Repeat("f", 64)
	bad := []string{zero, order, prime, all}
	for _, b := range bad {
		for _, v := range []string{"00", "01", "1b", "1c", "23", "ff"} {
			for _, sig := range []string{b + one + v, one + b + v} {
				if address, err := RecoverPersonal([]byte("payload"), sig); err == nil {
					t.Errorf("%s recovers to %s", sig, address)
				}
			}
		}
	}
}

func FuzzRecoverPersonal(f *testing.F) {
	var file struct {
		Own []struct{ Message struct{ Signature string } }
	}
	vectors.Load(f, "signatures_evm.json", &file)
	for _, v := range file.Own {
		f.Add([]byte("payload"), v.Message.Signature)
	}
	f.Fuzz(func(t *testing.T, payload []byte, signature string) {
		address, err := RecoverPersonal(payload, signature)
		if err == nil && !isAddress(address) {
			t.Errorf("recovered %q", address)
		}
	})
}
