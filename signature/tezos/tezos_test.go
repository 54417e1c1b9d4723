package tezos

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/signaturetest"
)

func TestAccountVectors(t *testing.T) {
	type detail struct {
		Curve  string
		Public string `json:"public_key"`
		Secret string `json:"secret_hex"`
	}
	curves := map[string]Curve{"ed25519": Ed25519, "secp256k1": Secp256k1, "p256": P256}
	n := signaturetest.Accounts(t, message.ChainTEZOS, func(t *testing.T, v signaturetest.Account[detail]) {
		secret, err := hex.DecodeString(v.Detail.Secret)
		if err != nil {
			t.Fatal(err)
		}
		curve := curves[v.Detail.Curve]
		for _, open := range []func() (*Account, error){
			func() (*Account, error) { return NewAccount(curve, secret) },
			func() (*Account, error) { return FromText(encode(curve.encoding().secret, secret)) },
		} {
			a, err := open()
			if err != nil {
				t.Fatal(err)
			}
			if a.Address() != v.Address || a.public != v.Detail.Public {
				t.Errorf("address %s of key %s, want %s of %s", a.Address(), a.public, v.Address, v.Detail.Public)
			}
			if hex.EncodeToString(a.Secret()) != v.Detail.Secret {
				t.Error("the secret changed")
			}
		}
	})
	if n != 3 {
		t.Errorf("%d Tezos accounts in the vectors", n)
	}
}

// newAccounts returns an account on each curve.
func newAccounts(t testing.TB) (all []*Account) {
	for _, curve := range []Curve{Ed25519, Secp256k1, P256} {
		a, err := Generate(curve)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}
	return all
}

func newMessage(a *Account) *message.Message {
	return &message.Message{
		Sender: a.Address(), Chain: message.ChainTEZOS, Type: message.TypePost, ItemHash: message.HashBytes(nil),
		Time: message.TimeFrom(time.Date(2024, 2, 29, 23, 59, 59, 123_456_000, time.UTC)),
	}
}

func TestMichelineCoversTimeAndApplication(t *testing.T) {
	for _, a := range newAccounts(t) {
		m := newMessage(a)
		sig, err := a.SignMicheline(m.SigningPayload(), m.Time, `https://"aleph".im`)
		if err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			change func(*message.Message)
			valid  bool
		}{
			"nothing":               {func(*message.Message) {}, true},
			"below the millisecond": {func(m *message.Message) { m.Time += 543 }, true},
			"next millisecond":      {func(m *message.Message) { m.Time += 544 }, false},
			"application":           {func(m *message.Message) { m.Signature = strings.Replace(m.Signature, "aleph", "alpeh", 1) }, false},
			"type":                  {func(m *message.Message) { m.Type = message.TypeForget }, false},
			"signing type":          {func(m *message.Message) { m.Signature = strings.Replace(m.Signature, "micheline", "raw", 1) }, false},
		} {
			m := newMessage(a)
			m.Signature = sig
			c.change(m)
			if err := (Verifier{}).Verify(m); (err == nil) != c.valid {
				t.Errorf("%s changed: %v", name, err)
			}
		}
	}
}

func TestMichelineText(t *testing.T) {
	at := message.TimeFrom(time.Date(2023, 11, 14, 22, 13, 20, 999_999_000, time.UTC))
	want := "\x05\x01\x00" + "104" + "Tezos Signed Message: me 2023-11-14T22:13:20.999Z P"
	if got := string(micheline("me", at, []byte("P"))); got != strings.Replace(want, "104", fmt.Sprint(2*(len(want)-6)), 1) {
		t.Errorf("%q", got)
	}
}

func TestSecretKeysAreRefusedAndNotShown(t *testing.T) {
	for _, a := range newAccounts(t) {
		m := newMessage(a)
		good, err := a.Sign(t.Context(), m.SigningPayload())
		if err != nil {
			t.Fatal(err)
		}
		secret := encode(a.curve.encoding().secret, a.Secret())
		for _, member := range []string{"publicKey", "signature"} {
			m.Signature = fmt.Sprintf(`{"publicKey":%q,%s,%q:%q}`, a.public, strings.Trim(strings.SplitN(good, ",", 2)[1], "}"), member, secret)
			err = (Verifier{}).Verify(m)
			if err == nil {
				t.Error("accepted a secret key")
			} else if strings.Contains(err.Error(), secret[:8]) {
				t.Errorf("the error shows the key: %v", err)
			}
		}
		if _, err := FromText(secret[:len(secret)-1]); err == nil || strings.Contains(err.Error(), secret[:8]) {
			t.Errorf("opened half a key, or showed it: %v", err)
		}
	}
}

func TestWrongSecretsAreRefused(t *testing.T) {
	for _, curve := range []Curve{Secp256k1, P256} {
		for _, secret := range [][]byte{nil, make([]byte, 31), make([]byte, 32), []byte(strings.Repeat("\xff", 32))} {
			if a, err := NewAccount(curve, secret); err == nil {
				t.Errorf("opened %x as %s", secret, a.Address())
			}
		}
	}
	for _, curve := range []Curve{-1, 0, 4} {
		if _, err := Generate(curve); err == nil {
			t.Errorf("curve %d exists", curve)
		}
	}
}

func FuzzVerify(f *testing.F) { signaturetest.Fuzz(f, message.ChainTEZOS, Verifier{}.Verify) }
